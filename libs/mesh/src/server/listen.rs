//! Connections: accepted up to a limit, each in a task of its own, all of them waited for at the end.

use std::{io, pin::pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::server::Connected;

use super::{
    Inbound,
    patient::{Opening, Patient},
};
use crate::{
    ServerConfig,
    tls::{Acceptor, Stranger},
};

/// The pause after a failed accept: out of file descriptors is not over in a microsecond.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is buffered of one HTTP/1 connection: the bound on a request's headers together, too.
const HTTP1_BUFFER: usize = 128 << 10;

/// The connections of one server.
pub(crate) struct Connections {
    each: Each,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// What each connection is served with.
#[derive(Clone)]
struct Each {
    builder: Arc<Builder<TokioExecutor>>,
    tls: Option<Acceptor>,
    inbound: Inbound,
    draining: CancellationToken,
    cut: CancellationToken,
    header_timeout: Duration,
    write_stall: Duration,
}

impl Connections {
    pub(crate) fn new(
        config: &ServerConfig,
        http1: bool,
        tls: Option<Acceptor>,
        inbound: Inbound,
        draining: CancellationToken,
    ) -> Self {
        let each = Each {
            builder: Arc::new(builder(config, http1)),
            tls,
            inbound,
            draining,
            cut: CancellationToken::new(),
            header_timeout: Duration::from_millis(config.header_timeout_ms),
            write_stall: Duration::from_millis(config.write_stall_ms),
        };
        let room = Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
        Self { each, room, tasks: TaskTracker::new() }
    }

    /// Accepts until `shutdown` is cancelled, or there is nothing more to accept. The listener is closed on return.
    pub(crate) async fn accept<I, IO>(&self, incoming: I, shutdown: &CancellationToken)
    where
        I: Stream<Item = io::Result<IO>>,
        IO: AsyncRead + AsyncWrite + Connected + Send + Unpin + 'static,
    {
        let mut incoming = pin!(incoming);
        loop {
            let next = async {
                let place = Arc::clone(&self.room).acquire_owned().await;
                (place, incoming.next().await)
            };
            let (place, io) = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                next = next => next,
            };
            match io {
                Some(Ok(io)) => {
                    let each = self.each.clone();
                    self.tasks.spawn(async move {
                        each.serve(io).await;
                        drop(place);
                    });
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                None => return shutdown.cancelled().await,
            }
        }
    }

    /// Waits until open calls are done; cuts them at `calls_end`.
    pub(crate) async fn finish(&self, calls_end: Instant, end: Instant) {
        self.tasks.close();
        if tokio::time::timeout_at(calls_end, self.tasks.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(connections = self.tasks.len(), "open calls are cut: the drain took too long");
        self.each.cut.cancel();
        let _given_up = tokio::time::timeout_at(end, self.tasks.wait()).await;
    }
}

impl Each {
    async fn serve<IO>(self, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Connected + Send + Unpin + 'static,
    {
        let info = io.connect_info();
        let Some(acceptor) = &self.tls else { return self.run(io, info, None).await };
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(self.header_timeout, acceptor.accept(io)) => shaken,
            () = self.draining.cancelled() => return,
        };
        match shaken {
            // Boxed, so that connections in plain text are no larger for it.
            Ok(Ok((io, stranger))) => Box::pin(self.run(io, info, stranger)).await,
            Ok(Err(error)) => tracing::debug!(%error, "a connection could not be secured"),
            Err(_) => tracing::debug!("a connection was not secured in time"),
        }
    }

    async fn run<IO, I>(&self, io: IO, info: I, stranger: Option<Stranger>)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        I: Clone + Send + Sync + 'static,
    {
        let (opening, inbound) = (Opening::default(), self.inbound.clone());
        let service = service_fn(move |mut request| {
            request.extensions_mut().insert(info.clone());
            if let Some(stranger) = &stranger {
                request.extensions_mut().insert(stranger.clone());
            }
            inbound.serve(request)
        });
        let io = TokioIo::new(Patient::new(io, opening.clone(), self.write_stall));
        let mut connection = pin!(self.builder.serve_connection(io, service));
        let mut opened = pin!(tokio::time::sleep(self.header_timeout));
        let (mut told, mut asked) = (false, false);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error, "a connection broke");
                    }
                    return;
                }
                () = self.draining.cancelled(), if !told => {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = opened.as_mut(), if !asked => {
                    asked = true;
                    if !opening.is_over() {
                        tracing::debug!("a connection said nothing, and is closed");
                        return;
                    }
                }
                () = self.cut.cancelled() => return,
            }
        }
    }
}

fn builder(config: &ServerConfig, http1: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // A timer bounds how long a client may take to send headers, and how long a connection is kept for the next request.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(config.header_timeout_ms))
        .max_buf_size(HTTP1_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(config.stream_window_bytes)
        .initial_connection_window_size(config.connection_window_bytes)
        .max_concurrent_streams(config.max_concurrent_streams)
        .keep_alive_interval(Duration::from_millis(config.keepalive_interval_ms))
        .keep_alive_timeout(Duration::from_millis(config.keepalive_timeout_ms));
    if http1 { builder } else { builder.http2_only() }
}
