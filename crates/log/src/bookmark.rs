//! What is remembered about a place in a log: [`SourcePlace`], [`LastUnit`], and the published [`Bookmark`] (P2).

use lutra_change::{BinlogPosition, Cursor, Gtid, GtidSet, OpenXa};
use lutra_wire::record::UnitTotals;
use lutra_wire::schema::Fingerprint;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where a source stands, with the whole GTID set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePlace {
    /// The server that was read.
    pub server_uuid: Uuid,
    /// Binlog file and byte.
    pub position: BinlogPosition,
    /// Everything executed up to there; empty for sources without GTID.
    pub gtid_set: GtidSet,
    /// XA transactions that are prepared and not decided there (P11).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_xa: Vec<OpenXa>,
    /// In a source's log: what its tables looked like there, by the name of a record of the schemas' topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definitions: Option<Fingerprint>,
}

/// The last transaction or DDL statement before a place, for the question whether the source still has it (P7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUnit {
    /// Its GTID.
    pub gtid: Option<String>,
    /// Its commit time at the source, microseconds since the epoch.
    pub committed_at: i64,
    /// The server it was read from.
    pub server_uuid: Uuid,
    /// Binlog file and byte after it.
    pub position: BinlogPosition,
    /// Its rows, bytes and CRC-32C, when it carried rows.
    #[serde(with = "totals")]
    pub totals: Option<UnitTotals>,
}

impl LastUnit {
    /// The GTID, parsed.
    pub fn gtid(&self) -> Option<Gtid> {
        self.gtid.as_deref().and_then(|g| g.parse().ok())
    }
}

/// A place to start reading, published by the log's writer. An old one costs time, nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bookmark {
    /// The place.
    pub cursor: Cursor,
    /// Where the source stands there.
    pub source: Option<SourcePlace>,
    /// In a transformer's log: the cursor of its input there.
    pub input: Option<Cursor>,
    /// The last transaction before it.
    pub last_unit: Option<LastUnit>,
    /// It lies behind an `EpochStart` and was found by reading the log from its beginning or another proven bookmark; the
    /// others rest on acknowledgements alone.
    #[serde(default)]
    pub proven: bool,
}

impl Bookmark {
    /// The bookmarks that a start may use which was asked for because a reader met a gap.
    ///
    /// A writer cannot notice that the log lost its tail when other records took the very places of the lost ones before
    /// it appended again. The bookmarks that it then publishes count units that are not there. Those behind an
    /// `EpochStart` that was read back are beyond doubt: as long as that record is in its place, all before it is.
    pub fn only_proven(mut bookmarks: Vec<Self>) -> Vec<Self> {
        bookmarks.retain(|b| b.proven);
        bookmarks
    }
}

mod totals {
    use super::UnitTotals;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(totals: &Option<UnitTotals>, serializer: S) -> Result<S::Ok, S::Error> {
        totals.map(|t| (t.rows, t.bytes, t.crc32c)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnitTotals>, D::Error> {
        let totals = Option::<(u64, u64, u32)>::deserialize(deserializer)?;
        Ok(totals.map(|(rows, bytes, crc32c)| UnitTotals { rows, bytes, crc32c }))
    }
}
