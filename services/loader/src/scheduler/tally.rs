//! What the scheduler tells the world: progress, lags, metrics.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lutra_change::{GtidSet, Number};
use tokio::sync::watch;
use tokio::time::Instant;

use super::batch::Batch;
use crate::blocked::BlockedTable;
use crate::copying::{ChunkInfo, CopyRow, Define};
use crate::events::{BatchCommitted, BlockedTables, ConflictFound, LagsMeasured};
use crate::progress::Progress;
use crate::slot::Place;

/// Now, microseconds since the epoch.
pub(crate) fn now_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_micros()).ok()).unwrap_or(0)
}

fn seconds(micros: i64) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let seconds = micros.max(0) as f64 / 1e6;
    seconds
}

/// A position that counts once a batch is committed.
#[derive(Debug)]
struct Position {
    behind: u64,
    number: Number,
    next_offset: i64,
    gtid_set: Arc<GtidSet>,
}

fn next_offset(place: &Place) -> i64 {
    place.cursor.map_or(0, |c| c.next_offset)
}

/// The log has told how far behind the target is.
fn found(progress: &mut Progress) {
    if progress.state == "seeking" {
        progress.state = "running";
    }
}

/// Something was applied.
fn goes_on(progress: &mut Progress) {
    progress.last_error = None;
    progress.state = if progress.measured { "running" } else { "seeking" };
}

fn note_chunk(progress: &mut Progress, info: &ChunkInfo, rows: u64) {
    let known = progress.copies.iter_mut().find(|row| row.table == info.table);
    if let Some(row) = known {
        row.rows += rows;
        if info.last {
            "done".clone_into(&mut row.state);
        }
    }
}

#[derive(Debug)]
pub(super) struct Tally {
    progress: watch::Sender<Progress>,
    position: Option<Position>,
    /// A position was taken over since the last commit.
    unsaved: bool,
    committed_at: Instant,
    /// Source clock minus ours, microseconds.
    clock_offset: i64,
    /// When the last unit or heartbeat came, and the time in it by our clock.
    heard: (Instant, i64),
    /// The pipeline, for metrics.
    pub(super) pipeline: String,
}

/// A source that lives is heard each second. After so long a silence nobody knows what it has committed, and the lag is
/// the age of what was heard last.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(3);

impl Tally {
    pub(super) fn new(progress: watch::Sender<Progress>, place: &Place) -> Self {
        progress.send_modify(|p| {
            // What was measured before is past: the place in the target alone does not tell how far behind it is.
            (p.state, p.measured) = ("seeking", false);
            p.number = place.number;
            p.gtid_set = Arc::new(place.gtid_set.clone());
            (p.looked_at, p.moved_at) = (Some(Instant::now()), Some(Instant::now()));
        });
        Self {
            progress,
            position: None,
            unsaved: false,
            committed_at: Instant::now(),
            clock_offset: 0,
            heard: (Instant::now(), place.committed_at),
            pipeline: String::new(),
        }
    }

    /// A position behind batch `behind`; nothing is under way when `now`.
    pub(super) fn position(&mut self, behind: u64, place: &Place, now: bool) {
        let gtid_set = Arc::new(place.gtid_set.clone());
        self.unsaved = true;
        if now {
            self.position = None;
            self.progress.send_modify(|p| {
                p.number = place.number;
                p.next_offset = next_offset(place);
                p.gtid_set = gtid_set;
            });
        } else {
            self.position = Some(Position { behind, number: place.number, next_offset: next_offset(place), gtid_set });
        }
    }

    /// Whether a position waits to be committed, and for how long nothing was.
    pub(super) fn unsaved_for(&self) -> Option<std::time::Duration> {
        self.unsaved.then(|| self.committed_at.elapsed())
    }

    /// Tables were made whose copies follow.
    pub(super) fn defined(&mut self, define: &Define) {
        self.progress.send_modify(|p| {
            for table in &define.tables {
                p.copies.retain(|row| row.table.name() != table.name());
                p.copies.push(CopyRow { table: table.clone(), state: "copying".to_owned(), rows: 0 });
            }
        });
    }

