//! Answers of Google's dialect.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signalbox_wire::Dialect;

fuzz_target!(|data: &[u8]| signalbox_fuzz::wire::answer(Dialect::Gemini, data));
