//! A client that stands still although its log goes on.
//!
//! The library waits for replies that may never come: behind a broker's restart a consumer was seen to hear nothing more, for
//! minutes and without an error, of a log that grew. Nobody above can tell that from a log in which nothing happens.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

/// So long a client may be silent before the log's end is looked at; and again before it is given up.
const SILENCE: Duration = Duration::from_secs(5);
/// A new client that hears nothing either gets more time: it may be the way to the broker that is slow.
const MOST: Duration = Duration::from_secs(160);

/// How long nothing was heard, and what the log's end was meanwhile.
#[derive(Debug)]
pub(crate) struct Silence {
    since: Instant,
    limit: Duration,
    look: Option<JoinHandle<Option<i64>>>,
    /// At the last look there was something to read.
    doubted: bool,
}

impl Silence {
    pub(crate) fn begin() -> Self {
        Self { since: Instant::now(), limit: SILENCE, look: None, doubted: false }
    }

    /// Something was heard.
    pub(crate) fn broken(&mut self) {
        *self = Self::begin();
    }

    /// Reading begins elsewhere, or with another client.
    pub(crate) fn again(&mut self) {
        *self = Self { limit: self.limit, ..Self::begin() };
    }

    /// Waits until the log has had records from `position` on, at two looks one limit apart, while nothing was heard; the end
    /// that was seen. `end` finds it out, or that it cannot be known now. Cancel safe: looks go on where they were.
    pub(crate) async fn over(&mut self, position: i64, end: impl Fn() -> JoinHandle<Option<i64>>) -> i64 {
        loop {
            let Some(look) = &mut self.look else {
                tokio::time::sleep_until(self.since + self.limit).await;
                self.look = Some(end());
                continue;
            };
            let seen = look.await.ok().flatten().filter(|end| *end > position);
            self.look = None;
            self.since = Instant::now();
            match seen {
                Some(end) if self.doubted => {
                    self.limit = (self.limit * 2).min(MOST);
                    self.doubted = false;
                    return end;
                }
                seen => self.doubted = seen.is_some(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tasks of a test")]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// A log whose end is told; below 0: nobody answers.
    fn log(end: i64) -> (Arc<AtomicI64>, impl Fn() -> JoinHandle<Option<i64>>) {
        let end = Arc::new(AtomicI64::new(end));
        let told = Arc::clone(&end);
        let look = move || {
            let told = told.load(Ordering::Relaxed);
            tokio::spawn(async move { (told >= 0).then_some(told) })
        };
        (end, look)
    }

    async fn after(silence: &mut Silence, position: i64, end: impl Fn() -> JoinHandle<Option<i64>>) -> (i64, u64) {
        let began = Instant::now();
        let found = silence.over(position, end).await;
        (found, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_hear_what_is_there_is_given_up_at_the_second_look() {
        let (_, look) = log(7);
        assert_eq!(after(&mut Silence::begin(), 5, look).await, (7, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_of_a_log_silence_is_no_fault() {
        for end in [5, -1] {
            let (_, look) = log(end);
            let mut silence = Silence::begin();
            assert!(tokio::time::timeout(Duration::from_secs(600), silence.over(5, look)).await.is_err(), "{end}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_heard_between_the_looks_ends_the_doubt() {
        let (end, look) = log(7);
        let mut silence = Silence::begin();
        let waited = Duration::from_secs(7);
        assert!(tokio::time::timeout(waited, silence.over(5, &look)).await.is_err());
        silence.broken();
        end.store(9, Ordering::Relaxed);
        assert_eq!(after(&mut silence, 8, &look).await, (9, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_is_interrupted_each_second_notices_as_well() {
        let (_, look) = log(7);
        let (mut silence, began) = (Silence::begin(), Instant::now());
        let found = loop {
            let waiting = tokio::time::timeout(Duration::from_secs(1), silence.over(5, &look));
            match waiting.await {
                Ok(end) => break end,
                Err(_) => assert!(began.elapsed() < Duration::from_secs(60)),
            }
        };
        assert_eq!((found, began.elapsed().as_secs()), (7, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn new_clients_that_hear_nothing_get_more_and_more_time() {
        let (_, look) = log(7);
        let mut silence = Silence::begin();
        let mut waits = Vec::new();
        for _ in 0..7 {
            waits.push(after(&mut silence, 5, &look).await.1);
            silence.again();
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 320]);
    }
}
