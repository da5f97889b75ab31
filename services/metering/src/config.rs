//! The `[metering]` section.

use std::path::PathBuf;

use serde::Deserialize;

/// The section's name in the configuration file.
pub const SECTION: &str = "metering";

/// The `[metering]` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address to listen on, for the gateway alone. Default `127.0.0.1:8085`.
    pub listen: String,
    /// A file that holds the first admin credential, `sb_admin_<secret>` with a secret of at least 16 characters of
    /// `[A-Za-z0-9_-]`. The environment variable `SIGNALBOX_ADMIN_KEY` goes before it. Default: none. Use it to make
    /// named admin keys, then take it away.
    pub admin_key_file: Option<PathBuf>,
    /// How reservations are made: `[metering.grants]`.
    pub grants: Grants,
    /// What gateways may spend while metering is away: `[metering.allowance]`.
    pub allowance: Allowances,
    /// Bounds on the embedded store: `[metering.store]`.
    pub store: Bounds,
    /// Longest text, in bytes, whose tokens are counted on the thread that serves requests. Default 16,384, which takes
    /// about a millisecond. Longer ones are counted on threads of their own.
    pub count_inline_bytes: usize,
    /// How many long texts are counted at a time. Default 2. Set it to the number of cores to spare.
    pub count_threads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8085".to_owned(),
            admin_key_file: None,
            grants: Grants::default(),
            allowance: Allowances::default(),
            store: Bounds::default(),
            count_inline_bytes: 16 << 10,
            count_threads: 2,
        }
    }
}

/// `[metering.grants]`: how much is reserved for a request, and for how long.
///
/// Reserved is the dearest target that the request may reach, at the counted input and the request's own output limit; without
/// one, at the largest `max_output_tokens` of those targets, which is 4,096 where it is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// After how many milliseconds a reservation that nobody extends or settles returns by itself. Default 120,000. Above
    /// the longest silence between two signs of life of one request.
    pub ttl_ms: i64,
    /// The smallest number of output tokens that is granted where a budget does not cover all; below it a request is
    /// refused. Default 64, a short paragraph.
    pub min_output_tokens: i64,
    /// Open reservations at most; beyond it requests are refused with `OVERLOADED`. Default 100,000, about 60 MB.
    pub max_reservations: usize,
}

impl Default for Grants {
    fn default() -> Self {
        Self { ttl_ms: 120_000, min_output_tokens: 64, max_reservations: 100_000 }
    }
}

/// `[metering.allowance]`: money that each gateway may spend for each principal while metering is away. It is reserved in the
/// tenant's hard budgets beforehand, and renewed when half of its life is over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Allowances {
    /// Whether allowances are kept. Default true. Without them every request is refused while metering is away.
    pub enabled: bool,
    /// The share of the tightest hard limit, in percent. Default 1.
    pub share_percent: i64,
    /// The share of a limit that all its allowances may hold together, in percent. Default 10. So much of a budget may lie
    /// idle.
    pub total_share_percent: i64,
    /// The most that one allowance holds, in nano-dollars. Default 10,000,000,000 (10 USD).
    pub max_nanousd: i64,
    /// What an allowance holds where no hard budget in money limits the principal, in nano-dollars. Default 10,000,000,000.
    pub unlimited_nanousd: i64,
    /// How long an allowance lives, in milliseconds. Default 300,000: the longest absence of metering that is bridged.
    pub ttl_ms: i64,
}

impl Default for Allowances {
    fn default() -> Self {
        Self {
            enabled: true,
            share_percent: 1,
            total_share_percent: 10,
            max_nanousd: 10_000_000_000,
            unlimited_nanousd: 10_000_000_000,
            ttl_ms: 300_000,
        }
    }
}

/// `[metering.store]`: the embedded database, `metering.db` in the data folder.
///
/// Commits are written to SQLite's write-ahead log with `synchronous = NORMAL`: what was answered survives the death of the
/// process (kill -9). A power failure may lose the last commits before it, at most those since the last checkpoint (about
/// 16 MB of log); the database stays sound.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// Calls that wait for the writer at most; admissions beyond it are refused with `OVERLOADED`. Default 4,096.
    pub queue: usize,
    /// Calls that are committed together at most. Default 512. More makes each commit dearer and rarer.
    pub batch: usize,
    /// Keys at most, ended ones included; all are held in memory. Default 100,000, about 50 MB.
    pub max_keys: usize,
    /// Budgets at most. Default 10,000.
    pub max_budgets: usize,
    /// Groups that one question about usage may have at most, before its own limit on rows. Default 100,000.
    pub max_groups: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { queue: 4_096, batch: 512, max_keys: 100_000, max_budgets: 10_000, max_groups: 100_000 }
    }
}

impl Config {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and what to change.
    pub fn validate(&self) -> Result<(), String> {
        let (grants, allowance, store) = (&self.grants, &self.allowance, &self.store);
        let at_least_one = [
            ("grants.ttl_ms", grants.ttl_ms),
            ("grants.min_output_tokens", grants.min_output_tokens),
            ("grants.max_reservations", whole(grants.max_reservations)),
            ("allowance.ttl_ms", allowance.ttl_ms),
            ("store.queue", whole(store.queue)),
            ("store.batch", whole(store.batch)),
            ("store.max_keys", whole(store.max_keys)),
            ("store.max_budgets", whole(store.max_budgets)),
            ("store.max_groups", whole(store.max_groups)),
            ("count_threads", whole(self.count_threads)),
        ];
        if let Some((key, value)) = at_least_one.into_iter().find(|(_, value)| *value < 1) {
            return Err(format!("metering.{key} is {value}; set it to at least 1"));
        }
        let shares = [
            ("share_percent", allowance.share_percent),
            ("total_share_percent", allowance.total_share_percent),
        ];
        if let Some((key, value)) = shares.into_iter().find(|(_, value)| !(0..=100).contains(value)) {
            return Err(format!("metering.allowance.{key} is {value}; set it between 0 and 100"));
        }
        let amounts =
            [("max_nanousd", allowance.max_nanousd), ("unlimited_nanousd", allowance.unlimited_nanousd)];
        match amounts.into_iter().find(|(_, value)| *value < 0) {
            Some((key, value)) => Err(format!("metering.allowance.{key} is {value}; set it to 0 or more")),
            None => Ok(()),
        }
    }
}

fn whole(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_and_each_fault_is_named() {
        Config::default().validate().unwrap();
        let mut config = Config::default();
        config.grants.ttl_ms = 0;
        assert!(config.validate().unwrap_err().contains("metering.grants.ttl_ms"));
        let mut config = Config::default();
        config.allowance.share_percent = 101;
        assert!(config.validate().unwrap_err().contains("metering.allowance.share_percent"));
    }
}
