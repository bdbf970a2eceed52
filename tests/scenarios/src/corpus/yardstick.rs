//! The source's native replica as the yardstick of a pass: a difference that the server's own replication makes too is
//! told, and no fault.
#![allow(clippy::print_stderr, reason = "a test tells what it did")]

use std::time::Duration;

use anyhow::{Context, Result};
use lutra_harness::{Replicated, Replication};

use super::definitions::{Reader, Thing};

/// How long the replica may take for a statement on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The replica under way.
pub(super) struct Yardstick {
    pub(super) url: String,
    replication: Replication,
    reader: Reader,
    /// Differences that the target has in common with the replica.
    pub(super) common: u32,
    /// Statements that the replica stood at.
    pub(super) passed_over: u32,
    /// It stood at a statement since the last call of [`Yardstick::begin`].
    pub(super) stood: bool,
    /// Lutra refused one since then.
    pub(super) refused: bool,
}

impl Yardstick {
    pub(super) fn new(url: String, replication: Replication, reader: Reader) -> Self {
        Self { url, replication, reader, common: 0, passed_over: 0, stood: false, refused: false }
    }

    /// Before the next statement.
    pub(super) fn begin(&mut self) {
        (self.stood, self.refused) = (false, false);
    }

    /// Waits until the replica has everything. What it cannot execute is passed over, and told.
    pub(super) async fn catch_up(&mut self, what: &str) -> Result<()> {
        while let Replicated::Stopped(error) = self.replication.wait(LIMIT).await.with_context(|| what.to_owned())? {
            eprintln!("the server's own replica stands at {what}\n  {error}\n");
            self.passed_over += 1;
            self.stood = true;
            self.replication.skip().await.with_context(|| what.to_owned())?;
        }
        Ok(())
    }

    /// What it says of a thing, by the names of the source.
    pub(super) async fn show(&mut self, thing: &Thing) -> Result<String> {
        if self.reader.list().await?.contains(thing) {
            self.reader.show(thing).await
        } else {
            Ok("not there".to_owned())
        }
    }

    /// Whether what it shows excuses what the target shows. What it could not execute must be refused, not lost.
    pub(super) fn excuses(&self, replica: &str, target: &str) -> bool {
        replica == target && (!self.stood || self.refused)
    }

    /// Tells of a difference that the server's own replication makes too.
    pub(super) fn tell(&mut self, text: &str) {
        eprintln!("as the server's own replica: {text}\n");
        self.common += 1;
    }

    /// Takes a thing away from the replica.
    pub(super) async fn remove(&mut self, thing: &Thing) -> Result<()> {
        self.reader.remove(thing).await
    }
}
