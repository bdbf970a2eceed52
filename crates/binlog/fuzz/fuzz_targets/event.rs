//! Events without checksums, one behind the other: a byte of type, two of length, and the body.
#![no_main]

#[path = "../walk.rs"]
mod walk;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut walk = walk::Walk::new(walk::decoder_without_checksums());
    let mut rest = input;
    while let Some((&[kind, low, high], tail)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(tail.len());
        let (body, tail) = tail.split_at(length);
        walk.event(&walk::event(kind, body));
        rest = tail;
    }
});
