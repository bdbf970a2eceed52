//! Room 1: the dump stream to batches of raw events.

use std::time::Duration;

use lutra_mysql::{BinlogSource, Error, EventBatch};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A batch is handed on at about this size: large enough that the hand-over costs nothing, small enough to flow.
const BATCH_BYTES: usize = 256 << 10;
/// The least time from one small batch to the next: what trickles in meanwhile goes on together, and each stage behind, the
/// brokers and the target pay once for it instead of once per transaction. A single transaction is not kept waiting.
const REST: Duration = Duration::from_millis(8);
/// Below so many bytes per rest a source trickles; above, it flows and is never kept waiting.
const TRICKLE_BYTES: f64 = 32.0 * 1024.0;
/// Batches that wait to be assembled.
const BATCHES: usize = 4;

/// The receiving side of a reader.
#[derive(Debug)]
pub struct Batches {
    full: mpsc::Receiver<Result<EventBatch, Error>>,
    empty: mpsc::Sender<EventBatch>,
}

impl Batches {
    /// The next batch; `None` at the end of the stream. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<EventBatch, Error>> {
        self.full.recv().await
    }

    /// Gives a batch back for its room.
    pub fn give_back(&self, mut batch: EventBatch) {
        batch.clear();
        // A reader that has ended, or has enough, needs it no more.
        let _ = self.empty.try_send(batch);
    }
}

/// How much comes, as a bucket that leaks a trickle.
#[derive(Debug, Default)]
struct Flow {
    level: f64,
    at: Option<Instant>,
}

impl Flow {
    /// Whether the source trickles, after so many bytes more.
    #[allow(clippy::cast_precision_loss, reason = "a level, not a count")]
    fn trickles(&mut self, bytes: usize, now: Instant) -> bool {
        let rests = self.at.map_or(0.0, |at| (now - at).as_secs_f64() / REST.as_secs_f64());
        self.at = Some(now);
        self.level = (self.level - rests * TRICKLE_BYTES).max(0.0) + bytes as f64;
        let trickles = self.level < TRICKLE_BYTES;
        self.level = self.level.min(4.0 * TRICKLE_BYTES);
        trickles
    }
}

/// Reads the source in a task of its own, until its end, an error, or until nobody takes the batches any more.
pub fn start<S: BinlogSource + 'static>(tasks: &mut JoinSet<()>, mut source: S) -> Batches {
    let (full_sender, full) = mpsc::channel(BATCHES);
    let (empty, mut empty_receiver) = mpsc::channel(BATCHES + 1);
    tasks.spawn(async move {
        let mut flow = Flow::default();
        loop {
            let mut batch = empty_receiver.try_recv().unwrap_or_default();
            let outcome = source.read(&mut batch, BATCH_BYTES).await;
            let ends = !matches!(outcome, Ok(true));
            let trickles = flow.trickles(batch.size(), Instant::now());
            if !batch.is_empty() && full_sender.send(Ok(batch)).await.is_err() {
                return;
            }
            if let Err(error) = outcome {
                // Nobody to tell: the attempt is over.
                let _ = full_sender.send(Err(error)).await;
            }
            if ends {
                return;
            }
            if trickles {
                tokio::time::sleep(REST).await;
            }
        }
    });
    Batches { full, empty }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_batches_at_a_distance_trickle_and_a_backlog_flows() {
        let mut flow = Flow::default();
        let mut now = Instant::now();
        assert!((0..100).all(|_| {
            now += REST;
            flow.trickles(12 << 10, now)
        }));
        now += REST;
        assert!(!flow.trickles(128 << 10, now), "what the socket held after a rest");
        assert!((0..1_000).all(|_| {
            now += Duration::from_micros(100);
            !flow.trickles(8 << 10, now)
        }));
        now += 8 * REST;
        assert!(flow.trickles(8 << 10, now));
    }
}
