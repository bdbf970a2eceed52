//! Units as they travel from intake to scheduler.

use std::sync::Arc;

use lutra_change::{Cursor, Number, SessionContext, TableName};
use lutra_log::RecordHeaders;
use lutra_wire::record::{Ddl, RowChange, SourceState, TableRef};
use lutra_wire::{Fingerprint, RowDecoder, RowSchema};
use rustc_hash::FxHashMap;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::blocked::Aside;
use crate::copying::{ChunkInfo, Define, UnitCopy};
use crate::error::LoadError;

/// A row schema with its compiled decoder.
#[derive(Debug)]
pub struct RowTable {
    /// The schema's fingerprint.
    pub fingerprint: Fingerprint,
    /// Name in the target.
    pub name: TableName,
    /// The schema.
    pub schema: RowSchema,
    /// Its decoder.
    pub decoder: RowDecoder,
}

impl RowTable {
    /// Of the schema that has that fingerprint.
    pub fn new(fingerprint: Fingerprint, schema: &RowSchema) -> Self {
        let (name, decoder) = (schema.table().name.clone(), RowDecoder::new(schema));
        Self { fingerprint, name, schema: schema.clone(), decoder }
    }
}

/// Tables by the fingerprints of their schemas, as far as they were asked for.
#[derive(Debug, Default)]
pub struct KnownTables(FxHashMap<Fingerprint, Arc<RowTable>>);

impl KnownTables {
    /// The tables that a part of a unit names, with the schemas that are not known yet from `fetch`.
    ///
    /// # Errors
    /// [`LoadError::Unit`] with what `fetch` says.
    pub async fn of<F>(
        &mut self,
        number: Number,
        named: &[TableRef],
        fetch: impl Fn(Fingerprint) -> F,
    ) -> Result<Vec<Arc<RowTable>>, LoadError>
    where
        F: Future<Output = Result<Arc<RowSchema>, LoadError>>,
    {
        let mut tables = Vec::with_capacity(named.len());
        for fingerprint in named.iter().map(|table| table.fingerprint) {
            if let Some(table) = self.0.get(&fingerprint) {
                tables.push(Arc::clone(table));
                continue;
            }
            let schema = fetch(fingerprint).await.map_err(|source| LoadError::Unit {
                number,
                what: "a row schema that it names",
                source: Box::new(source),
            })?;
            let table = Arc::new(RowTable::new(fingerprint, &schema));
            self.0.insert(fingerprint, Arc::clone(&table));
            tables.push(table);
        }
        Ok(tables)
    }
}

/// The rows of one part.
#[derive(Debug)]
pub struct Segment {
    /// Tables, by the index that rows use.
    pub tables: Vec<Arc<RowTable>>,
    /// Rows in source order; images are slices of the record.
    pub rows: Vec<RowChange>,
    /// The session that changed them, where it is known.
    pub context: Option<Box<SessionContext>>,
    /// Bytes of the images.
    pub bytes: usize,
    /// Holds the bytes' share of the loader's memory until the rows are done.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// Where a unit leaves source and log.
#[derive(Clone, Debug)]
pub struct UnitEnd {
    /// The unit's number.
    pub number: Number,
    /// Source position and GTIDs.
    pub source: Option<SourceState>,
    /// The place in the log behind it.
    pub cursor: Cursor,
    /// Commit time at the source, microseconds since the epoch.
    pub committed_at: i64,
    /// When the broker appended it.
    pub appended_at: i64,
    /// When the loader had it whole.
    pub taken_at: i64,
    /// Origins that the log names.
    pub origins: Vec<String>,
    /// Trace context of the unit's last part.
    pub trace: RecordHeaders,
}

/// A whole unit.
#[derive(Debug)]
pub struct Unit {
    /// Where it ends.
    pub end: UnitEnd,
    /// What it does.
    pub body: UnitBody,
    /// What it has to do with the copy of tables (P12).
    pub copy: UnitCopy,
    /// What of it does not reach its tables now.
    pub aside: Aside,
}

/// What a unit does.
#[derive(Debug)]
pub enum UnitBody {
    /// Changes rows.
    Changes(Vec<Segment>),
    /// Runs a statement.
    Ddl(Box<Ddl>),
    /// Makes the tables whose copies follow.
    Define(Box<Define>),
    /// Moves the position only: a heartbeat, or a transaction without rows for the target.
    Nothing,
}

/// What the intake hands on.
#[derive(Debug)]
pub enum Message {
    /// A whole unit.
    Unit(Box<Unit>),
    /// A unit that is larger than the memory for units: applied while it is read.
    Large {
        /// Its number.
        number: Number,
        /// What it is to the copy of a table.
        chunk: Option<Box<ChunkInfo>>,
        /// Its parts, then its end.
        pieces: mpsc::Receiver<Piece>,
    },
    /// The source lives, and nothing moved.
    Alive {
        /// When the extractor said so, microseconds since the epoch.
        at: i64,
        /// Source clock minus extractor clock, microseconds.
        clock_offset: i64,
        /// When the broker appended it.
        appended_at: i64,
    },
}

/// A piece of a large unit.
#[derive(Debug)]
pub enum Piece {
    /// Rows.
    Rows(Segment),
    /// The unit is complete.
    End(Box<UnitEnd>),
    /// The unit is void: undo.
    Discarded,
}
