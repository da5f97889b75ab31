//! Connections to providers.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt as _, service_fn};

use crate::config::{Config, Tls, ms};
use crate::driver::{Background, Slot};
use crate::error::Error;

/// Makes connections to providers. Tests and simulations bring their own.
#[derive(Clone, Debug)]
pub struct Connector {
    inner: BoxCloneSyncService<Uri, Io, BoxError>,
    /// Whoever is asked through a proxy in plain text must say the proxy's password with each request.
    proxies: Option<Arc<Matcher>>,
}

impl Connector {
    /// Wraps anything that turns a URI into a connection.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Uri, Response = Io, Error = BoxError> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self { inner: BoxCloneSyncService::new(service), proxies: None }
    }

    /// Connects over TCP without delay (Nagle), both address families side by side (RFC 8305), through the proxy that the
    /// environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`; never to this machine itself), with TLS where
    /// the URI says `https`, by the system's root certificates and `ca_file`'s.
    ///
    /// Without any root certificates only `http` works, and a warning says so.
    ///
    /// # Errors
    ///
    /// The file cannot be read or holds no certificate.
    pub fn system(connect: Duration, tls: &Tls) -> Result<Self, Error> {
        Ok(Self::through(Arc::new(Matcher::from_env()), connect, trusted(tls)?))
    }

    fn through(proxies: Arc<Matcher>, connect: Duration, tls: rustls::ClientConfig) -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        http.set_connect_timeout(Some(connect));
        let ways = Arc::clone(&proxies);
        let plain = Self::new(service_fn(move |uri: Uri| {
            let (http, proxy) = (http.clone(), ways.intercept(&uri).filter(|_| !is_loopback(&uri)));
            async move {
                let Some(proxy) = proxy else { return Ok(Io::new(http.oneshot(uri).await?)) };
                if uri.scheme() == Some(&Scheme::HTTPS) {
                    let mut tunnel = Tunnel::new(proxy.uri().clone(), http);
                    if let Some(auth) = proxy.basic_auth() {
                        tunnel = tunnel.with_auth(auth.clone());
                    }
                    return Ok(Io::new(tunnel.oneshot(uri).await?));
                }
                Ok(Io::new(Proxied(http.oneshot(proxy.uri().clone()).await?)))
            }
        }));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(plain);
        Self { proxies: Some(proxies), ..Self::new(https.map_response(Io::new)) }
    }

    /// Bounds the whole of connecting, TLS included.
    fn within(self, limit: Duration) -> Self {
        let Self { inner, proxies } = self;
        let bounded = Self::new(service_fn(move |uri: Uri| {
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
        }));
        Self { proxies, ..bounded }
    }
}

/// Whether this very machine is meant, which no proxy knows.
fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Builds the TLS configuration.
fn trusted(tls: &Tls) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if let Some(path) = &tls.ca_file {
        let at_fault = |problem: String| {
            Error::Config(format!("executor.tls.ca_file: {}: {problem}; give a PEM file", path.display()))
        };
        let mut read = 0;
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| at_fault(e.to_string()))? {
            let certificate = certificate.map_err(|e| at_fault(e.to_string()))?;
            roots.add(certificate).map_err(|e| at_fault(e.to_string()))?;
            read += 1;
        }
        if read == 0 {
            return Err(at_fault("holds no certificate".to_owned()));
        }
    }
    if roots.is_empty() {
        tracing::warn!(
            "no root certificates: providers over https cannot be verified; install ca-certificates"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Config(format!("TLS: {e}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Is a connection to a proxy that is told whole URIs.
struct Proxied<T>(T);

impl<T: Connection> Connection for Proxied<T> {
    fn connected(&self) -> Connected {
        self.0.connected().proxy(true)
    }
}

impl<T: Read + Unpin> Read for Proxied<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for Proxied<T> {
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

trait Stream: Read + Write + Connection + Send + Unpin {}
impl<T: Read + Write + Connection + Send + Unpin> Stream for T {}

/// Is a connection of whatever kind.
pub struct Io {
    stream: Box<dyn Stream>,
    slot: Slot,
}

impl Io {
    /// Wraps a connection that knows what was negotiated on it.
    pub fn new(stream: impl Read + Write + Connection + Send + Unpin + 'static) -> Self {
        Self { stream: Box::new(stream), slot: Slot::default() }
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
        self.stream.connected().extra(self.slot.clone())
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
        self.slot.note();
        Pin::new(&mut *self.get_mut().stream).poll_read(cx, buf)
    }
}

impl Write for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.get_mut().stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.get_mut().stream).poll_write_vectored(cx, bufs)
    }
}

/// Sends requests over pooled connections, HTTP/2 where TLS negotiates it, else HTTP/1.1.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    client: legacy::Client<Connector, Full<Bytes>>,
    proxies: Option<Arc<Matcher>>,
}

impl Client {
    pub(crate) fn new(connector: Connector, config: &Config) -> Self {
        let proxies = connector.proxies.clone();
        let client = legacy::Client::builder(Background)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_max_idle_per_host(config.pool.idle_per_host)
            .pool_idle_timeout(ms(config.pool.idle_ms))
            .http1_max_buf_size(config.bounds.header_bytes)
            .http2_max_header_list_size(u32::try_from(config.bounds.header_bytes).unwrap_or(u32::MAX))
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(Some(Duration::from_secs(20)))
            .build(connector.within(ms(config.limits.connect_ms)));
        Self { client, proxies }
    }

    /// Sends a request and waits for the answer's headers. Dropping the future, or the answer's body, ends the exchange.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, legacy::Error> {
        // Over TLS the tunnel's opening says it instead.
        if request.uri().scheme() == Some(&Scheme::HTTP)
            && !is_loopback(request.uri())
            && let Some(proxy) = self.proxies.as_ref().and_then(|proxies| proxies.intercept(request.uri()))
            && let Some(password) = proxy.basic_auth()
        {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, password.clone());
        }
        self.client.request(request).await
    }
}

