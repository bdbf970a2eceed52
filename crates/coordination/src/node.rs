//! One session's operations on single nodes, with typed payloads.

use futures::future::join_all;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zookeeper_client::{Acls, AddWatchMode, Client, CreateMode, CreateOptions, PersistentWatcher, Stat};

use crate::error::{CoordinationError, Result};

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

/// One session. All its operations fail for good once it has expired; another session is another value.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
}

impl Session {
    pub(crate) fn id(&self) -> i64 {
        self.client.session_id().0
    }

    /// Reads a node; `None` when there is none.
    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<Stored<T>>> {
        match self.client.get_data(path).await {
            Ok((bytes, stat)) => stored(path, &bytes, stat).map(Some),
            Err(zookeeper_client::Error::NoNode) => Ok(None),
            Err(source) => Err(CoordinationError::operation("read", path, source)),
        }
    }

    /// Reads many nodes at once, in order; absent ones are `None`.
    pub(crate) async fn read_all<T: DeserializeOwned>(&self, paths: &[String]) -> Result<Vec<Option<Stored<T>>>> {
        join_all(paths.iter().map(|path| self.read(path))).await.into_iter().collect()
    }

    pub(crate) async fn exists(&self, path: &str) -> Result<Option<Stat>> {
        self.client.check_stat(path).await.map_err(|source| CoordinationError::operation("look at", path, source))
    }

    /// The names below a node; empty when there is none.
    pub(crate) async fn children(&self, path: &str) -> Result<Vec<String>> {
        match self.client.list_children(path).await {
            Ok(mut names) => {
                names.sort_unstable();
                Ok(names)
            }
            Err(zookeeper_client::Error::NoNode) => Ok(Vec::new()),
            Err(source) => Err(CoordinationError::operation("list", path, source)),
        }
    }

    pub(crate) async fn make_directory(&self, path: &str) -> Result<()> {
        let made = self.client.mkdir(path, &PERSISTENT).await;
        made.map_err(|source| CoordinationError::operation("make", path, source))
    }

    pub(crate) async fn create<T: Serialize>(
        &self,
        path: &str,
        body: &T,
        options: &CreateOptions<'static>,
    ) -> Result<Stat> {
        let bytes = encode(path, body)?;
        let created = self.client.create(path, &bytes, options).await;
        created.map(|(stat, _)| stat).map_err(|source| CoordinationError::operation("create", path, source))
    }

    pub(crate) async fn write<T: Serialize>(&self, path: &str, body: &T, version: Option<Version>) -> Result<Stat> {
        let bytes = encode(path, body)?;
        let written = self.client.set_data(path, &bytes, version.map(|version| version.0)).await;
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
        match self.client.delete(path, version.map(|version| version.0)).await {
            Ok(()) => Ok(true),
            Err(zookeeper_client::Error::NoNode) => Ok(false),
            Err(source) => Err(CoordinationError::operation("delete", path, source)),
        }
    }

    pub(crate) async fn watch(&self, path: &str, mode: AddWatchMode) -> Result<PersistentWatcher> {
        self.client.watch(path, mode).await.map_err(|source| CoordinationError::operation("watch", path, source))
    }
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
