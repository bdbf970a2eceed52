//! P7: the log's last transaction, asked for again and compared.

use lutra_binlog::RowsEvent;
use lutra_change::{BinlogPosition, ColumnSet, Gtid, GtidSet, Operation};
use lutra_wire::UnitDigest;
use lutra_wire::record::UnitTotals;

use super::Assembler;
use super::open::next_row;
use super::table::CapturedTable;
use crate::error::AssembleError;

/// What the log knows of its last transaction.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its GTID.
    pub gtid: Gtid,
    /// Commit time at the source, microseconds since the epoch; 0 where unknown.
    pub committed_at: i64,
    /// Where it ended, when it was read from the server that is read now.
    pub position: Option<BinlogPosition>,
    /// Its totals, when it was read from the server that is read now and is no larger than 64 MiB.
    pub totals: Option<UnitTotals>,
}

/// Looks at the first transaction of the stream, which the log has already.
#[derive(Debug)]
pub struct TailCheck {
    known: Known,
    digest: UnitDigest,
    found: Option<(Option<Gtid>, i64)>,
    position: Option<BinlogPosition>,
    /// Others came before it, which are new to the log.
    late: bool,
}

impl TailCheck {
    pub(super) fn new(known: Known) -> Self {
        Self { known, digest: UnitDigest::new(), found: None, position: None, late: false }
    }

    /// Whether the transaction that begins is the one looked for.
    fn is_of(&self, gtid: Option<&Gtid>) -> bool {
        gtid == Some(&self.known.gtid)
    }

    /// Whether others came before it.
    pub(super) fn is_late(&self) -> bool {
        self.late
    }

    /// The GTID of the transaction, as a set.
    pub(super) fn gtid_set(&self) -> GtidSet {
        let mut set = GtidSet::new();
        set.insert(&self.known.gtid);
        set
    }

    pub(super) fn begin(&mut self, gtid: Option<&Gtid>, committed_at: i64) {
        self.found = Some((gtid.cloned(), committed_at));
    }

    pub(super) fn end(&mut self, position: BinlogPosition) {
        self.position = Some(position);
    }

    pub(super) fn is_done(&self) -> bool {
        self.position.is_some()
    }

    /// The GTID looked for.
    pub fn gtid(&self) -> &Gtid {
        &self.known.gtid
    }

    /// What differs, if anything does.
    pub fn difference(&self) -> Option<String> {
        let (known, (gtid, committed_at)) = (&self.known, self.found.as_ref()?);
        if gtid.as_ref() != Some(&known.gtid) {
            let found = gtid.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
            return Some(format!("the server sends GTID {found} in its place"));
        }
        if known.committed_at != 0 && known.committed_at != *committed_at {
            return Some(format!("it was committed at {committed_at} µs, the log has {} µs", known.committed_at));
        }
        if known.position.is_some() && known.position != self.position {
            let at = |p: &Option<BinlogPosition>| p.as_ref().map(ToString::to_string).unwrap_or_default();
            return Some(format!("it ends at {}, in the log at {}", at(&self.position), at(&known.position)));
        }
        let (found, known) = (self.digest.totals(), known.totals?);
        // Another number of rows in a transaction of the same time, place and length: other tables are captured now.
        (found.rows == known.rows && found != known)
            .then(|| format!("its rows have checksum {:08x}, in the log {:08x}", found.crc32c, known.crc32c))
    }
}

impl Assembler {
    /// A transaction begins while the log's last one is looked for, which may stand further back in the binlog of another
    /// server: what only that server has, and what it committed in another order, comes first. It is new to the log, and
    /// goes on while the check waits for its own transaction, which is not given out again.
    pub(super) fn look_for_tail(&mut self, gtid: Option<&Gtid>) {
        if self.tail_later.as_ref().is_some_and(|check| check.is_of(gtid)) {
            self.tail = self.tail_later.take();
        }
        if let Some(mut check) = self.tail.take_if(|check| check.known.position.is_none() && !check.is_of(gtid)) {
            check.late = true;
            self.executed.insert(&check.known.gtid);
            self.tail_later = Some(check);
        }
    }

    /// Whether this transaction is the log's last one, looked at again.
    pub(super) fn is_tail(&self, gtid: &Gtid) -> bool {
        self.tail.as_ref().is_some_and(|check| check.is_of(Some(gtid)))
    }

    /// Rows of the transaction that is looked at again: added up, not given out.
    pub(super) fn tail_rows(&mut self, table: &CapturedTable, event: &RowsEvent<'_>) -> Result<(), AssembleError> {
        let Some(tail) = self.tail.as_mut().filter(|t| t.known.totals.is_some()) else { return Ok(()) };
        let mut images = table.decoder.rows(event, &mut self.scratch)?;
        let mut updates = ColumnSet::new();
        while next_row(table, &mut images, event.operation, &mut self.before, &mut self.after, &mut updates)? {
            let before = (event.operation != Operation::Insert).then_some(self.before.as_slice());
            let after = (event.operation != Operation::Delete).then_some(self.after.as_slice());
            tail.digest.update(before, after);
        }
        Ok(())
    }
}
