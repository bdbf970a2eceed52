//! Are two databases equal, and where not.
