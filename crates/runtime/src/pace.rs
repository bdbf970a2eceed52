//! Pace: what trickles in is taken in bursts.
//!
//! Each hand-over costs the same however much it carries: a wake-up here, a request to the broker, a fetch behind it. When level
//! a burst goes at once; under load, what comes within [`REST`] of the last burst waits for the end of that time and goes
//! together. What is there already is never kept waiting, so a backlog flows without rests.

use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;

/// The least time from one burst to the next. It is paid by each stage that keeps a pace, half of it on average.
pub const REST: Duration = Duration::from_millis(4);

/// Keeps the pace of one consumer.
#[derive(Debug)]
pub struct Pace {
    next_burst: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { next_burst: Instant::now() }
    }
}

impl Pace {
    /// Takes what is there at once; waits for the next burst when nothing is. As cancel safe as `next` is.
    pub async fn take<T>(&mut self, next: impl Future<Output = T>) -> T {
        let mut next = std::pin::pin!(next);
        if let Some(there) = next.as_mut().now_or_never() {
            return there;
        }
        tokio::time::sleep_until(self.next_burst).await;
        let taken = next.await;
        self.next_burst = Instant::now() + REST;
        taken
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test(start_paused = true)]
    async fn a_single_item_goes_at_once_and_those_behind_it_go_together() {
        let (sender, mut items) = mpsc::channel(10);
        let mut pace = Pace::default();
        let begin = Instant::now();
        sender.try_send(1).unwrap();
        assert_eq!(pace.take(items.recv()).await, Some(1));
        assert_eq!(begin.elapsed(), Duration::ZERO);
        let sending = async {
            for item in 2..=4 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                sender.send(item).await.unwrap();
            }
        };
        let taking = async {
            // 2 opens a burst; 3 and 4 come within the rest, and go together at its end.
            assert_eq!(pace.take(items.recv()).await, Some(2));
            let opened = begin.elapsed();
            assert_eq!(pace.take(items.recv()).await, Some(3));
            assert!(begin.elapsed() >= opened + REST);
            assert_eq!(pace.take(items.recv()).await, Some(4));
            assert!(begin.elapsed() < opened + 2 * REST);
        };
        tokio::join!(sending, taking);
    }
}
