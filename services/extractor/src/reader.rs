//! Room 1: the dump stream to batches of raw events.

use std::time::Duration;

use lutra_mysql::{BinlogSource, Error, EventBatch};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A batch is handed on at about this size: large enough that the hand-over costs nothing, small enough to flow.
const BATCH_BYTES: usize = 256 << 10;
/// The least time from one small batch to the next: what trickles in meanwhile goes on together, and each stage behind, the
/// brokers and the target pay once for it instead of once per transaction. A single transaction is not kept waiting.
const REST: Duration = Duration::from_millis(8);
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

/// Reads the source in a task of its own, until its end, an error, or until nobody takes the batches any more.
pub fn start<S: BinlogSource + 'static>(tasks: &mut JoinSet<()>, mut source: S) -> Batches {
    let (full_sender, full) = mpsc::channel(BATCHES);
    let (empty, mut empty_receiver) = mpsc::channel(BATCHES + 1);
    tasks.spawn(async move {
        loop {
            let mut batch = empty_receiver.try_recv().unwrap_or_default();
            let outcome = source.read(&mut batch, BATCH_BYTES).await;
            let ends = !matches!(outcome, Ok(true));
            let small = batch.size() < BATCH_BYTES;
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
            if small {
                // What trickles in meanwhile comes in one batch.
                tokio::time::sleep(REST).await;
            }
        }
    });
    Batches { full, empty }
}
