#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lutra_fuzz::binlog::event(input));
