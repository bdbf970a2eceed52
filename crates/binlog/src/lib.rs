//! MySQL binlog: event bytes to events to rows.
