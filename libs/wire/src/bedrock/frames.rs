//! The frames of `application/vnd.amazon.eventstream`, taken out of bytes as they come.

use aws_smithy_eventstream::frame::read_message_from;
use aws_smithy_types::event_stream::Message;
use bytes::{Bytes, BytesMut};

/// Two lengths and a checksum before, a checksum behind.
const LEAST: usize = 16;

/// How much is kept of an answer that is no event stream.
const STRAY: usize = 4096;

/// Is what stands in a frame, or in its place.
#[derive(Debug)]
pub(super) enum Frame {
    /// A message whose checksums are right.
    Message(Message),
    /// A frame that cannot be read; the next one may be good.
    Malformed,
}

/// Cuts bytes into frames, holding back at most one frame and what was last pushed.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: BytesMut,
    limit: usize,
    started: bool,
    ended: bool,
    stray: Option<Vec<u8>>,
}

impl Frames {
    pub(super) fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit, started: false, ended: false, stray: None }
    }

    pub(super) fn push(&mut self, bytes: &Bytes) {
        if let Some(stray) = &mut self.stray {
            stray.extend(bytes.iter().take(STRAY.saturating_sub(stray.len())));
            return;
        }
        if self.ended {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        if !self.started {
            // A length that begins like this would be over 150 MB: blanks, then a JSON object or a web page instead of frames.
            let blank = self.buffer.iter().take_while(|b| b.is_ascii_whitespace()).count();
            let _ = self.buffer.split_to(blank);
            if self.buffer.first().is_some_and(|b| b"{[<".contains(b)) {
                let text = std::mem::take(&mut self.buffer);
                self.stray = Some(text[..text.len().min(STRAY)].to_vec());
            }
        }
    }

    /// Gives the next frame, or `None` until more bytes come.
    ///
    /// # Errors
    ///
    /// The bytes cannot be frames, or hold one over the limit; nothing good can follow.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, String> {
        let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length < LEAST || length > self.limit {
            self.buffer = BytesMut::new();
            self.ended = true;
            return Err(format!("a frame of {length} bytes, where {LEAST} to {} are taken", self.limit));
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        self.started = true;
        let frame = self.buffer.split_to(length).freeze();
        Ok(Some(read_message_from(frame).map_or(Frame::Malformed, Frame::Message)))
    }

    /// Returns the beginning of what came instead of frames.
    pub(super) fn stray(&self) -> &[u8] {
        self.stray.as_deref().unwrap_or_default()
    }
}
