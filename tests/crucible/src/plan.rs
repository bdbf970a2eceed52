//! What comes next: drawn from a seed, so that every kind gets its share over all runs of a campaign.

use std::collections::BTreeMap;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The random choices of a run. All of them come from here, in one order, so that a seed repeats them.
#[derive(Debug)]
pub struct Dice {
    random: ChaCha8Rng,
}

impl Dice {
    /// The choices of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// A number of the range.
    pub fn number(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.random.random_range(range)
    }

    /// A span between two, in milliseconds.
    pub fn span(&mut self, least: u64, most: u64) -> std::time::Duration {
        std::time::Duration::from_millis(self.number(least..=most))
    }

    /// One of them.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.choose(&mut self.random)
    }
}

/// How many of a kind a whole campaign wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The kind of fault.
    pub name: String,
    /// How many.
    pub wanted: u64,
}

/// So many of every kind come before more of any.
const LEAST: u64 = 10;

/// Of the kinds that were done least, as long as one has not reached ten, else of those furthest behind their quotas, one
/// is drawn.
#[must_use]
pub fn next<'q>(quotas: &'q [Quota], done: &BTreeMap<String, u64>, dice: &mut Dice) -> Option<&'q Quota> {
    let count = |quota: &Quota| done.get(&quota.name).copied().unwrap_or(0);
    let short = quotas.iter().filter(|quota| count(quota) < quota.wanted.min(LEAST));
    if let Some(least) = short.clone().map(count).min() {
        let behind: Vec<&Quota> = short.filter(|quota| count(quota) == least).collect();
        return dice.one(&behind).copied();
    }
    // done / wanted, compared without dividing.
    let less = |a: &Quota, b: &Quota| (count(a) * b.wanted.max(1)).cmp(&(count(b) * a.wanted.max(1)));
    let least = quotas.iter().min_by(|a, b| less(a, b))?;
    let behind: Vec<&Quota> = quotas.iter().filter(|quota| less(quota, least).is_eq()).collect();
    dice.one(&behind).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas() -> Vec<Quota> {
        [("kill", 100), ("away", 10), ("full", 10)].map(|(name, wanted)| Quota { name: name.to_owned(), wanted }).into()
    }

    fn drawn(seed: u64, times: usize) -> Vec<String> {
        let (quotas, mut done, mut dice) = (quotas(), BTreeMap::new(), Dice::new(seed));
        let draw = |_| {
            let name = next(&quotas, &done, &mut dice).map(|q| q.name.clone()).unwrap_or_default();
            *done.entry(name.clone()).or_insert(0) += 1;
            name
        };
        (0..times).map(draw).collect()
    }

    #[test]
    fn every_kind_gets_its_share() {
        let all = drawn(7, 120);
        let count = |name: &str| all.iter().filter(|n| *n == name).count();
        assert_eq!((count("kill"), count("away"), count("full")), (100, 10, 10));
    }

    #[test]
    fn a_seed_repeats_its_choices_and_another_makes_others() {
        assert_eq!(drawn(1, 40), drawn(1, 40));
        assert_ne!(drawn(1, 40), drawn(2, 40));
    }

    #[test]
    fn ten_of_each_come_first() {
        let first = drawn(5, 30);
        let count = |name: &str| first.iter().filter(|n| *n == name).count();
        assert_eq!((count("kill"), count("away"), count("full")), (10, 10, 10));
    }

    #[test]
    fn what_was_done_before_counts() {
        let done = BTreeMap::from([("kill".to_owned(), 100), ("away".to_owned(), 10)]);
        let quotas = quotas();
        let chosen = next(&quotas, &done, &mut Dice::new(3)).map(|q| q.name.as_str());
        assert_eq!(chosen, Some("full"));
    }

    #[test]
    fn nothing_to_choose_from_is_nothing() {
        assert_eq!(next(&[], &BTreeMap::new(), &mut Dice::new(0)), None);
    }
}
