//! Clients whose end keeps nobody waiting.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// The owner that drops a client lets its own hold go in microseconds.
const LET_GO: Duration = Duration::from_secs(1);

/// A client of the library, which is ended on a thread of its own: the library joins its threads there, which takes up to a
/// tenth of a second, and for ever longer where the wall clock was set back while they waited.
pub(crate) struct Closing<T: Send + Sync + 'static>(Arc<T>);

impl<T: Send + Sync + 'static> Closing<T> {
    pub(crate) fn new(client: T) -> Self {
        Self(Arc::new(client))
    }
}

impl<T: Send + Sync + 'static> Clone for Closing<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> Deref for Closing<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T: Send + Sync + 'static> Drop for Closing<T> {
    fn drop(&mut self) {
        let client = Arc::clone(&self.0);
        let close = move || {
            // Our own hold goes when this call returns; of several owners the last one ends the client.
            let step = Duration::from_millis(5);
            for _ in 0..LET_GO.as_millis() / step.as_millis() {
                if Arc::strong_count(&client) == 1 {
                    break;
                }
                std::thread::park_timeout(step);
            }
            drop(client);
        };
        let _ = std::thread::Builder::new().name("kafka-close".into()).spawn(close);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_types, reason = "there is no runtime here to block")]
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Mutex, PoisonError};
    use std::time::Instant;

    use super::*;

    /// Ends only when it is told to.
    struct Stubborn(Mutex<Receiver<()>>, Sender<()>);

    impl Drop for Stubborn {
        fn drop(&mut self) {
            let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let _ = self.1.send(());
        }
    }

    #[test]
    fn a_client_that_does_not_end_keeps_nobody_waiting() {
        let (let_go, held) = channel();
        let (ended, end) = channel();
        let client = Closing::new(Stubborn(Mutex::new(held), ended));
        let other = client.clone();
        let began = Instant::now();
        drop(client);
        drop(other);
        assert!(began.elapsed() < Duration::from_secs(1));
        assert!(end.recv_timeout(Duration::from_millis(50)).is_err(), "it has not ended");
        assert!(let_go.send(()).is_ok() && end.recv_timeout(Duration::from_secs(10)).is_ok());
    }
}
