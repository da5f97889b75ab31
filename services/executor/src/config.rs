//! The section `[executor]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// The section's name in the configuration file.
pub const SECTION: &str = "executor";

/// Configures the executor.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the service listens for the gateway. Default: `127.0.0.1:8084`.
    pub listen: String,
    /// How long each stage may take.
    pub limits: Limits,
    /// When and how often a provider is asked again.
    pub retry: Retry,
    /// How broken streams go on.
    pub rescue: Rescue,
    /// When a failing target is left alone.
    pub breaker: Breaker,
    /// Bounds on what is kept in memory.
    pub bounds: Bounds,
    /// Connections to providers.
    pub pool: Pool,
    /// Whom to trust.
    pub tls: Tls,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: signalbox_config::listen::EXECUTOR.to_owned(),
            limits: Limits::default(),
            retry: Retry::default(),
            rescue: Rescue::default(),
            breaker: Breaker::default(),
            bounds: Bounds::default(),
            pool: Pool::default(),
            tls: Tls::default(),
        }
    }
}

/// Limits on time, in milliseconds. A model's own and a request's own go before these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// To connect, TLS included. Default: 5,000.
    pub connect_ms: u64,
    /// From an attempt's start to its first piece of output. Default: 10,000.
    pub first_output_ms: u64,
    /// The same for models that reason before they speak, and for those that do not stream. Default: 90,000.
    pub first_output_reasoning_ms: u64,
    /// Between two pieces of output. Default: 15,000.
    pub idle_ms: u64,
    /// Between two pieces of output, while the provider sends keep-alives: a tool that it runs itself may take long. A
    /// request's own `idle_ms` goes before it. Default: 60,000.
    pub keep_alive_ms: u64,
    /// From the request's arrival to its end; a caller's nearer deadline goes before it. Default: 600,000.
    pub total_ms: u64,
    /// How much waiting for output is looked at together to find a stream that only drips; 0: not at all. Default: 30,000.
    pub drip_ms: u64,
    /// The least output in `drip_ms` of waiting, in bytes; with less the stream counts as stalled. Default: 30.
    pub drip_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            first_output_ms: 10_000,
            first_output_reasoning_ms: 90_000,
            idle_ms: 15_000,
            keep_alive_ms: 60_000,
            total_ms: 600_000,
            drip_ms: 30_000,
            drip_bytes: 30,
        }
    }
}

/// Configures retries. Asking another provider is not a retry; asking the same one again is.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// How often one target is asked within one request, the first time included. Default: 2.
    pub attempts_per_target: u32,
    /// The longest wait before the first retry; doubles with each. The wait is drawn evenly from 0 to this. Default: 250.
    pub base_ms: u64,
    /// Where doubling ends. Default: 8,000.
    pub cap_ms: u64,
    /// The longest wait that a provider may ask for (`Retry-After`) and get; with a longer one the next candidate is
    /// asked. Default: 10,000.
    pub max_wait_ms: u64,
    /// Retries per hundred requests, over all requests of this process. Default: 20.
    pub budget_percent: u32,
    /// Retries that are possible before requests have earned any, and the most that can be saved up. Default: 10.
    pub budget_reserve: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts_per_target: 2,
            base_ms: 250,
            cap_ms: 8_000,
            max_wait_ms: 10_000,
            budget_percent: 20,
            budget_reserve: 10,
        }
    }
}

/// Configures the rescue of streams that break after output was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rescue {
    /// How often one answer is rescued; 0: never. Default: 3.
    pub attempts: u32,
}

impl Default for Rescue {
    fn default() -> Self {
        Self { attempts: 3 }
    }
}

/// Configures the breaker of each target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// Failures in a row that open it; rate limits are counted apart, to the same number. 0: no breaker. Default: 5.
    pub failures: u32,
    /// The share of failures, in percent, among the last `window` attempts that opens it too; 0: not at all. Default: 50.
    pub failure_percent: u32,
    /// How many attempts are looked at, at most 64. Default: 20.
    pub window: u32,
    /// How long it stays open before one probe is let through. Default: 10,000.
    pub open_ms: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 5, failure_percent: 50, window: 20, open_ms: 10_000 }
    }
}

/// Bounds on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// Requests, and so connections, under way at one target; beyond it the next candidate is asked. A target's own
    /// `max_in_flight` goes before it. Default: 16,384.
    pub in_flight_per_target: usize,
    /// Headers of a provider's answer, in bytes; at least 8,192. Default: 65,536.
    pub header_bytes: usize,
    /// What is read of an error's body, in bytes. Default: 65,536.
    pub error_body_bytes: usize,
    /// The longest line and the largest event of a stream, in bytes. Default: 1,048,576.
    pub event_bytes: usize,
    /// Unreadable chunks in one stream that are skipped before it is given up. Default: 16.
    pub malformed_chunks: u32,
    /// An answer that is not streamed, and vectors, in bytes. Default: 33,554,432.
    pub answer_bytes: usize,
    /// Delivered text that is kept, in bytes; past it a broken stream is not rescued any more, and tokens that the provider
    /// does not report are estimated by length. Default: 65,536.
    pub delivered_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            in_flight_per_target: 16_384,
            header_bytes: 64 << 10,
            error_body_bytes: 64 << 10,
            event_bytes: 1 << 20,
            malformed_chunks: 16,
            answer_bytes: 32 << 20,
            delivered_bytes: 64 << 10,
        }
    }
}

/// Configures connections to providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    /// Unused HTTP/1.1 connections kept per host. Default: 128.
    pub idle_per_host: usize,
    /// How long an unused connection is kept, in milliseconds. Default: 60,000.
    pub idle_ms: u64,
}

impl Default for Pool {
    fn default() -> Self {
        Self { idle_per_host: 128, idle_ms: 60_000 }
    }
}

/// Configures TLS to providers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with certificate authorities that are trusted besides the system's: for a provider or a proxy of your own.
    /// Default: none.
    pub ca_file: Option<PathBuf>,
}

impl Config {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    ///
    /// Names the key and what to change.
    pub fn check(&self) -> Result<(), String> {
        if self.retry.attempts_per_target == 0 {
            return Err("executor.retry.attempts_per_target: must be at least 1".to_owned());
        }
        if self.bounds.header_bytes < 8_192 {
            return Err("executor.bounds.header_bytes: must be at least 8192".to_owned());
        }
        if !(1..=64).contains(&self.breaker.window) || self.breaker.failure_percent > 100 {
            return Err("executor.breaker: window must be 1 to 64 and failure_percent at most 100".to_owned());
        }
        let zero = [
            ("limits.connect_ms", self.limits.connect_ms),
            ("limits.first_output_ms", self.limits.first_output_ms),
            ("limits.first_output_reasoning_ms", self.limits.first_output_reasoning_ms),
            ("limits.idle_ms", self.limits.idle_ms),
            ("limits.total_ms", self.limits.total_ms),
            ("bounds.in_flight_per_target", self.bounds.in_flight_per_target as u64),
        ];
        match zero.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(format!("executor.{key}: must be greater than 0")),
            None => Ok(()),
        }
    }
}

/// Turns milliseconds into a duration.
pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_and_zeros_are_named() {
        assert_eq!(Config::default().check(), Ok(()));
        let mut config = Config::default();
        config.limits.idle_ms = 0;
        assert_eq!(config.check().unwrap_err(), "executor.limits.idle_ms: must be greater than 0");
    }
}
