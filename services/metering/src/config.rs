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
    /// Where budgets, keys and the ledger are kept. Default: `redis` where the file has a `[redis]` section, else `embedded`.
    pub backend: Option<Place>,
    /// Bounds on the backend: `[metering.store]`.
    pub store: Bounds,
    /// The shared backend: `[metering.redis]`.
    pub redis: Sharing,
    /// How long what happened is kept: `[metering.retention]`.
    pub retention: Retention,
    /// What a person is told of: `[metering.alerts]`.
    pub alerts: Alerting,
    /// Identity providers whose tokens are taken beside keys: `[[metering.issuers]]`.
    pub issuers: Vec<Issuer>,
    /// How often the keys of issuers are read again, in milliseconds. Default 300,000.
    pub issuers_every_ms: u64,
    /// Longest text, in bytes, whose tokens are counted on the thread that serves requests. Default 16,384, which takes
    /// about a millisecond. Longer ones are counted on threads of their own.
    pub count_inline_bytes: usize,
    /// How many long texts are counted at a time. Default 2. Set it to the number of cores to spare.
    pub count_threads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: signalbox_config::listen::METERING.to_owned(),
            admin_key_file: None,
            grants: Grants::default(),
            allowance: Allowances::default(),
            backend: None,
            store: Bounds::default(),
            redis: Sharing::default(),
            retention: Retention::default(),
            alerts: Alerting::default(),
            issuers: Vec::new(),
            issuers_every_ms: 300_000,
            count_inline_bytes: 16 << 10,
            count_threads: 2,
        }
    }
}

/// Where budgets, keys and the ledger are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A database in the data folder, for one replica.
    Embedded,
    /// Redis, for any number of replicas.
    Redis,
}

/// `[metering.redis]`: metering over Redis 6.2 or newer, for any number of replicas.
///
/// Turn the append-only file on (`appendonly yes`): what Redis loses, metering has lost. With `appendfsync always` nothing that was
/// answered is lost; with `everysec` a crash may lose the last seconds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sharing {
    /// The address, where it is another than the `[redis]` section's: `redis://HOST:PORT/DB`, `redis-cluster://HOST:PORT,HOST:PORT` or
    /// `redis-sentinel://HOST:PORT,HOST:PORT/MASTER`. One with a password is named by `url_env` or `url_file`.
    pub url: Option<String>,
    /// The environment variable that holds the address.
    pub url_env: Option<String>,
    /// The file that holds the address.
    pub url_file: Option<PathBuf>,
    /// For how many days a record is known to have been counted, so that it is not when it is delivered again. Default 7;
    /// above the longest time that a gateway keeps records while metering is away. Takes about 200 bytes for each request.
    pub once_days: i64,
}

impl Default for Sharing {
    fn default() -> Self {
        Self { url: None, url_env: None, url_file: None, once_days: 7 }
    }
}

/// `[metering.retention]`: how long what happened is kept. Sums of hours and days stay when records go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// For how many days records of the ledger are kept. 0: for ever. Default 400. A thousand requests take about 600 KB.
    pub ledger_days: i64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { ledger_days: 400 }
    }
}

/// `[metering.alerts]`: what a person is told of, each thing once in its period. Budgets name their own thresholds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alerting {
    /// How often budgets and traffic are looked at, in milliseconds. Default 60,000.
    pub every_ms: u64,
    /// The share of failed requests within an hour from which it is told, in percent. Default 10.
    pub error_percent: i64,
    /// A request that takes longer is slow, in milliseconds. Default 30,000.
    pub slow_ms: i64,
    /// The share of slow requests within an hour from which it is told, in percent. Default 5.
    pub slow_percent: i64,
    /// An hour with so many times the requests or the cost of the same hour of the day before is told, and one with so many
    /// times fewer. Default 3.
    pub change_factor: i64,
    /// Requests of an hour below which neither a share of failures nor a change says anything. Default 20.
    pub least_requests: i64,
    /// Where alerts are sent: `[[metering.alerts.webhooks]]`. At most 16.
    pub webhooks: Vec<Receiver>,
}

impl Default for Alerting {
    fn default() -> Self {
        Self {
            every_ms: 60_000,
            error_percent: 10,
            slow_ms: 30_000,
            slow_percent: 5,
            change_factor: 3,
            least_requests: 20,
            webhooks: Vec::new(),
        }
    }
}

