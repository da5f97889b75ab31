//! The `[mesh]` section: how services talk to each other. Every binary reads it; both ends should agree.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Advertised, ConsulConfig, DnsConfig, MeshTls};

/// The name of the section.
pub const SECTION: &str = "mesh";

/// The `[mesh]` section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The zone of this process (`eu-1a`): replicas of the same zone are called first. Default: none, all are near.
    pub zone: Option<String>,
    /// The address under which this process is registered, as `host:port`, or the host alone. Default: the address that it listens on,
    /// where that is not a wildcard.
    pub advertise: Option<String>,
    /// The registry, `[mesh.consul]`. Default: none.
    pub consul: Option<ConsulConfig>,
    /// Look-ups of names: `[mesh.dns]`.
    pub dns: DnsConfig,
    /// The calling side: `[mesh.client]`.
    pub client: ClientConfig,
    /// The serving side: `[mesh.server]`.
    pub server: ServerConfig,
    /// Certificates on both sides: `[mesh.tls]`. Absent: services speak plain text with each other.
    pub tls: Option<MeshTls>,
    /// Whether plain text may leave this machine: that services listen, and are called, on other addresses than loopback without
    /// `mesh.tls`, and the gateway without `gateway.tls`. For networks that encrypt themselves (a service mesh, WireGuard), or behind a
    /// load balancer that does. Default false.
    pub plaintext: bool,
}

impl Config {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// The key at fault and what to change, for the first value out of bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.bounds()?;
        let malformed = |key, value: &str, form| {
            Err(ConfigError::Malformed(Malformed { key, value: value.to_owned(), form }))
        };
        if let Some(zone) = self.zone.as_deref().filter(|zone| zone.is_empty() || zone.len() > 64) {
            return malformed("zone", zone, "a name of 1 to 64 bytes");
        }
        if let Some(at) = self.advertise.as_deref().filter(|at| !Advertised::is_valid(at)) {
            return malformed("advertise", at, "host:port, or a host alone");
        }
        if let Some(consul) = &self.consul {
            if !consul.has_address() {
                return malformed("consul.address", &consul.address, "http://host:port or https://host:port");
            }
            if let Some(tag) = consul.tags.iter().find(|tag| tag.is_empty()) {
                return malformed("consul.tags", tag, "a list of tags that are not empty");
            }
        }
        Ok(())
    }

    fn bounds(&self) -> Result<(), OutOfBounds> {
        let (client, server, dns) = (&self.client, &self.server, &self.dns);
        let balance = &client.balance;
        bounds("client.balance.decay_ms", balance.decay_ms, 1, 1 << 31)?;
        bounds("client.balance.floor_ms", balance.floor_ms, 0, 60_000)?;
        bounds("client.balance.eject_ms", balance.eject_ms, 1, 1 << 31)?;
        bounds("client.balance.eject_most_ms", balance.eject_most_ms, balance.eject_ms, 1 << 31)?;
        bounds("client.balance.spill_percent", balance.spill_percent, 100, 10_000)?;
        bounds("server.drain_grace_ms", server.drain_grace_ms.unwrap_or(0), 0, 1 << 31)?;
        bounds("dns.least_ms", dns.least_ms, 1, 1 << 31)?;
        bounds("dns.most_ms", dns.most_ms, dns.least_ms, 1 << 31)?;
        bounds("dns.timeout_ms", dns.timeout_ms, 1, 60_000)?;
        if let Some(consul) = &self.consul {
            bounds("consul.check_ms", consul.check_ms, 100, 60_000)?;
            // Consul's own most.
            bounds("consul.wait_ms", consul.wait_ms, 100, 600_000)?;
        }
        bounds("client.max_message_bytes", client.max_message_bytes as u64, 1_024, 1 << 31)?;
        bounds("client.connections_per_peer", client.connections_per_peer as u64, 1, 64)?;
        bounds("client.stream_window_bytes", client.stream_window_bytes.into(), 65_535, (1 << 31) - 1)?;
        bounds(
            "client.connection_window_bytes",
            client.connection_window_bytes.into(),
            65_535,
            (1 << 31) - 1,
        )?;
        bounds("client.keepalive_interval_ms", client.keepalive_interval_ms, 1, u64::MAX)?;
        bounds("client.keepalive_timeout_ms", client.keepalive_timeout_ms, 1, u64::MAX)?;
        bounds("client.connect_timeout_ms", client.connect_timeout_ms, 1, u64::MAX)?;
        bounds("server.max_message_bytes", server.max_message_bytes as u64, 1_024, 1 << 31)?;
        bounds("server.concurrency", server.concurrency as u64, 1, 1 << 24)?;
        bounds("server.max_connections", server.max_connections as u64, 1, 1 << 20)?;
        bounds("server.max_concurrent_streams", server.max_concurrent_streams.into(), 1, 1 << 20)?;
        bounds("server.stream_window_bytes", server.stream_window_bytes.into(), 65_535, (1 << 31) - 1)?;
        bounds(
            "server.connection_window_bytes",
            server.connection_window_bytes.into(),
            65_535,
            (1 << 31) - 1,
        )?;
        bounds("server.keepalive_interval_ms", server.keepalive_interval_ms, 1, u64::MAX)?;
        bounds("server.keepalive_timeout_ms", server.keepalive_timeout_ms, 1, u64::MAX)?;
        bounds("server.header_timeout_ms", server.header_timeout_ms, 1, 1 << 31)?;
        bounds("server.write_stall_ms", server.write_stall_ms, 1, 1 << 31)
    }
}

