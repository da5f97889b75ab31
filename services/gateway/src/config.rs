//! The `[gateway]` section.

use serde::Deserialize;
use signalbox_config::listen;
use signalbox_mesh::{AddressError, tls::DoorTls};

/// Name of the section in the configuration file.
pub const SECTION: &str = "gateway";

/// Configures the gateway.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the public door. Default `127.0.0.1:8080`. On any address but loopback, keys are required.
    pub listen: String,
    /// Name of this replica, at most 64 bytes; standing allowances are kept per replica. Default: random at start.
    pub replica: Option<String>,
    /// The model for `auto` when the router is away: an alias or `provider/model`. Default: the first alias.
    pub default_model: Option<String>,
    /// Longest time that one request may take, in milliseconds, when the client sets no deadline. Default 600,000.
    pub deadline_ms: u64,
    /// TLS for clients. Absent: plain text, on loopback or where `mesh.plaintext` says so.
    pub tls: Option<DoorTls>,
    /// Where the other services listen.
    pub peers: Peers,
    /// How long each step may take before the part counts as away.
    pub steps: Steps,
    /// Records waiting for metering.
    pub spool: Spool,
    /// Bounds of copies whose answers are only recorded; the router's configuration says which are made.
    pub shadow: Shadow,
    /// Bounds of plain HTTP requests.
    pub http: Http,
    /// How long the last known principals stay valid while metering is away, in milliseconds. Default 300,000.
    pub principal_grace_ms: u64,
    /// How long a principal is remembered so that the guard need not wait for admission, in milliseconds; at most
    /// 1,000, because a revoked key may be inspected (never admitted) for that long. Default 1,000.
    pub principal_memory_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: listen::GATEWAY.to_owned(),
            replica: None,
            default_model: None,
            deadline_ms: 600_000,
            tls: None,
            peers: Peers::default(),
            steps: Steps::default(),
            spool: Spool::default(),
            shadow: Shadow::default(),
            http: Http::default(),
            principal_grace_ms: 300_000,
            principal_memory_ms: 1_000,
        }
    }
}

/// Addresses of the other services, each one or several; with TLS where `[mesh.tls]` is set:
///
/// - `host:port`: one replica;
/// - `dns://name:port`: all addresses of a name, as of a headless service;
/// - `dns+srv://_grpc._tcp.name`: all targets of its SRV records;
/// - `consul://signalbox-guard?tag=TAG&dc=DATACENTER`: all healthy instances with these tags, by `[mesh.consul]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peers {
    /// Default `["127.0.0.1:8081"]`.
    pub guard: Vec<String>,
    /// Default `["127.0.0.1:8082"]`.
    pub cache: Vec<String>,
    /// Default `["127.0.0.1:8083"]`.
    pub router: Vec<String>,
    /// Default `["127.0.0.1:8084"]`.
    pub executor: Vec<String>,
    /// Default `["127.0.0.1:8085"]`.
    pub metering: Vec<String>,
}

impl Default for Peers {
    fn default() -> Self {
        let at = |address: &str| vec![address.to_owned()];
        Self {
            guard: at(listen::GUARD),
            cache: at(listen::CACHE),
            router: at(listen::ROUTER),
            executor: at(listen::EXECUTOR),
            metering: at(listen::METERING),
        }
    }
}

impl Peers {
    /// Each service's name and addresses.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &[String]); 5] {
        [
            ("guard", &self.guard),
            ("cache", &self.cache),
            ("router", &self.router),
            ("executor", &self.executor),
            ("metering", &self.metering),
        ]
    }

    /// Checks all addresses; and whether they fit the `[mesh]` section: a Consul where one is asked for, TLS or plain text.
    ///
    /// # Errors
    /// The first address at fault.
    pub fn check(&self, mesh: &signalbox_mesh::Config) -> Result<(), AddressError> {
        let check = |(service, addresses)| signalbox_mesh::check_addresses(service, addresses, mesh);
        self.all().into_iter().try_for_each(check)
    }
}

