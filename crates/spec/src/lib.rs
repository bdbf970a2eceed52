//! Specification documents: source, target, pipeline.
