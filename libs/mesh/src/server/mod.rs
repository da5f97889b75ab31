//! Serving parts over the network: health, reflection, limits, and an end that loses nothing.

mod dispatch;
mod inbound;
mod listen;
mod patient;
mod probe;
mod refusal;
mod told;

use std::{io, net::SocketAddr, time::Duration};

use futures_util::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::server::{Connected, TcpIncoming},
};
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::pb::v1::server_reflection_server::SERVICE_NAME as REFLECTION;

pub use self::refusal::Manner;
pub(crate) use self::{
    dispatch::Dispatch,
    inbound::{Inbound, Rest, Shared, guarded, panicked},
};
use crate::{
    Environment, HealthHandle, Part, Random, ServerConfig, health::Health, part::Handler, tls::Acceptor,
};

/// Whom to believe about tenant, principal and the rest of the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContextTrust {
    /// Callers are parts of the mesh: context metadata is read.
    #[default]
    Mesh,
    /// Callers are anybody: metadata whose key begins with `sb-` is removed before a handler sees it. Deadline and
    /// W3C trace context are kept.
    Public,
}

/// What answers plain HTTP, 1.1 and 2, beside the gRPC services.
#[derive(Clone)]
pub struct Http {
    /// The routes, for instance an axum router's (`Routes::from(router)`). `/healthz` and `/readyz` are answered by the server.
    pub routes: Routes,
    /// How the layers before a handler speak to the caller of a request: overload, a panic, a deadline.
    pub manner: fn(&http::request::Parts) -> Manner,
}

impl Http {
    /// Routes whose callers are told in plain text what the layers refuse.
    #[must_use]
    pub fn plain(routes: Routes) -> Self {
        Self { routes, manner: |_| refusal::plain }
    }
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address or stop what uses it")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The descriptors of the contracts cannot be read: a fault of the build.
    #[error("the contracts' descriptors cannot be served by reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Binds a TCP listener for [`Server::serve`]; port 0 lets the system choose, see `local_addr()` of the result.
///
/// Accepted sockets get `TCP_NODELAY`: without it every call over loopback waits 40 ms for a delayed acknowledgement.
///
/// # Errors
/// [`ServeError::Listen`] with the address.
pub fn listen(address: SocketAddr) -> Result<TcpIncoming, ServeError> {
    let incoming = TcpIncoming::bind(address).map_err(|source| ServeError::Listen { address, source })?;
    Ok(incoming.with_nodelay(Some(true)))
}

/// A server in the making.
pub struct Server {
    config: ServerConfig,
    random: Random,
    trust: ContextTrust,
    tls: Option<Acceptor>,
    parts: Vec<Part>,
    behind: Vec<Part>,
}

impl Server {
    /// Begins a server that trusts its callers and serves nothing but health and reflection.
    #[must_use]
    pub fn new(config: &ServerConfig, environment: &Environment) -> Self {
        Self {
            config: config.clone(),
            random: environment.random.clone(),
            trust: ContextTrust::Mesh,
            tls: None,
            parts: Vec::new(),
            behind: Vec::new(),
        }
    }

    /// Sets whom to believe about the context.
    #[must_use]
    pub fn trust(mut self, trust: ContextTrust) -> Self {
        self.trust = trust;
        self
    }

    /// Speaks TLS; `None`: plain text.
    #[must_use]
    pub fn tls(mut self, acceptor: Option<Acceptor>) -> Self {
        self.tls = acceptor;
        self
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves a part.
    #[must_use]
    pub fn part(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Takes a part along that is not served but called in process by a served one: its health counts, and it is
    /// drained after the served ones.
    #[must_use]
    pub fn behind(mut self, part: Part) -> Self {
        self.behind.push(part);
        self
    }

    /// Serves until `shutdown` is cancelled, then drains: health says NOT_SERVING, after `drain_grace_ms` the listener closes, open
    /// calls may finish within five sixths of `drain_ms` and are cut then, and the parts are drained within the rest.
    ///
    /// `incoming` is a listener of [`listen`], or any other stream of connections. Not cancel safe: dropping the future
    /// leaves open connections to themselves.
    ///
    /// # Errors
    /// [`ServeError::Reflection`] before anything is accepted.
    pub async fn serve<I, IO>(mut self, incoming: I, shutdown: CancellationToken) -> Result<(), ServeError>
    where
        I: Stream<Item = io::Result<IO>>,
        IO: AsyncRead + AsyncWrite + Connected + Send + Unpin + 'static,
    {
        let health = HealthHandle::new();
        let draining = CancellationToken::new();
        let http = self.parts.iter_mut().find_map(|part| part.http.take());
        let http1 = http.is_some();
        let overall = self.health(&health);
        let services = self.services(overall.clone())?;
        let dispatch = Dispatch::new(services, http, http1.then_some(overall));
        let shared = Shared::new(&self.config, self.trust, false, self.random, draining.clone());
        let inbound = Inbound::new(dispatch, shared);

        let connections = listen::Connections::new(&self.config, http1, self.tls, inbound, draining.clone());
        let closing = CancellationToken::new();
        let leaving = async {
            shutdown.cancelled().await;
            health.set_serving(false);
            // Who has not heard of it yet is still answered.
            tokio::time::sleep(Duration::from_millis(self.config.drain_grace_ms.unwrap_or(0))).await;
            closing.cancel();
        };
        tokio::join!(connections.accept(incoming, &closing), leaving);

        let (calls_end, end) = ends(self.config.drain_ms);
        draining.cancel();
        connections.finish(calls_end, end).await;
        let parts = async {
            for part in self.parts.into_iter().chain(self.behind) {
                part.drain().await;
            }
        };
        if tokio::time::timeout_at(end, parts).await.is_err() {
            tracing::warn!(drain_ms = self.config.drain_ms, "the drain was cut: not all parts were done");
        }
        Ok(())
    }

    fn health(&self, own: &HealthHandle) -> Health {
        let parts = self.parts.iter().chain(&self.behind);
        Health::new(parts.map(|part| (part.name(), part.health())).collect(), own.clone())
    }

    fn services(&self, health: Health) -> Result<Vec<(&'static str, Handler)>, ServeError> {
        let own = Part::new(HealthServer::new(health));

        let mut reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(signalbox_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let served = self.parts.iter().chain([&own]).flat_map(|part| &part.services);
        for (name, _) in served {
            reflection = reflection.with_service_name(*name);
        }
        reflection = reflection.with_service_name(REFLECTION);
        let own = own.and(reflection.build_v1()?);
        Ok(self.parts.iter().chain([&own]).flat_map(|part| part.services.iter().cloned()).collect())
    }
}

/// When open calls are cut, and when everything is over.
fn ends(drain_ms: u64) -> (Instant, Instant) {
    let (now, drain) = (Instant::now(), Duration::from_millis(drain_ms));
    (now + drain * 5 / 6, now + drain)
}
