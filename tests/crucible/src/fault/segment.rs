//! A Kafka log segment on disk: record batches one behind the other, as the broker wrote them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Bytes of a batch in front of its length's count: base offset and length.
const FRONT: usize = 12;
/// Where the last offset's distance from the first stands.
const LAST_DELTA: usize = 23;
/// The least that a batch has.
const LEAST: usize = 61;

/// One batch: where it lies, and the offsets in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    begin: usize,
    end: usize,
    last: i64,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The topic of a task's log: of several, an older one having been given up, the one that was written last.
pub(super) fn log_of(data: &Path, owner: &str) -> Result<String> {
    let mut found = None;
    for entry in std::fs::read_dir(data).with_context(|| format!("read {}", data.display()))? {
        let name = entry.context("read a broker's folder")?.file_name().to_string_lossy().into_owned();
        let Some(topic) = name.strip_suffix("-0").filter(|t| is_log_of(t, owner)) else { continue };
        let Ok(segment) = newest(&data.join(&name)) else { continue };
        let written = std::fs::metadata(&segment).and_then(|m| m.modified()).context("look at a segment")?;
        found = found.max(Some((written, topic.to_owned())));
    }
    found.map(|(_, topic)| topic).with_context(|| format!("{owner} has no log in {}", data.display()))
}

/// `OWNER.log`, or `OWNER.<id>.log` where it was made anew.
fn is_log_of(topic: &str, owner: &str) -> bool {
    let rest = topic.strip_prefix(owner).and_then(|rest| rest.strip_suffix(".log"));
    rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with('.') && !rest.trim_start_matches('.').contains('.')))
}

/// The whole batches of a segment.
pub(super) fn batches(bytes: &[u8]) -> Vec<Batch> {
    let (mut found, mut begin) = (Vec::new(), 0);
    while let Some(batch) = batch_at(bytes, begin) {
        begin = batch.end;
        found.push(batch);
    }
    found
}

fn batch_at(bytes: &[u8], begin: usize) -> Option<Batch> {
    let base = i64::from_be_bytes(number(bytes, begin)?);
    let length = usize::try_from(i32::from_be_bytes(number(bytes, begin + 8)?)).ok()?;
    let delta = i32::from_be_bytes(number(bytes, begin + LAST_DELTA)?);
    let end = begin + FRONT + length;
    (FRONT + length >= LEAST && end <= bytes.len()).then_some(Batch { begin, end, last: base + i64::from(delta) })
}

/// The segment without its last `n` batches; the first one stays.
pub(super) fn without_tail(bytes: &[u8], n: usize) -> &[u8] {
    let all = batches(bytes);
    let kept = all.len().saturating_sub(n).max(1);
    all.get(kept - 1).and_then(|batch| bytes.get(..batch.end)).unwrap_or(bytes)
}

/// The segment with copies of its batches from the `back`-th last on, at most `n`, behind its end, under new offsets: what
/// a writer sends that was away for a while. (The checksum of a batch does not cover its offset.)
pub(super) fn with_repeats(bytes: &[u8], back: usize, n: usize) -> Vec<u8> {
    let all = batches(bytes);
    let Some(mut next) = all.last().map(|batch| batch.last + 1) else { return bytes.to_vec() };
    let mut longer = all.last().and_then(|batch| bytes.get(..batch.end)).unwrap_or(bytes).to_vec();
    for batch in all.iter().skip(all.len().saturating_sub(back)).take(n) {
        let Some(copy) = bytes.get(batch.begin..batch.end) else { continue };
        let from = longer.len();
        longer.extend_from_slice(copy);
        if let (Some(place), Some(delta)) = (longer.get_mut(from..from + 8), number(copy, LAST_DELTA)) {
            place.copy_from_slice(&next.to_be_bytes());
            next += 1 + i64::from(i32::from_be_bytes(delta));
        }
    }
    longer
}

/// The segment that is written now, of the topic in this folder.
pub(super) fn newest(topic: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(topic).with_context(|| format!("read {}", topic.display()))?;
    let logs = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "log"));
    logs.max().with_context(|| format!("{} has no segment", topic.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of `records` records, with nothing in it but what is looked at.
    fn batch(base: i64, records: i32, filling: u8) -> Vec<u8> {
        let mut bytes = base.to_be_bytes().to_vec();
        let body = 70 + usize::from(filling);
        bytes.extend(i32::try_from(body).unwrap_or(0).to_be_bytes());
        bytes.resize(FRONT + body, filling);
        bytes[LAST_DELTA..LAST_DELTA + 4].copy_from_slice(&(records - 1).to_be_bytes());
        bytes
    }

    fn segment() -> Vec<u8> {
        [batch(0, 2, 1), batch(2, 1, 2), batch(3, 4, 3)].concat()
    }

    #[test]
    fn a_log_that_was_made_anew_is_still_its_tasks() {
        assert!(is_log_of("s-x.log", "s-x") && is_log_of("s-x.1a2b3c4d.log", "s-x"));
        assert!(!is_log_of("s-x.schemas", "s-x") && !is_log_of("s-xy.log", "s-x"));
    }

    #[test]
    fn batches_lie_behind_one_another_and_half_of_one_is_none() {
        let bytes = segment();
        assert_eq!(batches(&bytes).iter().map(|b| b.last).collect::<Vec<_>>(), [1, 2, 6]);
        assert_eq!(batches(&bytes[..bytes.len() - 1]).len(), 2);
        assert!(batches(&[]).is_empty() && batches(&[0; 200]).is_empty());
    }

    #[test]
    fn a_tail_is_cut_off_at_batches_and_never_all() {
        let bytes = segment();
        assert_eq!(batches(without_tail(&bytes, 2)).len(), 1);
        assert_eq!(batches(without_tail(&bytes, 9)).len(), 1);
        assert_eq!(without_tail(&[], 1), [0_u8; 0]);
    }

    #[test]
    fn repeats_get_the_next_offsets_and_keep_their_bytes() {
        let longer = with_repeats(&segment(), 2, 1);
        let all = batches(&longer);
        assert_eq!(all.iter().map(|b| b.last).collect::<Vec<_>>(), [1, 2, 6, 7]);
        let bytes = |n: usize| &longer[all[n].begin + 8..all[n].end];
        assert_eq!(bytes(3), bytes(1));
    }
}
