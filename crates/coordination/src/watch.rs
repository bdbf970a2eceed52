//! A watch that ends with the connection it was set on.
//!
//! A ZooKeeper server keeps a watch with the connection that set it. Behind a reconnect in the same session a client
//! sets its watches again; ours (`zookeeper-client` 0.11.2, `WatchManager::resend_watches`) does so for one-shot watches
//! only: persistent ones stay registered in the client, hear of the reconnect, and of nothing after it. Even where they
//! are set again, what changed in between is not told (ZOOKEEPER-4698). So a watch here ends with its connection, and
//! whoever reads sets a new one, which waits for the next connection, and then reads again.

use std::time::Duration;

use lutra_runtime::CancellationToken;
use zookeeper_client::{AddWatchMode, EventType, PersistentWatcher, WatchedEvent};

use crate::session::Coordination;

/// A session that lives on but refuses a watch would be asked in a tight loop.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

/// A persistent watch on one connection.
#[derive(Debug)]
pub(crate) struct Watch {
    watcher: PersistentWatcher,
    over: CancellationToken,
    ended: bool,
}

impl Watch {
    pub(crate) fn new(watcher: PersistentWatcher, over: CancellationToken) -> Self {
        Self { watcher, over, ended: false }
    }

    /// Waits for the next event of a node; `None`, and `None` for ever, once the connection is gone: what changes then is
    /// not seen any more. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<WatchedEvent> {
        // The client's watcher panics when it is asked again behind the end of its session.
        if self.ended {
            return None;
        }
        let event = tokio::select! {
            biased;
            () = self.over.cancelled() => None,
            event = self.watcher.changed() => Some(event).filter(|event| event.event_type != EventType::Session),
        };
        self.ended = event.is_none();
        event
    }
}

/// The events of everything below a node, for ever, over any number of connections and sessions.
#[derive(Debug)]
pub(crate) struct Relay {
    coordination: Coordination,
    node: String,
    watch: Option<Watch>,
}

impl Relay {
    pub(crate) fn new(coordination: Coordination, node: &str) -> Self {
        Self { coordination, node: node.to_owned(), watch: None }
    }

    /// The next event; `None` when the watch was set anew, as it is at first: read everything again. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<WatchedEvent> {
        loop {
            if let Some(watch) = &mut self.watch {
                let event = watch.next().await;
                if event.is_some() {
                    return event;
                }
                self.watch = None;
            }
            let session = self.coordination.next_session().await;
            match session.watch(&self.node, AddWatchMode::PersistentRecursive).await {
                Ok(watch) => {
                    self.watch = Some(watch);
                    return None;
                }
                Err(error) => {
                    tracing::debug!(%error, "the watch was not set; it is tried again");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
            }
        }
    }
}
