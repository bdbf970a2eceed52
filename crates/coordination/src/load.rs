//! Full loads (P12): what a pipeline wants copied, and how far its source's owner has come.
//!
//! The manager writes a [`LoadRequest`] under the source's task; the owner of that task watches them, copies, and writes
//! a [`LoadProgress`]. Neither is on the way of the data: both only say where to go on.

use std::collections::BTreeMap;

use lutra_spec::PipelineSpec;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::session::Coordination;
use crate::watch::Relay;

/// What is wanted of the copy of a table, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// It shall go on.
    #[default]
    Run,
    /// It shall rest.
    Pause,
    /// It shall end where it is: rows that were not copied stay out of the target.
    Cancel,
}

/// What is wanted of one table's copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableWish {
    /// How often it was asked for anew: raised, the table is made anew in the target and copied from its beginning.
    #[serde(default)]
    pub generation: u32,
    /// Whether it goes on.
    #[serde(default)]
    pub wish: Wish,
}

/// What a pipeline wants copied of its source (`tasks/<extract task>/loads/<pipeline>`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRequest {
    /// This load: another one begins from nothing.
    pub id: Uuid,
    /// The pipeline's routes and the load's settings.
    pub pipeline: PipelineSpec,
    /// What is wanted of all tables.
    #[serde(default)]
    pub wish: Wish,
    /// What is wanted of single ones, by their name at the source.
    #[serde(default)]
    pub tables: BTreeMap<String, TableWish>,
    /// The tables are in the target: they are removed there before they are made, and so is what lives beside them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// How a table's copy does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyState {
    /// Its turn has not come.
    #[default]
    Waiting,
    /// Under way.
    Copying,
    /// It waits for the stream to be level again: chunks are read only while it is.
    Starving,
    /// At rest, as wished.
    Paused,
    /// Every row is in the log.
    Done,
    /// Ended before its end, as wished.
    Cancelled,
    /// The table is not there any more.
    Gone,
    /// It cannot be copied; the text says why.
    Failed,
}

impl CopyState {
    /// Whether nothing more will be copied.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Gone | Self::Failed)
    }
}

/// How far one table has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableProgress {
    /// The table at the source.
    pub table: String,
    /// Of which wish.
    pub generation: u32,
    /// How it does.
    pub state: CopyState,
    /// Rows in the log.
    pub rows: u64,
    /// Rows that the server thinks it has.
    pub estimate: u64,
    /// Chunks in the log.
    pub chunks: u64,
    /// It has no key to cut it by, and comes in one unit.
    #[serde(default)]
    pub whole: bool,
    /// The last chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<Uuid>,
    /// Key of the last row in the log: SQL literals in hexadecimal, by the key's columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
    /// Why it failed, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How far a load has come (`tasks/<extract task>/copies/<pipeline>`). Everything in it is in the log for good.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadProgress {
    /// Of which load.
    pub id: Uuid,
    /// The unit with the tables' definitions; none before it is in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definitions: Option<Uuid>,
    /// A bookmark before that unit: where the pipeline begins to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<Value>,
    /// Why it rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Rows per second of the last seconds.
    #[serde(default)]
    pub rows_per_second: u64,
    /// The tables, in the order in which they are copied.
    #[serde(default)]
    pub tables: Vec<TableProgress>,
}

impl LoadProgress {
    /// Whether the definitions are in the log: of that load, where one is named. Those of another load say where *its*
    /// tables were made, and nothing of this one.
    pub fn is_defined(&self, load: Option<Uuid>) -> bool {
        self.definitions.is_some() && load.is_none_or(|load| self.id == load)
    }
}

/// Tells when something in a directory of the tree may have changed; at first always.
#[derive(Debug)]
pub struct LoadStream {
    relay: Relay,
}

impl LoadStream {
    pub(crate) fn new(coordination: Coordination, directory: &str) -> Self {
        Self { relay: Relay::new(coordination, directory) }
    }

    /// Waits for the next change, for ever. Cancel safe.
    pub async fn next(&mut self) {
        self.relay.next().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_survives_its_text() {
        let table = TableProgress {
            table: "shop.orders".to_owned(),
            generation: 1,
            state: CopyState::Copying,
            rows: 10,
            chunk: Some(Uuid::from_u128(3)),
            after: Some(vec!["3130".to_owned()]),
            ..TableProgress::default()
        };
        let progress = LoadProgress { id: Uuid::from_u128(1), tables: vec![table], ..LoadProgress::default() };
        let text = serde_json::to_string(&progress).unwrap_or_default();
        assert_eq!(serde_json::from_str::<LoadProgress>(&text).ok(), Some(progress));
        assert!(CopyState::Done.is_over() && !CopyState::Starving.is_over());
    }

    #[test]
    fn definitions_of_another_load_are_none() {
        let (old, new) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let progress = LoadProgress { id: old, definitions: Some(Uuid::from_u128(9)), ..LoadProgress::default() };
        assert!(progress.is_defined(None) && progress.is_defined(Some(old)));
        assert!(!progress.is_defined(Some(new)), "stale");
        assert!(!LoadProgress { id: new, ..LoadProgress::default() }.is_defined(Some(new)), "not yet");
    }
}
