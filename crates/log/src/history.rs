//! What a log says so far: the chain, and the source state that its accepted units carry.
//!
//! Readers and starting writers feed every record through the same [`History`], so both judge by the same rules.

use lutra_change::{Cursor, GtidSet, OpenXa};
use lutra_wire::record::{BodyKind, GtidState, Header, SourceState};
use lutra_wire::schema::Fingerprint;

use crate::bookmark::{Bookmark, LastUnit, SourcePlace};
use crate::chain::{Chain, Verdict};
use crate::error::Halt;
use crate::rules::Rules;

/// The chain and what its accepted units carried.
#[derive(Clone, Debug)]
pub struct History {
    chain: Chain,
    rules: Rules,
    applied: GtidSet,
    place: Option<(uuid::Uuid, lutra_change::BinlogPosition)>,
    input: Option<Cursor>,
    last_unit: Option<LastUnit>,
    /// XA transactions that are prepared and not decided behind the last unit.
    open_xa: Vec<OpenXa>,
    /// What the source's tables looked like behind the last unit.
    definitions: Option<Fingerprint>,
}

impl History {
    /// Nothing applied yet, at the place where the chain stands.
    pub fn new(chain: Chain) -> Self {
        Self {
            chain,
            rules: Rules::default(),
            applied: GtidSet::new(),
            place: None,
            input: None,
            last_unit: None,
            open_xa: Vec::new(),
            definitions: None,
        }
    }

    /// The history up to a bookmark.
    pub fn at_bookmark(bookmark: &Bookmark) -> Self {
        let cursor = bookmark.cursor;
        let source = bookmark.source.clone();
        Self {
            applied: source.as_ref().map(|s| s.gtid_set.clone()).unwrap_or_default(),
            open_xa: source.as_ref().map(|s| s.open_xa.clone()).unwrap_or_default(),
            definitions: source.as_ref().and_then(|s| s.definitions),
            place: source.map(|s| (s.server_uuid, s.position)),
            input: bookmark.input,
            last_unit: bookmark.last_unit.clone(),
            ..Self::new(Chain::new(cursor.log_id, cursor.epoch, cursor.number))
        }
    }

    /// The history up to a reader's own cursor, with the GTIDs it has applied.
    pub fn at_cursor(cursor: Cursor, applied: GtidSet) -> Self {
        Self { applied, ..Self::new(Chain::new(cursor.log_id, cursor.epoch, cursor.number)) }
    }

