//! Answers whose reader does the connection's work itself.
//!
//! hyper does the work of a connection in a task, which hands a body on piece by piece to the task that reads it: two tasks are
//! woken for each piece, and what one read from the socket brought takes as many turns as it has pieces. A [`Reader`] polls the
//! connection while it waits, so that one task is woken for all that came. The connection's own task does the work before the
//! answer's head and behind its end. Only HTTP/1.1: a connection of HTTP/2 has several readers.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use http::{Response, Version};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::rt::Executor;
use parking_lot::Mutex;

/// How often body and connection are polled in turn for one piece. More happens only when the runtime wants the thread back.
const ROUNDS: usize = 4;

thread_local! {
    /// What is being polled.
    static CURRENT: RefCell<Option<Weak<Driver>>> = const { RefCell::new(None) };
}

/// Runs what a client does in the background, each in a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Background;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Background {
    fn execute(&self, work: F) {
        let work = Mutex::new(Some(Box::pin(work) as BoxFuture<'static, ()>));
        tokio::spawn(Task(Arc::new(Driver { work, task: AtomicWaker::new() })));
    }
}

/// Is work in the background, which its task or a reader polls.
pub(crate) struct Driver {
    /// `None` once it is done.
    work: Mutex<Option<BoxFuture<'static, ()>>>,
    task: AtomicWaker,
}

/// Clears what is being polled, also after a panic.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

impl Driver {
    fn poll(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut work = self.work.lock();
        let Some(future) = &mut *work else { return Poll::Ready(()) };
        CURRENT.set(Some(Arc::downgrade(self)));
        let polled = {
            let _over = Over;
            future.as_mut().poll(cx)
        };
        if polled.is_ready() {
            let done = work.take();
            drop(work);
            drop(done);
            self.task.wake();
        }
        polled
    }
}

struct Task(Arc<Driver>);

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.task.register(cx.waker());
        self.0.poll(cx)
    }
}

/// Is where a connection notes who does its work; it travels with each response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot(Arc<OnceLock<Weak<Driver>>>);

impl Slot {
    /// To be called whenever the connection is read.
    pub(crate) fn note(&self) {
        if self.0.get().is_none()
            && let Some(current) = CURRENT.with_borrow(Clone::clone)
        {
            let _first = self.0.set(current);
        }
    }
}

/// Reads an answer's body.
pub(crate) struct Reader {
    body: Incoming,
    driver: Option<Arc<Driver>>,
    bell: Arc<Bell>,
    /// The bell, as body and connection have it.
    waker: Waker,
}

/// Rings when body or connection ask to be polled.
#[derive(Default)]
struct Bell {
    due: AtomicBool,
    /// They are being polled, so that nobody needs to be woken.
    busy: AtomicBool,
    reader: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.due.store(true, Ordering::SeqCst);
        if !self.busy.load(Ordering::SeqCst) {
            self.reader.wake();
        }
    }
}

impl Reader {
    pub(crate) fn new(response: Response<Incoming>) -> Self {
        let slot = response.extensions().get::<Slot>().filter(|_| response.version() < Version::HTTP_2);
        let driver = slot.and_then(|slot| slot.0.get()?.upgrade());
        // The connection is polled at the first occasion: from then on it wakes the reader.
        let bell = Arc::new(Bell { due: AtomicBool::new(true), ..Bell::default() });
        Self { body: response.into_body(), driver, waker: Waker::from(Arc::clone(&bell)), bell }
    }

    /// Waits for the next frame; `None` at the end. Cancel safe.
    pub(crate) fn frame(&mut self) -> impl Future<Output = Option<Result<Frame<Bytes>, hyper::Error>>> {
        poll_fn(|cx| {
            if self.driver.is_none() {
                return Pin::new(&mut self.body).poll_frame(cx);
            }
            self.bell.reader.register(cx.waker());
            self.poll()
        })
    }

    /// The next frame if it has come already. Whoever waited for the last one is woken for the next.
    pub(crate) fn ready(&mut self) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.driver.is_some() { self.poll() } else { Poll::Pending }
    }

    fn poll(&mut self) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let cx = &mut Context::from_waker(&self.waker);
        self.bell.busy.store(true, Ordering::SeqCst);
        let mut polled = Poll::Pending;
        for _ in 0..ROUNDS {
            polled = Pin::new(&mut self.body).poll_frame(cx);
            if polled.is_ready() || !self.bell.due.swap(false, Ordering::SeqCst) {
                break;
            }
            if let Some(driver) = &self.driver {
                // When it has ended, the body says how.
                let _ended = driver.poll(cx);
            }
        }
        self.bell.busy.store(false, Ordering::SeqCst);
        if polled.is_pending() && self.bell.due.load(Ordering::SeqCst) {
            self.bell.reader.wake();
        }
        polled
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            // The rest is its own work again.
            driver.task.wake();
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("body", &self.body).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::{BodyExt as _, Full};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tower::service_fn;

    use super::*;
    use crate::client::{Client, Connector, Io};
    use crate::config::Config;

    /// A client that gets one connection and waits forever for another, and the connection's far end.
    fn connected() -> (Client, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let only = Arc::new(Mutex::new(Some(ours)));
        let connector = Connector::new(service_fn(move |_| {
            let only = only.lock().take();
            async move {
                match only {
                    Some(only) => Ok(Io::plain(only)),
                    None => std::future::pending().await,
                }
            }
        }));
        (Client::new(connector, &Config::default()), theirs)
    }

    fn request() -> Request<Full<Bytes>> {
        Request::post("http://models.test/").body(Full::default()).unwrap()
    }

    async fn asked(far: &mut DuplexStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(far.read_buf(&mut head).await.unwrap() > 0);
        }
    }

    const HEAD: &[u8] =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n";

    fn text(frame: Option<Result<Frame<Bytes>, hyper::Error>>) -> Bytes {
        frame.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test]
    async fn what_came_at_once_is_read_at_once_and_the_connection_is_used_again() {
        let (client, mut far) = connected();
        let server = async {
            asked(&mut far).await;
            far.write_all(HEAD).await.unwrap();
        };
        let (response, ()) = tokio::join!(client.send(request()), server);
        let mut reader = Reader::new(response.unwrap());
        assert_eq!(text(reader.frame().await), "a");
        for expected in ["b", "c"] {
            let Poll::Ready(frame) = reader.ready() else { panic!("{expected} came with the first") };
            assert_eq!(text(frame), expected);
        }
        assert!(reader.ready().is_pending());
        let server = async {
            tokio::task::yield_now().await;
            far.write_all(b"1\r\nd\r\n").await.unwrap();
        };
        let (frame, ()) = tokio::join!(reader.frame(), server);
        assert_eq!(text(frame), "d");
        far.write_all(b"0\r\n\r\n").await.unwrap();
        assert!(reader.frame().await.is_none());
        drop(reader);

        let server = async {
            asked(&mut far).await;
            far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        };
        let (response, ()) = tokio::join!(client.send(request()), server);
        assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes(), "ok");
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_ends_the_connection() {
        let (client, mut far) = connected();
        let server = async {
            asked(&mut far).await;
            far.write_all(HEAD).await.unwrap();
        };
        let (response, ()) = tokio::join!(client.send(request()), server);
        let mut reader = Reader::new(response.unwrap());
        assert_eq!(text(reader.frame().await), "a");
        drop(reader);
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "closed");
    }
}
