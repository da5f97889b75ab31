//! Answers of Bedrock's Converse: bytes as they are, and lines of the input in frames whose checksums are right.
//!
//! A framed line is the event's name, a space, and its payload.
#![no_main]

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use libfuzzer_sys::fuzz_target;
use signalbox_wire::Dialect;

fn frame(line: &[u8]) -> Option<Vec<u8>> {
    let line = std::str::from_utf8(line).ok()?;
    let (name, payload) = line.split_once(' ')?;
    let (kind, name) = match name.strip_prefix('!') {
        Some(exception) => (":exception-type", exception),
        None => (":event-type", name),
    };
    let what = if kind == ":event-type" { "event" } else { "exception" };
    let message = Message::new(payload.as_bytes().to_vec())
        .add_header(Header::new(":message-type", HeaderValue::String(what.into())))
        .add_header(Header::new(kind, HeaderValue::String(name.to_owned().into())));
    let mut out = Vec::new();
    write_message_to(&message, &mut out).ok()?;
    Some(out)
}

fuzz_target!(|data: &[u8]| {
    signalbox_fuzz::wire::answer(Dialect::Bedrock, data);
    let framed: Vec<u8> = data.split(|byte| *byte == b'\n').filter_map(frame).flatten().collect();
    signalbox_fuzz::wire::answer(Dialect::Bedrock, &framed);
});