    pub(crate) fn with_rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self.chain = self.chain.with_rules(rules);
        self
    }

    /// The chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The GTIDs applied up to the last complete unit.
    pub fn applied(&self) -> &GtidSet {
        &self.applied
    }

    /// Where the source stood after the last complete unit.
    pub fn source(&self) -> Option<SourcePlace> {
        let (server_uuid, position) = self.place.clone()?;
        let (gtid_set, open_xa) = (self.applied.clone(), self.open_xa.clone());
        Some(SourcePlace { server_uuid, position, gtid_set, open_xa, definitions: self.definitions })
    }

    /// The cursor of the input after the last complete unit.
    pub fn input(&self) -> Option<Cursor> {
        self.input
    }

    /// The last transaction.
    pub fn last_unit(&self) -> Option<&LastUnit> {
        self.last_unit.as_ref()
    }

    /// Keeps what this reader has applied, but goes back to reading where `other` stands: numbers and GTIDs still drop
    /// what was applied before.
    pub(crate) fn rewind(&mut self, other: &Chain) {
        self.chain = Chain::new(other.log_id(), other.in_force(), self.chain.last()).with_rules(self.rules);
    }

    /// Negative control only: what a writer does that does not read back.
    pub(crate) fn start_without_reading_back(&mut self, epoch: lutra_change::Epoch) {
        self.chain = Chain::new(self.chain.log_id(), epoch, self.chain.last()).with_rules(self.rules);
    }

    /// Negative control only: what a writer does that goes on behind the last record, whatever it is chained to.
    pub(crate) fn believe_whatever_comes(&mut self, previous: lutra_change::Number) {
        self.chain.believe(previous);
    }

    /// Judges the record at `offset` and takes over what an accepted unit carries.
    ///
    /// # Errors
    /// [`Halt::GtidAppliedTwice`], [`Halt::GtidNeverApplied`], [`Halt::GtidForgotten`]: numbers and GTIDs disagree about
    /// what was applied.
    pub fn feed(&mut self, offset: i64, kind: BodyKind, header: &Header) -> Result<Verdict, Box<Halt>> {
        let last = self.chain.last();
        let verdict = self.chain.judge(kind, header);
        match verdict {
            Verdict::Part { complete: true, .. } => {
                if let Some(source) = &header.source {
                    self.check_accepted(offset, header, source)?;
                    self.accept(kind, header, source);
                }
                if header.input.is_some() {
                    self.input = header.input;
                }
            }
            Verdict::Covered { complete: true, .. } => {
                if let Some(source) = &header.source {
                    self.check_covered(offset, header, source, last)?;
                }
            }
            Verdict::Heartbeat if !self.chain.is_open() => {
                self.input = header.input.or(self.input);
                // What was learned of the tables since the unit was written holds behind it too.
                self.definitions = header.source.as_ref().and_then(|s| s.definitions).or(self.definitions);
            }
            _ => {}
        }
        Ok(verdict)
    }

    fn check_accepted(&self, offset: i64, header: &Header, source: &SourceState) -> Result<(), Box<Halt>> {
        if self.rules.no_gtid_check {
            return Ok(());
        }
        let number = header.number;
        if let Some(gtid) = source.gtid.as_ref().filter(|g| self.applied.contains(g)) {
            let (gtid, applied) = (gtid.clone(), self.applied.clone());
            return Err(Box::new(Halt::GtidAppliedTwice { offset, number, gtid, applied }));
        }
        match &source.gtid_set {
            GtidState::Whole(set) if !self.rules.gtid_check_only_when_applying && !self.applied.is_subset(set) => {
                let (missing, applied) = (self.applied.minus(set), self.applied.clone());
                Err(Box::new(Halt::GtidForgotten { offset, number, missing, applied }))
            }
            _ => Ok(()),
        }
    }

    fn check_covered(
        &self,
        offset: i64,
        header: &Header,
        source: &SourceState,
        last: lutra_change::Number,
    ) -> Result<(), Box<Halt>> {
        let off = self.rules.no_gtid_check || self.rules.gtid_check_only_when_applying;
        match &source.gtid {
            Some(gtid) if !off && !self.applied.contains(gtid) => Err(Box::new(Halt::GtidNeverApplied {
                offset,
                number: header.number,
                last,
                gtid: gtid.clone(),
                applied: self.applied.clone(),
            })),
            _ => Ok(()),
        }
    }

    fn accept(&mut self, kind: BodyKind, header: &Header, source: &SourceState) {
        match &source.gtid_set {
            GtidState::Whole(set) => self.applied.clone_from(set),
            GtidState::Added(set) => self.applied.union_with(set),
        }
        self.place = Some((source.server_uuid, source.position.clone()));
        self.definitions = source.definitions;
        // P11: every place carries the open ones, so that neither a start nor a reader has to look for them.
        if !self.rules.open_xa_forgotten {
            let open = source.open_xa.iter().filter(|open| !open.decided);
            self.open_xa.clear();
            self.open_xa.extend(open.cloned());
        }
        // Of a body in pieces the kind is not seen here; what lies between two sequences is no transaction.
        if kind != BodyKind::Heartbeat && kind != BodyKind::Chunk && header.number.sub == 0 {
            self.last_unit = Some(LastUnit {
                gtid: source.gtid.as_ref().map(ToString::to_string),
                committed_at: header.committed_at,
                server_uuid: source.server_uuid,
                position: source.position.clone(),
                totals: header.totals,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_change::{Epoch, Number};
    use lutra_wire::record::GtidState;

    use super::*;
    use crate::testing::{LOG, gtids, transaction, with_gtid};

    /// A reader that has applied X (GTID 1) as unit 1.
    fn applied_x(rules: Rules) -> History {
        let cursor = Cursor { log_id: LOG, next_offset: 9, epoch: Epoch::new(2, 0), number: Number::new(1, 0) };
        History::at_cursor(cursor, gtids([1])).with_rules(rules)
    }

    #[test]
    fn a_covered_transaction_must_have_been_applied() {
        // The tail with X was lost; the new primary's order is Y, X.
        let y = with_gtid(transaction(2, 1), 2, [2]);
        let found = applied_x(Rules::ALL).feed(3, BodyKind::Changes, &y).unwrap_err();
        assert!(matches!(*found, Halt::GtidNeverApplied { offset: 3, .. }), "{found}");
        // Compared only when applying, Y is dropped unseen: lost.
        let rules = Rules { gtid_check_only_when_applying: true, ..Rules::ALL };
        let verdict = applied_x(rules).feed(3, BodyKind::Changes, &y).unwrap();
        assert_eq!(verdict, Verdict::Covered { replaced: false, complete: true });
    }

    #[test]
    fn an_accepted_transaction_must_not_have_been_applied() {
        let x = with_gtid(transaction(2, 2), 1, [1, 2]);
        let found = applied_x(Rules::ALL).feed(4, BodyKind::Changes, &x).unwrap_err();
        assert!(matches!(*found, Halt::GtidAppliedTwice { offset: 4, .. }), "{found}");
        let rules = Rules { no_gtid_check: true, ..Rules::ALL };
        assert!(applied_x(rules).feed(4, BodyKind::Changes, &x).is_ok(), "without the rule X is applied twice");
    }

    #[test]
    fn what_was_applied_must_stay_in_the_set() {
        // Another history: its unit 2 knows nothing of X.
        let z = with_gtid(transaction(2, 2), 3, [2, 3]);
        let found = applied_x(Rules::ALL).feed(4, BodyKind::Changes, &z).unwrap_err();
        assert!(matches!(*found, Halt::GtidForgotten { offset: 4, .. }), "{found}");
    }

    #[test]
    fn the_set_follows_whole_and_added_sets() {
        let mut history = applied_x(Rules::ALL);
        let mut second = with_gtid(transaction(2, 2), 5, []);
        second.source.as_mut().unwrap().gtid_set = GtidState::Added(gtids([5, 6]));
        history.feed(1, BodyKind::Changes, &second).unwrap();
        assert_eq!(*history.applied(), gtids([1, 5, 6]));
        history.feed(2, BodyKind::Changes, &with_gtid(transaction(2, 3), 7, [1, 5, 6, 7, 8])).unwrap();
        assert_eq!(history.source().unwrap().gtid_set, gtids([1, 5, 6, 7, 8]));
        assert_eq!(history.last_unit().unwrap().gtid().unwrap().number(), 7);
    }
}
