//! A connection whose other side may not keep us waiting for ever: with its first bytes, or with what we write.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// Bytes that tell HTTP/2 from HTTP/1: the length of HTTP/2's preface.
const PREFACE: usize = 24;

/// How much of a connection's beginning came.
#[derive(Clone, Default)]
pub(crate) struct Opening(Arc<AtomicUsize>);

impl Opening {
    /// Whether enough came to be answered; from there on the protocol's own limits in time hold.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= PREFACE
    }

    fn add(&self, bytes: usize) {
        if !self.is_over() {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// The connection; a write that stalls for longer than `stall` ends it.
pub(crate) struct Patient<IO> {
    io: IO,
    opening: Opening,
    stall: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<IO> Patient<IO> {
    pub(crate) fn new(io: IO, opening: Opening, stall: Duration) -> Self {
        Self { io, opening, stall, waiting: None }
    }

    /// Passes on what a write said, unless nothing could be written for too long.
    fn watch<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.stall)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other side reads nothing any more")))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Patient<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, to);
        self.opening.add(to.filled().len() - before);
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Patient<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watch(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch(shut, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.watch(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
