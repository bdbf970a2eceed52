//! What an extraction needs of the coordination.

use lutra_change::Epoch;
use lutra_coordination::{ObservedState, RestartRequest, TaskHandle};
use lutra_log::Bookmark;
use serde_json::Value;

/// The way back to the coordination. (A seam: tests run extractions without ZooKeeper.)
pub trait Control: Send + Sync {
    /// The epoch of the next start (P2).
    fn next_attempt(&self) -> Epoch;
    /// The published bookmarks of the task.
    fn bookmarks(&self) -> impl Future<Output = Vec<Bookmark>> + Send;
    /// Publishes a bookmark.
    fn publish_bookmark(&self, bookmark: &Bookmark);
    /// The origin is acknowledged.
    fn mark_begun(&self);
    /// Says how the task does.
    fn set_state(&self, state: ObservedState, detail: Value);
    /// Where pipelines say what they want copied; none where nobody can.
    fn loads(&self) -> Option<TaskHandle> {
        None
    }
}

impl Control for TaskHandle {
    fn next_attempt(&self) -> Epoch {
        Self::next_attempt(self)
    }

    async fn bookmarks(&self) -> Vec<Bookmark> {
        // Without them reading back begins at offset 0: that costs time, nothing else.
        match Self::bookmarks(self).await {
            Ok(values) => {
                let bookmarks = values.into_iter().filter_map(|v| serde_json::from_value(v).ok()).collect();
                // P3: after a gap, what a writer counted without reading it back proves nothing.
                let gap = self.answers().is_some_and(RestartRequest::is_for_gap);
                if gap { Bookmark::only_proven(bookmarks) } else { bookmarks }
            }
            Err(error) => {
                tracing::warn!(%error, "the bookmarks cannot be read; the log is read back from its beginning");
                Vec::new()
            }
        }
    }

    fn publish_bookmark(&self, bookmark: &Bookmark) {
        match serde_json::to_value(bookmark) {
            Ok(value) => Self::publish_bookmark(self, value),
            Err(error) => tracing::warn!(%error, "a bookmark cannot be written"),
        }
    }

    fn mark_begun(&self) {
        Self::mark_begun(self);
    }

    fn loads(&self) -> Option<TaskHandle> {
        Some(self.clone())
    }

    fn set_state(&self, state: ObservedState, detail: Value) {
        Self::set_state(self, state, detail);
    }
}
