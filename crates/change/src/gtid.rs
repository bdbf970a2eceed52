//! GTIDs and their sets: MySQL's `uuid[:tag]:n` and MariaDB's `domain-server-n`, with the algebra that the start checks
//! need.
//!
//! A MariaDB server in strict mode (`gtid_strict_mode=ON`) numbers each domain upwards, whichever server writes. So what
//! was executed in a domain is told by its last GTID, and that is what a set holds of it: everything up to there.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A source id: server UUID and, since MySQL 8.3, an optional tag (lower case).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId {
    /// The server that committed first.
    pub uuid: Uuid,
    /// Tag, empty where there is none.
    pub tag: String,
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tag.is_empty() { self.uuid.fmt(f) } else { write!(f, "{}:{}", self.uuid, self.tag) }
    }
}

/// MariaDB's GTID: `domain-server-number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainGtid {
    /// Replication domain: one stream of transactions.
    pub domain: u32,
    /// The server that committed first.
    pub server_id: u32,
    /// Number inside the domain.
    pub number: u64,
}

impl fmt::Display for DomainGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server_id, self.number)
    }
}

impl DomainGtid {
    /// Reads `domain-server-number`; `None` for anything else.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split('-').map(|w| Some(w).filter(|w| w.bytes().all(|b| b.is_ascii_digit())));
        let (domain, server_id, number) = (words.next()??, words.next()??, words.next()??);
        let gtid =
            Self { domain: domain.parse().ok()?, server_id: server_id.parse().ok()?, number: number.parse().ok()? };
        words.next().is_none().then_some(gtid)
    }
}

/// The identity of one source transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gtid {
    /// MySQL's.
    MySql {
        /// Who committed it first.
        source: SourceId,
        /// Transaction number there, from 1.
        number: u64,
    },
    /// MariaDB's.
    MariaDb(DomainGtid),
}

impl Gtid {
    /// The untagged GTID `uuid:number`.
    pub fn new(uuid: Uuid, number: u64) -> Self {
        Self::tagged(uuid, String::new(), number)
    }

    /// The GTID `uuid:tag:number`; an empty tag is none.
    pub fn tagged(uuid: Uuid, tag: String, number: u64) -> Self {
        Self::MySql { source: SourceId { uuid, tag }, number }
    }

    /// The GTID `domain-server-number` of MariaDB.
    pub fn mariadb(domain: u32, server_id: u32, number: u64) -> Self {
        Self::MariaDb(DomainGtid { domain, server_id, number })
    }

    /// Its number at its source or in its domain.
    pub fn number(&self) -> u64 {
        match self {
            Self::MySql { number, .. } | Self::MariaDb(DomainGtid { number, .. }) => *number,
        }
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql { source, number } => write!(f, "{source}:{number}"),
            Self::MariaDb(gtid) => gtid.fmt(f),
        }
    }
}

/// A text that is not a GTID or GTID set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a GTID set: {reason}; expected UUID[:TAG]:FIRST[-LAST][:…] or, of MariaDB, DOMAIN-SERVER-NUMBER, separated by commas"
)]
pub struct GtidError {
    text: String,
    reason: &'static str,
}

impl FromStr for Gtid {
    type Err = GtidError;

    fn from_str(text: &str) -> Result<Self, GtidError> {
        if let Some(gtid) = DomainGtid::parse(text) {
            return Ok(Self::MariaDb(gtid));
        }
        let set: GtidSet = text.parse()?;
        let fault = || GtidError { text: text.to_owned(), reason: "not exactly one GTID" };
        let mut sources = set.sources.iter();
        match (sources.next(), sources.next()) {
            (Some((source, intervals)), None) => match intervals.0.as_slice() {
                [(first, end)] if first + 1 == *end => Ok(Self::MySql { source: source.clone(), number: *first }),
                _ => Err(fault()),
            },
            _ => Err(fault()),
        }
    }
}

/// Sorted, disjoint, non-touching half-open intervals `[first, end)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Intervals(Vec<(u64, u64)>);

impl Intervals {
    fn add(&mut self, first: u64, end: u64) {
        if first >= end {
            return;
        }
        // The usual case by far: the next number of the last interval.
        if let Some(last) = self.0.last_mut()
            && last.0 <= first
            && first <= last.1
        {
            last.1 = last.1.max(end);
            return;
        }
        let from = self.0.partition_point(|i| i.1 < first);
        let to = self.0.partition_point(|i| i.0 <= end);
        let merged = self.0[from..to].iter().fold((first, end), |m, i| (m.0.min(i.0), m.1.max(i.1)));
        self.0.splice(from..to, [merged]);
    }

    fn subtract(&mut self, first: u64, end: u64) {
        let mut kept = Vec::with_capacity(self.0.len() + 1);
        for &(a, b) in &self.0 {
            if a < first.min(b) {
                kept.push((a, b.min(first)));
            }
            if b > end.max(a) {
                kept.push((a.max(end), b));
            }
        }
        self.0 = kept;
    }

