//! Parked items on their way back: from their bytes to what the scheduler applies.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use lutra_change::Number;
use lutra_mysql::Row;
use lutra_wire::record::{Body, Changes, Ddl, RawBody};
use lutra_wire::{Fingerprint, RowSchema};

use crate::error::LoadError;
use crate::intake::Schemas;
use crate::unit::{KnownTables, Segment};

/// Items that are read at once.
pub const ITEMS: usize = 16;

/// A parked item as the target has it.
#[derive(Clone, Debug)]
pub struct ParkedItem {
    /// Its unit.
    pub number: Number,
    /// Its place among the unit's items.
    pub ordinal: u32,
    /// Row changes in it.
    pub rows: u64,
    /// The sources that it comes from.
    pub origins: String,
    /// Its bytes.
    pub body: Bytes,
}

impl ParkedItem {
    /// From a row of the query for items.
    pub fn of(row: &Row) -> Self {
        Self {
            number: Number::new(row.u64(0).unwrap_or(0), row.u64(1).unwrap_or(0)),
            ordinal: row.u64(2).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
            rows: row.u64(4).unwrap_or(0),
            origins: row.string(5),
            body: Bytes::copy_from_slice(row.bytes(6).unwrap_or_default()),
        }
    }

    /// What it is.
    ///
    /// # Errors
    /// [`LoadError::Unit`] when it cannot be read.
    pub fn decode(&self) -> Result<Parcel, LoadError> {
        let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| LoadError::Unit {
            number: self.number,
            what: "what is parked of it in lutra.parked",
            source,
        };
        let body = RawBody::from_bytes(self.body.clone()).and_then(|b| b.decode());
        match body.map_err(|e| unreadable(Box::new(e)))? {
            Body::Ddl(ddl) => Ok(Parcel::Ddl(Box::new(ddl))),
            Body::Changes(changes) => Ok(Parcel::Rows(changes)),
            other => Err(unreadable(format!("it holds {:?}", std::mem::discriminant(&other)).into())),
        }
    }
}

/// What an item is.
#[derive(Debug)]
pub enum Parcel {
    /// A statement.
    Ddl(Box<Ddl>),
    /// Row changes.
    Rows(Changes),
}

type Fetch = Box<dyn Fn(Fingerprint) -> BoxFuture<'static, Result<Arc<RowSchema>, LoadError>> + Send + Sync>;

/// The tables of parked rows.
#[derive(Default)]
pub struct RowTables {
    fetch: Option<Fetch>,
    tables: KnownTables,
}

impl std::fmt::Debug for RowTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowTables").field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl RowTables {
    /// Tables whose schemas come from there.
    pub fn new<S: Schemas + Sync>(schemas: &Arc<S>) -> Self {
        let schemas = Arc::clone(schemas);
        let fetch: Fetch = Box::new(move |fingerprint| {
            let schemas = Arc::clone(&schemas);
            Box::pin(async move { schemas.get(fingerprint).await })
        });
        Self { fetch: Some(fetch), tables: KnownTables::default() }
    }

    /// The rows of an item as those of a unit.
    ///
    /// # Errors
    /// Those of the schemas.
    pub async fn segment(&mut self, number: Number, changes: Changes) -> Result<Segment, LoadError> {
        let Some(fetch) = &self.fetch else { return Err(LoadError::Ended("the row schemas")) };
        let tables = self.tables.of(number, &changes.tables, fetch).await?;
        Ok(Segment { tables, rows: changes.rows, context: changes.context.map(Box::new), bytes: 0, permit: None })
    }
}
