//! Transformation rules, compiled once per schema version.
