//! The `[cache]` section.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;
use signalbox_config::Secret;

/// Name of the section in the configuration file.
pub const SECTION: &str = "cache";

/// The policy of tenants that name none.
pub const DEFAULT_POLICY: &str = "default";

/// Configures the cache.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address to listen on, for the gateway alone. Default `127.0.0.1:8082`.
    pub listen: String,
    /// Answers to the very same request.
    pub exact: Exact,
    /// Answers to questions close in meaning.
    pub semantic: Semantic,
    /// Rights to fill an entry.
    pub lease: Lease,
    /// What outlives the process.
    pub disk: Disk,
    /// How replicas share entries, leases and answers in flight, where `[redis]` is configured.
    pub shared: Shared,
    /// What is written outside this process is sealed with keys of its tenants.
    pub encryption: Encryption,
    /// The Qdrant server that replicas keep vectors in. Without its `url` each keeps its own.
    pub qdrant: Qdrant,
    /// Policies by name. Tenants name theirs as `cache_policy`; `default` exists always, and has the defaults of
    /// [`Policy`] unless it is written here.
    pub policies: BTreeMap<String, Policy>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: signalbox_config::listen::CACHE.to_owned(),
            exact: Exact::default(),
            semantic: Semantic::default(),
            lease: Lease::default(),
            disk: Disk::default(),
            shared: Shared::default(),
            encryption: Encryption::default(),
            qdrant: Qdrant::default(),
            policies: BTreeMap::new(),
        }
    }
}

/// Bounds what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exact {
    /// Memory for entries of all tenants together, in bytes. The tenant that has most gives first, what it uses least. Default
    /// 256 MiB, room for about 100,000 short answers. In a shared Redis its own `maxmemory` counts instead.
    pub max_bytes: u64,
    /// Most bytes of one tenant's entries. Default: what the others leave.
    pub max_bytes_per_tenant: Option<u64>,
    /// Most entries of one tenant. Default 100,000.
    pub max_entries_per_tenant: usize,
    /// Largest answer that is kept, in bytes; longer ones are not stored. Default 1 MiB.
    pub max_entry_bytes: usize,
    /// How long an entry lives where its policy does not say, in milliseconds. Default 86,400,000 (a day).
    pub ttl_ms: u64,
}

impl Default for Exact {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            max_bytes_per_tenant: None,
            max_entries_per_tenant: 100_000,
            max_entry_bytes: 1 << 20,
            ttl_ms: 86_400_000,
        }
    }
}

/// Configures the search by meaning.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Semantic {
    /// Whether there is any. Default true; without an embedding model it is off all the same.
    pub enabled: bool,
    /// What keeps the vectors and searches them, where no Qdrant server does. Default `scan`.
    pub engine: Engine,
    /// The highest probability of being wrong that a hit may have, 0 to 1, by the calibrated model and the entry's history. Default
    /// 0.08: on 9,998 pairs of people's questions that the model was not trained on, 15.5 % of the duplicates hit, and 4.2 % of the hits were
    /// wrong by labels of which a reader would take back more than half. At 0.06 it is 12 % and 4 %. Policies may set another; requests
    /// may only lower it.
    pub max_error: f64,
    /// The least cosine similarity of a hit, 0 to 1; policies and requests may only raise it. Default 0.75: whether a question that
    /// close has the same answer is for the second look and the model to say, not for a threshold.
    pub threshold: f64,
    /// Most questions of all tenants together. Default 50,000: about 0.7 kB each.
    pub max_entries: usize,
    /// Most questions of one tenant. Default 10,000, whose scan takes about a millisecond.
    pub max_entries_per_tenant: usize,
    /// Longest question that is compared by meaning, in bytes. Default 768: the model reads 256 tokens, and what it
    /// does not read it cannot tell apart.
    pub max_text_bytes: usize,
    /// How long a vector may take, in milliseconds; later it is a miss. Default 250, generous for a busy laptop.
    pub embed_timeout_ms: u64,
}

