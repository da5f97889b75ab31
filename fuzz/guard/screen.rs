//! G1: what leaves of an answer, and its verdict, are the same however it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| signalbox_guard::fuzzing::screen(data));
