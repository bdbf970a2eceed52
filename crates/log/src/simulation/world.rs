//! The broker, the source and the published bookmarks of one schedule.

use bytes::Bytes;
use lutra_change::{Gtid, GtidSet, LogId};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use super::{Scope, TRANSACTIONS};
use crate::bookmark::Bookmark;
use crate::transport::{RecordHeaders, StoredRecord};

/// A number below `bound`.
pub(super) fn pick(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    rng.random_range(0..bound.max(1))
}

/// What all actors share.
pub(super) struct World {
    pub(super) rng: ChaCha8Rng,
    pub(super) scope: Scope,
    pub(super) log: Vec<Bytes>,
    pub(super) log_id: LogId,
    pub(super) bookmarks: Vec<Bookmark>,
    pub(super) tail_lost: bool,
    /// A reader met a gap and asks for a start.
    pub(super) gap_seen: bool,
    /// No more faults.
    pub(super) calm: bool,
    /// What was executed before the log began.
    pub(super) base: GtidSet,
    orders: [Vec<u64>; 2],
}

impl World {
    pub(super) fn new(mut rng: ChaCha8Rng, scope: Scope) -> Self {
        let natural: Vec<u64> = (1..=TRANSACTIONS).collect();
        let mut other = natural.clone();
        if scope.fail_over {
            for _ in 0..2 {
                let at = pick(&mut rng, other.len() - 1);
                other.swap(at, at + 1);
            }
        }
        let mut base = GtidSet::new();
        if scope.large_sets {
            (1..40u128).for_each(|n| base.insert(&Gtid::new(Uuid::from_u128(n), 7)));
        }
        let log_id = LogId(Uuid::from_u128(0x10c));
        let (log, bookmarks) = (Vec::new(), Vec::new());
        Self {
            rng,
            scope,
            log,
            log_id,
            bookmarks,
            tail_lost: false,
            gap_seen: false,
            calm: false,
            base,
            orders: [natural, other],
        }
    }

    pub(super) fn end(&self) -> i64 {
        self.log.len() as i64
    }

    pub(super) fn append(&mut self, value: Bytes) -> i64 {
        self.log.push(value);
        self.end() - 1
    }

    pub(super) fn get(&self, offset: i64) -> Option<StoredRecord> {
        let value = self.log.get(usize::try_from(offset).ok()?)?.clone();
        Some(StoredRecord { offset, value, appended_at: offset, headers: RecordHeaders::default() })
    }

    /// The log, one record a line.
    pub(super) fn dump(&self) -> String {
        let mut text = String::new();
        for b in &self.bookmarks {
            text += &format!("\n  bookmark {} proven {}", b.cursor, b.proven);
        }
        for (offset, value) in self.log.iter().enumerate() {
            let Ok(record) = lutra_wire::Record::decode(value) else { continue };
            let h = &record.header;
            let kind = record.body.kind();
            text += &format!(
                "\n  {offset}: {kind:?} epoch {} ({}, {}] part {} {:?} transaction {} cut {}",
                h.epoch, h.previous, h.number, h.part, h.end, h.committed_at, h.read_at
            );
        }
        text
    }

    /// The log loses up to four records, once.
    pub(super) fn lose_tail(&mut self) {
        if self.scope.tail_loss && !self.tail_lost && self.log.len() > 2 {
            let count = 1 + pick(&mut self.rng, 4);
            self.log.truncate(self.log.len().saturating_sub(count).max(1));
            self.tail_lost = true;
        }
    }

    /// The next transaction that a server would send behind that set.
    pub(super) fn next_transaction(&self, server: usize, executed: &GtidSet) -> Option<u64> {
        self.orders[server].iter().copied().find(|n| !executed.contains(&gtid(*n)))
    }
}

/// The GTID of the n-th transaction.
pub(super) fn gtid(n: u64) -> Gtid {
    Gtid::new(Uuid::from_u128(0xa), n)
}