    /// A chunk is in the target.
    pub(super) fn copied(&mut self, info: &ChunkInfo, rows: u64) {
        self.progress.send_modify(|p| note_chunk(p, info, rows));
    }

    /// The position is committed by itself.
    pub(super) fn position_committed(&mut self) {
        self.unsaved = false;
        self.committed_at = Instant::now();
    }

    /// A batch is committed.
    pub(super) fn committed(&mut self, id: u64, batch: &Batch, oldest_pending: Option<i64>) {
        let position = self.position.take_if(|p| p.behind <= id);
        self.unsaved = position.is_some() || self.position.is_some();
        self.committed_at = Instant::now();
        let now = now_micros();
        let last = batch.units.last().map(|u| &u.end);
        let first_taken = batch.units.first().map_or(now, |u| u.end.taken_at);
        if let Some(last) = last {
            self.heard = (Instant::now(), last.committed_at - self.clock_offset);
        }
        self.progress.send_modify(|p| {
            match position {
                Some(position) => {
                    (p.number, p.next_offset, p.gtid_set) = (position.number, position.next_offset, position.gtid_set);
                }
                None => {
                    (p.number, p.next_offset) = (batch.place.number, next_offset(&batch.place));
                    p.gtid_set = Arc::new(batch.place.gtid_set.clone());
                }
            }
            for unit in &batch.units {
                if let Some(info) = &unit.copy.chunk {
                    note_chunk(p, info, u64::try_from(unit.rows()).unwrap_or(0));
                }
            }
            p.rows_applied += batch.rows;
            p.transactions_applied += batch.transactions;
            p.batches_committed += 1;
            p.moved_at = Some(Instant::now());
            if let Some(last) = last {
                p.lags.read_lag_seconds = seconds(last.appended_at - last.committed_at);
                p.lags.transit_lag_seconds = seconds(last.taken_at - last.appended_at);
                p.lags.apply_lag_seconds = seconds(now - first_taken);
                p.measured = true;
                let oldest = oldest_pending.unwrap_or(last.committed_at);
                p.lags.end_to_end_lag_seconds = seconds(now + self.clock_offset - oldest);
            }
            p.oldest_pending_at = oldest_pending;
            goes_on(p);
        });
        let (pipeline, progress) = (&self.pipeline, &self.progress.borrow());
        let (rows, transactions, aside) = (batch.rows, batch.transactions, batch.aside);
        BatchCommitted { pipeline, rows, transactions, aside, progress }.emit();
    }

    /// Rows of DDL or a large unit are in.
    pub(super) fn applied_alone(&mut self, place: &Place, rows: u64) {
        self.position = None;
        self.unsaved = false;
        self.committed_at = Instant::now();
        self.progress.send_modify(|p| {
            p.number = place.number;
            p.next_offset = next_offset(place);
            p.gtid_set = Arc::new(place.gtid_set.clone());
            p.rows_applied += rows;
            p.transactions_applied += 1;
            p.batches_committed += 1;
            p.moved_at = Some(Instant::now());
            goes_on(p);
        });
        let (pipeline, progress) = (&self.pipeline, &self.progress.borrow());
        BatchCommitted { pipeline, rows, transactions: 1, aside: (0, 0), progress }.emit();
    }

    /// A piece of a large unit is in the target, not committed.
    pub(super) fn at_work(&mut self) {
        self.progress.send_if_modified(|p| {
            p.moved_at = Some(Instant::now());
            false
        });
    }

    /// The source lives: on an idle source the heartbeat's whole way is the lag.
    pub(super) fn alive(&mut self, at: i64, clock_offset: i64, appended_at: i64) {
        let now = now_micros();
        self.clock_offset = clock_offset;
        self.heard = (Instant::now(), at);
        self.progress.send_modify(|p| {
            p.measured = true;
            if p.oldest_pending_at.is_none() {
                p.lags.read_lag_seconds = seconds(appended_at - at);
                p.lags.transit_lag_seconds = seconds(now - appended_at);
                p.lags.apply_lag_seconds = 0.0;
                p.lags.end_to_end_lag_seconds = seconds(now - at);
            }
            found(p);
        });
        self.tell_lags();
    }

