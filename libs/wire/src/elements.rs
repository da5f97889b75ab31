//! The objects of a JSON list, read incrementally: how some doors stream that do not speak in server-sent events.

use bytes::{Bytes, BytesMut};

use crate::sse::TooLarge;

/// Turns bytes, cut anywhere, into the objects of a list, or objects that just follow each other.
///
/// Holds at most one object, bounded; after an error it gives nothing more.
#[derive(Debug)]
pub(crate) struct Elements {
    buffer: BytesMut,
    /// How much of `buffer` was looked at.
    scanned: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
    limit: usize,
    ended: bool,
}

impl Elements {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scanned: 0,
            depth: 0,
            in_text: false,
            escaped: false,
            limit,
            ended: false,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if !self.ended {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Gives the next object, or what stands in the place of one; `None` until more bytes come.
    pub(crate) fn next_element(&mut self) -> Result<Option<Bytes>, TooLarge> {
        while let Some(byte) = self.buffer.get(self.scanned).copied() {
            if self.depth == 0 {
                if matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b'[' | b']' | 0xEF | 0xBB | 0xBF) {
                    if self.scanned > 0 {
                        // Something that is no object ends here.
                        return Ok(Some(self.take(self.scanned)));
                    }
                    let _ = self.buffer.split_to(1);
                    continue;
                }
                if byte == b'{' && self.scanned > 0 {
                    return Ok(Some(self.take(self.scanned)));
                }
            }
            self.scanned += 1;
            if self.scanned > self.limit {
                self.ended = true;
                self.buffer = BytesMut::new();
                self.scanned = 0;
                return Err(TooLarge { what: "event", limit: self.limit });
            }
            if self.inside(byte) {
                return Ok(Some(self.take(self.scanned)));
            }
        }
        Ok(None)
    }

    /// Says that no more bytes come, and gives an object that was not closed.
    pub(crate) fn end(&mut self) -> Result<Option<Bytes>, TooLarge> {
        if let Some(element) = self.next_element()? {
            return Ok(Some(element));
        }
        Ok((!self.buffer.is_empty()).then(|| self.take(self.buffer.len())))
    }

    /// Looks at a byte; says whether it closes the object.
    fn inside(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_text => self.escaped = true,
            b'"' if self.depth > 0 => self.in_text = !self.in_text,
            _ if self.in_text => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth > 0 => {
                self.depth -= 1;
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }

    fn take(&mut self, end: usize) -> Bytes {
        self.scanned = 0;
        (self.depth, self.in_text, self.escaped) = (0, false, false);
        self.buffer.split_to(end).freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(input: &[u8], size: usize, limit: usize) -> (Vec<Bytes>, Option<TooLarge>) {
        let mut elements = Elements::new(limit);
        let mut out = Vec::new();
        for piece in input.chunks(size.max(1)) {
            elements.push(piece);
            loop {
                match elements.next_element() {
                    Ok(Some(element)) => out.push(element),
                    Ok(None) => break,
                    Err(error) => return (out, Some(error)),
                }
            }
        }
        loop {
            match elements.end() {
                Ok(Some(element)) => out.push(element),
                Ok(None) => return (out, None),
                Err(error) => return (out, Some(error)),
            }
        }
    }

    #[test]
    fn objects_are_taken_out_of_a_list_whatever_they_hold() {
        let input = br#"[{"a":"}]\"{"}
,
{"b":[{}]}]"#;
        assert_eq!(
            read(input, 1000, 100),
            (vec![(&br#"{"a":"}]\"{"}"#[..]).into(), (&br#"{"b":[{}]}"#[..]).into()], None)
        );
        assert_eq!(read(b"{\"a\":1} x {\"b\"", 1000, 100).0, [&b"{\"a\":1}"[..], b"x", b"{\"b\""]);
        assert_eq!(read(&[b'['; 9000], 1000, 100), (vec![], None), "brackets alone hold nothing");
        assert!(read(br#"[{"a":"0123456789"}]"#, 1000, 8).1.is_some());
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same(input in "[\\[\\]{}\", \\\\a\n]{0,60}", size in 1usize..9, limit in 2usize..20) {
            prop_assert_eq!(read(input.as_bytes(), size, limit), read(input.as_bytes(), usize::MAX, limit));
        }
    }
}
