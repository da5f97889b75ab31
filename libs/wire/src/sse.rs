//! Server-sent events, read incrementally.
//!
//! Follows the WHATWG specification (<https://html.spec.whatwg.org/multipage/server-sent-events.html>): lines end with
//! LF, CRLF or CR, a byte-order mark at the start is skipped, comments are ignored, several `data` lines are joined with
//! LF. It differs at the end of the stream, where providers forget the last blank line: [`Parser::end`] gives what is there.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// How much of a line that belongs to no field is kept, to explain what a provider sent instead of events.
const STRAY: usize = 512;

/// Is one event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The event's type. Empty: `message`.
    pub name: Bytes,
    /// Its data, lines joined with LF. Usually a view into the bytes that came, without a copy.
    pub data: Bytes,
    /// The event's id, if this event set one.
    pub id: Option<Bytes>,
}

/// Says that a line or an event is larger than the parser's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {what} of the event stream is larger than {limit} bytes")]
pub struct TooLarge {
    /// What was too large: `line` or `event`.
    pub what: &'static str,
    /// The limit in bytes.
    pub limit: usize,
}

/// Turns bytes, cut anywhere, into events.
///
/// Push bytes, then take events until there is none. Holds at most one line and one event, each bounded; after an
/// error it gives nothing more.
#[derive(Debug)]
pub struct Parser {
    /// Bytes not yet parsed. Starts at the beginning of a line.
    buffer: Bytes,
    /// How much of `buffer` holds no line end for certain.
    scanned: usize,
    started: bool,
    /// The line before ended with CR at the end of the bytes; an LF that follows belongs to it.
    after_cr: bool,
    event: Building,
    limit: usize,
    stray: Vec<u8>,
    ended: bool,
}

/// Is the event that the lines so far make up.
#[derive(Debug, Default)]
struct Building {
    name: Bytes,
    id: Option<Bytes>,
    data: Data,
}

/// Is an event's data: one line is a view, more are joined in a buffer.
#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Default for Parser {
    fn default() -> Self {
        Self::new(1 << 20)
    }
}

