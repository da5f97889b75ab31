//! Requests, in every dialect that is taken in.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| signalbox_fuzz::wire::request(data));
