//! Readings of a text: every stretch of every reading leads back to a stretch of the text.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| signalbox_guard::fuzzing::normaliser(data));
