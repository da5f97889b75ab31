//! Replicas by name: all addresses of a headless service, or the targets of SRV records (RFC 2782).
//!
//! A name is looked up again when its answer's time to live is over, within the configured bounds, and early when a replica could not
//! be reached.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, rdata::SRV},
};

use super::{
    DnsConfig, Found, REPLICAS_MOST,
    follow::{Backoff, Follow},
};
use crate::Random;

/// SRV targets whose addresses are looked up at a time.
const TARGETS_AT_ONCE: usize = 8;

/// What is looked up.
pub(super) enum Name {
    Host { host: String, port: u16 },
    Srv(String),
}

/// Replicas, and until when they are known to be those.
type Answer = (Vec<Found>, Instant);

/// One name and who answers for it.
pub(super) struct Names {
    resolver: TokioResolver,
    name: Name,
    least: Duration,
    most: Duration,
}

impl Names {
    /// # Errors
    /// Why the system's name servers are not known.
    pub(super) fn new(name: Name, config: &DnsConfig) -> Result<Self, String> {
        let mut builder = match config.server {
            Some(server) => {
                let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
                (udp.port, tcp.port) = (server.port(), server.port());
                let server = NameServerConfig::new(server.ip(), true, vec![udp, tcp]);
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
            None => TokioResolver::builder_tokio().map_err(|error| error.to_string())?,
        };
        let options = builder.options_mut();
        // The time to live is kept here; a cache beneath would only add to it.
        options.cache_size = 0;
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        options.timeout = Duration::from_millis(config.timeout_ms);
        options.attempts = 2;
        let resolver = builder.build().map_err(|error| error.to_string())?;
        let millis = Duration::from_millis;
        Ok(Self { resolver, name, least: millis(config.least_ms), most: millis(config.most_ms) })
    }

    /// Looks the name up until nobody listens any more. Cancel safe.
    pub(super) async fn follow(self, mut follow: Follow, random: Random) {
        let mut backoff = Backoff::new(random, self.least, self.most);
        loop {
            let pause = match self.look_up().await {
                Ok((found, until)) => {
                    backoff.reset();
                    if follow.found(found).is_break() {
                        return;
                    }
                    until.saturating_duration_since(Instant::now()).clamp(self.least, self.most)
                }
                Err(error) => {
                    follow.failed(explain(&error));
                    backoff.next()
                }
            };
            let doubted = async {
                tokio::time::sleep(self.least).await;
                follow.doubt.notified().await;
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = doubted => {}
            }
        }
    }

    async fn look_up(&self) -> Result<Answer, NetError> {
        match &self.name {
            Name::Host { host, port } => {
                let (addresses, until) = self.addresses(host).await?;
                let found = addresses.iter().map(|ip| Found::at(&ip.to_string(), *port));
                Ok((found.collect(), until))
            }
            Name::Srv(name) => self.services(name).await,
        }
    }

    async fn addresses(&self, host: &str) -> Result<(Vec<IpAddr>, Instant), NetError> {
        let answer = self.resolver.lookup_ip(host).await?;
        let until = answer.valid_until();
        Ok((answer.iter().take(REPLICAS_MOST).collect(), until))
    }

    /// The targets of the lowest priority number alone: DNS does not say that they are down, so nobody would ever fall to the others.
    async fn services(&self, name: &str) -> Result<Answer, NetError> {
        let answer = self.resolver.srv_lookup(name).await?;
        let records = answer.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(srv) if !srv.target.is_root() => Some(srv),
            _ => None,
        });
        let first = records.clone().map(|srv| srv.priority).min();
        let first = records.filter(|srv| Some(srv.priority) == first).take(REPLICAS_MOST);
        let targets: Vec<_> = first.map(|srv| self.target(srv.clone())).collect();
        let targets: Vec<_> = stream::iter(targets).buffered(TARGETS_AT_ONCE).try_collect().await?;
        let until = targets.iter().map(|(_, until)| *until).chain([answer.valid_until()]).min();
        let found = targets.into_iter().flat_map(|(found, _)| found).take(REPLICAS_MOST).collect();
        Ok((found, until.unwrap_or_else(Instant::now)))
    }

    async fn target(&self, srv: SRV) -> Result<Answer, NetError> {
        match self.addresses(&srv.target.to_string()).await {
            // A target that went before its record did.
            Err(error) if error.is_no_records_found() => Ok((Vec::new(), Instant::now())),
            Err(error) => Err(error),
            Ok((addresses, until)) => {
                let weight = u32::from(srv.weight).max(1);
                let at = |ip: &IpAddr| Found { weight, ..Found::at(&ip.to_string(), srv.port) };
                Ok((addresses.iter().map(at).collect(), until))
            }
        }
    }
}

fn explain(error: &NetError) -> String {
    if error.is_no_records_found() {
        return "the name has no addresses".to_owned();
    }
    format!("DNS: {error}")
}
