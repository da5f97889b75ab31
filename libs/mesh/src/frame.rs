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
use tonic::{Status, codegen::StdError};

use crate::error;

/// One byte of compression flag, four of length.
const PREFIX: usize = 5;

/// Follows the framing of one stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    limit: usize,
    prefix: [u8; PREFIX],
    have: usize,
    body: usize,
}

impl Meter {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, prefix: [0; PREFIX], have: 0, body: 0 }
    }

    /// Reads on.
    ///
    /// # Errors
    /// `MESSAGE_TOO_LARGE` as soon as a prefix announces more than the limit.
    pub(crate) fn read(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            if self.body > 0 {
                let skipped = self.body.min(data.len());
                self.body -= skipped;
                data = &data[skipped..];
                continue;
            }
            let taken = (PREFIX - self.have).min(data.len());
            self.prefix[self.have..self.have + taken].copy_from_slice(&data[..taken]);
            self.have += taken;
            data = &data[taken..];
            if self.have == PREFIX {
                let [_, a, b, c, d] = self.prefix;
                let length = u32::from_be_bytes([a, b, c, d]);
                self.body = usize::try_from(length).unwrap_or(usize::MAX);
                self.have = 0;
                if self.body > self.limit {
                    return Err(error::too_large(u64::from(length), self.limit));
                }
            }
        }
        Ok(())
    }
}

/// A request body whose messages are measured before the server decodes them.
pub(crate) struct Metered<B> {
    body: Option<B>,
    meter: Option<Meter>,
}

impl<B> Metered<B> {
    /// Wraps a body; without a meter it passes through (what is not gRPC has no such framing).
    pub(crate) fn new(body: B, meter: Option<Meter>) -> Self {
        Self { body: Some(body), meter }
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
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(meter), Some(data)) = (&mut this.meter, frame.data_ref())
                    && let Err(status) = meter.read(data)
                {
                    this.body = None;
                    return Poll::Ready(Some(Err(status)));
                }
                Poll::Ready(Some(Ok(frame)))
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
            let refused = bytes.chunks(chunk).find_map(|chunk| meter.read(chunk).err());
            prop_assert_eq!(refused.is_some(), lengths.iter().any(|length| *length > limit));
            if let Some(status) = refused {
                prop_assert_eq!(error::reason_of(&status), Some(ErrorReason::MessageTooLarge));
            }
        }
    }
}