/// `[[metering.alerts.webhooks]]`: a receiver of alerts. Each is a POST of one alert as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Receiver {
    /// The address.
    pub url: String,
    /// The environment variable that holds the secret with which alerts are signed.
    pub secret_env: Option<String>,
    /// The file that holds it. Without a secret alerts are not signed.
    pub secret_file: Option<PathBuf>,
    /// Whose alerts are sent. Default: all tenants'.
    pub tenants: Vec<String>,
}

/// `[[metering.issuers]]`: an identity provider whose JSON web tokens are taken. Its keys are of RS256, RS384, RS512, ES256,
/// ES384 or EdDSA.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Issuer {
    /// A short name, which stands in the ledger as `jwt:NAME`. Required.
    pub name: String,
    /// What its tokens say in `iss`. Required.
    pub issuer: String,
    /// What they must say in `aud`. Required.
    pub audience: String,
    /// The file that holds its keys (JWKS).
    pub jwks_file: Option<PathBuf>,
    /// The address at which they are.
    pub jwks_url: Option<String>,
    /// The tenant of all its tokens. Give this or `tenant_claim`.
    pub tenant: Option<String>,
    /// The claim that names the tenant; a path such as `org.id` is allowed here and below.
    pub tenant_claim: Option<String>,
    /// The claim that names the end user. Default `sub`. It goes before what a request says.
    pub user_claim: String,
    /// The claim that names the team. Default: none.
    pub team_claim: Option<String>,
    /// The claim that lists roles, or a text with spaces between them. Default `roles`.
    pub roles_claim: String,
    /// Roles to which administrative methods are open. Default: none.
    pub admin_roles: Vec<String>,
    /// Models that its tokens may use, as patterns with a trailing `*`. Default: the tenant's.
    pub allowed_models: Vec<String>,
    /// Features that its tokens may name. Default: all.
    pub allowed_features: Vec<String>,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            name: String::new(),
            issuer: String::new(),
            audience: String::new(),
            jwks_file: None,
            jwks_url: None,
            tenant: None,
            tenant_claim: None,
            user_claim: "sub".to_owned(),
            team_claim: None,
            roles_claim: "roles".to_owned(),
            admin_roles: Vec::new(),
            allowed_models: Vec::new(),
            allowed_features: Vec::new(),
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
    /// Open reservations at most, and buckets of rate limits that are not empty; beyond it requests are refused with
    /// `OVERLOADED`. Default 100,000, about 60 MB. With Redis it holds for each tenant.
    pub max_reservations: usize,
    /// How much output is reserved at first: what this share of the latest answers to the feature needed, in percent, and two sevenths
    /// more, so that these are not extended. What is longer is extended while it flows. Default 90. 0: always the whole output limit,
    /// as it is for features with fewer than 20 answers and for models that think unseen.
    pub slice_percent: i64,
}

impl Default for Grants {
    fn default() -> Self {
        Self { ttl_ms: 120_000, min_output_tokens: 64, max_reservations: 100_000, slice_percent: 90 }
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
            ("redis.once_days", self.redis.once_days),
            ("store.queue", whole(store.queue)),
            ("store.batch", whole(store.batch)),
            ("store.max_keys", whole(store.max_keys)),
            ("store.max_budgets", whole(store.max_budgets)),
            ("store.max_groups", whole(store.max_groups)),
            ("issuers_every_ms", i64::try_from(self.issuers_every_ms).unwrap_or(i64::MAX)),
            ("alerts.every_ms", i64::try_from(self.alerts.every_ms).unwrap_or(i64::MAX)),
            ("alerts.error_percent", self.alerts.error_percent),
            ("alerts.slow_percent", self.alerts.slow_percent),
            ("alerts.change_factor", self.alerts.change_factor),
            ("count_threads", whole(self.count_threads)),
        ];
        if let Some((key, value)) = at_least_one.into_iter().find(|(_, value)| *value < 1) {
            return Err(format!("metering.{key} is {value}; set it to at least 1"));
        }
        let shares = [
            ("allowance.share_percent", allowance.share_percent),
            ("allowance.total_share_percent", allowance.total_share_percent),
            ("grants.slice_percent", grants.slice_percent),
        ];
        if let Some((key, value)) = shares.into_iter().find(|(_, value)| !(0..=100).contains(value)) {
            return Err(format!("metering.{key} is {value}; set it between 0 and 100"));
        }
        if self.alerts.webhooks.len() > 16 {
            return Err(
                "metering.alerts.webhooks has more than 16 entries; send to one that passes on".to_owned()
            );
        }
        if self.retention.ledger_days < 0 {
            return Err("metering.retention.ledger_days is negative; set it to 0 to keep all".to_owned());
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