impl Parser {
    /// Makes a parser that accepts lines and events of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Bytes::new(),
            scanned: 0,
            started: false,
            after_cr: false,
            event: Building::default(),
            limit,
            stray: Vec::new(),
            ended: false,
        }
    }

    /// Takes bytes in. Copies only what is left of an unfinished line.
    pub fn push(&mut self, bytes: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = bytes;
            self.scanned = 0;
        } else if !bytes.is_empty() {
            // An unfinished line is bounded by `limit`, so this copies a bounded amount once per push.
            let held = std::mem::take(&mut self.buffer);
            let mut joined = held.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            joined.extend_from_slice(&bytes);
            self.buffer = joined.freeze();
        }
    }

    /// Gives the next event, or `None` until more bytes come.
    ///
    /// # Errors
    ///
    /// A line or an event exceeds the limit; the parser is then at its end.
    pub fn next_event(&mut self) -> Result<Option<Event>, TooLarge> {
        while let Some(line) = self.next_line()? {
            if line.is_empty() {
                if let Some(event) = self.event.finish() {
                    return Ok(Some(event));
                }
            } else {
                self.field(&line)?;
            }
        }
        Ok(None)
    }

    /// Says that no more bytes come, and gives the event that was not closed by a blank line.
    ///
    /// # Errors
    ///
    /// As [`Parser::next_event`].
    pub fn end(&mut self) -> Result<Option<Event>, TooLarge> {
        if let Some(event) = self.next_event()? {
            return Ok(Some(event));
        }
        let rest = std::mem::take(&mut self.buffer);
        self.scanned = 0;
        if !rest.is_empty() && rest[..] != BOM[..rest.len().min(BOM.len())] {
            self.field(&rest)?;
        }
        Ok(self.event.finish())
    }

    /// Returns the beginning of the first line that was no field and no comment: what came instead of events.
    #[must_use]
    pub fn stray(&self) -> &[u8] {
        &self.stray
    }

    fn next_line(&mut self) -> Result<Option<Bytes>, TooLarge> {
        if self.ended {
            return Ok(None);
        }
        if !self.started && !self.skip_bom() {
            return Ok(None);
        }
        if self.after_cr && !self.buffer.is_empty() {
            self.after_cr = false;
            if self.buffer[0] == b'\n' {
                let _ = self.buffer.split_to(1);
            }
        }
        let Some(found) = memchr2(b'\n', b'\r', &self.buffer[self.scanned..]) else {
            self.scanned = self.buffer.len();
            if self.scanned > self.limit {
                return Err(self.fail("line"));
            }
            return Ok(None);
        };
        let end = self.scanned + found;
        if end > self.limit {
            return Err(self.fail("line"));
        }
        let mut line = self.buffer.split_to(end + 1);
        self.scanned = 0;
        if line[end] == b'\r' {
            if self.buffer.first() == Some(&b'\n') {
                let _ = self.buffer.split_to(1);
            } else {
                self.after_cr = self.buffer.is_empty();
            }
        }
        line.truncate(end);
        Ok(Some(line))
    }

    /// Skips a byte-order mark; `false` while the bytes so far could still become one.
    fn skip_bom(&mut self) -> bool {
        let seen = self.buffer.len().min(BOM.len());
        if self.buffer[..seen] == BOM[..seen] {
            if seen < BOM.len() {
                return false;
            }
            let _ = self.buffer.split_to(BOM.len());
        }
        self.started = true;
        true
    }

    fn field(&mut self, line: &Bytes) -> Result<(), TooLarge> {
        let colon = memchr::memchr(b':', line);
        let name = &line[..colon.unwrap_or(line.len())];
        let value = match colon {
            None => Bytes::new(),
            Some(at) => line.slice(if line.get(at + 1) == Some(&b' ') { at + 2 } else { at + 1 }..),
        };
        match name {
            b"data" => {
                if self.event.append(value) > self.limit {
                    return Err(self.fail("event"));
                }
            }
            b"event" => self.event.name = value,
            b"id" if !value.contains(&0) => self.event.id = Some(value),
            b"" | b"id" | b"retry" => {}
            _ => {
                if self.stray.is_empty() {
                    self.stray.extend_from_slice(&line[..line.len().min(STRAY)]);
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, what: &'static str) -> TooLarge {
        self.ended = true;
        self.buffer = Bytes::new();
        self.scanned = 0;
        self.event = Building::default();
        TooLarge { what, limit: self.limit }
    }
}

impl Building {
    /// Appends a line of data and returns how much there is now.
    fn append(&mut self, line: Bytes) -> usize {
        self.data = match std::mem::take(&mut self.data) {
            Data::None => Data::One(line),
            Data::One(first) => {
                let mut joined = BytesMut::with_capacity(first.len() + 1 + line.len());
                joined.extend_from_slice(&first);
                joined.extend_from_slice(b"\n");
                joined.extend_from_slice(&line);
                Data::Many(joined)
            }
            Data::Many(mut joined) => {
                joined.extend_from_slice(b"\n");
                joined.extend_from_slice(&line);
                Data::Many(joined)
            }
        };
        match &self.data {
            Data::None => 0,
            Data::One(line) => line.len(),
            Data::Many(joined) => joined.len(),
        }
    }

    /// Closes the event. One without data is none.
    fn finish(&mut self) -> Option<Event> {
        let built = std::mem::take(self);
        let data = match built.data {
            Data::None => return None,
            Data::One(line) => line,
            Data::Many(joined) => joined.freeze(),
        };
        Some(Event { name: built.name, data, id: built.id })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parses `input` cut at the given places; events as far as they came, and the error if there was one.
    fn parse(input: &[u8], cuts: &[usize], limit: usize) -> (Vec<Event>, Option<TooLarge>) {
        let mut parser = Parser::new(limit);
        let mut events = Vec::new();
        let mut from = 0;
        let mut ends: Vec<usize> = cuts.iter().map(|c| c % (input.len() + 1)).collect();
        ends.push(input.len());
        ends.sort_unstable();
        for end in ends {
            parser.push(Bytes::copy_from_slice(&input[from..end]));
            from = end;
            loop {
                match parser.next_event() {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(error) => return (events, Some(error)),
                }
            }
        }
        match parser.end() {
            Ok(last) => events.extend(last),
            Err(error) => return (events, Some(error)),
        }
        (events, None)
    }

    fn data(input: &str) -> Vec<String> {
        parse(input.as_bytes(), &[], 1 << 20)
            .0
            .into_iter()
            .map(|e| String::from_utf8(e.data.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn line_ends_comments_and_joined_data() {
        assert_eq!(data("data: a\n\ndata:b\r\n\r\ndata:  c\r\r"), ["a", "b", " c"]);
        assert_eq!(data(": hello\n\n:\ndata: 1\ndata\ndata: 2\n\n"), ["1\n\n2"]);
        assert_eq!(data("\u{feff}data: x\n\n"), ["x"]);
        assert_eq!(data("event: ping\n\ndata: x\n\n"), ["x"], "an event without data is none");
        assert_eq!(data("data: no blank line at the end"), ["no blank line at the end"]);
        assert_eq!(data("data:\n\n"), [""]);
    }

    #[test]
    fn names_and_ids_belong_to_their_event() {
        let (events, _) = parse(b"event: error\nid: 7\ndata: x\n\ndata: y\n\n", &[], 100);
        assert_eq!((&events[0].name[..], events[0].id.as_deref()), (&b"error"[..], Some(&b"7"[..])));
        assert_eq!((&events[1].name[..], events[1].id.as_deref()), (&b""[..], None));
    }

    #[test]
    fn one_line_of_data_is_a_view_into_what_came() {
        let bytes = Bytes::from_static(b"data: abc\n\n");
        let mut parser = Parser::default();
        parser.push(bytes.clone());
        let event = parser.next_event().unwrap().unwrap();
        assert_eq!(event.data.as_ptr(), bytes[6..].as_ptr());
    }

    #[test]
    fn limits_are_errors_and_end_the_parser() {
        let (_, error) = parse(&[b'x'; 200], &[], 100);
        assert_eq!(error, Some(TooLarge { what: "line", limit: 100 }));
        let (_, error) = parse("data: 0123456789\n".repeat(20).as_bytes(), &[], 100);
        assert_eq!(error, Some(TooLarge { what: "event", limit: 100 }));
        let mut parser = Parser::new(4);
        parser.push(Bytes::from_static(b"data: too long\n\n"));
        assert!(parser.next_event().is_err());
        parser.push(Bytes::from_static(b"d:\n\n"));
        assert_eq!(parser.next_event(), Ok(None));
    }

    #[test]
    fn what_is_no_event_is_kept_for_the_error_message() {
        let mut parser = Parser::default();
        parser.push(Bytes::from_static(b"<html>busy</html>\n\n"));
        assert_eq!(parser.next_event(), Ok(None));
        assert_eq!(parser.stray(), b"<html>busy</html>");
    }

    fn input() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(&b"data: "[..]), 2 => Just(&b"data:"[..]), 1 => Just(&b"event: x"[..]), 1 => Just(&b"id: 1"[..]),
            1 => Just(&b": note"[..]), 3 => Just(&b"\n"[..]), 3 => Just(&b"\r"[..]), 3 => Just(&b"\r\n"[..]),
            2 => Just("{\"ü\":1}".as_bytes()), 1 => Just(BOM), 1 => Just(&b"\xEF"[..]), 1 => Just(&b"\0"[..]),
            1 => Just(&b"a somewhat longer piece of text"[..]),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            input in input(), cuts in prop::collection::vec(any::<usize>(), 0..40), limit in 8usize..80,
        ) {
            prop_assert_eq!(parse(&input, &[], 1 << 20), parse(&input, &cuts, 1 << 20));
            prop_assert_eq!(parse(&input, &[], limit), parse(&input, &cuts, limit));
        }
    }
}
