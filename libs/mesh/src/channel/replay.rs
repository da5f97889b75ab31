//! A request that can be given to another peer as long as the first one is known not to have taken it.
//!
//! A peer that ends says up to which stream it has read (GOAWAY), and one that cannot take a stream refuses it. What it has not read was not
//! processed, and may be sent again (RFC 9113, sections 6.8 and 8.7); gRPC calls that a transparent retry. It is not rare: what is on
//! its way when a peer begins to drain crosses its GOAWAY. Until the answer begins, what was sent is therefore kept.

use std::{
    error::Error as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::Status;

use super::outbound::Outgoing;
use crate::error;

/// What is kept of one request, in bytes: prompts of usual length. What is longer is sent once.
const KEPT_MOST: usize = 1 << 20;

/// A request before its answer.
pub(crate) struct Replay {
    method: Method,
    headers: HeaderMap,
    body: Arc<Mutex<Kept>>,
}

/// The body, and what was said of it so far.
struct Kept {
    body: Outgoing,
    said: Vec<Bytes>,
    bytes: usize,
    /// How much of what was said the latest attempt has read.
    read: usize,
    /// Whether it can be said again from its beginning.
    is_whole: bool,
    is_over: bool,
    /// The latest attempt; an earlier one may still be held by its connection.
    attempt: u32,
    /// When the latest attempt began, or the caller last said something, its end included.
    last_word: Instant,
}

impl Replay {
    pub(crate) fn new(request: Request<Outgoing>) -> Self {
        let (parts, body) = request.into_parts();
        let kept = Kept {
            body,
            said: Vec::new(),
            bytes: 0,
            read: 0,
            is_whole: true,
            is_over: false,
            attempt: 0,
            last_word: Instant::now(),
        };
        Self { method: parts.method, headers: parts.headers, body: Arc::new(Mutex::new(kept)) }
    }

    /// The request from its beginning; earlier ones are over. Nothing when what was said is not there any more.
    pub(crate) fn attempt(&self, uri: Uri) -> Option<Request<Attempt>> {
        let mut kept = self.body.lock();
        if !kept.is_whole {
            return None;
        }
        kept.attempt += 1;
        kept.read = 0;
        kept.last_word = Instant::now();
        let mut request = Request::new(Attempt { kept: Arc::clone(&self.body), number: kept.attempt });
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().clone_from(&self.headers);
        Some(request)
    }

    /// How long the peer has owed an answer: while the caller still speaks (a fill, to its end), it does not.
    pub(crate) fn silence(&self) -> Duration {
        self.body.lock().last_word.elapsed()
    }

    /// There is an answer: nothing is kept any more.
    pub(crate) fn answered(self) {
        let mut kept = self.body.lock();
        kept.is_whole = false;
        kept.forget();
    }
}

/// Whether a peer says that it has not processed a request.
pub(crate) fn is_unprocessed(failed: &hyper::Error) -> bool {
    let mut cause = failed.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            // A stream that fails by the peer's GOAWAY lies behind the last one that it read.
            return error.is_remote() && (error.is_go_away() || refused);
        }
        cause = error.source();
    }
    false
}

/// One attempt's body.
pub(crate) struct Attempt {
    kept: Arc<Mutex<Kept>>,
    number: u32,
}

impl HttpBody for Attempt {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut kept = self.kept.lock();
        if kept.attempt != self.number {
            return Poll::Ready(Some(Err(error::cancelled("it is sent to another peer"))));
        }
        if let Some(said) = kept.said.get(kept.read).cloned() {
            kept.last_word = Instant::now();
            kept.read += 1;
            kept.forget();
            return Poll::Ready(Some(Ok(Frame::data(said))));
        }
        if kept.is_over {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut kept.body).poll_frame(cx);
        if polled.is_ready() {
            kept.last_word = Instant::now();
        }
        match &polled {
            Poll::Ready(Some(Ok(frame))) => kept.keep(frame),
            Poll::Ready(_) => kept.is_over = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.kept.lock();
        kept.read >= kept.said.len() && (kept.is_over || kept.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let kept = self.kept.lock();
        if kept.said.is_empty() { kept.body.size_hint() } else { SizeHint::default() }
    }
}

impl Kept {
    /// Keeps what is said, as long as it is not too much and there is no answer.
    fn keep(&mut self, frame: &Frame<Bytes>) {
        match frame.data_ref() {
            Some(data) if self.is_whole && self.bytes + data.len() <= KEPT_MOST => {
                self.bytes += data.len();
                self.said.push(data.clone());
                self.read += 1;
            }
            _ => {
                self.is_whole = false;
                self.forget();
            }
        }
    }

    /// Lets go of what nobody will read again.
    fn forget(&mut self) {
        if !self.is_whole && self.read >= self.said.len() {
            self.said = Vec::new();
            self.read = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use tonic::body::Body;

    use super::*;

    fn replay(pieces: &[usize]) -> Replay {
        let pieces: Vec<_> =
            pieces.iter().map(|n| Ok::<_, Status>(Frame::data(vec![7; *n].into()))).collect();
        let body = Body::new(StreamBody::new(futures_util::stream::iter(pieces)));
        Replay::new(Request::new(Outgoing::unheard(body)))
    }

    fn attempt(replay: &Replay) -> Option<Attempt> {
        replay.attempt(Uri::from_static("http://guard:1/")).map(Request::into_body)
    }

    async fn next(attempt: &mut Attempt) -> Option<usize> {
        attempt.frame().await.map(|frame| frame.unwrap().into_data().unwrap().len())
    }

    #[tokio::test]
    async fn every_attempt_says_everything_and_an_earlier_one_nothing_more() {
        let replay = replay(&[1, 2, 3]);
        let mut first = attempt(&replay).unwrap();
        assert_eq!((next(&mut first).await, next(&mut first).await), (Some(1), Some(2)));
        let mut second = attempt(&replay).unwrap();
        assert!(first.frame().await.unwrap().is_err(), "it takes nothing from the second");
        for expected in [Some(1), Some(2), Some(3), None] {
            assert_eq!(next(&mut second).await, expected);
        }
        assert!(second.is_end_stream());
        let mut third = attempt(&replay).unwrap();
        for expected in [Some(1), Some(2), Some(3), None] {
            assert_eq!(next(&mut third).await, expected);
        }
    }

    #[tokio::test]
    async fn nothing_is_kept_once_there_is_an_answer() {
        let replay = replay(&[1, 2]);
        let mut first = attempt(&replay).unwrap();
        next(&mut first).await;
        let kept = Arc::clone(&replay.body);
        replay.answered();
        assert!(kept.lock().said.is_empty());
        assert_eq!((next(&mut first).await, next(&mut first).await), (Some(2), None));
        assert!(kept.lock().said.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_owed_while_the_caller_speaks() {
        let replay = replay(&[1, 2]);
        let mut first = attempt(&replay).unwrap();
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(5)).await;
            next(&mut first).await;
            assert_eq!(replay.silence(), Duration::ZERO);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(replay.silence(), Duration::from_secs(1), "since its end");
    }

    #[tokio::test]
    async fn what_is_too_long_is_sent_once() {
        let replay = replay(&[KEPT_MOST, 1, 5]);
        let mut first = attempt(&replay).unwrap();
        next(&mut first).await;
        assert!(attempt(&replay).is_some(), "as much as may be kept");
        let mut second = attempt(&replay).unwrap();
        assert_eq!((next(&mut second).await, next(&mut second).await), (Some(KEPT_MOST), Some(1)));
        assert!(attempt(&replay).is_none());
        assert_eq!((next(&mut second).await, next(&mut second).await), (Some(5), None));
    }
}
