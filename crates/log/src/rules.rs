//! The rules as switches, for negative controls: each test that relies on a rule also shows what happens without it.
//!
//! Production code has only [`Rules::default`], with every rule on; the switches are reachable from this crate's own
//! tests alone.

/// Which rules are broken on purpose. The default breaks none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// P2 off: a writer reads to the end, then starts, and does not read back to its `EpochStart`.
    pub(crate) no_read_back: bool,
    /// P2 off: a writer goes on behind the last complete unit in the log, whatever it is chained to.
    pub(crate) resume_at_last_record: bool,
    /// P2 off: a writer does not look at its acknowledged offsets.
    pub(crate) no_offset_check: bool,
    /// P3 off: records of any epoch are valid.
    pub(crate) no_epoch_check: bool,
    /// P3 off: any later unit is accepted, whatever it follows.
    pub(crate) no_interval_chain: bool,
    /// P3 off: in force is the last `EpochStart` instead of the highest.
    pub(crate) any_start_in_force: bool,
    /// P3 off: a cursor does not name the epoch in force; a reader takes that of the records it meets.
    pub(crate) cursor_without_epoch: bool,
    /// P3 off: GTIDs are not compared, neither of accepted nor of covered units.
    pub(crate) no_gtid_check: bool,
    /// P3 off: a unit's own GTID is compared when it is accepted, and nothing else: neither when it is dropped, nor
    /// whether its source still knows what was applied before.
    pub(crate) gtid_check_only_when_applying: bool,
    /// P1 off: a second part 1 of the open unit changes nothing.
    pub(crate) part_one_does_not_replace: bool,
    /// P3 off: a gap ends reading for good instead of up to the next start.
    pub(crate) gap_is_for_ever: bool,
    /// P11 off: a start does not learn from the log which XA transactions are open.
    pub(crate) open_xa_forgotten: bool,
}

impl Rules {
    /// Every rule on.
    #[cfg(test)]
    pub(crate) const ALL: Self = Self {
        no_read_back: false,
        resume_at_last_record: false,
        no_offset_check: false,
        no_epoch_check: false,
        no_interval_chain: false,
        any_start_in_force: false,
        cursor_without_epoch: false,
        no_gtid_check: false,
        gtid_check_only_when_applying: false,
        part_one_does_not_replace: false,
        gap_is_for_ever: false,
        open_xa_forgotten: false,
    };
}
