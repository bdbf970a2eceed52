//! The seam to the target database: what a load needs of it. MySQL and MariaDB are one of them; tests script a second.

pub mod mysql;

use std::future::Future;

use lutra_change::{Number, TableName};
use lutra_mysql::{Error, Flavour};

use crate::blocked::replay::ParkedItem;
use crate::blocked::{ReadyGroup, Standing};
use crate::catalogue::TargetTable;
use crate::copying::Copies;
use crate::error::LoadError;
use crate::slot::{Owner, Slot};

/// A packet of statements that failed at one of them.
#[derive(Debug)]
pub struct PacketError {
    /// Rows matched by the statements before it.
    pub done: Vec<u64>,
    /// Why.
    pub error: Error,
}

/// What a session that is not strict only warned of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The server's number.
    pub code: u16,
    /// Its text.
    pub message: String,
}

/// What the target can do, probed at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// DDL is made repeatable by a GTID of its own (P6).
    pub ddl_by_gtid: bool,
    /// What the server understands.
    pub flavour: Flavour,
}

/// A target database.
pub trait Target: Send + Sync + 'static {
    /// A connection that writes.
    type Connection: TargetConnection;

    /// Takes the target for this owner before anything is read (P5), makes the slots `0..slots`, and reads all rows.
    ///
    /// # Errors
    /// [`LoadError::Fenced`] when a higher epoch is there; or the target's.
    fn take(
        &self,
        owner: &Owner,
        slots: u16,
    ) -> impl Future<Output = Result<(Vec<Slot>, Capabilities), LoadError>> + Send;

    /// What the target says of the copies of the task's tables (P12).
    ///
    /// # Errors
    /// The target's.
    fn copies(&self, _owner: &Owner) -> impl Future<Output = Result<Copies, LoadError>> + Send {
        async { Ok(Copies::default()) }
    }

    /// What the target says of the task's blocked tables.
    ///
    /// # Errors
    /// The target's.
    fn standing(&self, _task: &str) -> impl Future<Output = Result<Standing, LoadError>> + Send {
        async { Ok(Standing::default()) }
    }

    /// The groups of blocked tables whose first parked item need not wait.
    ///
    /// # Errors
    /// The target's.
    fn ready(&self, _task: &str) -> impl Future<Output = Result<Vec<ReadyGroup>, LoadError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// The first parked items of a group.
    ///
    /// # Errors
    /// The target's.
    fn parked(
        &self,
        _task: &str,
        _group: Number,
        _limit: usize,
    ) -> impl Future<Output = Result<Vec<ParkedItem>, LoadError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// A connection for that slot, holding the slot's lock.
    ///
    /// # Errors
    /// The target's.
    fn connect(&self, owner: &Owner, slot: u16) -> impl Future<Output = Result<Self::Connection, LoadError>> + Send;

    /// What a table looks like now; `None` when it is not there.
    ///
    /// # Errors
    /// The target's.
    fn table(&self, name: &TableName) -> impl Future<Output = Result<Option<TargetTable>, LoadError>> + Send;
}

/// One writing connection. After an error that [is a gone connection](Error::is_connection_gone) it is of no use.
pub trait TargetConnection: Send + 'static {
    /// Runs several statements in one round trip; gives the rows that each matched. Stops at the first that fails.
    fn run(&mut self, text: &[u8]) -> impl Future<Output = Result<Vec<u64>, Box<PacketError>>> + Send;

    /// Runs one statement that may take as long as it likes (DDL).
    fn run_long(&mut self, text: &[u8]) -> impl Future<Output = Result<(), Error>> + Send;

    /// What the last statement warned of.
    fn warnings(&mut self) -> impl Future<Output = Result<Vec<Warning>, Error>> + Send;

    /// One value, as text.
    fn ask(&mut self, text: &str) -> impl Future<Output = Result<Option<String>, Error>> + Send;

    /// Commits. After an error the outcome is unknown.
    fn commit(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Rolls back.
    fn rollback(&mut self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The greatest number over the slots: commits are in source order, so that everything up to it is in the target.
pub fn watermark(slots: &[Slot]) -> Option<&Slot> {
    slots.iter().max_by_key(|s| s.place.number)
}

/// The number a slot stands at.
pub fn known(slots: &[Slot], slot: u16) -> Number {
    slots.iter().find(|s| s.slot == slot).map_or(Number::ZERO, |s| s.place.number)
}
