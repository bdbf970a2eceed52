//! Which of a source's servers is read: a verdict over what they answered (ADR 0007).

use std::fmt;

use lutra_change::GtidSet;
use lutra_change::gtid::DomainGtid;
use lutra_mysql::catalogue::Follows;
use uuid::Uuid;

/// What a server said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its transactions have GTIDs.
    pub gtid: bool,
    /// What it has executed.
    pub executed: GtidSet,
    /// MariaDB: the last GTID of each server in each domain of its binlog.
    pub binlog_state: Option<Vec<DomainGtid>>,
    /// What it has executed and its binlog no longer holds.
    pub purged: GtidSet,
    /// It takes writes of administrators only, or of nobody.
    pub read_only: bool,
    /// Whom it replicates from; `None` where that is not known.
    pub follows: Option<Follows>,
}

/// Why a server said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// In words.
    pub reason: String,
}

/// What one server of the list answered; `None` of one that was not waited for.
pub type Answer = Option<Result<Found, Silence>>;

/// What a server must have.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Everything that was published is in here, or at least this much.
    pub published: &'a GtidSet,
    /// It is exactly what was published, so that what a server's binlog must still hold is known too.
    pub exact: bool,
    /// Without GTIDs: the server that the log was written from, once there is one.
    pub server: Option<Uuid>,
    /// Whether GTIDs are the identity of transactions.
    pub gtid: bool,
    /// The server that was read last.
    pub last: Option<Uuid>,
}

/// What a server lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// An answer.
    Answer(String),
    /// GTIDs.
    Gtids,
    /// Published transactions.
    Published(GtidSet),
    /// Binlog of transactions that were not published.
    Binlog(GtidSet),
    /// A source of its own, or the right to be written: it gets nothing new, and may become a primary or not.
    Role,
    /// The identity of the server that the log was written from.
    Identity(Uuid),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(reason) => write!(f, "does not answer ({reason})"),
            Self::Gtids => f.write_str("its transactions have no GTIDs"),
            Self::Published(set) => write!(f, "lacks {set}"),
            Self::Binlog(set) => write!(f, "has executed and purged {set}, which the log does not have"),
            Self::Role => f.write_str("is read-only and follows no server that answers; it waits to be promoted"),
            Self::Identity(uuid) => write!(f, "is another server ({uuid})"),
        }
    }
}

/// Which server is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This one.
    Read {
        /// Its place in the list.
        server: usize,
        /// No answer that is still awaited could change it.
        final_: bool,
    },
    /// None yet.
    Wait,
    /// None, and waiting does not mend it: the server of that place in the list has become the primary, and lacks this.
    Halt(usize, Lack),
}

/// Decides over the answers, in the list's order.
pub fn decide(answers: &[Answer], wanted: &Wanted<'_>) -> Verdict {
    let alone = answers.len() == 1;
    let found = || answers.iter().enumerate().filter_map(|(n, answer)| Some((n, answer.as_ref()?.as_ref().ok()?)));
    let usable = found().filter(|(_, found)| lack(found, wanted, alone).is_none());
    let best = usable.min_by_key(|(n, found)| (rank(found), wanted.last != Some(found.uuid), *n));
    // Whoever is written and follows nobody is what the others will follow: what it lacks is lost.
    let primaries = || found().filter(|(_, found)| rank(found) == PRIMARY || !wanted.gtid);
    let faults = || primaries().filter_map(|(n, found)| Some((n, lack(found, wanted, alone)?)));
    let fault = faults().find(|(_, lack)| matches!(lack, Lack::Published(_))).or_else(|| {
        faults().find(|(_, lack)| matches!(lack, Lack::Binlog(_) | Lack::Identity(_))).filter(|_| best.is_none())
    });
    match (best, fault) {
        (Some((n, found)), None) => Verdict::Read { server: n, final_: alone || rank(found) == PRIMARY },
        (Some((n, found)), Some(_)) if rank(found) < READ_ONLY => Verdict::Read { server: n, final_: false },
        (_, Some((n, lack))) => Verdict::Halt(n, lack),
        (None, None) => Verdict::Wait,
    }
}

/// Written, and follows nobody.
const PRIMARY: u8 = 0;
/// Read-only.
const READ_ONLY: u8 = 2;

/// Servers of a lower rank are read rather than others.
fn rank(found: &Found) -> u8 {
    match (found.read_only, found.follows) {
        (false, Some(Follows::Nobody) | None) => PRIMARY,
        (false, Some(_)) => 1,
        (true, _) => READ_ONLY,
    }
}

