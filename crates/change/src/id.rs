//! Identities: logs, tasks, tables.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The identity of one ordered log: made with the log, stands in the task's specification and in every record (P1, P8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(pub Uuid);

impl LogId {
    /// A new, random log id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({})", self.0)
    }
}

impl FromStr for LogId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// Which of the three services runs a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// `extract/<source>`, run by an extractor.
    Extract,
    /// `transform/<pipeline>`, run by a transformer.
    Transform,
    /// `load/<pipeline>`, run by a loader.
    Load,
}

impl TaskKind {
    /// All kinds, in the order of the data.
    pub const ALL: [Self; 3] = [Self::Extract, Self::Transform, Self::Load];

    /// The word in task ids: `extract`, `transform`, `load`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Extract => "extract",
            Self::Transform => "transform",
            Self::Load => "load",
        }
    }

    /// The service whose workers run this kind: `extractor`, `transformer`, `loader`.
    pub fn service(self) -> &'static str {
        match self {
            Self::Extract => "extractor",
            Self::Transform => "transformer",
            Self::Load => "loader",
        }
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one worker runs: `extract/<source>`, `transform/<pipeline>`, `load/<pipeline>`. Exactly one owner at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    /// Which service runs it.
    pub kind: TaskKind,
    /// Name of the source or pipeline.
    pub name: String,
}

impl TaskId {
    /// The task of that kind for the named source or pipeline.
    pub fn new(kind: TaskKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// A text that is not `extract/<source>`, `transform/<pipeline>` or `load/<pipeline>`.
#[derive(Debug, thiserror::Error)]
#[error("task id {0:?} is not of the form extract/SOURCE, transform/PIPELINE or load/PIPELINE")]
pub struct TaskIdError(String);

impl FromStr for TaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = || TaskIdError(text.to_owned());
        let (kind, name) = text.split_once('/').ok_or_else(fault)?;
        let kind = TaskKind::ALL.into_iter().find(|k| k.as_str() == kind).ok_or_else(fault)?;
        if name.is_empty() || name.contains('/') {
            return Err(fault());
        }
        Ok(Self::new(kind, name))
    }
}

impl Serialize for TaskId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A table by its full name, exactly as the server spells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// Database (schema) name.
    pub database: String,
    /// Table name.
    pub table: String,
}

impl TableName {
    /// The table `database`.`table`.
    pub fn new(database: impl Into<String>, table: impl Into<String>) -> Self {
        Self { database: database.into(), table: table.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn task_ids_survive_their_text() {
        for kind in TaskKind::ALL {
            let task = TaskId::new(kind, "shop");
            assert_eq!(task.to_string().parse::<TaskId>().unwrap(), task);
        }
        for bad in ["", "load", "load/", "copy/x", "load/a/b"] {
            assert!(bad.parse::<TaskId>().is_err(), "{bad}");
        }
    }
}
