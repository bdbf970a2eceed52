//! Full loads: the tables of a source copied into its log, between its transactions (P12).
//!
//! | room | takes -> gives |
//! |---|---|
//! | [`conductor`] | what pipelines want -> one [`job`] per pipeline |
//! | [`job`] | a pipeline's tables -> chunk after chunk, and how far they are in the log for good |
//! | [`reader`](mod@reader) | one slice of a table, read at the source -> rows as the stream has them ([`encode`]) |
//! | [`plan`], [`objects`] | tables, and what lives beside them -> how they are made and read |
//! | [`desk`] | chunks that were read -> units, once the stream has passed them |
//! | [`window`] | the stream's changes meanwhile -> folded into the rows |
//!
//! The readers are beside the core loop and never in its way: they ask the desk for a window, read, and hand over. The
//! desk alone writes. Why this is exact is told in `docs/adr/0003-full-load.md`.

pub mod conductor;
pub mod desk;
pub mod encode;
pub mod job;
pub mod objects;
pub mod plan;
pub mod reader;
pub mod window;

use std::sync::Arc;

use lutra_change::{BinlogPosition, GtidSet, Number, TableName};
use lutra_log::Bookmark;
use lutra_wire::{ChunkStep, RowSchema};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use self::window::{ReadRow, Watched};

/// What a reader wants of the desk.
#[derive(Debug)]
pub enum Ask {
    /// A window where the stream stands.
    Open {
        /// What it looks at.
        watched: Watched,
        /// Where the source's binlog ends now.
        end: BinlogPosition,
        /// The answer.
        reply: oneshot::Sender<Opened>,
    },
    /// A chunk that was read in a window.
    Publish(Box<ChunkUnit>),
    /// Nothing came of a window.
    Close(u64),
}

/// Whether a window was opened.
#[derive(Debug)]
pub enum Opened {
    /// Yes: read behind this.
    Window {
        /// Its number.
        window: u64,
        /// Everything that the stream has seen: to be executed at the server before anything is read.
        executed: GtidSet,
        /// Where the stream stands.
        place: BinlogPosition,
    },
    /// The stream is behind: nothing is read until it is level again.
    Behind,
}

/// A chunk that was read.
#[derive(Debug)]
pub struct ChunkUnit {
    /// Its window.
    pub window: u64,
    /// Where the binlog ended behind the read: all that it can have seen lies before.
    pub high: BinlogPosition,
    /// Its id.
    pub id: Uuid,
    /// The pipeline.
    pub addressee: String,
    /// What it is to the copy.
    pub step: ChunkStep,
    /// The table.
    pub table: TableName,
    /// The schema of its rows; none where it has no rows.
    pub schema: Option<Arc<RowSchema>>,
    /// Its rows.
    pub rows: ChunkRows,
    /// The answer.
    pub reply: oneshot::Sender<Answer>,
}

/// The rows of a chunk.
#[derive(Debug)]
pub enum ChunkRows {
    /// A slice.
    Slice(Vec<ReadRow>),
    /// A whole table, as it is read; the last batch is empty.
    Whole(mpsc::Receiver<Vec<ReadRow>>),
}

/// What became of a chunk.
#[derive(Debug)]
pub enum Answer {
    /// It was handed to the log.
    Published {
        /// Under this number; in the log for good once that is acknowledged.
        number: Number,
        /// Its rows.
        rows: u64,
        /// A bookmark before it.
        before: Option<Box<Bookmark>>,
    },
    /// It says nothing true any more: read again.
    Void(String),
}

/// Why a table cannot be copied, or not now.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The server.
    #[error("reading the source for a copy failed")]
    Source(#[from] lutra_mysql::Error),
    /// A column that has no row schema.
    #[error("a table cannot be read by the catalogue")]
    Schema(#[from] lutra_mysql::table_schema::UnknownType),
    /// A row that does not fit.
    #[error("a row of {table} cannot be encoded")]
    Row {
        /// The table.
        table: TableName,
        /// Why.
        #[source]
        source: Box<lutra_wire::WireError>,
    },
    /// A value of a kind that the column should not have.
    #[error("column {column} of {table} has a value that does not fit its type")]
    Value {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// Rules that do not hold for a table.
    #[error("the pipeline's rules: {0}")]
    Rules(String),
    /// The coordination.
    #[error("the coordination cannot be asked")]
    Coordination(#[from] lutra_coordination::CoordinationError),
    /// The source runs without GTIDs.
    #[error(
        "a full load needs GTIDs at the source: set gtid_mode = ON, or load the target otherwise and start without `full`"
    )]
    NoGtid,
    /// The server has not executed what its binlog said, within the time.
    #[error("the source has not executed within {seconds} s what its binlog holds")]
    Late {
        /// How long it had.
        seconds: u32,
    },
    /// A table that no load copies.
    #[error(
        "{table} is a {kind} table, which a full load does not copy: leave it out with `exclude` in the source, or make it in the \
         target by hand and start without `full`"
    )]
    Uncopied {
        /// The table.
        table: TableName,
        /// What it is.
        kind: String,
    },
    /// Something of a database that the account may not see.
    #[error(
        "the account may not see the definition of {what}: GRANT SHOW VIEW, TRIGGER and EVENT on its database and, for \
         routines, SHOW_ROUTINE (SELECT on MariaDB's mysql.proc), or say `objects: false` and make it by hand"
    )]
    Unseen {
        /// What it is.
        what: String,
    },
    /// The source does not say where its binlog ends.
    #[error("the source does not say where its binlog ends; is its binary log on?")]
    NoBinlog,
    /// The attempt ended.
    #[error("the extraction ended")]
    Ended,
}
