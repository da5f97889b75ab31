//! This process in Consul: entered with a health check over gRPC, kept there, and taken out before it ends.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, StatusCode};
use serde::Serialize;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::agent::{Agent, AgentError};
use crate::{
    Random,
    discovery::{Discovery, follow::Backoff},
};

/// How often the agent is asked whether it still knows us: one that lost its state does not.
const LOOK: Duration = Duration::from_secs(5);
/// What one request may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Pauses while the agent does not answer.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long leaving may take: the agent may be gone too, and its check will find out then.
const LEAVE: Duration = Duration::from_secs(2);
/// After this time of failing checks the agent forgets us: of a process that was killed nothing remains. Consul's least.
const FORGET: &str = "1m";

/// Where others reach this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    host: String,
    port: u16,
}

/// There is no address that others could use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdvertiseError {
    /// It is not an address.
    #[error("mesh.advertise = {0:?} is not of the form host:port, or host alone")]
    Malformed(String),
    /// It listens everywhere, and says nowhere where that is.
    #[error(
        "this process listens on {0}, which others cannot call; set mesh.advertise to the address that they can, as host:port \
         or host alone, or mesh.consul.register = false"
    )]
    Wildcard(SocketAddr),
}

impl Advertised {
    /// Takes the configured address, else the one that is listened on; a configured host alone gets the listener's port.
    ///
    /// # Errors
    /// [`AdvertiseError`] when neither can be called by others.
    pub fn new(configured: Option<&str>, listening: SocketAddr) -> Result<Self, AdvertiseError> {
        let Some(configured) = configured else {
            if listening.ip().is_unspecified() {
                return Err(AdvertiseError::Wildcard(listening));
            }
            return Ok(Self { host: listening.ip().to_string(), port: listening.port() });
        };
        let (host, port) = split(configured).ok_or_else(|| AdvertiseError::Malformed(configured.into()))?;
        Ok(Self { host, port: port.unwrap_or_else(|| listening.port()) })
    }

    /// Checks a configured address.
    pub(crate) fn is_valid(configured: &str) -> bool {
        split(configured).is_some()
    }
}

/// A host, in brackets where it is IPv6, and a port.
fn split(address: &str) -> Option<(String, Option<u16>)> {
    let authority: http::uri::Authority = address.parse().ok()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = match authority.as_str().strip_prefix(authority.host())? {
        "" => None,
        rest => Some(rest.strip_prefix(':')?.parse().ok().filter(|port| *port > 0)?),
    };
    (!host.is_empty()).then_some((host, port))
}

/// The entry of this process, kept until [`Registration::leave`]. Dropping it stops the keeping and leaves the entry to its check.
#[derive(Debug)]
pub struct Registration {
    leaving: CancellationToken,
    keeping: AbortOnDropHandle<()>,
}

impl Registration {
    /// Enters a service, `signalbox-guard`, at an address, and keeps it entered; `None` where the configuration does not want it. To be
    /// called within a runtime, once the process listens. An agent that is away is no error: it is tried again until it is there.
    #[must_use]
    pub fn start(discovery: &Discovery, service: &str, at: &Advertised) -> Option<Self> {
        let agent = Arc::clone(discovery.consul.as_ref()?);
        let random = discovery.random.clone().unwrap_or_else(Random::system);
        let entry = Entry::new(service, at, &agent, discovery);
        let leaving = CancellationToken::new();
        let keeping = keep(agent, entry, leaving.clone(), random);
        Some(Self { leaving, keeping: AbortOnDropHandle::new(tokio::spawn(keeping)) })
    }

    /// Takes the entry out; returns when that is done, or after two seconds. Others hear of it at once.
    pub async fn leave(self) {
        self.leaving.cancel();
        if tokio::time::timeout(LEAVE, self.keeping).await.is_err() {
            tracing::warn!("Consul was not told of the end; its health check will find out");
        }
    }
}

