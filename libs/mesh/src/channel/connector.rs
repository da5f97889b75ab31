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
pub struct Connector(Arc<dyn Fn(Uri) -> Connecting + Send + Sync>);

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
        Self(Arc::new(move |peer| {
            let connecting = connect(peer);
            Box::pin(async move { connecting.await.map(|io| Box::new(io) as Box<dyn Io>) })
        }))
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// Whatever the network says.
    pub async fn connect(&self, peer: Uri) -> io::Result<Box<dyn Io>> {
        (self.0)(peer).await
    }
}
