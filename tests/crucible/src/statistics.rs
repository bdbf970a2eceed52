//! Quantiles of what was measured.

use serde::{Deserialize, Serialize};

/// A distribution of times, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many were measured.
    pub count: usize,
    /// Half of them are at or below this.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// Ninety-nine of a hundred; of fewer than a hundred it is the greatest.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

impl Distribution {
    /// Of these times, in any order. A quantile is a time that was measured: the smallest that at least that share is at
    /// or below.
    #[must_use]
    pub fn of(times: &[f64]) -> Self {
        let mut sorted: Vec<f64> = times.iter().copied().filter(|t| t.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { count: sorted.len(), p50: at(50), p90: at(90), p99: at(99), max: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_time_that_was_measured() {
        let times: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let seen = Distribution::of(&times);
        assert_eq!((seen.count, seen.p50, seen.p90, seen.p99, seen.max), (200, 100.0, 180.0, 198.0, 200.0));
        let few = Distribution::of(&[3.0, 1.0, 2.0]);
        assert_eq!((few.p50, few.p90, few.p99, few.max), (2.0, 3.0, 3.0, 3.0));
    }

    #[test]
    fn nothing_measured_is_no_distribution() {
        assert_eq!(Distribution::of(&[]), Distribution::default());
        assert_eq!(Distribution::of(&[f64::NAN]).count, 0);
    }
}
