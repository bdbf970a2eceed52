//! Waiting between attempts: validated data, exponential, jittered, cancellable, never silently finite.

use std::time::Duration;

use rand::Rng;
use tokio_util::sync::CancellationToken;

/// How long to wait between attempts.
///
/// The n-th delay is `initial * factor^n`, at most `maximum`, of which the share `jitter` is drawn by lot, so that many
/// waiters do not come back at the same moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackoffPolicy {
    initial: Duration,
    maximum: Duration,
    factor: f64,
    jitter: f64,
}

/// A policy that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("back-off {field} must be {constraint}")]
pub struct BackoffError {
    /// Which field.
    pub field: &'static str,
    /// What it must be.
    pub constraint: &'static str,
}

/// The wait was cut short by the cancellation token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled while waiting for the next attempt")]
pub struct Cancelled;

impl BackoffPolicy {
    /// Connections to servers: from 100 ms doubling to 5 s, half of it jitter.
    pub const CONNECT: Self =
        Self { initial: Duration::from_millis(100), maximum: Duration::from_secs(5), factor: 2.0, jitter: 0.5 };
    /// A failed task: from 1 s doubling to 60 s.
    pub const TASK: Self =
        Self { initial: Duration::from_secs(1), maximum: Duration::from_secs(60), factor: 2.0, jitter: 0.3 };
    /// A task that needs a person: from 30 s doubling to 5 min, for the case that the person has come and said nothing.
    pub const HALTED: Self =
        Self { initial: Duration::from_secs(30), maximum: Duration::from_secs(300), factor: 2.0, jitter: 0.1 };

    /// A policy of these values: `initial` above zero and at most `maximum`, `factor` at least 1, `jitter` in 0..=1.
    pub fn try_new(initial: Duration, maximum: Duration, factor: f64, jitter: f64) -> Result<Self, BackoffError> {
        let fault = |field, constraint| Err(BackoffError { field, constraint });
        if initial.is_zero() {
            return fault("initial", "above zero");
        }
        if maximum < initial {
            return fault("maximum", "at least the initial delay");
        }
        if !(factor.is_finite() && factor >= 1.0) {
            return fault("factor", "a finite number of at least 1");
        }
        if !(0.0..=1.0).contains(&jitter) {
            return fault("jitter", "between 0 and 1");
        }
        Ok(Self { initial, maximum, factor, jitter })
    }

    /// The delay after `attempts` failures, before jitter.
    fn plain_delay(&self, attempts: u32) -> Duration {
        let exponent = i32::try_from(attempts).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.factor.powi(exponent);
        if seconds.is_finite() && seconds < self.maximum.as_secs_f64() {
            Duration::from_secs_f64(seconds)
        } else {
            self.maximum
        }
    }
}

/// The state of one series of attempts. It never gives up by itself: whoever wants an end sets one where it is seen.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: BackoffPolicy,
    attempts: u32,
}

impl Backoff {
    /// A series that has not failed yet.
    pub fn new(policy: BackoffPolicy) -> Self {
        Self { policy, attempts: 0 }
    }

    /// The delay to wait now; counts one failure.
    pub fn next_delay(&mut self) -> Duration {
        let plain = self.policy.plain_delay(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        let lot: f64 = rand::rng().random();
        plain.mul_f64(1.0 - self.policy.jitter * lot)
    }

    /// Waits for the next delay, or until `cancelled`.
    pub async fn wait(&mut self, cancelled: &CancellationToken) -> Result<(), Cancelled> {
        let delay = self.next_delay();
        tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(Cancelled),
            () = tokio::time::sleep(delay) => Ok(()),
        }
    }

    /// Failures since the last [`reset`](Self::reset).
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// An attempt worked: the next failure waits the initial delay again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn delays_grow_to_the_maximum_and_stay_there() {
        let policy = BackoffPolicy::try_new(Duration::from_millis(10), Duration::from_millis(100), 2.0, 0.0).unwrap();
        let mut backoff = Backoff::new(policy);
        let delays: Vec<u128> = (0..6).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [10, 20, 40, 80, 100, 100]);
        backoff.reset();
        assert_eq!(backoff.next_delay().as_millis(), 10);
    }

    #[test]
    fn a_thousand_failures_still_wait_the_maximum() {
        let mut backoff = Backoff::new(BackoffPolicy::CONNECT);
        for _ in 0..5_000 {
            let delay = backoff.next_delay();
            assert!(delay <= BackoffPolicy::CONNECT.maximum && delay >= BackoffPolicy::CONNECT.initial / 2);
        }
    }

    #[test]
    fn policies_that_cannot_work_are_refused() {
        let (short, long) = (Duration::from_millis(1), Duration::from_secs(1));
        assert_eq!(BackoffPolicy::try_new(Duration::ZERO, long, 2.0, 0.0).unwrap_err().field, "initial");
        assert_eq!(BackoffPolicy::try_new(long, short, 2.0, 0.0).unwrap_err().field, "maximum");
        assert_eq!(BackoffPolicy::try_new(short, long, f64::NAN, 0.0).unwrap_err().field, "factor");
        assert_eq!(BackoffPolicy::try_new(short, long, 2.0, 1.5).unwrap_err().field, "jitter");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_at_once_when_cancelled() {
        let token = CancellationToken::new();
        token.cancel();
        assert_eq!(Backoff::new(BackoffPolicy::HALTED).wait(&token).await, Err(Cancelled));
    }
}
