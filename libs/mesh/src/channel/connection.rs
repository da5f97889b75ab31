//! One HTTP/2 connection to a peer: made when it is first needed, and again whenever it was lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Uri, uri::PathAndQuery};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{connector::Connector, replay::Attempt};
use crate::{ClientConfig, error};

pub(crate) type Sender = SendRequest<Attempt>;

enum State {
    Idle,
    Ready(Sender),
    /// Refused lately: left alone until then.
    Resting {
        /// Absent: it did not even refuse, and whoever tries waits long.
        refused: Option<Instant>,
        until: Instant,
        why: Arc<str>,
    },
}

/// Why there is no connection, and when to try again.
#[derive(Debug, Clone)]
pub(crate) struct Unreachable {
    pub(crate) why: Arc<str>,
    pub(crate) retry: Duration,
    /// Found out by this very call.
    pub(crate) is_new: bool,
    /// When a connection was refused, if it was.
    pub(crate) refused: Option<Instant>,
}

impl Unreachable {
    /// A connection that ended before it took the call.
    pub(crate) fn closed() -> Self {
        Self::soon("the connection was closed")
    }

    /// Nobody is there to connect to.
    pub(crate) fn unknown() -> Self {
        Self::soon("no replica of it is known")
    }

    fn soon(why: &str) -> Self {
        Self { why: why.into(), retry: error::RETRY_SOON, is_new: false, refused: None }
    }
}

/// One connection.
pub(crate) struct Connection {
    peer: Uri,
    connector: Connector,
    builder: Builder<TokioExecutor>,
    connect_timeout: Duration,
    rest: Duration,
    state: Mutex<State>,
    /// Held by the one call that connects; the others wait for what it finds.
    connecting: tokio::sync::Mutex<()>,
    load: AtomicUsize,
}

impl Connection {
    pub(crate) fn new(peer: Uri, connector: Connector, config: &ClientConfig) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(config.stream_window_bytes)
            .initial_connection_window_size(config.connection_window_bytes)
            .keep_alive_interval(Duration::from_millis(config.keepalive_interval_ms))
            .keep_alive_timeout(Duration::from_millis(config.keepalive_timeout_ms))
            .keep_alive_while_idle(true);
        Self {
            peer,
            connector,
            builder,
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            rest: Duration::from_millis(config.reconnect_ms),
            state: Mutex::new(State::Idle),
            connecting: tokio::sync::Mutex::new(()),
            load: AtomicUsize::new(0),
        }
    }

    /// The address of a method at this peer.
    pub(crate) fn uri(&self, path: Option<PathAndQuery>) -> Uri {
        let mut parts = self.peer.clone().into_parts();
        parts.path_and_query = path;
        // The parts come from URIs, so that they fit.
        Uri::from_parts(parts).unwrap_or_else(|_| self.peer.clone())
    }

    /// Open calls; the most there is while the peer is left alone.
    pub(crate) fn weight(&self, now: Instant) -> usize {
        match &*self.state.lock() {
            State::Resting { until, .. } if now < *until => usize::MAX,
            _ => self.load.load(Ordering::Relaxed),
        }
    }

    /// Whether a call that began then may try all the same: it was refused before, if at all.
    pub(crate) fn may_be_back(&self, begun: Instant) -> bool {
        match &*self.state.lock() {
            State::Resting { refused, .. } => refused.is_some_and(|refused| refused < begun),
            State::Idle | State::Ready(_) => true,
        }
    }

    /// Lets a call try that [may](Self::may_be_back).
    pub(crate) fn forgive(&self) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Resting { refused: Some(_), .. }) {
            *state = State::Idle;
        }
    }

    /// Whether a call can be sent at once.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(&*self.state.lock(), State::Ready(sender) if !sender.is_closed())
    }

    /// Whether a call is just making it, and others would wait for that.
    pub(crate) fn is_connecting(&self) -> bool {
        self.connecting.try_lock().is_err()
    }

    /// Open calls.
    pub(crate) fn open(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Counts a call until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Load {
        self.load.fetch_add(1, Ordering::Relaxed);
        Load(Arc::clone(self))
    }

    /// Gets a way to send, connecting if need be. Cancel safe: the next caller goes on.
    pub(crate) async fn sender(&self) -> Result<Sender, Unreachable> {
        if let Some(sender) = self.current()? {
            return Ok(sender);
        }
        let _alone = self.connecting.lock().await;
        if let Some(sender) = self.current()? {
            return Ok(sender);
        }
        match tokio::time::timeout(self.connect_timeout, self.connect()).await {
            Ok(Ok(sender)) => {
                *self.state.lock() = State::Ready(sender.clone());
                Ok(sender)
            }
            Ok(Err(why)) => Err(self.rests(&why, Some(Instant::now()))),
            Err(_) => Err(self.rests("no connection in time", None)),
        }
    }

    fn current(&self) -> Result<Option<Sender>, Unreachable> {
        let mut state = self.state.lock();
        match &*state {
            State::Ready(sender) if !sender.is_closed() => return Ok(Some(sender.clone())),
            State::Resting { until, why, refused } => {
                let now = Instant::now();
                if now < *until {
                    let (why, retry) = (Arc::clone(why), *until - now);
                    return Err(Unreachable { why, retry, is_new: false, refused: *refused });
                }
            }
            State::Ready(_) | State::Idle => {}
        }
        *state = State::Idle;
        Ok(None)
    }

    async fn connect(&self) -> Result<Sender, String> {
        let io = self.connector.connect(self.peer.clone()).await.map_err(|error| error.to_string())?;
        let handshake = self.builder.handshake(TokioIo::new(io)).await;
        let (sender, connection) = handshake.map_err(|error| error.to_string())?;
        // Ends by itself when the last sender and the last stream are gone.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a peer broke");
            }
        });
        Ok(sender)
    }

    fn rests(&self, why: &str, refused: Option<Instant>) -> Unreachable {
        let why: Arc<str> =
            format!("{}: {why}", self.peer.authority().map_or("", |peer| peer.as_str())).into();
        tracing::debug!(%why, "no connection to a peer");
        let until = Instant::now() + self.rest;
        *self.state.lock() = State::Resting { refused, until, why: Arc::clone(&why) };
        Unreachable { why, retry: self.rest, is_new: true, refused }
    }
}

/// An open call on a connection, until it is dropped.
pub(crate) struct Load(Arc<Connection>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}
