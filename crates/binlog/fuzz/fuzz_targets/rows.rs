//! Rows of the recorded tables: a byte chooses the table map, the rest is the body of an insert behind the table id.
#![no_main]

use std::sync::OnceLock;

#[path = "../walk.rs"]
mod walk;

const FILE: &[u8] = include_bytes!("../../tests/fixtures/types.1.binlog");

/// The bodies of the table maps.
fn maps() -> &'static [Vec<u8>] {
    static MAPS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    MAPS.get_or_init(|| {
        let events = lutra_binlog::file::events(FILE).into_iter().flatten().flatten();
        let maps = events.filter(|e| e.bytes.get(4) == Some(&19));
        maps.filter_map(|e| e.bytes.get(19..e.bytes.len() - 4)).map(<[u8]>::to_vec).collect()
    })
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&choice, rows)) = input.split_first() else { return };
    let map = &maps()[usize::from(choice) % maps().len()];
    let mut walk = walk::Walk::new(walk::decoder_without_checksums());
    walk.event(&walk::event(19, map));
    let mut body = map[..6].to_vec();
    body.extend_from_slice(&[0, 0, 2, 0]);
    body.extend_from_slice(rows);
    walk.event(&walk::event(30, &body));
});
