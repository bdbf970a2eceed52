//! What the source says beside its dump stream, once a second: its clock, where its binlog ends, and how long it keeps it.
//!
//! A dump stream alone does not tell when it is stuck: after `RESET BINARY LOGS AND GTIDS` a server goes on with heartbeats of
//! the file that is gone, and says nothing of what it writes from then on. Its log's end tells, and what it has executed.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::time::Duration;

use lutra_change::{BinlogPosition, GtidSet};
use lutra_mysql::catalogue::Follows;
use lutra_mysql::{ConnectOptions, Connection, catalogue};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::extract::now_micros;
use crate::snapshot::desk::compare;

/// So many heartbeats in a row at one place, while the log goes on behind it: the stream stands still. Heartbeats come once
/// a second, and only when the server believes that it has sent everything.
const HEARTBEATS: u32 = 8;

/// Less than this part of the retention is left: time to look.
const SHORT: f64 = 0.25;
/// How long another server may take to say what it is.
const ANSWER: Duration = Duration::from_secs(2);
/// Looks from one question for the retention to the next.
const RETENTION_EVERY: u32 = 30;

/// So many looks in a row without what the server has sent: it has forgotten it. Replicas receive a transaction before the
/// server counts it as executed, as long as semi-synchronous ones let it wait (ten seconds by default).
const LOOKS: u32 = 12;

/// So many places are remembered, one a second: a look takes less.
const PLACES: usize = 4;

/// One look at the server.
#[derive(Clone, Debug)]
pub struct Sight {
    /// When it was asked.
    pub asked_at: Instant,
    /// Its clock less ours, in microseconds.
    pub clock_offset: i64,
    /// Where its log ended.
    pub log_end: BinlogPosition,
    /// What it had executed; `None` where it does not say so.
    pub executed: Option<GtidSet>,
    /// For how many seconds it keeps its binlog; `None` where time does not purge it.
    pub retention: Option<u64>,
    /// It gets nothing new any more, and this server of the list is the primary: a switch-over that left it alive.
    pub successor: Option<String>,
}

impl Sight {
    /// Seconds until what comes next at `place` may be purged, when what was read last was committed at `committed_at`
    /// (microseconds, the server's clock; 0 where unknown). A file is kept for the retention from its last event on, which is
    /// no earlier than the next one to be read.
    pub fn headroom(&self, place: &BinlogPosition, committed_at: i64, now: i64) -> Option<f64> {
        let retention = self.retention? as f64;
        let waits = compare(place, &self.log_end) == Ordering::Less && committed_at != 0;
        let age = if waits { (now + self.clock_offset - committed_at).max(0) as f64 / 1e6 } else { 0.0 };
        Some(retention - age)
    }

    /// Whether so little is left of the retention that a person should know.
    pub fn is_short(&self, headroom: f64) -> bool {
        self.retention.is_some_and(|retention| headroom < retention as f64 * SHORT)
    }
}

