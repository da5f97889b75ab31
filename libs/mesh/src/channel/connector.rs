//! How a connection to a peer is made; injectable, so that a simulation can run the mesh on its own sockets.

use std::{future::Future, io, pin::Pin, sync::Arc};

use http::Uri;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A connection of any kind.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

/// Makes connections.
#[derive(Clone)]
pub struct Connector {
    make: Arc<dyn Fn(Uri) -> Connecting + Send + Sync>,
    scheme: &'static str,
}

impl Connector {
    /// Connects over TCP, with `TCP_NODELAY`. The host is resolved anew for every connection.
    #[must_use]
    pub fn tcp() -> Self {
        Self::new(async |peer: Uri| {
            let host = peer.host().unwrap_or_default();
            // An IPv6 address stands in brackets in a URI, but not in a socket address.
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let stream = TcpStream::connect((host, peer.port_u16().unwrap_or(80))).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }

    /// Connects as `connect` does; it gets the peer's address as `http://host:port/`.
    pub fn new<C, F, T>(connect: C) -> Self
    where
        C: Fn(Uri) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
        T: Io,
    {
        Self::of("http", connect)
    }

    /// Connects as `connect` does, which speaks TLS; addresses are `https://host:port/`.
    pub(crate) fn tls<C, F, T>(connect: C) -> Self
    where
        C: Fn(Uri) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
        T: Io,
    {
        Self::of("https", connect)
    }

    fn of<C, F, T>(scheme: &'static str, connect: C) -> Self
    where
        C: Fn(Uri) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
        T: Io,
    {
        let make = move |peer| -> Connecting {
            let connecting = connect(peer);
            Box::pin(async move { connecting.await.map(|io| Box::new(io) as Box<dyn Io>) })
        };
        Self { make: Arc::new(make), scheme }
    }

    /// The scheme of the addresses that it connects to.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// Whatever the network says.
    pub async fn connect(&self, peer: Uri) -> io::Result<Box<dyn Io>> {
        (self.make)(peer).await
    }
}
