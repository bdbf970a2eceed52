//! The kept corpus, run as it is, cut, and with flipped bits: no panic, no memory beyond the bound.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use lutra_fuzz::TARGETS;

/// What the process may have taken at most, whatever the inputs claim: they are a few KiB each.
const MEMORY_LIMIT_KIB: u64 = 512 << 10;
/// Cuts and flips of each input.
const DAMAGED: usize = 48;

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below.max(1)
    }
}

/// The most memory that the process has had, where the system says.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok())
}

#[test]
fn every_target_has_a_corpus_and_ends_well_on_it() {
    for &(name, target) in TARGETS {
        let files = corpus(name);
        assert!(!files.is_empty(), "{name} has no corpus");
        for path in files {
            let input = std::fs::read(&path).unwrap();
            target(&input);
            let mut numbers = Numbers(input.len() as u64);
            for round in 0..DAMAGED {
                let mut damaged = input.clone();
                if round % 3 == 0 {
                    damaged.truncate(numbers.next(input.len()));
                } else if !damaged.is_empty() {
                    let at = numbers.next(damaged.len());
                    damaged[at] ^= 1 << numbers.next(8);
                }
                target(&damaged);
            }
        }
    }
    if let Some(peak) = peak_kib() {
        assert!(peak < MEMORY_LIMIT_KIB, "{peak} KiB");
    }
}