impl Default for Semantic {
    fn default() -> Self {
        Self {
            enabled: true,
            engine: Engine::Scan,
            max_error: 0.08,
            threshold: 0.75,
            max_entries: 50_000,
            max_entries_per_tenant: 10_000,
            max_text_bytes: 768,
            embed_timeout_ms: 250,
        }
    }
}

/// What keeps vectors in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// All in memory, each compared: exact, and within a millisecond up to 100,000 of a tenant.
    Scan,
    /// The embedded Qdrant engine: indexed, on disk, for more than that. In released builds, and in those with the cargo feature
    /// `qdrant-edge`.
    QdrantEdge,
}

/// Bounds the rights to fill.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lease {
    /// How long a lease lasts after it was given, and after each message of its fill, in milliseconds. Default 60,000:
    /// longer than a model's first token takes.
    pub ttl_ms: u64,
    /// Most leases at a time; beyond it, misses get none. Default 16,384.
    pub max: usize,
}

impl Default for Lease {
    fn default() -> Self {
        Self { ttl_ms: 60_000, max: 16_384 }
    }
}

/// What is written to the data folder, readable by its owner only, and found again after a restart: entries, in their redacted form,
/// unless they are in Redis, and vectors, unless they are in Qdrant.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    /// Whether anything is. Default true.
    pub enabled: bool,
    /// How often, in milliseconds: what a crash may cost. Default 1,000. At the end of the process everything is written.
    pub flush_ms: u64,
}

impl Default for Disk {
    fn default() -> Self {
        Self { enabled: true, flush_ms: 1_000 }
    }
}

/// Seals entries, leases, answers in flight and vectors, on disk and in Redis, each with a key of its tenant. Not the vectors in a Qdrant
/// server, which must compare them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Encryption {
    /// The file with the master keys: 32 bytes in base64 each, one a line, the same for all replicas; the first seals, all of them open.
    /// What was kept without one of them is as if it were not there. Default: none, nothing is sealed.
    pub key_file: Option<PathBuf>,
}

/// What replicas share through the Redis of `[redis]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shared {
    /// Whether entries, leases and answers in flight are kept there. Default true; without `[redis]` each replica keeps its own.
    pub enabled: bool,
    /// How long a lookup waits for an answer, in milliseconds; later it is a miss. Default 50.
    pub deadline_ms: u64,
    /// How long fills and invalidations wait, in milliseconds: nobody's answer waits behind them. Default 1,000.
    pub patience_ms: u64,
    /// Failures in a row after which nobody waits any more. Default 5.
    pub failures: u32,
    /// How long nobody asks then, in milliseconds, until one call tries again. Default 1,000.
    pub open_ms: u64,
}

impl Default for Shared {
    fn default() -> Self {
        Self { enabled: true, deadline_ms: 50, patience_ms: 1_000, failures: 5, open_ms: 1_000 }
    }
}

/// Vectors in a Qdrant server (1.15 or later). The collection is made at the start, and named by the embedding model's hash.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Qdrant {
    /// Its gRPC address, `http://host:6334` or `https://…`. Default: none, vectors are kept in this process.
    pub url: Option<String>,
    /// The environment variable that holds its API key. Default: none is sent.
    pub api_key_env: Option<String>,
    /// The file that holds its API key.
    pub api_key_file: Option<PathBuf>,
    /// What the collection's name begins with. Default `signalbox`.
    pub collection: String,
    /// Connections. Default 4: one HTTP/2 connection keeps to one core.
    pub connections: usize,
    /// How long a lookup waits for a search, in milliseconds; later it is a miss. Default 50.
    pub deadline_ms: u64,
    /// How long insertions and removals may take, in milliseconds. Default 1,000.
    pub patience_ms: u64,
    /// Failures in a row after which nobody waits any more. Default 5.
    pub failures: u32,
    /// How long until it is tried again, in milliseconds. Default 1,000.
    pub open_ms: u64,
    /// Whether searches go over bytes held in memory instead of floats: a quarter of the memory. Only when the collection is made, as
    /// the rest below. Default true.
    pub quantise: bool,
    /// Whether the floats themselves stay on disk. Default true.
    pub on_disk: bool,
    /// Shards of the collection. Default: Qdrant's own, one per node.
    pub shards: Option<u32>,
    /// Copies of each shard. Default 1.
    pub replication_factor: u32,
    /// Copies that must have a point before it counts as kept. Default 1.
    pub write_consistency_factor: u32,
}

