//! The channel to a service, which stands in this process or in others; who holds one cannot tell.

mod calls;
mod census;
mod connection;
mod connector;
mod direct;
mod endpoint;
mod outbound;
mod peak;
mod peers;
mod remote;
mod replay;

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body, codegen::StdError};
use tonic_health::pb::health_server::HealthServer;
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

pub use self::{
    calls::{Answers, Called, Sent},
    connector::{Connector, Io},
};
use self::{
    direct::Direct,
    outbound::{Decodes, Outbound, Outgoing, Shared},
    peers::Peers,
    remote::Remote,
};
use crate::{
    AddressError, ClientConfig, Config, ContextTrust, Discovery, Environment, HealthHandle, Part,
    discovery::Address,
    health::Health,
    server::{self, Dispatch, Inbound},
};

/// The way to a service, for any generated tonic client; see [`client!`](crate::client). Cheap to clone.
#[derive(Clone)]
pub struct Channel {
    service: BoxCloneSyncService<Request<Body>, Response<Body>, StdError>,
    shared: Arc<Shared>,
    /// Whoever calls decodes the answers itself, at once.
    decodes: bool,
    /// Where the part stands in this process.
    direct: Option<Arc<Direct>>,
}

impl Channel {
    /// Makes the channel to a part in this process: no socket, the same layers on both sides.
    ///
    /// `config.server` limits the part's calls as its own listener would.
    #[must_use]
    pub fn local(part: &Part, config: &Config, environment: &Environment) -> Self {
        let health = Health::new(vec![(part.name(), part.health())], HealthHandle::new());
        let own = Part::new(HealthServer::new(health));
        let services = part.services.iter().chain(&own.services).cloned().collect();
        let random = environment.random.clone();
        let shared =
            server::Shared::new(&config.server, ContextTrust::Mesh, true, random, CancellationToken::new());
        let inbound = Inbound::new(Dispatch::new(services, None, None), shared);
        let direct = Direct { methods: part.methods.clone(), server: inbound.shared() };
        let transport = ServiceExt::<Request<Outgoing>>::map_err(inbound, |never: Infallible| match never {});
        let channel = Self::over(transport, Shared::new(part.label(), &config.client, true));
        Self { direct: Some(Arc::new(direct)), ..channel }
    }

    /// Makes the channel to a service in other processes, at one or more fixed addresses (`host:port`, or `http://host:port`;
    /// `https` for a connector that speaks TLS). It connects when it is first called, and again by itself whenever a peer went and came back.
    ///
    /// `label` is the short name of the service (`guard`), for errors.
    ///
    /// # Errors
    /// [`AddressError`] when an address is missing or malformed. A peer that is away is no error here: calls then fail
    /// with `SERVICE_UNAVAILABLE`.
    pub fn remote(
        label: &str,
        addresses: &[impl AsRef<str>],
        config: &ClientConfig,
        environment: &Environment,
        connector: &Connector,
    ) -> Result<Self, AddressError> {
        Self::discovered(label, addresses, config, environment, connector, &Discovery::default())
    }

    /// The same where addresses may also be names, under which replicas are found that come and go: `dns://`, `dns+srv://`, `consul://`.
    /// Following a name ends with the channel and all its clones. To be called within a runtime.
    ///
    /// # Errors
    /// As [`Channel::remote`]; and where a name needs what is not configured. Until replicas are found for the first time, calls wait
    /// as long as a connection may take.
    pub fn discovered(
        label: &str,
        addresses: &[impl AsRef<str>],
        config: &ClientConfig,
        environment: &Environment,
        connector: &Connector,
        discovery: &Discovery,
    ) -> Result<Self, AddressError> {
        let read = Address::parse_all(label, addresses, connector.scheme())?;
        let addresses = addresses.iter().map(|address| address.as_ref().to_owned()).zip(read).collect();
        let random = environment.random.clone();
        let peers = Peers::new(label, addresses, config, connector, random, discovery)?;
        Ok(Self::over(Remote::new(peers), Shared::new(label, config, false)))
    }

    fn over<S, B>(transport: S, shared: Shared) -> Self
    where
        S: Service<Request<Outgoing>, Response = Response<B>, Error = Status>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = bytes::Bytes, Error = Status> + Send + 'static,
    {
        let shared = Arc::new(shared);
        let service = BoxCloneSyncService::new(Outbound::new(transport, Arc::clone(&shared)));
        Self { service, shared, decodes: false, direct: None }
    }

    /// The same channel for a generated client, as [`client!`](crate::client) makes it: messages of a service in this process
    /// are handed over as they are, not as bytes. Whoever passes an answer's bytes on must not use this one.
    #[must_use]
    pub fn for_client(&self) -> Self {
        Self { decodes: true, ..self.clone() }
    }

    /// The short name of the service.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.shared.label
    }

    /// Calls that are open on this channel and its clones, each to the end of its answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = StdError;
    type Future =
        <BoxCloneSyncService<Request<Body>, Response<Body>, StdError> as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if self.decodes {
            request.extensions_mut().insert(Decodes);
        }
        self.service.call(request)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("label", &self.label())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_when_the_channel_is_made() {
        let none: [&str; 0] = [];
        let environment = Environment::manual(crate::ManualClock::new(0), 1, "");
        let made = Channel::remote("guard", &none, &ClientConfig::default(), &environment, &Connector::tcp());
        assert_eq!(made.unwrap_err().to_string(), "guard has no address; give at least one, as host:port");
    }
}
