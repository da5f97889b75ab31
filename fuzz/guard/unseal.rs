//! Bytes that nobody sealed open nothing, and contents of any bytes are read without harm.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| signalbox_guard::fuzzing::unseal(data));