/// Time limits of the steps before the answer, in milliseconds. A step that takes longer is treated as if its part
/// were away. Keep their sum well under the clients' patience.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Steps {
    /// Admission. Default 2,000.
    pub admit_ms: u64,
    /// Inspection. Default 5,000: very long prompts take time.
    pub inspect_ms: u64,
    /// Lookup. Default 1,000.
    pub lookup_ms: u64,
    /// Planning. Default 1,000.
    pub plan_ms: u64,
    /// The question to a guard policy's judge model. Default 10,000.
    pub judge_ms: u64,
}

impl Default for Steps {
    fn default() -> Self {
        Self { admit_ms: 2_000, inspect_ms: 5_000, lookup_ms: 1_000, plan_ms: 1_000, judge_ms: 10_000 }
    }
}

/// Bounds of copies beside answers (`[router.shadows]`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shadow {
    /// Copies under way at a time; beyond it none are made. 0: never any. Default 64.
    pub most: usize,
    /// Longest time that a copy may take, in milliseconds, and never more than half of a reservation's life: its request is settled only when
    /// it has ended. Default 60,000.
    pub limit_ms: u64,
}

impl Default for Shadow {
    fn default() -> Self {
        Self { most: 64, limit_ms: 60_000 }
    }
}

/// Bounds of requests that come over plain HTTP instead of gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Largest body in bytes; a larger one is refused with 413. Default 33,554,432 (32 MiB), as `mesh.server.max_message_bytes`.
    pub max_body_bytes: usize,
    /// Longest pause between two pieces of a body, in milliseconds; then the request is refused with 408. Default 30,000.
    pub body_idle_ms: u64,
}

impl Default for Http {
    fn default() -> Self {
        Self { max_body_bytes: 32 << 20, body_idle_ms: 30_000 }
    }
}

/// Bounds of the spool: the file in which records wait while metering is away.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    /// Largest size in bytes. When it is reached, new requests are refused until metering is back. Default 64 MiB,
    /// room for about 100,000 requests.
    pub max_bytes: u64,
    /// Records that wait in memory for the next batch. Default 8,192.
    pub queue: usize,
    /// Longest wait before a batch is sent, in milliseconds. Default 20.
    pub batch_ms: u64,
    /// Pause between attempts at delivery while metering is away, in milliseconds. Default 500.
    pub retry_ms: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, queue: 8_192, batch_ms: 20, retry_ms: 500 }
    }
}

impl Config {
    /// The same, with what cannot change while the gateway runs as it was at the start.
    pub(crate) fn running_since(self, start: &Self) -> Self {
        Self {
            listen: start.listen.clone(),
            replica: start.replica.clone(),
            tls: start.tls.clone(),
            peers: start.peers.clone(),
            spool: start.spool.clone(),
            shadow: Shadow { most: start.shadow.most, ..self.shadow },
            principal_grace_ms: start.principal_grace_ms,
            principal_memory_ms: start.principal_memory_ms,
            ..self
        }
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// A sentence that names the key and what to change.
    pub fn validate(&self) -> Result<(), String> {
        let positive = [
            ("deadline_ms", self.deadline_ms),
            ("steps.admit_ms", self.steps.admit_ms),
            ("steps.inspect_ms", self.steps.inspect_ms),
            ("steps.lookup_ms", self.steps.lookup_ms),
            ("steps.plan_ms", self.steps.plan_ms),
            ("steps.judge_ms", self.steps.judge_ms),
            ("shadow.limit_ms", self.shadow.limit_ms),
            ("spool.max_bytes", self.spool.max_bytes),
            ("spool.queue", self.spool.queue as u64),
            ("spool.retry_ms", self.spool.retry_ms),
            ("http.max_body_bytes", self.http.max_body_bytes as u64),
            ("http.body_idle_ms", self.http.body_idle_ms),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(format!("gateway.{key} is 0; it must be at least 1"));
            }
        }
        if self.principal_memory_ms > 1_000 {
            return Err(
                "gateway.principal_memory_ms is above 1000; a revoked key must stop within a second".into()
            );
        }
        if self.replica.as_ref().is_some_and(|r| r.is_empty() || r.len() > 64) {
            return Err("gateway.replica must have 1 to 64 bytes".into());
        }
        Ok(())
    }
}