/// Looks once a second, for as long as the server answers; nothing is seen before the first look. `others` are the source's
/// other servers.
pub fn watch_server(
    tasks: &mut JoinSet<()>,
    mut connection: Connection,
    others: Vec<ConnectOptions>,
) -> watch::Receiver<Option<Sight>> {
    let (sender, receiver) = watch::channel(None);
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut looks, mut retention) = (0_u32, None);
        loop {
            ticks.tick().await;
            // A dead server is the dump stream's to tell.
            if looks.is_multiple_of(RETENTION_EVERY) {
                let Ok(found) = catalogue::binlog_retention(&mut connection).await else { return };
                retention = found;
            }
            looks = looks.wrapping_add(1);
            let Ok(mut sight) = look(&mut connection, retention).await else { return };
            if !others.is_empty() {
                let Ok(idle) = is_set_aside(&mut connection).await else { return };
                sight.successor = if idle { successor(&others).await } else { None };
            }
            if sender.send(Some(sight)).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn look(connection: &mut Connection, retention: Option<u64>) -> Result<Sight, lutra_mysql::Error> {
    let asked_at = Instant::now();
    let before = now_micros();
    let there = catalogue::clock(connection).await?;
    let middle = before + (now_micros() - before) / 2;
    let (log_end, executed) = catalogue::log_end(connection).await?;
    Ok(Sight { asked_at, clock_offset: there - middle, log_end, executed, retention, successor: None })
}

/// Whether the server takes no writes and follows nobody who answers: it gets nothing new.
async fn is_set_aside(connection: &mut Connection) -> Result<bool, lutra_mysql::Error> {
    let read_only = connection.query_text("SELECT @@GLOBAL.read_only").await?;
    if read_only.as_deref() != Some("1") {
        return Ok(false);
    }
    let follows = catalogue::follows(connection).await?;
    Ok(matches!(follows, Some(Follows::Nobody | Follows::Disconnected)))
}

/// The first of the other servers that takes writes and follows nobody.
async fn successor(others: &[ConnectOptions]) -> Option<String> {
    for options in others {
        let asked = async {
            let mut connection = Connection::connect(options).await?;
            let read_only = connection.query_text("SELECT @@GLOBAL.read_only").await?;
            Ok::<_, lutra_mysql::Error>((read_only, catalogue::follows(&mut connection).await?))
        };
        if let Ok(Ok((Some(read_only), Some(Follows::Nobody)))) = tokio::time::timeout(ANSWER, asked).await
            && read_only == "0"
        {
            return Some(options.address());
        }
    }
    None
}

/// Holds what the stream brings against what the server says of its log.
#[derive(Debug, Default)]
pub struct Witness {
    /// The newest places: a look may be older than the place of a second ago.
    reached: VecDeque<Reached>,
    forgotten: u32,
    idle_at: Option<BinlogPosition>,
    beats: u32,
}

/// Where the stream was.
#[derive(Debug)]
struct Reached {
    at: Instant,
    place: BinlogPosition,
    gtid_set: GtidSet,
}

impl Witness {
    /// Once a second: the stream has reached a place. A log that ends before what it had sent earlier, or whose server has
    /// not executed that, was begun anew: its end is given back.
    pub fn reached(
        &mut self,
        place: BinlogPosition,
        gtid_set: &GtidSet,
        now: Instant,
        sight: &Sight,
    ) -> Option<BinlogPosition> {
        let earlier = self.reached.iter().rfind(|earlier| earlier.at < sight.asked_at);
        let begun_anew = earlier.is_some_and(|earlier| ends_before(&sight.log_end, &earlier.place));
        let forgotten = earlier.zip(sight.executed.as_ref()).is_some_and(|(e, set)| !e.gtid_set.is_subset(set));
        self.forgotten = if forgotten { self.forgotten + 1 } else { 0 };
        if self.reached.len() == PLACES {
            self.reached.pop_front();
        }
        self.reached.push_back(Reached { at: now, place, gtid_set: gtid_set.clone() });
        (begun_anew || self.forgotten >= LOOKS).then(|| sight.log_end.clone())
    }

    /// A heartbeat: the server believes that it has sent everything up to there. The end of its log is given back when it
    /// said so too often while it was farther.
    pub fn heard(&mut self, place: &BinlogPosition, sight: &Sight) -> Option<BinlogPosition> {
        let waits = compare(place, &sight.log_end) == Ordering::Less;
        self.beats = if waits && self.idle_at.as_ref() == Some(place) { self.beats + 1 } else { 0 };
        self.idle_at = Some(place.clone());
        (self.beats >= HEARTBEATS).then(|| sight.log_end.clone())
    }
}

/// Files of other names are not compared: a server that was started with another name for them goes on in the new ones.
fn ends_before(end: &BinlogPosition, sent: &BinlogPosition) -> bool {
    let name = |p: &BinlogPosition| p.file.rsplit_once('.').map(|(name, _)| name.to_owned());
    name(end) == name(sent) && compare(end, sent) == Ordering::Less
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, offset: u64) -> BinlogPosition {
        BinlogPosition::new(file, offset)
    }

    fn sight(asked_at: Instant, log_end: BinlogPosition) -> Sight {
        Sight { asked_at, clock_offset: 0, log_end, executed: None, retention: Some(1_000), successor: None }
    }

    #[test]
    fn a_log_that_ends_before_what_it_sent_was_begun_anew() {
        let (mut witness, none) = (Witness::default(), GtidSet::new());
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let end = at("b.000003", 900);
        assert_eq!(witness.reached(at("b.000003", 500), &none, second(1), &sight(second(0), end.clone())), None);
        // The stream ran past an end that was looked up before.
        assert_eq!(witness.reached(at("b.000003", 1_000), &none, second(2), &sight(second(0), end)), None);
        let anew = at("b.000001", 158);
        assert_eq!(
            witness.reached(at("b.000003", 1_000), &none, second(4), &sight(second(3), anew.clone())),
            Some(anew)
        );
        assert_eq!(
            witness.reached(at("b.000003", 1_000), &none, second(6), &sight(second(5), at("other.000001", 4))),
            None
        );
    }

    #[test]
    fn headroom_is_what_is_left_of_the_retention_for_what_comes_next() {
        let sight = sight(Instant::now(), at("b.000003", 900));
        let second = 1_000_000;
        let headroom = |offset, committed_at| sight.headroom(&at("b.000003", offset), committed_at, 2_000 * second);
        assert_eq!(headroom(900, 100 * second), Some(1_000.0), "all is read");
        assert_eq!(headroom(500, 1_800 * second), Some(800.0));
        assert_eq!(headroom(500, 900 * second), Some(-100.0), "purged any moment");
        assert_eq!(headroom(500, 0), Some(1_000.0), "nothing was read yet");
        assert!(sight.is_short(200.0) && !sight.is_short(300.0));
        let kept = Sight { retention: None, ..sight.clone() };
        assert_eq!(kept.headroom(&at("b.000001", 4), second, 2_000 * second), None);
        assert!(!kept.is_short(-1.0));
    }

    #[test]
    fn a_look_that_is_older_than_the_last_place_is_held_against_the_one_before() {
        let (mut witness, none) = (Witness::default(), GtidSet::new());
        let start = Instant::now();
        let milli = |n| start + Duration::from_millis(n);
        // Looks and places keep step, and a look is answered just behind the next place.
        let old = at("b.000003", 900);
        assert_eq!(witness.reached(old.clone(), &none, milli(1_010), &sight(milli(0), old.clone())), None);
        assert_eq!(witness.reached(old.clone(), &none, milli(2_010), &sight(milli(1_000), old.clone())), None);
        let anew = at("b.000001", 158);
        assert_eq!(witness.reached(old, &none, milli(3_010), &sight(milli(2_000), anew.clone())), Some(anew));
    }

    #[test]
    fn a_server_that_does_not_know_what_it_sent_was_begun_anew() {
        let set = |text: &str| text.parse::<GtidSet>().unwrap();
        let (sent, fewer) =
            (set("6dcd81b1-e92e-11f1-847d-02fc00000001:1-9"), set("6dcd81b1-e92e-11f1-847d-02fc00000001:1-8"));
        let mut witness = Witness::default();
        let start = Instant::now();
        let end = at("b.000001", 457);
        let mut look = |n: u64, executed: &GtidSet| {
            let second = |n| start + Duration::from_secs(n);
            let sight = Sight { executed: Some(executed.clone()), ..sight(second(2 * n), end.clone()) };
            witness.reached(end.clone(), &sent, second(2 * n + 1), &sight)
        };
        // Its log ends at the very same place. For a while it may be late.
        assert!((0..10).all(|n| look(n, &fewer).is_none()), "a commit that waits for a replica");
        assert_eq!(look(10, &sent), None);
        assert_eq!((11..40).filter_map(|n| look(n, &fewer)).next(), Some(end));
    }

    #[test]
    fn heartbeats_at_one_place_while_the_log_goes_on_are_a_standstill() {
        let mut witness = Witness::default();
        let now = Instant::now();
        let mut beat = |place: u64, end: u64| witness.heard(&at("b.000001", place), &sight(now, at("b.000001", end)));
        for _ in 0..100 {
            assert_eq!(beat(500, 500), None, "an idle source");
        }
        for place in 500..600 {
            assert_eq!(beat(place, 700), None, "what is skipped moves the heartbeat");
        }
        let told = (0..20).find_map(|_| beat(600, 700));
        assert_eq!(told, Some(at("b.000001", 700)));
    }
}
