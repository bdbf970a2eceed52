//! How far a job has come: what was handed to the log, and what is in it for good.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lutra_change::{Number, TableName};
use lutra_coordination::{CopyState, LoadProgress, LoadRequest, TableProgress, Wish};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

/// One table.
#[derive(Debug)]
pub(super) struct Table {
    /// What was handed to the log.
    pub(super) now: TableProgress,
    /// What is in it for good.
    kept: TableProgress,
    /// Handed over, by the number of its unit.
    pending: VecDeque<(Number, TableProgress)>,
    /// A worker has it.
    taken: bool,
}

impl Table {
    pub(super) fn new(name: &TableName, generation: u32, estimate: u64, whole: bool) -> Self {
        let now = TableProgress { table: name.to_string(), generation, estimate, whole, ..TableProgress::default() };
        Self::of(now)
    }

    fn of(now: TableProgress) -> Self {
        Self { kept: now.clone(), now, pending: VecDeque::new(), taken: false }
    }
}

#[derive(Debug, Default)]
struct State {
    definitions: Option<Uuid>,
    begin: Option<Value>,
    note: Option<String>,
    tables: Vec<Table>,
    saved: Option<LoadProgress>,
    /// When the next row may be read.
    next_at: Option<Instant>,
    /// Rows in the log, and when they were counted.
    counted: Option<(u64, Instant)>,
    rate: f64,
}

/// Shared between the workers of a job.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: Uuid,
    state: Mutex<State>,
}

/// What a worker is to do.
#[derive(Debug)]
pub(super) struct Pick {
    pub(super) index: usize,
    pub(super) table: TableProgress,
    /// It is to be made anew first, in this generation.
    pub(super) again: Option<u32>,
}

