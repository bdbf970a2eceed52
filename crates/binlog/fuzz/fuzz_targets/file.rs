//! A whole file. Seed it with `tests/fixtures/*.binlog`.
#![no_main]

#[path = "../walk.rs"]
mod walk;

libfuzzer_sys::fuzz_target!(|file: &[u8]| {
    if let Ok(events) = lutra_binlog::file::events(file) {
        let mut walk = walk::Walk::new(lutra_binlog::Decoder::new());
        for event in events.flatten() {
            walk.event(event.bytes);
        }
    }
});