    fn tell_lags(&self) {
        LagsMeasured { pipeline: &self.pipeline, lags: &self.progress.borrow().lags }.emit();
    }

    pub(super) fn measure(&mut self, pending: usize, oldest_pending: Option<i64>) {
        let pending = u64::try_from(pending).unwrap_or(u64::MAX);
        let offset = self.clock_offset;
        let (when, heard_at) = self.heard;
        let silent = oldest_pending.is_none() && heard_at > 0 && when.elapsed() > SILENCE;
        let measured = self.progress.send_if_modified(|p| {
            let changed = p.apply_lag_transactions != pending || oldest_pending.is_some() || silent;
            p.apply_lag_transactions = pending;
            p.looked_at = Some(Instant::now());
            if pending == 0 {
                p.moved_at = p.looked_at;
            }
            p.oldest_pending_at = oldest_pending;
            if let Some(oldest) = oldest_pending {
                p.measured = true;
                found(p);
                p.lags.end_to_end_lag_seconds = seconds(now_micros() + offset - oldest);
            } else if silent {
                p.measured = true;
                p.lags.end_to_end_lag_seconds = seconds(now_micros() - heard_at);
            }
            changed
        });
        if measured {
            self.tell_lags();
        }
    }

    /// Tables that changes do not reach now.
    pub(super) fn blocked(&mut self, tables: Vec<BlockedTable>) {
        BlockedTables { pipeline: &self.pipeline, tables: &tables }.emit();
        self.progress.send_modify(|p| p.blocked = tables);
    }

    pub(super) fn rerun(&mut self) {
        self.progress.send_modify(|p| p.reruns += 1);
    }

    pub(super) fn retrying(&mut self, error: &str) {
        self.progress.send_modify(|p| {
            p.state = "retrying";
            p.last_error = Some(error.to_owned());
        });
    }

    pub(super) fn conflict(&mut self) {
        self.progress.send_modify(|p| p.conflicts += 1);
        ConflictFound { pipeline: &self.pipeline }.emit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a load whose target stands at a unit that was committed so many seconds ago.
    fn tally(seconds: i64) -> (Tally, watch::Receiver<Progress>) {
        // As an attempt before left it.
        let (progress, watched) = watch::channel(Progress { state: "retrying", measured: true, ..Progress::default() });
        let place = Place { committed_at: now_micros() - seconds * 1_000_000, ..Place::default() };
        (Tally::new(progress, &place), watched)
    }

    fn shown(progress: &watch::Receiver<Progress>) -> (&'static str, Option<u64>) {
        let progress = progress.borrow();
        let whole = |lags: crate::progress::Lags| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let seconds = lags.end_to_end_lag_seconds as u64;
            seconds
        };
        (progress.state, progress.lags_now().map(whole))
    }

    #[tokio::test(start_paused = true)]
    async fn a_load_that_has_heard_nothing_of_its_log_yet_does_not_look_level() {
        let (mut tally, progress) = tally(100);
        tally.measure(0, None);
        assert_eq!(shown(&progress), ("seeking", None));
        tokio::time::advance(SILENCE * 2).await;
        tally.measure(0, None);
        assert_eq!(shown(&progress), ("seeking", Some(100)), "nobody knows what is behind the place in the target");
        tally.alive(now_micros(), 0, now_micros());
        assert_eq!(shown(&progress), ("running", Some(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_unit_that_waits_tells_the_lag() {
        let (mut tally, progress) = tally(100);
        tally.measure(1, Some(now_micros() - 7_500_000));
        assert_eq!(shown(&progress), ("running", Some(7)));
        tally.retrying("a lock");
        tally.alive(now_micros(), 0, now_micros());
        assert_eq!(shown(&progress).0, "retrying");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_applied_alone_tells_no_lag() {
        let (mut tally, progress) = tally(100);
        tally.applied_alone(&Place::default(), 1);
        assert_eq!(shown(&progress), ("seeking", None));
        tally.alive(now_micros(), 0, now_micros());
        tally.applied_alone(&Place::default(), 1);
        assert_eq!(shown(&progress).0, "running");
    }
}
