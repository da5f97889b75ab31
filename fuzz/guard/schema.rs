//! A schema and a value, divided by a zero byte: refused or compared; what is JSON is taken for it; what is mended is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| signalbox_guard::fuzzing::schema(data));