/// What a server lacks to be read.
pub fn lack(found: &Found, wanted: &Wanted<'_>, alone: bool) -> Option<Lack> {
    if !wanted.gtid {
        return wanted.server.filter(|uuid| *uuid != found.uuid).map(|_| Lack::Identity(found.uuid));
    }
    // Alone, its start checks say so with what mends it.
    if !found.gtid && !alone {
        return Some(Lack::Gtids);
    }
    let missing = missing(found, wanted.published);
    if !missing.is_empty() {
        return Some(Lack::Published(missing));
    }
    let purged = found.purged.minus(wanted.published);
    if wanted.exact && !purged.is_empty() {
        return Some(Lack::Binlog(purged));
    }
    let idle = matches!(found.follows, Some(Follows::Nobody | Follows::Disconnected));
    (found.read_only && idle && !alone).then_some(Lack::Role)
}

/// What was published and is not executed there.
pub fn missing(found: &Found, published: &GtidSet) -> GtidSet {
    let Some(state) = &found.binlog_state else { return published.minus(&found.executed) };
    // A domain's position alone does not say which server's transactions came before it.
    let known = |gtid: &DomainGtid| {
        state.iter().any(|s| s.domain == gtid.domain && s.server_id == gtid.server_id && gtid.number <= s.number)
    };
    let mut missing = GtidSet::new();
    published.domains().filter(|gtid| !known(gtid)).for_each(|gtid| missing.insert(&lutra_change::Gtid::MariaDb(gtid)));
    missing
}

