//! Named crash points: where tests kill the process. Compiled only with the feature `crash-points`.
//!
//! `LUTRA_CRASH_POINT=name:n` aborts the process when the point of that name is passed for the n-th time.

/// Points, named for what is done at them.
pub mod points {
    /// The `EpochStart` was read back.
    pub const EPOCH_START: &str = "after-epoch-start";
    /// A first part that is not the last was handed over.
    pub const MID_TRANSACTION: &str = "mid-transaction";
    /// A last part is about to be handed over.
    pub const BEFORE_COMMIT: &str = "before-commit-part";
    /// A last part was handed over, not yet acknowledged.
    pub const AFTER_COMMIT: &str = "after-commit-part";
    /// A row schema was acknowledged.
    pub const SCHEMA: &str = "after-schema";
}

/// Passes a point.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("LUTRA_CRASH_POINT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().unwrap_or(1)))
    });
    if let Some((wanted, count)) = wanted
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        std::process::abort();
    }
}

/// Passes a point: nothing, without the feature.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_name: &str) {}
