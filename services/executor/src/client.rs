//! Connections to providers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt as _, service_fn};

use crate::config::{Config, ms};

/// Makes connections to providers. Tests and simulations bring their own.
#[derive(Clone, Debug)]
pub struct Connector(BoxCloneSyncService<Uri, Io, BoxError>);

impl Connector {
    /// Wraps anything that turns a URI into a connection.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Uri, Response = Io, Error = BoxError> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self(BoxCloneSyncService::new(service))
    }

    /// Connects over TCP without delay (Nagle), with TLS where the URI says `https`, by the system's root certificates.
    ///
    /// Without any root certificates only `http` works, and a warning says so.
    #[must_use]
    pub fn system(connect: Duration) -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        http.set_connect_timeout(Some(connect));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = HttpsConnectorBuilder::new().with_provider_and_native_roots(Arc::clone(&provider));
        let https = match roots {
            Ok(builder) => builder.https_or_http().enable_all_versions().wrap_connector(http),
            Err(error) => {
                tracing::warn!(%error, "no root certificates: providers over https cannot be verified; install ca-certificates");
                let tls = rustls::ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map(|builder| {
                        builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
                    });
                match tls {
                    Ok(tls) => HttpsConnectorBuilder::new()
                        .with_tls_config(tls)
                        .https_or_http()
                        .enable_all_versions()
                        .wrap_connector(http),
                    Err(error) => return Self::refusing(error.to_string()),
                }
            }
        };
        Self::new(https.map_response(Io::new))
    }

    /// Fails always, with these words.
    fn refusing(words: String) -> Self {
        Self::new(service_fn(move |_: Uri| {
            let words = words.clone();
            async move { Err(BoxError::from(words)) }
        }))
    }

    /// Bounds the whole of connecting, TLS included.
    fn within(self, limit: Duration) -> Self {
        let inner = self.0;
        Self::new(service_fn(move |uri: Uri| {
            let inner = inner.clone();
            async move {
                match tokio::time::timeout(limit, inner.oneshot(uri)).await {
                    Ok(done) => done,
                    Err(_) => {
                        let words = format!("none within {} ms", limit.as_millis());
                        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, words).into())
                    }
                }
            }
        }))
    }
}

trait Stream: Read + Write + Connection + Send + Unpin {}
impl<T: Read + Write + Connection + Send + Unpin> Stream for T {}

/// Is a connection of whatever kind.
pub struct Io(Box<dyn Stream>);

impl Io {
    /// Wraps a connection that knows what was negotiated on it.
    pub fn new(stream: impl Read + Write + Connection + Send + Unpin + 'static) -> Self {
        Self(Box::new(stream))
    }

    /// Wraps any pair of reading and writing, as an HTTP/1.1 connection.
    pub fn plain(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self::new(Plain(TokioIo::new(stream)))
    }
}

impl std::fmt::Debug for Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Io(…)")
    }
}

impl Connection for Io {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

/// Is a stream of which nothing is known.
struct Plain<T>(TokioIo<T>);

impl<T> Connection for Plain<T> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl<T: AsyncRead + Unpin> Read for Plain<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> Write for Plain<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Read for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_read(cx, buf)
    }
}

impl Write for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.get_mut().0).poll_write_vectored(cx, bufs)
    }
}

/// Sends requests over pooled connections, HTTP/2 where TLS negotiates it, else HTTP/1.1.
#[derive(Clone, Debug)]
pub(crate) struct Client(legacy::Client<Connector, Full<Bytes>>);

impl Client {
    pub(crate) fn new(connector: Connector, config: &Config) -> Self {
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_max_idle_per_host(config.pool.idle_per_host)
            .pool_idle_timeout(ms(config.pool.idle_ms))
            .http1_max_buf_size(config.bounds.header_bytes)
            .http2_max_header_list_size(u32::try_from(config.bounds.header_bytes).unwrap_or(u32::MAX))
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(Some(Duration::from_secs(20)))
            .build(connector.within(ms(config.limits.connect_ms)));
        Self(client)
    }

    /// Sends a request and waits for the answer's headers. Dropping the future, or the answer's body, ends the exchange.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, legacy::Error> {
        self.0.request(request).await
    }
}

impl Service<Uri> for Connector {
    type Response = Io;
    type Error = BoxError;
    type Future = <BoxCloneSyncService<Uri, Io, BoxError> as Service<Uri>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.0.call(uri)
    }
}
