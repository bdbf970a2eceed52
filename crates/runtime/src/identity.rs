//! The stable id of a worker: kept in a locked file of the data directory, so that a restarted process is known to be
//! the only one that bears it, and may take back at once what its predecessor held.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Workers of one service that may share a data directory without being named.
const MAX_SLOTS: u32 = 64;

/// A worker's stable id; holds the lock of its file for as long as it lives.
#[derive(Debug)]
pub struct WorkerIdentity {
    id: String,
    home: Uuid,
    path: PathBuf,
    _lock: File,
}

/// Why there is no worker id.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process bears the id.
    #[error(
        "worker {id} of service {service} runs already: another process holds {path}. End it, or give this one another \
         --worker-id or --data-dir"
    )]
    Taken {
        /// The id asked for.
        id: String,
        /// The service.
        service: String,
        /// The locked file.
        path: PathBuf,
    },
    /// All ids of the directory are in use.
    #[error("{MAX_SLOTS} workers of service {service} run in {path} already; give this one another --data-dir")]
    Full {
        /// The service.
        service: String,
        /// The data directory.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("{path} does not hold a worker id and a home id; remove the file to get new ones")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The directory or file cannot be used.
    #[error("cannot use {path} for the worker id; name a writable directory by --data-dir")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl WorkerIdentity {
    /// Takes the id of a worker of `service` in `data_dir`: the one named, or the first of the directory's own that no
    /// living process holds, made when absent.
    pub fn acquire(service: &str, data_dir: &Path, named: Option<&str>) -> Result<Self, IdentityError> {
        std::fs::create_dir_all(data_dir).map_err(|source| io(data_dir, source))?;
        if let Some(id) = named {
            let path = data_dir.join(format!("{service}.{id}.worker"));
            let taken = || IdentityError::Taken { id: id.to_owned(), service: service.to_owned(), path: path.clone() };
            return Self::lock(&path, || id.to_owned())?.ok_or_else(taken);
        }
        for slot in 1..=MAX_SLOTS {
            let path = data_dir.join(format!("{service}-{slot}.worker"));
            let fresh = || format!("{service}-{}", &Uuid::new_v4().simple().to_string()[..8]);
            if let Some(identity) = Self::lock(&path, fresh)? {
                return Ok(identity);
            }
        }
        Err(IdentityError::Full { service: service.to_owned(), path: data_dir.to_owned() })
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A random id of the file itself: two files with the same worker id (two machines) differ here.
    pub fn home(&self) -> Uuid {
        self.home
    }

    /// The locked file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks `path` and reads it, or fills it. `None` when another process holds it.
    fn lock(path: &Path, fresh: impl FnOnce() -> String) -> Result<Option<Self>, IdentityError> {
        let io = |source| io(path, source);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let (id, home) = if text.trim().is_empty() {
            let (id, home) = (fresh(), Uuid::new_v4());
            file.seek(SeekFrom::Start(0)).and_then(|_| writeln!(file, "{id} {home}")).map_err(io)?;
            file.sync_all().map_err(io)?;
            (id, home)
        } else {
            parse(&text).ok_or_else(|| IdentityError::Damaged { path: path.to_owned() })?
        };
        Ok(Some(Self { id, home, path: path.to_owned(), _lock: file }))
    }
}

fn io(path: &Path, source: std::io::Error) -> IdentityError {
    IdentityError::Io { path: path.to_owned(), source }
}

fn parse(text: &str) -> Option<(String, Uuid)> {
    let (id, home) = text.trim().split_once(' ')?;
    Some((id.to_owned(), home.parse().ok()?))
}

/// Where state is kept when nothing is said: systemd's or XDG's state directory, else under the working directory.
pub(crate) fn default_data_dir() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("STATE_DIRECTORY")
        .or_else(|| variable("XDG_STATE_HOME").map(|dir| dir.join("lutra")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".local/state/lutra")))
        .unwrap_or_else(|| PathBuf::from("lutra-state"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_id_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let first = WorkerIdentity::acquire("loader", dir.path(), None).unwrap();
        let (id, home) = (first.id().to_owned(), first.home());
        drop(first);
        let second = WorkerIdentity::acquire("loader", dir.path(), None).unwrap();
        assert_eq!((second.id(), second.home()), (id.as_str(), home));
    }

    #[test]
    fn a_second_worker_of_the_directory_gets_an_id_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let first = WorkerIdentity::acquire("loader", dir.path(), None).unwrap();
        let second = WorkerIdentity::acquire("loader", dir.path(), None).unwrap();
        assert_ne!(first.id(), second.id());
    }

    #[test]
    fn a_named_id_is_refused_while_it_is_borne() {
        let dir = tempfile::tempdir().unwrap();
        let first = WorkerIdentity::acquire("loader", dir.path(), Some("blue")).unwrap();
        let refused = WorkerIdentity::acquire("loader", dir.path(), Some("blue")).unwrap_err();
        assert!(refused.to_string().contains("worker blue of service loader runs already"), "{refused}");
        drop(first);
        assert_eq!(WorkerIdentity::acquire("loader", dir.path(), Some("blue")).unwrap().id(), "blue");
    }

    #[test]
    fn a_damaged_file_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("loader-1.worker"), "what").unwrap();
        let refused = WorkerIdentity::acquire("loader", dir.path(), None).unwrap_err();
        assert!(matches!(refused, IdentityError::Damaged { .. }));
    }
}