impl Default for Qdrant {
    fn default() -> Self {
        Self {
            url: None,
            api_key_env: None,
            api_key_file: None,
            collection: "signalbox".into(),
            connections: 4,
            deadline_ms: 50,
            patience_ms: 1_000,
            failures: 5,
            open_ms: 1_000,
            quantise: true,
            on_disk: true,
            shards: None,
            replication_factor: 1,
            write_consistency_factor: 1,
        }
    }
}

impl Qdrant {
    /// Reads its API key, if it has one.
    ///
    /// # Errors
    /// It is named and cannot be read, or named twice.
    pub(crate) fn api_key(&self) -> Result<Option<Secret>, String> {
        match (&self.api_key_env, &self.api_key_file) {
            (None, None) => Ok(None),
            (Some(name), None) => Secret::from_env(name).map(Some).map_err(|error| error.to_string()),
            (None, Some(path)) => Secret::from_file(path).map(Some).map_err(|error| error.to_string()),
            (Some(_), Some(_)) => Err("give at most one of api_key_env and api_key_file".to_owned()),
        }
    }

    fn validate(&self) -> Result<(), String> {
        if let Some(url) = &self.url {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err("cache.qdrant.url is no address of the form http://host:6334".into());
            }
            if url.contains('@') {
                return Err("cache.qdrant.url holds a password; name a variable with api_key_env".into());
            }
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if self.collection.is_empty() || self.collection.len() > 64 || !self.collection.bytes().all(legal) {
            return Err("cache.qdrant.collection must be 1 to 64 letters, digits, - or _".into());
        }
        Ok(())
    }
}

/// How the cache is used, where the request does not narrow it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How the cache takes part. Default `on`.
    pub mode: Mode,
    /// How long an answer is kept, in milliseconds. Default: `exact.ttl_ms`.
    pub ttl_ms: Option<u64>,
    /// For how long after its time to live an answer may still be given to the very same request while the model is asked again, in
    /// milliseconds. Default 0: never.
    pub stale_ms: u64,
    /// How fast hits are replayed: 1 as the answer came, 2 twice as fast, at most 30 seconds long. Default 0: at once.
    pub replay_speed: f64,
    /// The alias of the model that is asked about a candidate that stands the second look and falls short of the bound. Costs a call
    /// where it is asked. Default: none.
    pub judge: Option<String>,
    /// The share of hits by meaning of which the model is asked the same in the background, 0 to 1, and compared: entries whose answer differs
    /// are given less. Costs a call each. Default 0.
    pub shadow_share: f64,
    /// Whether answers to questions close in meaning count. Default true.
    pub semantic: bool,
    /// The least cosine similarity of a hit, 0 to 1. Default, and least: `semantic.threshold`.
    pub min_similarity: Option<f64>,
    /// The highest acceptable probability of a wrong hit, 0 to 1. 0 allows exact hits only. Default: `semantic.max_error`.
    pub max_error: Option<f64>,
    /// Whether users are kept apart; requests that name no user then pass the cache by. Default false.
    pub per_user: bool,
    /// Labels on every entry, for invalidation. At most 16, each at most 64 bytes. Default none.
    pub tags: Vec<String>,
    /// Whether requests with a temperature above 1 may be answered by meaning. Default false.
    pub semantic_high_temperature: bool,
    /// Whether questions about the present ("today", "latest") may be answered by meaning. Default false.
    pub semantic_time_bound: bool,
    /// Whether questions about the asker's own affairs ("my order") may be answered by meaning. Default false; sound
    /// only together with `per_user`.
    pub semantic_personal: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::On,
            ttl_ms: None,
            stale_ms: 0,
            replay_speed: 0.0,
            judge: None,
            shadow_share: 0.0,
            semantic: true,
            min_similarity: None,
            max_error: None,
            per_user: false,
            tags: Vec::new(),
            semantic_high_temperature: false,
            semantic_time_bound: false,
            semantic_personal: false,
        }
    }
}

