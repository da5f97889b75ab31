//! Where services are found: `[mesh.consul]` and `[mesh.dns]`.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// `[mesh.consul]`: the registry in which this process is entered and others are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsulConfig {
    /// The agent's HTTP address, as `http://host:port` or `https://host:port`. Default `http://127.0.0.1:8500`, the agent on the same
    /// machine.
    pub address: String,
    /// The authorities by which the agent's certificate must be signed, PEM, with `https`. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// The file that holds the ACL token, read again for every request, so that it may be replaced. Default: no token. It needs
    /// `service:write` for the own name, and `service:read` and `node:read` for those that are called.
    pub token_file: Option<PathBuf>,
    /// The datacenter that is asked. Default: the agent's own.
    pub datacenter: String,
    /// Tags of this process' registration; callers choose by them with `consul://NAME?tag=TAG`.
    pub tags: Vec<String>,
    /// Whether this process is registered, as `signalbox-<service>`. Default true.
    pub register: bool,
    /// How often the agent asks for this process' health over gRPC, in milliseconds. Default 2,000. A new instance gets its first
    /// calls after the first answer.
    pub check_ms: u64,
    /// How long a query waits for a change, in milliseconds. Default 30,000. A change is heard of at once whatever this is.
    pub wait_ms: u64,
}

impl Default for ConsulConfig {
    fn default() -> Self {
        Self {
            address: "http://127.0.0.1:8500".into(),
            ca_file: None,
            token_file: None,
            datacenter: String::new(),
            tags: Vec::new(),
            register: true,
            check_ms: 2_000,
            wait_ms: 30_000,
        }
    }
}

impl ConsulConfig {
    /// Whether the address can be used.
    pub(crate) fn has_address(&self) -> bool {
        super::consul::address(&self.address).is_some()
    }
}

/// `[mesh.dns]`: how names in `dns://` and `dns+srv://` are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// The name server, as `ip:port`. Default: those of the system (`/etc/resolv.conf`), with its search domains.
    pub server: Option<SocketAddr>,
    /// The shortest time between two look-ups of a name, in milliseconds. Default 1,000. Between this and `most_ms` the answer's time to
    /// live decides.
    pub least_ms: u64,
    /// The longest, in milliseconds. Default 30,000.
    pub most_ms: u64,
    /// How long an answer may take, in milliseconds. Default 2,000.
    pub timeout_ms: u64,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self { server: None, least_ms: 1_000, most_ms: 30_000, timeout_ms: 2_000 }
    }
}