    fn covers(&self, first: u64, end: u64) -> bool {
        let at = self.0.partition_point(|i| i.1 < end);
        self.0.get(at).is_some_and(|i| i.0 <= first && end <= i.1)
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|i| i.1 - i.0).sum()
    }
}

/// A set of GTIDs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GtidSet {
    sources: BTreeMap<SourceId, Intervals>,
    /// MariaDB: by domain, the server and number of the last one.
    domains: BTreeMap<u32, (u32, u64)>,
}

/// Whether a domain that stands at `mine` has nothing that one at `theirs` lacks: further back, or at the very same GTID.
/// The same number from another server is another history.
fn is_covered(mine: (u32, u64), theirs: Option<&(u32, u64)>) -> bool {
    theirs.is_some_and(|&(server, number)| mine.1 < number || mine == (server, number))
}

impl GtidSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no GTID is in the set.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.domains.is_empty()
    }

    /// How many GTIDs are in the set; of a domain, its last number.
    pub fn len(&self) -> u64 {
        let domains = self.domains.values().map(|(_, number)| *number);
        self.sources.values().map(Intervals::len).chain(domains).fold(0, u64::saturating_add)
    }

    /// Whether the set holds that GTID; of a domain, whether it stands at that number or behind it.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        match gtid {
            Gtid::MySql { source, number } => {
                self.sources.get(source).is_some_and(|i| i.covers(*number, number.saturating_add(1)))
            }
            Gtid::MariaDb(gtid) => self.domains.get(&gtid.domain).is_some_and(|(_, last)| gtid.number <= *last),
        }
    }

    /// Adds one GTID; of a domain, all up to it.
    pub fn insert(&mut self, gtid: &Gtid) {
        match gtid {
            Gtid::MySql { source, number } => match self.sources.get_mut(source) {
                Some(intervals) => intervals.add(*number, number.saturating_add(1)),
                None => self.insert_interval(source.clone(), *number, *number),
            },
            Gtid::MariaDb(gtid) => self.advance(*gtid),
        }
    }

    fn advance(&mut self, gtid: DomainGtid) {
        let last = self.domains.entry(gtid.domain).or_insert((gtid.server_id, gtid.number));
        if last.1 < gtid.number {
            *last = (gtid.server_id, gtid.number);
        }
    }

    /// Adds `source:first-last` (both included). An empty interval adds nothing.
    pub fn insert_interval(&mut self, source: SourceId, first: u64, last: u64) {
        if first <= last {
            self.sources.entry(source).or_default().add(first, last.saturating_add(1));
        }
    }

    /// Adds every GTID of the other set.
    pub fn union_with(&mut self, other: &Self) {
        for (source, intervals) in &other.sources {
            let mine = self.sources.entry(source.clone()).or_default();
            intervals.0.iter().for_each(|&(a, b)| mine.add(a, b));
        }
        other.domains().for_each(|gtid| self.advance(gtid));
    }

    /// What is in this set and not in the other. Of a domain in which this set has more, its last GTID stays: the result
    /// says that something is missing and up to where, not from where on.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        for (source, intervals) in &other.sources {
            if let Some(mine) = rest.sources.get_mut(source) {
                intervals.0.iter().for_each(|&(a, b)| mine.subtract(a, b));
            }
        }
        rest.sources.retain(|_, i| !i.0.is_empty());
        rest.domains.retain(|domain, mine| !is_covered(*mine, other.domains.get(domain)));
        rest
    }

    /// Whether every GTID of this set is in the other.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.domains.iter().all(|(domain, mine)| is_covered(*mine, other.domains.get(domain)))
            && self.sources.iter().all(|(source, mine)| {
                other.sources.get(source).is_some_and(|theirs| mine.0.iter().all(|&(a, b)| theirs.covers(a, b)))
            })
    }

    /// The last GTID of each domain of MariaDB, in order.
    pub fn domains(&self) -> impl Iterator<Item = DomainGtid> {
        self.domains.iter().map(|(&domain, &(server_id, number))| DomainGtid { domain, server_id, number })
    }

    /// The intervals `(source, first, last)` of MySQL, both included, in order.
    pub fn intervals(&self) -> impl Iterator<Item = (&SourceId, u64, u64)> {
        self.sources.iter().flat_map(|(source, i)| i.0.iter().map(move |&(a, b)| (source, a, b - 1)))
    }
}