/// How the cache takes part by policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Read and write.
    On,
    /// Neither.
    Off,
    /// Read only.
    Read,
    /// Write only.
    Write,
}

/// Most labels of an entry from one side.
pub(crate) const TAGS: usize = 16;
/// Longest label, in bytes.
pub(crate) const TAG_BYTES: usize = 64;

impl Config {
    /// How long anything is kept at most, by any policy.
    pub(crate) fn longest(&self) -> Duration {
        let policies = self
            .policies
            .values()
            .map(|policy| policy.ttl_ms.unwrap_or(self.exact.ttl_ms).saturating_add(policy.stale_ms));
        Duration::from_millis(policies.fold(self.exact.ttl_ms, u64::max))
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// A sentence that names the key and what to change.
    pub fn validate(&self) -> Result<(), String> {
        let positive = [
            ("exact.max_bytes", self.exact.max_bytes),
            ("exact.max_entry_bytes", self.exact.max_entry_bytes as u64),
            ("exact.ttl_ms", self.exact.ttl_ms),
            ("semantic.max_entries", self.semantic.max_entries as u64),
            ("semantic.max_entries_per_tenant", self.semantic.max_entries_per_tenant as u64),
            ("semantic.max_text_bytes", self.semantic.max_text_bytes as u64),
            ("semantic.embed_timeout_ms", self.semantic.embed_timeout_ms),
            ("lease.ttl_ms", self.lease.ttl_ms),
            ("lease.max", self.lease.max as u64),
            ("exact.max_bytes_per_tenant", self.exact.max_bytes_per_tenant.unwrap_or(1)),
            ("exact.max_entries_per_tenant", self.exact.max_entries_per_tenant as u64),
            ("disk.flush_ms", self.disk.flush_ms),
            ("shared.deadline_ms", self.shared.deadline_ms),
            ("shared.patience_ms", self.shared.patience_ms),
            ("shared.failures", self.shared.failures.into()),
            ("shared.open_ms", self.shared.open_ms),
            ("qdrant.connections", self.qdrant.connections as u64),
            ("qdrant.deadline_ms", self.qdrant.deadline_ms),
            ("qdrant.patience_ms", self.qdrant.patience_ms),
            ("qdrant.failures", self.qdrant.failures.into()),
            ("qdrant.open_ms", self.qdrant.open_ms),
            ("qdrant.replication_factor", self.qdrant.replication_factor.into()),
            ("qdrant.write_consistency_factor", self.qdrant.write_consistency_factor.into()),
            ("qdrant.shards", self.qdrant.shards.unwrap_or(1).into()),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(format!("cache.{key} is 0; it must be at least 1"));
            }
        }
        if self.exact.max_entry_bytes > MOST_ENTRY_BYTES {
            return Err(format!("cache.exact.max_entry_bytes is above {MOST_ENTRY_BYTES}; lower it"));
        }
        fraction("semantic.threshold", Some(self.semantic.threshold))?;
        fraction("semantic.max_error", Some(self.semantic.max_error))?;
        self.qdrant.validate()?;
        self.known_engine()?;
        for (name, policy) in &self.policies {
            policy.validate(&format!("policies.{name}"))?;
        }
        Ok(())
    }
}

impl Config {
    /// Checks that the engine is there, and that nothing asks of it what it cannot do.
    fn known_engine(&self) -> Result<(), String> {
        if self.semantic.engine == Engine::Scan {
            return Ok(());
        }
        let why_not = if !cfg!(feature = "qdrant-edge") {
            "this build does not have; take a released one, or build with --features qdrant-edge"
        } else if self.encryption.key_file.is_some() {
            "cannot seal what it keeps; leave out cache.encryption, or keep the scan"
        } else if !self.disk.enabled {
            "lives on disk; leave out cache.disk.enabled = false, or keep the scan"
        } else if self.qdrant.url.is_some() {
            "is not asked beside a Qdrant server; leave out cache.qdrant.url, or keep the scan"
        } else {
            return Ok(());
        };
        Err(format!("cache.semantic.engine is qdrant_edge, which {why_not}"))
    }
}

