//! Puts a script on the wire.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::connection::Wire;
use super::record::{Exchange, Outcome};
use super::script::{Mark, Script, Step};

/// A response's body. Each frame is a write of its own: after one, the body lets the connection flush before it
/// gives the next. Dropped before its end, it records that the caller went away.
#[derive(Debug)]
pub(super) struct Reply {
    script: Script,
    wire: Arc<Wire>,
    /// `None` for what is not recorded.
    exchange: Option<Exchange>,
    /// How the request counts where the script runs to its end; `None` leaves it to the script.
    end: Option<Outcome>,
    /// Announced bytes, where known.
    length: Option<u64>,
    /// Bytes per write, and bytes that wait for their write to fill.
    split: Option<usize>,
    held: BytesMut,
    /// A step that waits for `held` to go out first.
    postponed: Option<Step>,
    pause: Option<Pin<Box<Sleep>>>,
    flush: bool,
    /// Nothing more will come, and no end either.
    mute: bool,
}

impl Reply {
    pub(super) fn new(script: Script, wire: Arc<Wire>, exchange: Option<Exchange>) -> Self {
        Self {
            script,
            wire,
            exchange,
            end: None,
            length: None,
            split: None,
            held: BytesMut::new(),
            postponed: None,
            pause: None,
            flush: false,
            mute: false,
        }
    }

    /// Announces the length of the body, where it is known.
    pub(super) fn of_length(self, length: Option<u64>) -> Self {
        Self { length, ..self }
    }

    /// Writes this many bytes at a time.
    pub(super) fn split(self, bytes: Option<usize>) -> Self {
        Self { split: bytes, ..self }
    }

    /// Records this end instead of the script's own.
    pub(super) fn ending(self, outcome: Outcome) -> Self {
        Self { end: Some(outcome), ..self }
    }

    fn mark(&mut self, mark: Mark) {
        let Some(exchange) = &mut self.exchange else { return };
        match mark {
            Mark::Nothing => {}
            Mark::Content(tokens) => exchange.delivered(tokens),
            Mark::Usage(usage) => exchange.reported(usage),
            Mark::Whole(tokens, usage) => {
                exchange.reported(usage);
                exchange.delivered(tokens);
            }
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.end(outcome);
        }
    }

    fn finish_naturally(&mut self) {
        self.finish(self.end.unwrap_or_else(|| self.script.natural_end()));
    }

    fn nothing_left(&self) -> bool {
        self.script.is_done() && self.held.is_empty() && self.postponed.is_none() && !self.mute
    }

    fn emit(&mut self, bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.nothing_left() {
            self.finish_naturally();
        } else {
            self.flush = true;
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    /// Takes the full write that `held` has, or all of it where `rest`.
    fn held(&mut self, rest: bool) -> Option<Bytes> {
        match self.split {
            Some(size) if self.held.len() >= size => Some(self.held.split_to(size).freeze()),
            _ if rest && !self.held.is_empty() => Some(self.held.split().freeze()),
            _ => None,
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if std::mem::take(&mut this.flush) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if this.mute {
                return Poll::Pending;
            }
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(cx));
                this.pause = None;
            }
            if let Some(full) = this.held(false) {
                return this.emit(full);
            }
            let step = this.postponed.take().or_else(|| this.script.step());
            match step {
                Some(Step::Send(bytes, mark)) => {
                    this.mark(mark);
                    if this.split.is_none() {
                        return this.emit(bytes);
                    }
                    this.held.extend_from_slice(&bytes);
                }
                other if !this.held.is_empty() => {
                    this.postponed = other;
                    if let Some(rest) = this.held(true) {
                        return this.emit(rest);
                    }
                }
                Some(Step::Pause(time)) => this.pause = Some(Box::pin(sleep(time))),
                Some(Step::Stall) => this.mute = true,
                Some(Step::Cut) => {
                    this.mute = true;
                    this.finish(Outcome::Cut);
                    this.wire.cut();
                }
                None => {
                    this.finish_naturally();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.nothing_left()
    }

    /// Asked for once, before the first frame.
    fn size_hint(&self) -> SizeHint {
        self.length.map(SizeHint::with_exact).unwrap_or_default()
    }
}