impl Config {
    /// How services call each other: `http`, or `https` with certificates.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// Whether what is sent to an address, `host:port` with or without a scheme, stays on this machine.
#[must_use]
pub fn is_loopback(address: &str) -> bool {
    let authority = address.rsplit_once("://").map_or(address, |(_, rest)| rest);
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What is wrong with the section.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
    /// A text.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// A text that says nothing that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mesh.{key} is {value:?}; give it as {form}")]
pub struct Malformed {
    /// The key, below `mesh.`.
    pub key: &'static str,
    /// What it is set to.
    pub value: String,
    /// How it should look.
    pub form: &'static str,
}

/// A value that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mesh.{key} is {value}; set it between {least} and {most}")]
pub struct OutOfBounds {
    /// The key, below `mesh.`.
    pub key: &'static str,
    /// What it is set to.
    pub value: u64,
    /// The least it may be.
    pub least: u64,
    /// The most it may be.
    pub most: u64,
}

fn bounds(key: &'static str, value: u64, least: u64, most: u64) -> Result<(), OutOfBounds> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(OutOfBounds { key, value, least, most }) }
}

/// `[mesh.client]`: calls to other services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Largest message that is accepted in an answer, in bytes. Default 33,554,432 (32 MiB). Raise it together with
    /// `mesh.server.max_message_bytes`; a message is held in memory whole, at both ends.
    pub max_message_bytes: usize,
    /// HTTP/2 connections to each address of a service. Default 2. One connection is served by one core at each end
    /// and caps its open streams; add one for about every 10,000 calls per second.
    pub connections_per_peer: usize,
    /// How long a connection may take to be made, in milliseconds. Default 3,000.
    pub connect_timeout_ms: u64,
    /// How long an address that refused a connection is left alone, in milliseconds. Default 100. Calls fail at once
    /// meanwhile, unless another address is there.
    pub reconnect_ms: u64,
    /// Bytes a peer may send on one stream before we read them. Default 131,072 (128 KiB). Bounds the memory that a
    /// slow reader costs.
    pub stream_window_bytes: u32,
    /// Bytes a peer may send on one connection before we read them. Default 16,777,216 (16 MiB). Streams that nobody
    /// reads share it: divided by `stream_window_bytes`, it is how many of those it takes to block the others.
    pub connection_window_bytes: u32,
    /// How often a connection is pinged, in milliseconds, idle or not. Default 10,000.
    pub keepalive_interval_ms: u64,
    /// How long an answer to a ping may take until the connection is given up, in milliseconds. Default 5,000.
    pub keepalive_timeout_ms: u64,
    /// Limits in time on every call: `[mesh.client.limits]`.
    pub limits: Limits,
    /// Which replica gets a call: `[mesh.client.balance]`.
    pub balance: Balance,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: 32 << 20,
            connections_per_peer: 2,
            connect_timeout_ms: 3_000,
            reconnect_ms: 100,
            stream_window_bytes: 128 << 10,
            connection_window_bytes: 16 << 20,
            keepalive_interval_ms: 10_000,
            keepalive_timeout_ms: 5_000,
            limits: Limits::default(),
            balance: Balance::default(),
        }
    }
}

/// Which replica gets a call.
///
/// Of two that are drawn at random, the one with the lower cost: its average time until an answer begins, times the calls that are open
/// on it and the new one, divided by its weight. The average is Finagle's peak EWMA, with the decay of Linkerd's
/// proxy (`EWMA_DECAY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Balance {
    /// How fast the average forgets, in milliseconds: after this time a third is left of what was. Default 10,000.
    pub decay_ms: u64,
    /// Averages below this, in milliseconds, are taken as equal: then open calls alone decide. Default 10. Answers here last seconds;
    /// a few milliseconds say more of a busy machine than of a replica. It is also what a replica is thought to take until it has answered;
    /// one that comes later begins with the mean of the others.
    pub floor_ms: u64,
    /// A replica is left out after so many failures of its connections in a row. Default 5; 0 never. At most half of all are.
    pub eject_after: u32,
    /// For how long, in milliseconds; twice as long each time in a row. Default 1,000.
    pub eject_ms: u64,
    /// And at most, in milliseconds. Default 30,000.
    pub eject_most_ms: u64,
    /// Replicas of other zones are called, too, while the mean of open calls of those in the own zone is above so many percent of
    /// theirs, plus `spill_calls`. Default 200.
    pub spill_percent: u64,
    /// Open calls per replica that the own zone bears in any case. Default 16.
    pub spill_calls: u64,
}

impl Balance {
    pub(crate) fn decay(&self) -> Duration {
        Duration::from_millis(self.decay_ms)
    }

