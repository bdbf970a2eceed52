//! The log's half of the exactly-once protocol.
