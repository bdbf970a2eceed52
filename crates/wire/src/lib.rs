//! Avro on the wire: log records and the row codec compiled per schema.
