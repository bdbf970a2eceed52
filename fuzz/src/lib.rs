//! What is fuzzed: every decoder of foreign bytes, as a function of those bytes.
//!
//! A target ends in a value or in an error; whatever else it does (a panic, a hang, memory without bound) is a finding.
//! Some read again what they wrote, and that must be the same.
//!
//! | who runs them | on what |
//! |---|---|
//! | `tests/replay.rs`, with every `cargo test` | the kept corpus in `corpus/TARGET`, each input also cut and with flipped bits |
//! | `cargo xtask fuzz`, by hand | what libFuzzer makes of the corpus, guided by coverage; the package in `engine/` |
//!
//! A finding's input goes into the corpus with its fix.

pub mod binlog;
pub mod log;
pub mod text;
pub mod wire;

/// A target: its name, which is that of its folder of the corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("binlog_file", binlog::file),
    ("binlog_event", binlog::event),
    ("binlog_rows", binlog::rows),
    ("binlog_payload", binlog::payload),
    ("binlog_json", binlog::json),
    ("wire_record", wire::record),
    ("wire_row", wire::row),
    ("wire_schema", wire::schema),
    ("log_reader", log::reader),
    ("gtid_set", text::gtid_set),
    ("sql_lexer", text::sql_lexer),
    ("spec", text::spec),
];