/// Each server with what it lacks.
pub fn told(addresses: &[String], answers: &[Answer], wanted: &Wanted<'_>) -> String {
    let alone = answers.len() == 1;
    let lacks = answers.iter().map(|answer| match answer {
        None => "is not waited for".to_owned(),
        Some(Err(silence)) => Lack::Answer(silence.reason.clone()).to_string(),
        Some(Ok(found)) => lack(found, wanted, alone).map_or_else(|| "can be read".to_owned(), |lack| lack.to_string()),
    });
    addresses.iter().zip(lacks).map(|(address, lack)| format!("{address} {lack}")).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: Uuid = Uuid::from_u128(0xa);
    const B: Uuid = Uuid::from_u128(0xb);
    const C: Uuid = Uuid::from_u128(0xc);

    fn set(of_a: u64, of_b: u64) -> GtidSet {
        let mut set = GtidSet::new();
        for (uuid, last) in [(A, of_a), (B, of_b)] {
            set.insert_interval(lutra_change::gtid::SourceId { uuid, tag: String::new() }, 1, last);
        }
        set
    }

    fn server(uuid: Uuid, executed: GtidSet) -> Found {
        let (purged, follows) = (GtidSet::new(), Some(Follows::Nobody));
        Found { uuid, gtid: true, executed, binlog_state: None, purged, read_only: false, follows }
    }

    fn replica(uuid: Uuid, executed: GtidSet, follows: Follows) -> Found {
        Found { read_only: true, follows: Some(follows), ..server(uuid, executed) }
    }

    fn silent() -> Answer {
        Some(Err(Silence { reason: "refused".to_owned() }))
    }

    fn verdict(answers: &[Answer], published: &GtidSet) -> Verdict {
        decide(answers, &Wanted { published, exact: true, server: None, gtid: true, last: Some(A) })
    }

    fn read(server: usize) -> Verdict {
        Verdict::Read { server, final_: true }
    }

    #[test]
    fn a_primary_is_read_rather_than_a_replica_and_nobody_slower_is_waited_for() {
        let all = set(10, 0);
        let a = Some(Ok(replica(A, all.clone(), Follows::Connected)));
        let b = Some(Ok(server(B, set(10, 2))));
        assert_eq!(verdict(&[a.clone(), b, None], &all), read(1));
        // A replica is good too, but whoever is still silent may be better.
        assert_eq!(verdict(&[a, None, None], &all), Verdict::Read { server: 0, final_: false });
    }

    #[test]
    fn of_equals_the_one_that_was_read_last_is_read_again() {
        let all = set(10, 0);
        let answers = [Some(Ok(server(B, all.clone()))), Some(Ok(server(A, all.clone())))];
        assert_eq!(verdict(&answers, &all), read(1));
    }

    #[test]
    fn a_replica_that_still_catches_up_is_waited_for() {
        let answers = [silent(), Some(Ok(replica(B, set(9, 0), Follows::Connected)))];
        assert_eq!(verdict(&answers, &set(10, 0)), Verdict::Wait);
        let written = Found { read_only: false, ..replica(B, set(9, 0), Follows::Disconnected) };
        assert_eq!(verdict(&[silent(), Some(Ok(written))], &set(10, 0)), Verdict::Wait);
    }

    #[test]
    fn a_replica_without_its_source_is_read_only_once_it_is_promoted() {
        let all = set(10, 0);
        let orphan = replica(B, all.clone(), Follows::Disconnected);
        assert_eq!(verdict(&[silent(), Some(Ok(orphan.clone()))], &all), Verdict::Wait);
        let promoted = Found { read_only: false, follows: Some(Follows::Nobody), ..orphan.clone() };
        assert_eq!(verdict(&[silent(), Some(Ok(promoted))], &all), read(1));
        assert_eq!(verdict(&[Some(Ok(orphan))], &all), read(0), "named alone it is read as it is");
    }

    #[test]
    fn a_lost_tail_halts_with_what_is_missing() {
        let answers = [silent(), Some(Ok(server(B, set(8, 3))))];
        assert_eq!(verdict(&answers, &set(10, 0)), Verdict::Halt(1, Lack::Published(set(10, 0).minus(&set(8, 0)))));
    }

    #[test]
    fn a_replica_that_holds_the_lost_tail_does_not_hide_it() {
        let primary = Some(Ok(server(B, set(8, 3))));
        let holder = Some(Ok(replica(C, set(10, 0), Follows::Connected)));
        assert!(matches!(verdict(&[primary.clone(), holder], &set(10, 0)), Verdict::Halt(0, Lack::Published(_))));
        // Another primary that holds it does: an old one came back beside it.
        assert!(matches!(
            verdict(&[primary, Some(Ok(server(C, set(10, 0))))], &set(10, 0)),
            Verdict::Read { server: 1, .. }
        ));
    }

    #[test]
    fn errant_transactions_are_read_while_the_binlog_has_them_and_halt_when_it_has_not() {
        let errant = server(B, set(10, 2));
        assert_eq!(verdict(&[silent(), Some(Ok(errant.clone()))], &set(10, 0)), read(1));
        let purged = Found { purged: set(5, 1), ..errant };
        let lost = Lack::Binlog(set(0, 1));
        assert_eq!(verdict(&[silent(), Some(Ok(purged.clone()))], &set(10, 0)), Verdict::Halt(1, lost));
        // A live replica whose binlog reaches back has them too.
        let replica = Some(Ok(replica(C, set(10, 2), Follows::Connected)));
        assert!(matches!(verdict(&[replica, Some(Ok(purged))], &set(10, 0)), Verdict::Read { server: 0, .. }));
    }

    #[test]
    fn what_the_binlog_must_hold_is_not_judged_before_the_log_was_read() {
        let found = Found { purged: set(8, 0), ..server(A, set(10, 0)) };
        let wanted = Wanted { published: &set(5, 0), exact: false, server: None, gtid: true, last: None };
        assert_eq!(decide(&[Some(Ok(found))], &wanted), read(0));
    }

    #[test]
    fn without_gtids_there_is_one_server() {
        let wanted = Wanted { published: &GtidSet::new(), exact: true, server: Some(A), gtid: false, last: Some(A) };
        let other = Some(Ok(replica(B, set(10, 0), Follows::Connected)));
        assert_eq!(decide(&[silent(), other.clone()], &wanted), Verdict::Halt(1, Lack::Identity(B)));
        assert!(matches!(decide(&[other, Some(Ok(server(A, set(1, 0))))], &wanted), Verdict::Read { server: 1, .. }));
        assert_eq!(decide(&[silent(), silent()], &wanted), Verdict::Wait);
    }

    #[test]
    fn of_mariadb_the_binlogs_state_says_whose_transactions_are_there() {
        let published: GtidSet = "0-1-100".parse().unwrap();
        let state = |text: &str| Some(text.parse::<GtidSet>().unwrap().domains().collect::<Vec<_>>());
        let mut found = Found { binlog_state: state("0-1-98"), ..server(B, "0-2-120".parse().unwrap()) };
        // Its position is beyond, and two of the other server's transactions never came.
        assert!(matches!(
            verdict(&[silent(), Some(Ok(found.clone()))], &published),
            Verdict::Halt(1, Lack::Published(_))
        ));
        found.binlog_state = state("0-1-100");
        assert_eq!(verdict(&[silent(), Some(Ok(found))], &published), read(1));
    }

    #[test]
    fn each_server_is_named_with_what_it_lacks() {
        let all = set(10, 0);
        let wanted = Wanted { published: &all, exact: true, server: None, gtid: true, last: None };
        let off = Found { gtid: false, ..server(B, GtidSet::new()) };
        let text = told(&["a:1".to_owned(), "b:2".to_owned()], &[silent(), Some(Ok(off))], &wanted);
        assert_eq!(text, "a:1 does not answer (refused); b:2 its transactions have no GTIDs");
    }
}
