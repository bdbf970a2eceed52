//! Foreign bytes: whatever is cut or flipped in a recorded binlog, decoding ends in a value or an error.
#![allow(clippy::unwrap_used)]

mod common;

use lutra_binlog::DecodeError;
use proptest::prelude::*;

const FILES: [&str; 2] = ["types.1.binlog", "changes.1.binlog"];

fn decode(file: &[u8]) -> Result<usize, DecodeError> {
    let mut events = 0;
    common::walk(file, |_, _| events += 1).map(|()| events)
}

/// The file without the events that are large, and without checksums, so that what is flipped is also looked at: the
/// format description says that there are none, and sizes fit.
fn small(name: &str) -> Vec<u8> {
    let file = common::fixture(name);
    let mut small = file[..4].to_vec();
    for event in lutra_binlog::file::events(&file).unwrap() {
        let bytes = event.unwrap().bytes;
        if bytes.len() > 9_000 {
            continue;
        }
        let mut copy = bytes.to_vec();
        if copy[4] == 15 {
            let algorithm = copy.len() - 5;
            copy[algorithm] = 0;
        } else {
            copy.truncate(bytes.len() - 4);
            let size = copy.len() as u32;
            copy[9..13].copy_from_slice(&size.to_le_bytes());
        }
        small.extend(copy);
    }
    small
}

#[test]
fn the_files_decode_without_their_checksums() {
    for name in FILES {
        let result = decode(&small(name));
        // The second file ends in a table map without full metadata.
        assert!(result.is_ok() || matches!(result, Err(DecodeError::MissingMetadata { .. })), "{result:?}");
    }
}

#[test]
fn every_flipped_byte_of_a_checksummed_event_is_noticed() {
    let file = common::fixture("changes.1.binlog");
    let first_lengths: Vec<_> = lutra_binlog::file::events(&file).unwrap().take(6).map(|e| e.unwrap().offset).collect();
    // Behind the format description, whose own bytes say whether there are checksums.
    for at in first_lengths[1]..first_lengths[5] {
        let mut bad = file.clone();
        bad[at] ^= 0x10;
        assert!(decode(&bad).is_err_and(|e| !matches!(e, DecodeError::Unsupported { .. })), "byte {at}");
    }
}

#[test]
fn every_cut_ends_in_an_error_or_at_an_event() {
    let file = small("changes.1.binlog");
    for cut in 0..file.len() {
        let _ = decode(&file[..cut]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn flipped_bytes_never_panic(file in 0..FILES.len(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        thread_local! {
            static SMALL: Vec<Vec<u8>> = FILES.iter().map(|name| small(name)).collect();
        }
        let mut bytes = SMALL.with(|small| small[file].clone());
        for (index, value) in flips {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        // The iteration over a file ends at the first event that does not fit; each one is decoded on its own too.
        let _ = decode(&bytes);
    }

    /// Bodies are flipped and cut event by event, so that the damage is always reached.
    #[test]
    fn damaged_events_never_panic(file in 0..FILES.len(), which in any::<prop::sample::Index>(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), cut in any::<prop::sample::Index>(), cuts in any::<bool>()) {
        thread_local! {
            static SMALL: Vec<Vec<u8>> = FILES.iter().map(|name| small(name)).collect();
        }
        let whole = SMALL.with(|small| small[file].clone());
        let events: Vec<_> = lutra_binlog::file::events(&whole).unwrap().map(|e| e.unwrap()).collect();
        let which = which.index(events.len());
        // The table map in front of a rows event is decoded as well.
        let mut bytes = whole[..events[0].offset + events[0].bytes.len()].to_vec();
        if which > 1 {
            bytes.extend_from_slice(events[which - 1].bytes);
        }
        let mut event = events[which].bytes.to_vec();
        for (index, value) in flips {
            if event.len() > 19 {
                let at = 19 + index.index(event.len() - 19);
                event[at] = value;
            }
        }
        if cuts {
            event.truncate(19 + cut.index(event.len() - 18));
            let size = event.len() as u32;
            event[9..13].copy_from_slice(&size.to_le_bytes());
        }
        bytes.extend(event);
        let _ = decode(&bytes);
    }
}
