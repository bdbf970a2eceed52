//! What a source and a target must be.
