//! Server-sent events: the same however the bytes are cut, and never more held than the limit says.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use signalbox_fuzz::cuts;
use signalbox_wire::sse::{Event, Parser, TooLarge};

fn read(pieces: &[&[u8]], limit: usize) -> (Vec<Event>, Option<TooLarge>) {
    let mut parser = Parser::new(limit);
    let mut events = Vec::new();
    for piece in pieces {
        parser.push(Bytes::copy_from_slice(piece));
        loop {
            match parser.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
    }
    loop {
        match parser.end() {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return (events, None),
            Err(error) => return (events, Some(error)),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    for limit in [16, 1 << 20] {
        let [whole, ways @ ..] = cuts(data).map(|pieces| read(&pieces, limit));
        for way in ways {
            assert_eq!(whole, way);
        }
        assert!(whole.0.iter().all(|event| event.data.len() <= limit && event.name.len() <= limit));
    }
});