impl Service<Uri> for Connector {
    type Response = Io;
    type Error = BoxError;
    type Future = <BoxCloneSyncService<Uri, Io, BoxError> as Service<Uri>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.inner.call(uri)
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioExecutor;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Sends a request through a proxy, and returns what the proxy was told.
    async fn proxied(target: &str) -> String {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://me:secret@{}", proxy.local_addr().unwrap());
        let matcher = Matcher::builder().all(address).build();
        let tls = trusted(&Tls::default()).unwrap();
        let connector = Connector::through(Arc::new(matcher), Duration::from_secs(5), tls);
        let client = Client::new(connector, &Config::default());
        let request = Request::post(target).body(Full::new(Bytes::new())).unwrap();
        let told = async {
            let (mut stream, _) = proxy.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                assert!(stream.read_buf(&mut head).await.unwrap() > 0);
            }
            stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8(head).unwrap()
        };
        let (_, told) = tokio::join!(client.send(request), told);
        told
    }

    #[tokio::test]
    async fn a_proxy_gets_whole_uris_and_tunnels_for_tls() {
        let plain = proxied("http://models.test/v1/chat/completions").await;
        assert!(plain.starts_with("POST http://models.test/v1/chat/completions HTTP/1.1\r\n"), "{plain}");
        assert!(plain.to_lowercase().contains("proxy-authorization: basic bwu6c2vjcmv0"), "{plain}");
        let tunnel = proxied("https://models.test/v1").await;
        assert!(tunnel.starts_with("CONNECT models.test:443 HTTP/1.1\r\n"), "{tunnel}");
        assert!(tunnel.to_lowercase().contains("proxy-authorization: basic bwu6c2vjcmv0"), "{tunnel}");
    }

    #[test]
    fn this_machine_is_not_asked_for_through_a_proxy() {
        let loopback = |uri: &str| is_loopback(&uri.parse().unwrap());
        assert!(
            loopback("http://127.0.0.1:8080/v1") && loopback("http://[::1]/") && loopback("http://localhost")
        );
        assert!(!loopback("http://10.0.0.1/") && !loopback("https://api.example.com"));
    }

    /// Asks a server over TLS, whose certificate is of an authority of its own; returns what became of it.
    async fn over_tls(trust: bool, alpn: &'static [u8]) -> Result<http::Version, String> {
        use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
        let (authority, of_authority) = (rcgen::KeyPair::generate().unwrap(), {
            let mut of = rcgen::CertificateParams::new(vec![]).unwrap();
            of.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            of
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), of_authority.self_signed(&authority).unwrap().pem()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::new(of_authority, authority);
        let certificate = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = certificate.signed_by(&key, &issuer).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider);
        let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut server = server.with_single_cert(vec![certificate], key).unwrap();
        server.alpn_protocols = vec![alpn.to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let answer = hyper::service::service_fn(async |_request: Request<Incoming>| {
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
        });
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ended = server.serve_connection(TokioIo::new(stream), answer).await;
                }
            }
        });
        let tls = Tls { ca_file: trust.then(|| file.path().to_owned()) };
        let matcher = Arc::new(Matcher::builder().build());
        let connector = Connector::through(matcher, Duration::from_secs(5), trusted(&tls).unwrap());
        let client = Client::new(connector, &Config::default());
        let asked = client.send(Request::get(address).body(Full::default()).unwrap()).await;
        serving.abort();
        asked.map(|response| response.version()).map_err(|error| format!("{error:?}"))
    }

    #[tokio::test]
    async fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
        assert_eq!(over_tls(true, b"http/1.1").await, Ok(http::Version::HTTP_11));
        assert_eq!(over_tls(true, b"h2").await, Ok(http::Version::HTTP_2), "where TLS negotiates it");
        let error = over_tls(false, b"http/1.1").await.unwrap_err();
        assert!(error.contains("UnknownIssuer"), "{error}");
    }

    #[test]
    fn a_ca_file_that_cannot_be_used_is_named() {
        let error = |path: &str| {
            let tls = Tls { ca_file: Some(path.into()) };
            trusted(&tls).unwrap_err().to_string()
        };
        assert!(error("/nonexistent.pem").starts_with("executor.tls.ca_file: /nonexistent.pem: "));
        let empty = tempfile::NamedTempFile::new().unwrap();
        let path = empty.path().to_str().unwrap();
        assert!(error(path).ends_with("holds no certificate; give a PEM file"));
    }
}
