//! What was decided and what happened, as it happens: a time line on the terminal and a line of JSON each in a file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

/// The log of a run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Chronicle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    began: Instant,
    file: Mutex<File>,
    folder: PathBuf,
    quiet: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    seconds: f64,
    what: &'a str,
    #[serde(flatten)]
    more: Value,
}

impl Chronicle {
    /// Writes to `path`, behind what is there; the terminal is told too, unless `quiet`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path, quiet: bool) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        let file = Mutex::new(file.with_context(|| format!("open the log of decisions {}", path.display()))?);
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self { inner: Arc::new(Inner { began: Instant::now(), file, folder, quiet }) })
    }

    /// Where it is written.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// Seconds since the run began.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.inner.began.elapsed().as_secs_f64()
    }

    /// Writes one thing down.
    pub fn note(&self, what: &str, text: &str, more: Value) {
        let seconds = self.seconds();
        if !self.inner.quiet {
            crate::note(format!("{:>5}:{:02}  {what:<9} {text}", seconds as u64 / 60, seconds as u64 % 60));
        }
        let more = if more.is_object() { more } else { serde_json::json!({ "text": text }) };
        if let Ok(mut line) = serde_json::to_vec(&Line { seconds: (seconds * 1_000.0).round() / 1_000.0, what, more }) {
            line.push(b'\n');
            let _ = self.inner.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line);
        }
    }

    /// Writes a sentence down.
    pub fn say(&self, what: &str, text: impl AsRef<str>) {
        self.note(what, text.as_ref(), Value::Null);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_thing_is_one_line_and_a_second_run_writes_behind_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions.jsonl");
        for run in 1..=2 {
            Chronicle::open(&path, true).unwrap().note("run", "", serde_json::json!({ "seed": run }));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let seeds: Vec<Value> =
            text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["seed"].clone()).collect();
        assert_eq!(seeds, [1, 2]);
    }
}