impl fmt::Display for GtidSet {
    /// As MySQL prints a set, without line breaks: tags of one UUID follow one another behind it. As MariaDB prints a
    /// position.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, gtid) in self.domains().enumerate() {
            write!(f, "{}{gtid}", if n > 0 { "," } else { "" })?;
        }
        let mut previous: Option<Uuid> = None;
        for (source, intervals) in &self.sources {
            if previous != Some(source.uuid) {
                if previous.is_some() || !self.domains.is_empty() {
                    f.write_str(",")?;
                }
                source.uuid.fmt(f)?;
                previous = Some(source.uuid);
            }
            if !source.tag.is_empty() {
                write!(f, ":{}", source.tag)?;
            }
            for &(first, end) in &intervals.0 {
                if first + 1 == end { write!(f, ":{first}")? } else { write!(f, ":{first}-{}", end - 1)? }
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = GtidError;

    fn from_str(text: &str) -> Result<Self, GtidError> {
        let fault = |reason| GtidError { text: text.to_owned(), reason };
        let mut set = Self::new();
        for block in text.split(',').map(str::trim).filter(|b| !b.is_empty()) {
            if let Some(gtid) = DomainGtid::parse(block) {
                set.advance(gtid);
                continue;
            }
            let mut words = block.split(':').map(str::trim);
            let uuid = words.next().unwrap_or_default();
            let uuid = Uuid::parse_str(uuid).map_err(|_| fault("the server UUID is malformed"))?;
            let mut source = SourceId { uuid, tag: String::new() };
            for word in words {
                if word.starts_with(|c: char| c.is_ascii_digit()) {
                    let (first, last) = word.split_once('-').unwrap_or((word, word));
                    let parse = |n: &str| n.trim().parse::<u64>().ok().filter(|&n| n > 0 && n < i64::MAX as u64);
                    let (Some(first), Some(last)) = (parse(first), parse(last)) else {
                        return Err(fault("an interval is malformed"));
                    };
                    set.insert_interval(source.clone(), first, last);
                } else if !word.is_empty()
                    && word.len() <= 32
                    && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                {
                    source.tag = word.to_ascii_lowercase();
                } else {
                    return Err(fault("a tag is malformed"));
                }
            }
        }
        Ok(set)
    }
}

impl serde::Serialize for GtidSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for GtidSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn sets_print_as_the_server_prints_them() {
        for text in ["", &format!("{A}:1-5:7"), &format!("{A}:1-3:blue:1-9:11")] {
            assert_eq!(text.parse::<GtidSet>().unwrap().to_string(), *text);
        }
        let messy = format!("{A}:7:1-5,\n{A}:6");
        assert_eq!(messy.parse::<GtidSet>().unwrap().to_string(), format!("{A}:1-7"));
    }

    #[test]
    fn malformed_sets_are_refused() {
        for text in ["x", "1:1", &format!("{A}:0"), &format!("{A}:1-x"), &format!("{A}:t-g:1")] {
            assert!(text.parse::<GtidSet>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mariadb_position_is_the_last_gtid_of_each_domain() {
        let set: GtidSet = "1-2-50,0-1-100,0-3-99".parse().unwrap();
        assert_eq!(set.to_string(), "0-1-100,1-2-50");
        assert!(set.contains(&Gtid::mariadb(0, 7, 100)) && !set.contains(&Gtid::mariadb(0, 1, 101)));
        assert!(!set.contains(&Gtid::mariadb(2, 1, 1)));
        assert_eq!("0-1-100".parse::<Gtid>().unwrap(), Gtid::mariadb(0, 1, 100));
        for text in ["0-1", "0-1-2-3", "0-1-", "-1-2-3", "0-1-99999999999999999999", "0-4294967296-1"] {
            assert!(text.parse::<GtidSet>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_domain_ahead_or_of_another_history_is_not_covered() {
        let of = |text: &str| text.parse::<GtidSet>().unwrap();
        assert!(of("0-1-99").is_subset(&of("0-2-100")) && of("0-1-99").minus(&of("0-2-100")).is_empty());
        assert!(!of("0-1-100").is_subset(&of("0-2-100")));
        assert_eq!(of("0-1-100,1-1-5").minus(&of("0-2-100,1-1-5")), of("0-1-100"));
        assert_eq!(of("0-1-101").minus(&of("0-1-100")).to_string(), "0-1-101");
        assert!(!of("2-1-1").is_subset(&of("0-1-100")));
        let mut union = of("0-1-5,1-1-9");
        union.union_with(&of("0-2-7,1-2-3"));
        assert_eq!(union.to_string(), "0-2-7,1-1-9");
    }

    fn set_of(numbers: &BTreeSet<u64>) -> GtidSet {
        let mut set = GtidSet::new();
        numbers.iter().rev().for_each(|&n| set.insert(&Gtid::new(Uuid::nil(), n)));
        set
    }

    proptest! {
        #[test]
        fn the_algebra_is_that_of_sets(a in prop::collection::btree_set(1u64..60, 0..40), b in prop::collection::btree_set(1u64..60, 0..40)) {
            let (x, y) = (set_of(&a), set_of(&b));
            prop_assert_eq!(x.minus(&y), set_of(&a.difference(&b).copied().collect()));
            prop_assert_eq!(x.is_subset(&y), a.is_subset(&b));
            let mut union = x.clone();
            union.union_with(&y);
            prop_assert_eq!(&union, &set_of(&a.union(&b).copied().collect()));
            prop_assert_eq!(union.len(), a.union(&b).count() as u64);
            prop_assert_eq!(x.to_string().parse::<GtidSet>().unwrap(), x);
        }
    }
}