/// Largest bound on an entry: it is gathered in memory whole.
const MOST_ENTRY_BYTES: usize = 256 << 20;

impl Policy {
    fn validate(&self, at: &str) -> Result<(), String> {
        fraction(&format!("{at}.min_similarity"), self.min_similarity)?;
        fraction(&format!("{at}.max_error"), self.max_error)?;
        fraction(&format!("{at}.shadow_share"), Some(self.shadow_share))?;
        if !is_speed(self.replay_speed) {
            return Err(format!(
                "cache.{at}.replay_speed is {}; set it to 0, or 0.01 to 1000",
                self.replay_speed
            ));
        }
        if self.judge.as_ref().is_some_and(String::is_empty) {
            return Err(format!("cache.{at}.judge is empty; name an alias of [models], or leave it out"));
        }
        if self.ttl_ms == Some(0) {
            return Err(format!("cache.{at}.ttl_ms is 0; to store nothing set mode = \"read\""));
        }
        if self.tags.len() > TAGS {
            return Err(format!("cache.{at}.tags has {} labels; at most {TAGS} are kept", self.tags.len()));
        }
        if self.tags.iter().any(|tag| tag.is_empty() || tag.len() > TAG_BYTES) {
            return Err(format!(
                "cache.{at}.tags has a label that is empty or longer than {TAG_BYTES} bytes"
            ));
        }
        Ok(())
    }
}

/// Whether an answer can be replayed that fast.
pub(crate) fn is_speed(speed: f64) -> bool {
    speed == 0.0 || (0.01..=1_000.0).contains(&speed)
}

fn fraction(key: &str, value: Option<f64>) -> Result<(), String> {
    match value {
        Some(value) if !(0.0..=1.0).contains(&value) => {
            Err(format!("cache.{key} is {value}; set it between 0 and 1"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn nothing_needs_to_be_said() {
        let config = config("");
        assert_eq!(config, Config::default());
        config.validate().unwrap();
    }

    #[test]
    fn the_embedded_engine_is_refused_where_it_cannot_do_what_is_asked() {
        let refused = |more: &str, what: &str| {
            let error = config(&format!("semantic.engine = \"qdrant_edge\"\n{more}")).validate().unwrap_err();
            assert!(
                error.starts_with("cache.semantic.engine is qdrant_edge") && error.contains(what),
                "{error}"
            );
        };
        if cfg!(feature = "qdrant-edge") {
            config("semantic.engine = \"qdrant_edge\"").validate().unwrap();
            refused("encryption.key_file = \"/keys\"", "cache.encryption");
            refused("disk.enabled = false", "cache.disk.enabled");
            refused("qdrant.url = \"http://qdrant:6334\"", "cache.qdrant.url");
        } else {
            refused("", "--features qdrant-edge");
        }
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        let unknown = toml::from_str::<Config>("[semantic]\ntreshold = 0.9").unwrap_err().to_string();
        assert!(unknown.contains("treshold"), "{unknown}");
        let wrong = [
            ("[semantic]\nthreshold = 92", "cache.semantic.threshold"),
            ("[lease]\nttl_ms = 0", "cache.lease.ttl_ms"),
            ("[policies.news]\nttl_ms = 0", "cache.policies.news.ttl_ms"),
            ("[policies.news]\nmin_similarity = 1.5", "cache.policies.news.min_similarity"),
            ("[policies.news]\ntags = [\"\"]", "cache.policies.news.tags"),
            ("[policies.news]\nreplay_speed = -1", "cache.policies.news.replay_speed"),
            ("[policies.news]\nshadow_share = 2", "cache.policies.news.shadow_share"),
            ("[policies.news]\njudge = \"\"", "cache.policies.news.judge"),
        ];
        for (text, key) in wrong {
            let error = config(text).validate().unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }
}
