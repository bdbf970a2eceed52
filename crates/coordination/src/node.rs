//! One session's operations on single nodes, with typed payloads.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures::future::join_all;
use lutra_runtime::CancellationToken;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zookeeper_client::{Acls, AddWatchMode, Client, CreateMode, CreateOptions, Error as Zk, SessionState, Stat};

use crate::error::{CoordinationError, Result};
use crate::watch::Watch;

/// The payload version that this program writes and understands.
const PAYLOAD_VERSION: u64 = 1;

/// Which state of a node was read; a write that names it fails when the node was changed meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub i32);

/// A payload with what ZooKeeper knows of its node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stored<T> {
    /// The payload.
    pub value: T,
    /// Its version.
    pub version: Version,
    /// The transaction that made the node.
    pub czxid: i64,
    /// The session that holds it, 0 when none does.
    pub owner: i64,
    /// When the node was made, in milliseconds since the epoch.
    pub created_at: i64,
    /// When the node was changed last, in milliseconds since the epoch.
    pub changed_at: i64,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    version: u64,
    #[serde(flatten)]
    body: &'a T,
}

/// The bytes of a payload; `path` is for the error.
pub(crate) fn encode<T: Serialize>(path: &str, body: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(&Envelope { version: PAYLOAD_VERSION, body }).map_err(|source| payload(path, source))
}

/// The payload of `bytes`.
pub(crate) fn decode<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(|source| payload(path, source))?;
    let version = value.as_object_mut().and_then(|object| object.shift_remove("version")).and_then(|v| v.as_u64());
    match version {
        Some(PAYLOAD_VERSION) => serde_json::from_value(value).map_err(|source| payload(path, source)),
        found => Err(CoordinationError::PayloadVersion {
            path: path.to_owned(),
            found: found.unwrap_or(0),
            known: PAYLOAD_VERSION,
        }),
    }
}

fn payload(path: &str, source: serde_json::Error) -> CoordinationError {
    CoordinationError::Payload { path: path.to_owned(), source }
}

/// Permanent nodes. Who may write is ZooKeeper's network and authentication, not node ACLs.
pub(crate) const PERSISTENT: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());
/// Nodes that go with the session.
pub(crate) const EPHEMERAL: CreateOptions<'static> = CreateMode::Ephemeral.with_acls(Acls::anyone_all());

/// One session. All its operations fail for good once it is over; another session is another value.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    client: Client,
    /// Cancelled once nobody shall use it any more: it has expired, or did not answer a request in time.
    over: CancellationToken,
    /// What a request may take, the reconnect that it waits for included.
    patience: Duration,
}

/// How a session ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SessionEnd {
    /// In this state of the client.
    Told(SessionState),
    /// A request was not answered in time.
    GivenUp,
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(state) => state.fmt(f),
            Self::GivenUp => f.write_str("given up"),
        }
    }
}

/// What a request may take, in session time-outs. The client gives a silent connection up after 2/5 of one, and the
/// session after 7/5 without a connection: what takes longer than both hangs, and a session that hangs is not believed.
const PATIENCE: u32 = 3;

impl Session {
    /// The session of `client`.
    pub(crate) fn new(client: Client) -> Self {
        let patience = client.session_timeout() * PATIENCE;
        Self { client, over: CancellationToken::new(), patience }
    }