    pub(crate) fn floor(&self) -> Duration {
        // Never nothing: what is multiplied with it must count.
        Duration::from_millis(self.floor_ms).max(Duration::from_nanos(1))
    }

    #[expect(clippy::cast_precision_loss, reason = "at most 10,000")]
    pub(crate) fn spill_ratio(&self) -> f64 {
        self.spill_percent as f64 / 100.0
    }
}

impl Default for Balance {
    fn default() -> Self {
        Self {
            decay_ms: 10_000,
            floor_ms: 10,
            eject_after: 5,
            eject_ms: 1_000,
            eject_most_ms: 30_000,
            spill_percent: 200,
            spill_calls: 16,
        }
    }
}

/// Limits in time on one call, beside the deadline that the request brings. Zero turns a limit off.
///
/// They guard against a peer that is there but says nothing. While the caller itself still sends (a stream of
/// requests that is not closed), only `total_ms` counts: nothing is owed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest wait for the first message of an answer, in milliseconds. Default 120,000. Above the longest time to
    /// first token of any model in use.
    pub first_message_ms: u64,
    /// Longest wait between two messages, in milliseconds. Default 120,000.
    pub idle_ms: u64,
    /// Longest time for a whole call, in milliseconds. Default 3,600,000 (one hour).
    pub total_ms: u64,
}

impl Limits {
    /// No limits but the request's deadline: for calls that watch something.
    pub const NONE: Self = Self { first_message_ms: 0, idle_ms: 0, total_ms: 0 };
}

impl Default for Limits {
    fn default() -> Self {
        Self { first_message_ms: 120_000, idle_ms: 120_000, total_ms: 3_600_000 }
    }
}

/// `[mesh.server]`: calls from other services, or from clients where the gateway listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Largest message that is accepted in a request, in bytes. Default 33,554,432 (32 MiB).
    pub max_message_bytes: usize,
    /// Calls served at a time; more are refused with `OVERLOADED`. Default 4,096. An open answer stream counts until
    /// its end: about the memory you can spend divided by what one request needs (100 KiB for a chat of usual length).
    pub concurrency: usize,
    /// Connections held at a time; more wait in the operating system's queue. Default 2,048.
    pub max_connections: usize,
    /// Streams that one connection may have open. Default 1,024.
    pub max_concurrent_streams: u32,
    /// Bytes a client may send on one stream before we read them. Default 131,072 (128 KiB).
    pub stream_window_bytes: u32,
    /// Bytes a client may send on one connection before we read them. Default 16,777,216 (16 MiB).
    pub connection_window_bytes: u32,
    /// How often a connection is pinged, in milliseconds. Default 20,000.
    pub keepalive_interval_ms: u64,
    /// How long an answer to a ping may take until the connection is given up, in milliseconds. Default 10,000.
    pub keepalive_timeout_ms: u64,
    /// How long a client may take to send a request's headers, and how long an HTTP/1 connection without a request is kept, in
    /// milliseconds. Default 30,000.
    pub header_timeout_ms: u64,
    /// How long a client may leave unread what we write, in milliseconds; then its connection is closed, and what it asked for is
    /// cancelled. Default 120,000.
    pub write_stall_ms: u64,
    /// How long calls are still taken after SIGTERM, in milliseconds, while health says that nobody should call any more: for those who
    /// hear of it late. Default: 1,000 where the process is registered in Consul, else 0. Behind DNS, somewhat more than the
    /// records' time to live, as the gateway's `mesh.dns.most_ms` bounds it.
    pub drain_grace_ms: Option<u64>,
    /// How long the end may take from then on, in milliseconds. Default 30,000. Open calls get five sixths of it,
    /// then they are cut; the rest is for flushing. Keep both together below the grace period of whatever stops the process.
    pub drain_ms: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: 32 << 20,
            concurrency: 4_096,
            max_connections: 2_048,
            max_concurrent_streams: 1_024,
            stream_window_bytes: 128 << 10,
            connection_window_bytes: 16 << 20,
            keepalive_interval_ms: 20_000,
            keepalive_timeout_ms: 10_000,
            header_timeout_ms: 30_000,
            write_stall_ms: 120_000,
            drain_grace_ms: None,
            drain_ms: 30_000,
        }
    }
}

/// A limit in milliseconds, of which zero means none.
pub(crate) fn limit(ms: u64) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn tells_loopback_from_other_addresses() {
        for loopback in ["127.0.0.1:8080", "127.8.9.1:1", "[::1]:8080", "localhost:0", "https://127.0.0.1:1"]
        {
            assert!(is_loopback(loopback), "{loopback}");
        }
        for public in
            ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:80", "gateway:8080", "dns://localhost.example:1"]
        {
            assert!(!is_loopback(public), "{public}");
        }
    }

    #[test]
    fn a_value_out_of_bounds_is_named() {
        let mut config = Config::default();
        config.client.connections_per_peer = 0;
        let error = config.validate().unwrap_err();
        assert_eq!(error.to_string(), "mesh.client.connections_per_peer is 0; set it between 1 and 64");
    }
}
