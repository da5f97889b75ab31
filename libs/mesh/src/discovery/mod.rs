//! Finding the replicas of a service: in DNS, in Consul; and entering this process there.
//!
//! Each configured address that is a name is followed by one task, which tells the channel whenever it finds something else. While DNS
//! or Consul is away, or says that there is nobody, the last known replicas stay: asking one that is gone costs a refused connection,
//! forgetting one that is there costs every request.

mod address;
mod config;
mod consul;
mod dns;
mod follow;

use std::{pin::Pin, sync::Arc};

use http::uri::Authority;

use self::consul::Agent;
pub(crate) use self::{
    address::Address,
    follow::{Follow, Learn},
};
pub use self::{
    address::{AddressError, check_addresses},
    config::{ConsulConfig, DnsConfig},
    consul::{AdvertiseError, Advertised, Registration},
};
use crate::{Config, Random, tls::TlsError};

/// Replicas of one service that are kept at most; more are left out, and said.
pub(crate) const REPLICAS_MOST: usize = 1_024;

/// A replica that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    /// `host:port`.
    pub(crate) at: String,
    /// Where it stands; unknown counts as near.
    pub(crate) zone: Option<String>,
    /// Its share of the calls, relative to the others'. At least 1.
    pub(crate) weight: u32,
    /// Of a fixed address; what is found has the one that the discovery says.
    pub(crate) scheme: Option<String>,
}

impl Found {
    pub(crate) fn at(host: &str, port: u16) -> Self {
        let at = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Self { at, zone: None, weight: 1, scheme: None }
    }

    /// Whether a connection can be made to it; what a registry holds may be anything.
    fn is_address(&self) -> bool {
        self.at.parse::<Authority>().is_ok_and(|at| at.port_u16().is_some())
    }
}

/// What channels need to find replicas. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    zone: Option<Arc<str>>,
    tls: bool,
    dns: DnsConfig,
    consul: Option<Arc<Agent>>,
    random: Option<Random>,
}

impl Discovery {
    /// Creates it from the `[mesh]` section.
    ///
    /// # Errors
    /// The authorities that Consul's certificate must be signed by cannot be read.
    pub fn new(config: &Config, random: &Random) -> Result<Self, TlsError> {
        Ok(Self {
            zone: config.zone.as_deref().map(Arc::from),
            tls: config.tls.is_some(),
            dns: config.dns.clone(),
            consul: config.consul.as_ref().map(Agent::new).transpose()?.map(Arc::new),
            random: Some(random.fork()),
        })
    }

    /// Whether services answer by TLS alone.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.tls
    }

    /// The zone of this process.
    pub(crate) fn zone(&self) -> Option<Arc<str>> {
        self.zone.clone()
    }
}

impl Discovery {
    /// Follows a name until the channel is gone; the future is the whole of it. Nothing for a fixed address.
    ///
    /// # Errors
    /// Consul is needed and not configured, or the system's name servers are not known.
    pub(crate) fn follow(
        &self,
        address: Address,
        follow: Follow,
        random: &Random,
    ) -> Result<Option<Following>, Unfollowed> {
        let random = random.fork();
        let name = match address {
            Address::Static(_) => return Ok(None),
            Address::Consul(name) => {
                let agent = self.consul.clone().ok_or(Unfollowed::NoConsul)?;
                return Ok(Some(Box::pin(consul::watch(agent, name, follow, random))));
            }
            Address::Dns { host, port } => dns::Name::Host { host, port },
            Address::Srv { name } => dns::Name::Srv(name),
        };
        let names = dns::Names::new(name, &self.dns).map_err(Unfollowed::NoResolver)?;
        Ok(Some(Box::pin(names.follow(follow, random))))
    }
}

/// The work of following one name.
pub(crate) type Following = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why a name cannot be followed.
pub(crate) enum Unfollowed {
    NoConsul,
    NoResolver(String),
}