async fn keep(agent: Arc<Agent>, entry: Entry, leaving: CancellationToken, random: Random) {
    let mut backoff = Backoff::new(random, AGAIN.0, AGAIN.1);
    let mut trouble = String::new();
    let mut known = false;
    let staying = async {
        loop {
            let pause = match stay(&agent, &entry, known).await {
                Ok(entered) => {
                    backoff.reset();
                    trouble.clear();
                    if entered {
                        tracing::info!(id = entry.id, "this process is registered in Consul");
                    }
                    known = true;
                    LOOK
                }
                Err(error) => {
                    let why = error.to_string();
                    // Once until it is something else.
                    if why != trouble {
                        tracing::warn!(why, "this process cannot be registered in Consul; it is tried again");
                    }
                    trouble = why;
                    backoff.next()
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        () = leaving.cancelled() => {}
        () = staying => {}
    }
    leave(&agent, &entry).await;
}

/// Enters us unless the agent knows us; true when it did not.
async fn stay(agent: &Agent, entry: &Entry, known: bool) -> Result<bool, AgentError> {
    if known {
        let path = format!("/v1/agent/service/{}", entry.id);
        match agent.ask(Method::GET, &path, Vec::new(), LIMIT).await {
            Ok(_) => return Ok(false),
            Err(AgentError::Refused { status: StatusCode::NOT_FOUND, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let body = serde_json::to_vec(entry).map_err(|error| agent.unreadable(&error))?;
    // An earlier run at this address had other checks, perhaps.
    agent.ask(Method::PUT, "/v1/agent/service/register?replace-existing-checks=true", body, LIMIT).await?;
    Ok(true)
}

async fn leave(agent: &Agent, entry: &Entry) {
    let path = format!("/v1/agent/service/deregister/{}", entry.id);
    match agent.ask(Method::PUT, &path, Vec::new(), LIMIT).await {
        Ok(_) => tracing::info!(id = entry.id, "this process is no longer registered in Consul"),
        Err(error) => {
            tracing::warn!(%error, "Consul was not told of the end; its health check will find out");
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    address: String,
    port: u16,
    tags: Vec<String>,
    meta: Meta,
    check: Check,
}

#[derive(Serialize)]
struct Meta {
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    version: &'static str,
}

/// The agent calls `grpc.health.v1.Health/Check` for all of the process. Until the first answer the entry is critical.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "GRPC")]
    grpc: String,
    #[serde(rename = "GRPCUseTLS")]
    grpc_use_tls: bool,
    #[serde(rename = "TLSSkipVerify")]
    tls_skip_verify: bool,
    interval: String,
    timeout: String,
    deregister_critical_service_after: &'static str,
}

impl Entry {
    fn new(service: &str, at: &Advertised, agent: &Agent, discovery: &Discovery) -> Self {
        let Advertised { host, port } = at;
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        // The same for every run at this address, so that one that crashed is taken over. Consul wants it fit for a path.
        let id = format!("{service}-{}-{port}", host.replace([':', '%'], "_"));
        let interval = agent.check.as_millis();
        Self {
            id,
            name: service.to_owned(),
            address: host.clone(),
            port: *port,
            tags: agent.tags.clone(),
            meta: Meta {
                zone: discovery.zone().as_deref().map(str::to_owned),
                version: env!("CARGO_PKG_VERSION"),
            },
            check: Check {
                grpc: target,
                grpc_use_tls: discovery.speaks_tls(),
                // The agent does not know the mesh's authority, and is told nothing but health.
                tls_skip_verify: discovery.speaks_tls(),
                interval: format!("{interval}ms"),
                timeout: format!("{}ms", interval.max(1_000)),
                deregister_critical_service_after: FORGET,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listening_address_is_told_unless_nobody_could_call_it() {
        let at = |configured, listening: &str| Advertised::new(configured, listening.parse().unwrap());
        let told = |host: &str, port| Ok(Advertised { host: host.into(), port });
        assert_eq!(at(None, "127.0.0.1:8081"), told("127.0.0.1", 8081));
        assert_eq!(at(Some("10.0.0.7:9000"), "0.0.0.0:8081"), told("10.0.0.7", 9000));
        assert_eq!(at(Some("10.0.0.7"), "0.0.0.0:8081"), told("10.0.0.7", 8081));
        assert_eq!(at(Some("[fd00::7]:9000"), "[::]:8081"), told("fd00::7", 9000));
        assert_eq!(at(Some("guard.internal"), "[::]:8081"), told("guard.internal", 8081));
        let error = at(None, "0.0.0.0:8081").unwrap_err().to_string();
        assert!(error.contains("mesh.advertise"), "{error}");
        for bad in ["", "a b", "host:", "host:0", "host:99999", "http://host:1"] {
            assert!(matches!(at(Some(bad), "0.0.0.0:1"), Err(AdvertiseError::Malformed(_))), "{bad}");
        }
    }
}
