//! MySQL's and MariaDB's binlog: event bytes to events to rows.
//!
//! Pure: no I/O, no async; fit for any bytes (a foreign byte gives an error, never a panic, and no length is believed
//! before it was checked).
//!
//! The way of a row, in the order of the data:
//!
//! | step | type |
//! |---|---|
//! | one event's bytes, its CRC-32 verified, become an [`Event`] | [`Decoder`] |
//! | a MariaDB event with a compressed bulk is inflated | [`Inflater::inflate`], [`CompressedEvent`] |
//! | a compressed transaction is inflated as a stream into inner events | [`Inflater`], [`PayloadReader`] |
//! | a table map becomes a plan, once per distinct table map | [`TableCache`], [`RowDecoder`] |
//! | a rows event's images are decoded value by value, nothing allocated per value | [`Rows`] |
//! | 32-bit log positions become true ones | [`PositionTracker`] |
//!
//! ```
//! use lutra_binlog::{DecodeError, Decoder, EventData, Scratch, TableCache};
//!
//! fn count(file: &[u8]) -> Result<usize, DecodeError> {
//!     let (mut decoder, mut tables, mut scratch, mut values) = (Decoder::new(), TableCache::new(), Scratch::new(), 0);
//!     for event in lutra_binlog::file::events(file)? {
//!         match decoder.decode(event?.bytes)?.data {
//!             EventData::TableMap(map) => {
//!                 tables.observe(&map)?;
//!             }
//!             EventData::Rows(rows) => {
//!                 let table = tables.get(&rows)?;
//!                 let mut images = table.rows(&rows, &mut scratch)?;
//!                 while let Some(_before_or_after) = images.next_image() {
//!                     images.decode_image(|_column, _value| {
//!                         values += 1;
//!                         Ok::<_, DecodeError>(())
//!                     })?;
//!                 }
//!             }
//!             _ => {}
//!         }
//!     }
//!     Ok(values)
//! }
//! # assert!(count(b"").is_err());
//! ```
//!
//! The format description's server version decides the [`Flavor`]: what the two families do differently.
//!
//! Facts about the format come from the MySQL source documentation (`mysql::binlog::event`), from the manuals' sections
//! "The Binary Log", "Data Type Storage Requirements" and "Replication Protocol" (MariaDB), and from what running servers
//! write: `tests/fixtures` holds
//! recordings of every column type and of each thing a transaction can be, compared with the server's own text.

mod cache;
mod column;
mod compressed;
mod control;
mod decoder;
mod defined;
mod double;
mod error;
pub mod file;
mod flavor;
mod gtid;
mod header;
mod json;
mod json_update;
mod mariadb;
mod metadata;
mod payload;
mod position;
mod query;
mod reader;
mod rows;
mod table_map;
mod text;

pub use cache::TableCache;
pub use compressed::CompressedEvent;
pub use control::{FormatDescription, Heartbeat, Incident, Rotate, XaPrepare, Xid};
pub use decoder::{Decoder, Event, EventData};
pub use defined::Defined;
pub use error::{DecodeError, Place};
pub use flavor::Flavor;
pub use gtid::GtidEvent;
pub use header::{EventHeader, event_type, name as event_name};
pub use json_update::{JsonChange, JsonOperation, JsonUpdate};
pub use mariadb::{AlterPhase, GtidList, MariaDbGtidEvent, XaPhase};
pub use payload::{Inflater, PayloadEvent, PayloadReader};
pub use position::PositionTracker;
pub use query::{MariaDbSession, QueryEvent};
pub use rows::{Cell, Image, RowDecoder, Rows, RowsEvent, Scratch};
pub use table_map::TableMap;
