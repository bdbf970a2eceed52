//! Avro on the wire: log records, and the row codec compiled per schema.

pub mod record;
pub mod schema;