    pub(crate) fn id(&self) -> i64 {
        self.client.session_id().0
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Nobody shall use this session any more.
    pub(crate) fn give_up(&self) {
        self.over.cancel();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled() || self.client.state().is_terminated()
    }

    /// Waits until the session is over.
    pub(crate) async fn ended(&self) -> SessionEnd {
        let mut watcher = self.client.state_watcher();
        let terminal = async {
            let mut state = self.client.state();
            while !state.is_terminated() {
                state = watcher.changed().await;
            }
            state
        };
        tokio::select! {
            biased;
            () = self.over.cancelled() => SessionEnd::GivenUp,
            state = terminal => SessionEnd::Told(state),
        }
    }

    /// Waits for a request as long as one may take; then the session is given up, and all it watches is read again in
    /// the next one.
    pub(crate) async fn in_time<T, E: From<Zk>>(&self, request: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        in_time(&self.over, self.patience, request).await
    }

    /// Reads a node; `None` when there is none.
    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<Stored<T>>> {
        match self.in_time(self.client.get_data(path)).await {
            Ok((bytes, stat)) => stored(path, &bytes, stat).map(Some),
            Err(Zk::NoNode) => Ok(None),
            Err(source) => Err(CoordinationError::operation("read", path, source)),
        }
    }

    /// Reads many nodes at once, in order; absent ones are `None`.
    pub(crate) async fn read_all<T: DeserializeOwned>(&self, paths: &[String]) -> Result<Vec<Option<Stored<T>>>> {
        join_all(paths.iter().map(|path| self.read(path))).await.into_iter().collect()
    }

    pub(crate) async fn exists(&self, path: &str) -> Result<Option<Stat>> {
        let seen = self.in_time(self.client.check_stat(path)).await;
        seen.map_err(|source| CoordinationError::operation("look at", path, source))
    }

    /// The names below a node; empty when there is none.
    pub(crate) async fn children(&self, path: &str) -> Result<Vec<String>> {
        match self.in_time(self.client.list_children(path)).await {
            Ok(mut names) => {
                names.sort_unstable();
                Ok(names)
            }
            Err(Zk::NoNode) => Ok(Vec::new()),
            Err(source) => Err(CoordinationError::operation("list", path, source)),
        }
    }

    pub(crate) async fn make_directory(&self, path: &str) -> Result<()> {
        let made = self.in_time(self.client.mkdir(path, &PERSISTENT)).await;
        made.map_err(|source| CoordinationError::operation("make", path, source))
    }

    pub(crate) async fn create<T: Serialize>(
        &self,
        path: &str,
        body: &T,
        options: &CreateOptions<'static>,
    ) -> Result<Stat> {
        let bytes = encode(path, body)?;
        let created = self.in_time(self.client.create(path, &bytes, options)).await;
        created.map(|(stat, _)| stat).map_err(|source| CoordinationError::operation("create", path, source))
    }

    pub(crate) async fn write<T: Serialize>(&self, path: &str, body: &T, version: Option<Version>) -> Result<Stat> {
        let bytes = encode(path, body)?;
        let written = self.in_time(self.client.set_data(path, &bytes, version.map(|version| version.0))).await;
        written.map_err(|source| CoordinationError::operation("write", path, source))
    }

    /// Writes a permanent node, making it where it is absent.
    pub(crate) async fn put<T: Serialize>(&self, path: &str, body: &T) -> Result<()> {
        match self.write(path, body, None).await {
            Err(CoordinationError::NotFound { .. }) => {}
            done => return done.map(|_| ()),
        }
        match self.create(path, body, &PERSISTENT).await {
            // Somebody was faster: ours is the later write all the same.
            Err(CoordinationError::Exists { .. }) => self.write(path, body, None).await.map(|_| ()),
            done => done.map(|_| ()),
        }
    }

    /// Deletes a node; says whether there was one.
    pub(crate) async fn delete(&self, path: &str, version: Option<Version>) -> Result<bool> {
        match self.in_time(self.client.delete(path, version.map(|version| version.0))).await {
            Ok(()) => Ok(true),
            Err(Zk::NoNode) => Ok(false),
            Err(source) => Err(CoordinationError::operation("delete", path, source)),
        }
    }

    /// Watches a node, or everything below it. Set it before what it is about is read.
    pub(crate) async fn watch(&self, path: &str, mode: AddWatchMode) -> Result<Watch> {
        let watcher = self.in_time(self.client.watch(path, mode)).await;
        let watcher = watcher.map_err(|source| CoordinationError::operation("watch", path, source))?;
        Ok(Watch::new(watcher, self.over.clone()))
    }
}

async fn in_time<T, E: From<Zk>>(
    over: &CancellationToken,
    patience: Duration,
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    if let Ok(done) = tokio::time::timeout(patience, request).await {
        return done;
    }
    tracing::warn!(?patience, "ZooKeeper has not answered a request in time: the session is given up");
    over.cancel();
    Err(Zk::Timeout.into())
}

fn stored<T: DeserializeOwned>(path: &str, bytes: &[u8], stat: Stat) -> Result<Stored<T>> {
    Ok(Stored {
        value: decode(path, bytes)?,
        version: Version(stat.version),
        czxid: stat.czxid,
        owner: stat.ephemeral_owner,
        created_at: stat.ctime,
        changed_at: stat.mtime,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn payloads_carry_their_version() {
        let bytes = encode("/x", &json!({"a": 1})).unwrap();
        assert_eq!(bytes, br#"{"version":1,"a":1}"#);
        assert_eq!(decode::<Value>("/x", &bytes).unwrap(), json!({"a": 1}));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_ends_and_takes_its_session_with_it() {
        let (over, patience) = (CancellationToken::new(), Duration::from_secs(4));
        assert_eq!(in_time(&over, patience, async { Ok::<_, Zk>(7) }).await, Ok(7));
        assert!(!over.is_cancelled());
        let hung = in_time(&over, patience, std::future::pending::<Result<(), Zk>>()).await;
        assert_eq!(hung, Err(Zk::Timeout));
        assert!(over.is_cancelled());
    }

    #[test]
    fn foreign_bytes_are_errors_that_name_the_node() {
        for (bytes, wanted) in [
            (&b"\xff\x00"[..], "/x does not hold"),
            (b"[]", "payload version 0"),
            (br#"{"version":2}"#, "payload version 2"),
        ] {
            let error = decode::<Value>("/x", bytes).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
