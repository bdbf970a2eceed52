//! Avro on the wire: log records, and the row codec compiled per schema.
//!
//! | module | what |
//! |---|---|
//! | [`record`] | the types of a log record: header, bodies |
//! | [`codec`], `body` | their encoding, written and read by hand; a body stays bytes until somebody looks into it |
//! | [`builder`] | [`ChangesBuilder`]: row changes into a body; [`UnitDigest`]: what a unit adds up to |
//! | [`chunk`] | what a chunk is to the copy of a table |
//! | [`fragment`] | a body too large for one record, in pieces and put together again |
//! | [`schema`] | [`RowSchema`]: table metadata as an Avro schema, canonical and fingerprinted |
//! | [`row`] | [`RowEncoder`], [`RowDecoder`]: values to a row datum and back |
//!
//! `apache-avro` is the oracle of the tests, never on the path of a change.

mod avro;
mod body;
pub mod builder;
pub mod chunk;
pub mod codec;
pub mod error;
pub mod fragment;
pub mod record;
pub mod row;
pub mod schema;

pub use builder::{ChangesBuilder, UnitDigest};
pub use chunk::{ChunkStep, CopiedTable, Definition, DefinitionKind};
pub use codec::encode_record;
pub use error::WireError;
pub use fragment::{BodyJoiner, FRAGMENT_BYTES, RECORD_LIMIT};
pub use record::*;
pub use row::{RowDecoder, RowEncoder};
pub use schema::{Fingerprint, RowSchema};