impl Shared {
    pub(super) fn new(id: Uuid, saved: Option<LoadProgress>) -> Self {
        let mut state = State::default();
        if let Some(progress) = saved {
            state.definitions = progress.definitions;
            state.begin.clone_from(&progress.begin);
            state.tables = progress.tables.iter().cloned().map(Table::of).collect();
            state.saved = Some(progress);
        }
        Self { id, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_defined(&self) -> bool {
        self.lock().definitions.is_some()
    }

    pub(super) fn defined(&self, id: Uuid, begin: Option<Value>, tables: Vec<Table>) {
        let mut state = self.lock();
        state.definitions = Some(id);
        state.begin = begin;
        state.tables = tables;
        state.note = None;
    }

    /// The next table that wants work, and takes it.
    pub(super) fn pick(&self, request: &LoadRequest) -> Option<Pick> {
        let mut state = self.lock();
        for name in request.tables.keys() {
            if !state.tables.iter().any(|t| t.now.table == *name) {
                let now = TableProgress { table: name.clone(), state: CopyState::Done, ..TableProgress::default() };
                state.tables.push(Table::of(now));
            }
        }
        for (index, table) in state.tables.iter_mut().enumerate().filter(|(_, t)| !t.taken) {
            let (wish, generation) = wish_of(request, &table.now.table);
            let again = (generation > table.now.generation).then_some(generation);
            if table.now.state.is_over() && again.is_none() {
                continue;
            }
            match wish {
                Wish::Pause => table.say(CopyState::Paused),
                Wish::Cancel => table.say(CopyState::Cancelled),
                Wish::Run => {
                    table.taken = true;
                    return Some(Pick { index, table: table.now.clone(), again });
                }
            }
        }
        None
    }

    pub(super) fn release(&self, index: usize) {
        if let Some(table) = self.lock().tables.get_mut(index) {
            table.taken = false;
        }
    }

    pub(super) fn release_all(&self) {
        self.lock().tables.iter_mut().for_each(|table| table.taken = false);
    }

    /// Says how a table does, without a unit.
    pub(super) fn say(&self, index: usize, state: CopyState, note: Option<String>) {
        if let Some(table) = self.lock().tables.get_mut(index) {
            table.say(state);
            table.now.note.clone_from(&note);
            table.kept.note = note;
        }
    }

    /// A unit of the table was handed to the log.
    pub(super) fn handed(&self, index: usize, number: Number, progress: TableProgress) {
        let mut state = self.lock();
        state.note = None;
        if let Some(table) = state.tables.get_mut(index) {
            table.now = progress.clone();
            table.pending.push_back((number, progress));
        }
    }

    /// Says why all rests.
    pub(super) fn note(&self, text: &str) {
        self.lock().note = Some(text.to_owned());
    }

    /// Takes over what is in the log for good; what is to be written, if that is news.
    pub(super) fn settle(&self, durable: Number) -> Option<LoadProgress> {
        let mut state = self.lock();
        for table in &mut state.tables {
            while table.pending.front().is_some_and(|(number, _)| *number <= durable) {
                if let Some((_, progress)) = table.pending.pop_front() {
                    table.kept = progress;
                }
            }
            if table.pending.is_empty() {
                // What was said while it was on its way.
                table.kept.state = table.now.state;
            }
        }
        state.count();
        let progress = LoadProgress {
            id: self.id,
            definitions: state.definitions,
            begin: state.begin.clone(),
            note: state.note.clone(),
            rows_per_second: state.rate as u64,
            tables: state.tables.iter().map(|t| t.kept.clone()).collect(),
        };
        let news =
            state.saved.as_ref() != Some(&progress) && (progress.definitions.is_some() || progress.note.is_some());
        news.then_some(progress)
    }

    pub(super) fn saved(&self, progress: LoadProgress) {
        self.lock().saved = Some(progress);
    }

    /// How long to wait before so many rows more may be read.
    pub(super) fn throttle(&self, rows: u64, per_second: Option<u32>) -> Option<Duration> {
        let per_second = f64::from(per_second?);
        let mut state = self.lock();
        let now = Instant::now();
        let at = state.next_at.filter(|at| *at > now).unwrap_or(now);
        state.next_at = Some(at + Duration::from_secs_f64(rows as f64 / per_second));
        Some(state.next_at?.duration_since(now))
    }
}

impl State {
    /// Rows per second, smoothed over some seconds.
    fn count(&mut self) {
        let rows: u64 = self.tables.iter().map(|t| t.kept.rows).sum();
        let now = Instant::now();
        match self.counted {
            Some((before, at)) if now.duration_since(at) >= Duration::from_secs(1) => {
                let fresh = rows.saturating_sub(before) as f64 / now.duration_since(at).as_secs_f64();
                self.rate = if self.rate == 0.0 { fresh } else { (self.rate * 0.7 + fresh * 0.3).floor() };
                self.counted = Some((rows, now));
            }
            Some(_) => {}
            None => self.counted = Some((rows, now)),
        }
    }
}

impl Table {
    /// States that say nothing of the log.
    fn say(&mut self, state: CopyState) {
        self.now.state = state;
        // What is pending says its own state when it is settled.
        if self.pending.is_empty() {
            self.kept.state = state;
        }
    }
}

/// What is wanted of a table, and its generation.
pub(super) fn wish_of(request: &LoadRequest, table: &str) -> (Wish, u32) {
    let own = request.tables.get(table);
    let generation = own.map_or(0, |wish| wish.generation);
    let own = own.map_or(Wish::Run, |wish| wish.wish);
    (if request.wish == Wish::Run { own } else { request.wish }, generation)
}

/// The id of a chunk: the same slice of the same table of the same load has the same.
pub(super) fn chunk_id(parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn number(n: u64) -> Number {
        Number::new(7, n)
    }

    #[test]
    fn only_what_is_in_the_log_for_good_is_told() {
        let shared = Shared::new(Uuid::from_u128(1), None);
        shared.defined(Uuid::from_u128(2), None, vec![Table::new(&TableName::new("a", "b"), 0, 10, false)]);
        assert_eq!(shared.settle(number(0)).unwrap().tables[0].rows, 0);
        let progress = TableProgress { rows: 5, state: CopyState::Copying, ..TableProgress::default() };
        shared.handed(0, number(3), progress.clone());
        shared.handed(0, number(4), TableProgress { rows: 9, ..progress });
        assert_eq!(shared.settle(number(2)).unwrap().tables[0].rows, 0);
        let settled = shared.settle(number(3)).unwrap();
        assert_eq!(settled.tables[0].rows, 5);
        shared.saved(settled);
        assert!(shared.settle(number(3)).is_none(), "nothing new");
        // Cancelled while the last unit is on its way.
        shared.say(0, CopyState::Cancelled, None);
        assert_eq!(shared.settle(number(3)).map(|p| p.tables[0].state), None, "nothing new in the log");
        let last = shared.settle(number(9)).unwrap();
        assert_eq!((last.tables[0].rows, last.tables[0].state), (9, CopyState::Cancelled));
    }

    #[test]
    fn ids_tell_slices_apart() {
        assert_eq!(chunk_id(&[b"a", b"bc"]), chunk_id(&[b"a", b"bc"]));
        assert_ne!(chunk_id(&[b"a", b"bc"]), chunk_id(&[b"ab", b"c"]));
    }
}
