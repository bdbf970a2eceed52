//! Random schedules of competing writers, late records, crashes, lost replies, lost tails and readers, against an oracle.
//!
//! The sans-I/O cores are driven directly: a seed decides who moves next, so that every schedule can be run again.
//! Sessions of the writer start in any order, stop anywhere, and what they had in flight lands later, in order, or never.
//! Each negative control switches one rule off and must be caught by the same oracle.

mod controls;
mod observer;
mod session;
mod world;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::rules::Rules;
use observer::Observer;
use session::Session;
use world::{World, pick};

/// What a family of schedules may do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scope {
    /// Rules broken on purpose.
    pub(super) rules: Rules,
    /// The second and later sessions may share the epoch of the one before.
    pub(super) shared_epochs: bool,
    /// The two servers committed some transactions in another order.
    pub(super) fail_over: bool,
    /// The log loses an acknowledged tail once.
    pub(super) tail_loss: bool,
    /// Acknowledgements may come without offsets, or not at all.
    pub(super) lost_replies: bool,
    /// GTID sets are beyond 1 KiB.
    pub(super) large_sets: bool,
    /// One transaction is an XA prepare, a later one the decision over it.
    pub(super) xa: bool,
}

/// What the oracle saw that must never be.
#[derive(Debug)]
pub(super) struct Violation(pub(super) String);

/// How a schedule ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) records: usize,
    pub(super) halted_readers: usize,
    pub(super) gaps: usize,
    pub(super) restarts: usize,
}

const TRANSACTIONS: u64 = 5;
/// Where there are XA transactions: the one that is a prepare, and the one that decides over it. Far enough apart that no
/// fail-over turns them.
const PREPARE: u64 = 2;
const DECISION: u64 = 5;
const SESSIONS: usize = 5;
const READERS: usize = 3;
const STEPS: usize = 250;

/// Runs one schedule.
pub(super) fn run(seed: u64, scope: Scope) -> Result<Outcome, Violation> {
    let rng = ChaCha8Rng::seed_from_u64(seed);
    let mut world = World::new(rng, scope);
    let mut sessions: Vec<Session> = Vec::new();
    let mut readers: Vec<Observer> = (0..READERS).map(Observer::new).collect();
    let judged = (0..STEPS)
        .try_for_each(|_| step(&mut world, &mut sessions, &mut readers))
        .and_then(|()| finish(&mut world, &mut sessions, &mut readers))
        .and_then(|()| observer::judge_together(&world, &readers));
    judged.map_err(|Violation(what)| Violation(what + &world.dump()))?;
    Ok(Outcome {
        records: world.log.len(),
        halted_readers: readers.iter().filter(|r| r.halted.is_some()).count(),
        gaps: readers.iter().map(|r| r.gaps).sum(),
        restarts: sessions.len(),
    })
}

fn step(world: &mut World, sessions: &mut Vec<Session>, readers: &mut [Observer]) -> Result<(), Violation> {
    let roll = pick(&mut world.rng, 100);
    match roll {
        0..40 if !sessions.is_empty() => {
            let at = pick(&mut world.rng, sessions.len());
            sessions[at].act(world)?;
        }
        40..62 if !sessions.is_empty() => {
            let at = pick(&mut world.rng, sessions.len());
            sessions[at].land(world);
        }
        62..86 => {
            let at = pick(&mut world.rng, readers.len());
            readers[at].read(world)?;
        }
        86..89 => {
            let at = pick(&mut world.rng, readers.len());
            readers[at].restart(world);
        }
        89..93 if sessions.len() < SESSIONS => {
            let number = sessions.len();
            sessions.push(Session::new(world, number));
        }
        93..95 if !sessions.is_empty() => {
            let at = pick(&mut world.rng, sessions.len());
            sessions[at].crash();
        }
        95 if !sessions.is_empty() => {
            let at = pick(&mut world.rng, sessions.len());
            sessions[at].forget_one();
        }
        96..98 if !sessions.is_empty() => {
            let at = pick(&mut world.rng, sessions.len());
            sessions[at].publish(world);
        }
        98 => world.lose_tail(),
        _ => {}
    }
    Ok(())
}

/// Everybody stops; what is in flight lands or not; then a last session without faults, and all readers read to the end.
fn finish(world: &mut World, sessions: &mut Vec<Session>, readers: &mut [Observer]) -> Result<(), Violation> {
    world.calm = true;
    for session in sessions.iter_mut() {
        session.crash();
        for _ in 0..pick(&mut world.rng, 4) {
            session.land(world);
        }
        session.forget_all();
    }
    // A gap asks for one restart; what that start writes must close it.
    for _ in 0..6 {
        let number = sessions.len();
        sessions.push(Session::new(world, number));
        let Some(last) = sessions.last_mut() else { break };
        last.run_to_end(world)?;
        let gaps: usize = readers.iter().map(|r| r.gaps).sum();
        for reader in readers.iter_mut() {
            reader.read_to_end(world)?;
        }
        let all_there = readers.iter().all(|r| r.halted.is_some() || r.applied.len() as u64 == TRANSACTIONS);
        if last.finished() && (all_there || readers.iter().map(|r| r.gaps).sum::<usize>() == gaps) {
            break;
        }
    }
    Ok(())
}
