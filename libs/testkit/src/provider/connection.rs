//! One accepted socket, and how it can be lost on purpose.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

const OPEN: u8 = 0;
const CUT: u8 = 1;
const RESET: u8 = 2;

/// What a request's handler may do to the connection it came on.
#[derive(Debug, Default)]
pub(super) struct Wire {
    fate: AtomicU8,
    /// Whether the last write waits for the peer to read.
    blocked: AtomicBool,
    driver: AtomicWaker,
}

impl Wire {
    /// Closes the connection as soon as everything said so far is written.
    pub(super) fn cut(&self) {
        self.end_as(CUT);
    }

    /// Resets the connection (TCP RST) at once.
    pub(super) fn reset(&self) {
        self.end_as(RESET);
    }

    fn end_as(&self, fate: u8) {
        self.fate.store(fate, Ordering::Release);
        self.driver.wake();
    }

    /// Runs `connection` to its end, or to the one decided for it.
    pub(super) async fn drive(&self, connection: impl Future) {
        let mut connection = pin!(connection);
        std::future::poll_fn(|cx| {
            self.driver.register(cx.waker());
            loop {
                let before = self.fate.load(Ordering::Acquire);
                if before == RESET || connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                match (before, self.fate.load(Ordering::Acquire)) {
                    (OPEN, OPEN) => return Poll::Pending,
                    // Everything was queued before the cut was asked for, so this poll wrote it all, unless the
                    // peer does not read.
                    (CUT, CUT) if self.blocked.load(Ordering::Acquire) => return Poll::Pending,
                    (CUT, CUT) => return Poll::Ready(()),
                    // Decided during the poll: one more, to write what is queued.
                    _ => {}
                }
            }
        })
        .await;
    }
}

/// The socket of a connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    wire: Arc<Wire>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, wire: Arc<Wire>) -> Self {
        Self { stream, wire }
    }

    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        self.wire.blocked.store(written.is_pending(), Ordering::Release);
        written
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.wire.fate.load(Ordering::Acquire) == RESET {
            // Where it fails, the peer sees an ordinary close instead.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, data);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, data);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
