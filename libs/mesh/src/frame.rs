//! Message lengths, read from gRPC's framing before anything is decoded or kept.
//!
//! tonic's own limit answers `OUT_OF_RANGE` with a text to be guessed at; this one gives the status we promise, in
//! both directions and in every kind of stream.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use signalbox_proto::codec::handed_over;
use tonic::{Status, codegen::StdError};

use crate::error;

/// One byte of compression flag, four of length.
const PREFIX: usize = 5;

/// Follows the framing of one stream.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: usize,
    prefix: [u8; PREFIX],
    have: usize,
    body: usize,
    /// What follows the last frame that was let through.
    refused: Option<Status>,
}

impl Meter {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, prefix: [0; PREFIX], have: 0, body: 0, refused: None }
    }

    /// Lets a frame through, cut before the first message that is too large: what came before it still counts.
    ///
    /// # Errors
    /// `MESSAGE_TOO_LARGE` when nothing is left of it. When something is, [`Meter::refused`] has the error.
    pub(crate) fn pass(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Status> {
        let Some(data) = frame.data_ref() else { return Ok(frame) };
        match self.read(data) {
            Ok(()) => Ok(frame),
            Err((0, status)) => Err(status),
            Err((at, status)) => {
                self.refused = Some(status);
                Ok(Frame::data(data.slice(..at)))
            }
        }
    }

    /// The error that ends the stream, once the frame before it is through.
    pub(crate) fn refused(&mut self) -> Option<Status> {
        self.refused.take()
    }

    /// Reads on; as soon as a prefix announces too much, says where in `data` its message begins.
    fn read(&mut self, data: &[u8]) -> Result<(), (usize, Status)> {
        let mut at = 0;
        while at < data.len() {
            let rest = &data[at..];
            if self.body > 0 {
                let skipped = self.body.min(rest.len());
                self.body -= skipped;
                at += skipped;
                continue;
            }
            let taken = (PREFIX - self.have).min(rest.len());
            self.prefix[self.have..self.have + taken].copy_from_slice(&rest[..taken]);
            self.have += taken;
            if self.have == PREFIX {
                let [_, a, b, c, d] = self.prefix;
                let length = u32::from_be_bytes([a, b, c, d]);
                self.body = usize::try_from(length).unwrap_or(usize::MAX);
                self.have = 0;
                if self.body > self.limit {
                    // A prefix that began in an earlier frame has let its first bytes through; they decode to nothing.
                    let begin = (at + taken).saturating_sub(PREFIX);
                    return Err((begin, error::too_large(u64::from(length), self.limit)));
                }
            }
            at += taken;
        }
        Ok(())
    }
}

/// A request body whose messages are measured before the server decodes them.
pub(crate) struct Metered<B> {
    body: Option<B>,
    meter: Option<Meter>,
    /// Messages up to this size do not become bytes.
    handed_over: usize,
}

impl<B> Metered<B> {
    /// Wraps a body; without a limit it passes through (what is not gRPC has no such framing). `in_process`: its messages are
    /// decoded in this process.
    pub(crate) fn new(body: B, limit: Option<usize>, in_process: bool) -> Self {
        let handed_over = limit.filter(|_| in_process).unwrap_or(0);
        Self { body: Some(body), meter: limit.map(Meter::new), handed_over }
    }
}

impl<B> Body for Metered<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Some(status) = this.meter.as_mut().and_then(Meter::refused) {
            this.body = None;
            return Poll::Ready(Some(Err(status)));
        }
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        match handed_over(this.handed_over, || Pin::new(body).poll_frame(cx)) {
            Poll::Ready(Some(Ok(frame))) => {
                let passed = match &mut this.meter {
                    Some(meter) => meter.pass(frame),
                    None => Ok(frame),
                };
                if passed.is_err() {
                    this.body = None;
                }
                Poll::Ready(Some(passed))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Status::from_error(error.into())))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use signalbox_proto::common::v1::ErrorReason;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.extend(vec![7; length]);
        bytes
    }

    proptest! {
        #[test]
        fn finds_the_first_message_over_the_limit_at_any_chunking(
            lengths in proptest::collection::vec(0usize..40, 0..8),
            limit in 0usize..40,
            chunk in 1usize..23,
        ) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
            let mut meter = Meter::new(limit);
            let mut passed = Vec::new();
            let refused = bytes.chunks(chunk).find_map(|chunk| {
                let frame = Frame::data(Bytes::copy_from_slice(chunk));
                match meter.pass(frame) {
                    Ok(frame) => passed.extend_from_slice(&frame.into_data().unwrap()),
                    Err(status) => return Some(status),
                }
                meter.refused()
            });
            let allowed = lengths.iter().take_while(|length| **length <= limit);
            let whole: usize = allowed.map(|length| PREFIX + length).sum();
            prop_assert_eq!(refused.is_some(), lengths.iter().any(|length| *length > limit));
            prop_assert!(passed.len() >= whole && passed.len() < whole + PREFIX, "all before it, none of it");
            if let Some(status) = refused {
                prop_assert_eq!(error::reason_of(&status), Some(ErrorReason::MessageTooLarge));
            }
        }
    }
}
