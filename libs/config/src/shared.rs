//! The parts of the file that all services read.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use serde::Deserialize;

use crate::{Price, Prices, Secret, SecretError, Telemetry, Usd};

/// Models, tenants, telemetry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shared {
    /// `[models.<alias>]`, in the file's order.
    pub models: IndexMap<String, ModelAlias>,
    /// `[tenants.<name>]`.
    pub tenants: IndexMap<String, Tenant>,
    /// `[telemetry]`.
    pub telemetry: Telemetry,
    /// `[prices]`.
    pub prices: Prices,
    /// `[redis]`: what the replicas of a service share. Absent: each keeps its own.
    pub redis: Option<Redis>,
}

/// The Redis that replicas share their state through.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// The address, `redis://host:6379/0`. One with a password is named by `url_env` or `url_file`.
    pub url: Option<String>,
    /// The environment variable that holds the address.
    pub url_env: Option<String>,
    /// The file that holds the address.
    pub url_file: Option<PathBuf>,
    /// What all keys begin with, so that several meshes can share a server. Default `signalbox`.
    pub prefix: String,
}

impl Default for Redis {
    fn default() -> Self {
        Self { url: None, url_env: None, url_file: None, prefix: "signalbox".to_owned() }
    }
}

impl Redis {
    /// Reads the address.
    ///
    /// # Errors
    /// When none is given, or it cannot be read.
    pub fn url(&self) -> Result<Secret, String> {
        match (&self.url, &self.url_env, &self.url_file) {
            (Some(url), None, None) => Ok(Secret::new(url.clone())),
            (None, Some(name), None) => Secret::from_env(name).map_err(|error| error.to_string()),
            (None, None, Some(path)) => Secret::from_file(path).map_err(|error| error.to_string()),
            _ => Err("give exactly one of url, url_env and url_file".to_owned()),
        }
    }
}

/// A name that clients ask for, and the targets behind it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelAlias {
    /// The targets in the order in which they are tried. At least one.
    pub targets: Vec<Target>,
    /// What it is, for people.
    pub description: Option<String>,
    /// Whether a second target is asked beside the first when that is slower than it mostly is. Costs money: the budget
    /// must cover both. A request may say otherwise. Default false.
    #[serde(default)]
    pub hedge: bool,
}

/// A model at a provider with a credential.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The address up to and with the version, for example `https://api.openai.com/v1`.
    pub base_url: String,
    /// The wire format. Default `openai`.
    #[serde(default)]
    pub dialect: Dialect,
    /// The model as the provider calls it.
    pub model: String,
    /// The environment variable that holds the credential. Default: none is sent.
    pub api_key_env: Option<String>,
    /// The file that holds the credential, instead of a variable.
    pub api_key_file: Option<PathBuf>,
    /// The provider's name, for prices and reports. Default: from the address's host.
    pub provider: Option<String>,
    /// The price. Default: from the catalog.
    pub price: Option<Price>,
    /// The context window in tokens. Default: from the catalog.
    pub context_window_tokens: Option<u64>,
    /// The most output tokens. Default: from the catalog.
    pub max_output_tokens: Option<u64>,
    /// A `tokenizer.json` as Hugging Face's libraries write it, by which this model's tokens are counted. Default: the
    /// vocabulary of the model's family, as far as that is known.
    pub tokenizer_file: Option<PathBuf>,
    /// Whether its answers are asked for as streams. `false` for a model or server that has only whole ones: these come in one piece.
    /// Default: true.
    pub stream: Option<bool>,
    /// What it can do: `tools`, `vision`, `json_schema`, `reasoning`, `audio`, `prefill`. Default: from the catalog.
    pub capabilities: Option<Vec<String>>,
    /// Where it is, for example `eu`: what `regions` of a tenant are compared with. Default: unknown.
    pub region: Option<String>,
    /// The share of requests among deployments of one model: targets of an alias with the same provider and model, but
    /// another address or credential. Default: 1.
    pub weight: Option<u32>,
    /// How long an attempt may take to its first output, in milliseconds. Default: `[executor.limits]`.
    pub first_output_ms: Option<u64>,
    /// How long a stream may be silent, in milliseconds. Default: `[executor.limits]`.
    pub idle_ms: Option<u64>,
    /// How long a whole request may take that begins here, in milliseconds. Default: `[executor.limits]`.
    pub total_ms: Option<u64>,
    /// Requests, and so connections, under way at most; beyond it the next candidate is asked. Default:
    /// `[executor.bounds]`.
    pub max_in_flight: Option<usize>,
}

/// The wire format of a provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// OpenAI Chat Completions; vLLM, Ollama, llama.cpp and many others speak it.
    #[default]
    Openai,
    /// OpenAI Responses.
    OpenaiResponses,
    /// Chat Completions at Azure; `base_url` is the resource's, `model` the deployment's name.
    Azure,
    /// Chat Completions at Azure's versionless door, `/openai/v1`.
    AzureV1,
    /// Responses at Azure's versionless door.
    AzureResponses,
    /// Anthropic Messages; `base_url` is `https://api.anthropic.com`.
    Anthropic,
    /// Google's Gemini API; `base_url` is `https://generativelanguage.googleapis.com/v1beta`.
    Gemini,
    /// The same at Vertex AI, with an access token; `base_url` ends in `/publishers/google`.
    Vertex,
    /// AWS Bedrock Converse; `base_url` is `https://bedrock-runtime.REGION.amazonaws.com`, the credential a bearer key or
    /// `ACCESS_KEY:SECRET`, with `:SESSION_TOKEN` where there is one.
    Bedrock,
    /// Cohere v2; `base_url` is `https://api.cohere.com/v2`.
    Cohere,
}

/// An organisation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tenant {
    /// Models or aliases that it may use, as patterns with a trailing `*`. Default: all.
    pub allowed_models: Vec<String>,
    /// Its guard policy. Default: `default`.
    pub guard_policy: Option<String>,
    /// Its cache policy. Default: `default`.
    pub cache_policy: Option<String>,
    /// Its route policy. Default: each alias's own.
    pub route_policy: Option<String>,
    /// The regions in which its requests may be answered. Targets elsewhere, or whose region is unknown, are left out. Default: all.
    pub regions: Vec<String>,
    /// What happens while the guard is away. Default `closed`.
    pub guard_unavailable: Guarding,
    /// What it may spend. All apply together.
    pub budgets: Vec<Budget>,
    /// How much may come in a time. All apply together.
    pub limits: Vec<RateLimit>,
}

/// What happens while the guard is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarding {
    /// Requests are refused.
    #[default]
    Closed,
    /// Requests go on unchecked, and are marked.
    Open,
}

/// A limit on spending.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// A name, unique within the tenant. Default: the period.
    pub name: Option<String>,
    /// The limit in dollars. Give this or `limit_tokens`.
    pub limit_usd: Option<Usd>,
    /// The limit in tokens, input and output together.
    pub limit_tokens: Option<u64>,
    /// When it starts anew. Default `month`.
    #[serde(default)]
    pub period: BudgetPeriod,
    /// The time zone of its periods, an IANA name such as `Europe/Berlin`. Default UTC.
    #[serde(default)]
    pub time_zone: String,
    /// Whether it refuses; otherwise it only reports. Default true.
    #[serde(default = "yes")]
    pub hard: bool,
    /// Whether it counts and reports but refuses nothing, to try it out. Default false.
    #[serde(default)]
    pub shadow: bool,
    /// Whether what is left, at most one limit, goes over into the next period. Default false.
    #[serde(default)]
    pub carry_over: bool,
    /// What counts against it. Default: all of the tenant.
    #[serde(default)]
    pub only: Only,
    /// Shares at which alerts are told, in percent. Default 50, 80, 100.
    #[serde(default)]
    pub alert_percents: Vec<u32>,
}

/// A part of a tenant's requests: those that have all of the values given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Only {
    /// A key's id.
    pub key: Option<String>,
    /// A team.
    pub team: Option<String>,
    /// An end user.
    pub user: Option<String>,
    /// A feature.
    pub feature: Option<String>,
    /// A model, as it is asked for.
    pub model: Option<String>,
    /// Tags with their values.
    pub tags: BTreeMap<String, String>,
}

/// A limit on the rate of requests or tokens, or on how many requests are under way. Give exactly one of the first three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimit {
    /// Requests in a period.
    pub requests: Option<u64>,
    /// Tokens in a period, input and output together.
    pub tokens: Option<u64>,
    /// Requests at the same time.
    pub concurrent: Option<u64>,
    /// A name, unique within the tenant. Default: what it counts and when, for example `requests_per_minute`.
    pub name: Option<String>,
    /// The period. Default `minute`.
    pub per: RatePeriod,
    /// How much may come at once. Default: the amount.
    pub burst: Option<u64>,
    /// What counts. Default: all of the tenant.
    pub only: Only,
    /// Each of these has the limit for itself: `key`, `team`, `user`, `feature`, `model`, `tag:NAME`. Default: all share it.
    pub each: Option<String>,
    /// Whether it counts and reports but refuses nothing, to try it out. Default false.
    pub shadow: bool,
}

/// The period in which a rate limit refills, smoothly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RatePeriod {
    /// A second.
    Second,
    /// A minute.
    #[default]
    Minute,
    /// A day.
    Day,
}

const fn yes() -> bool {
    true
}

/// When a budget starts anew, by the clocks of its time zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetPeriod {
    /// Never.
    Total,
    /// Each hour.
    Hour,
    /// Each day.
    Day,
    /// Each week, on Monday.
    Week,
    /// Each month, on the first.
    #[default]
    Month,
}

impl Target {
    /// Returns the provider's name: configured, else the registrable part of the host (`api.openai.com` is `openai`).
    #[must_use]
    pub fn provider(&self) -> String {
        if let Some(provider) = &self.provider {
            return provider.clone();
        }
        let url = url::Url::parse(&self.base_url).ok();
        match url.as_ref().and_then(url::Url::host) {
            Some(url::Host::Domain(host)) => {
                let labels: Vec<&str> = host.split('.').collect();
                labels[labels.len().saturating_sub(2)].to_owned()
            }
            Some(_) => "local".into(),
            None => "unknown".into(),
        }
    }

    /// Whether it is in one of the regions; with none given, always.
    #[must_use]
    pub fn within(&self, regions: &[String]) -> bool {
        regions.is_empty() || self.region.as_ref().is_some_and(|region| regions.contains(region))
    }

    /// Returns the stable, readable id: `provider/model`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.provider(), self.model)
    }

    /// Reads the credential; `None` when the target needs none.
    ///
    /// # Errors
    /// When it is named but cannot be read.
    pub fn secret(&self) -> Result<Option<Secret>, SecretError> {
        match (&self.api_key_env, &self.api_key_file) {
            (Some(name), _) => Secret::from_env(name).map(Some),
            (None, Some(path)) => Secret::from_file(path).map(Some),
            (None, None) => Ok(None),
        }
    }
}

impl Shared {
    /// Checks what the types cannot say; each problem with the path of its key.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = self.telemetry.problems();
        for (alias, model) in &self.models {
            let key = format!("models.{alias}");
            if alias == "auto" || alias.contains('/') {
                problems.push((
                    key.clone(),
                    "is no alias: `auto` and names with `/` have a meaning of their own".into(),
                ));
            }
            if model.targets.is_empty() {
                problems.push((format!("{key}.targets"), "is empty; name at least one target".into()));
            }
            for target in &model.targets {
                let http =
                    url::Url::parse(&target.base_url).is_ok_and(|u| matches!(u.scheme(), "http" | "https"));
                if !http {
                    problems.push((
                        format!("{key}.targets"),
                        "base_url must be of the form https://host/v1".into(),
                    ));
                }
                if target.model.is_empty() {
                    problems.push((format!("{key}.targets"), "model is empty".into()));
                }
                if target.api_key_env.is_some() && target.api_key_file.is_some() {
                    problems.push((
                        format!("{key}.targets"),
                        "has both api_key_env and api_key_file; keep one".into(),
                    ));
                }
            }
        }
        problems.extend(self.ambiguous());
        if let Some(redis) = &self.redis {
            let named = [redis.url.is_some(), redis.url_env.is_some(), redis.url_file.is_some()];
            if named.iter().filter(|named| **named).count() != 1 {
                problems.push(("redis".into(), "needs exactly one of url, url_env and url_file".into()));
            }
            if redis.url.as_ref().is_some_and(|url| url.contains('@')) {
                let remedy =
                    "holds a password or user; name a variable with url_env, or a file with url_file";
                problems.push(("redis.url".into(), remedy.into()));
            }
        }
        for name in self.tenants.keys() {
            let legal =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
            let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            if !first || name.len() > 64 || !name.bytes().all(legal) {
                problems.push((format!("tenants.{name}"), "must match [a-z0-9][a-z0-9._-]{0,63}".into()));
            }
        }
        problems
    }
}

impl Shared {
    /// What to tell of policies of a service that nobody is known to use: `section` holds them, a tenant names its own by `named`. The one
    /// called `default` is everybody's.
    #[must_use]
    pub fn unnamed<'a>(
        &self,
        section: &str,
        policies: impl Iterator<Item = &'a String>,
        named: impl Fn(&Tenant) -> Option<&String>,
    ) -> Vec<String> {
        let is_named = |policy: &String| self.tenants.values().any(|tenant| named(tenant) == Some(policy));
        let unnamed = policies.filter(|policy| *policy != "default" && !is_named(policy));
        unnamed
            .map(|policy| {
                format!(
                    "{section}.policies.{policy} is named by no tenant of the configuration; keys may name it"
                )
            })
            .collect()
    }

    /// Models that stand in two aliases with different deployments: a plan names a model, so one of them would be asked
    /// where the other is meant.
    fn ambiguous(&self) -> Vec<(String, String)> {
        type Places<'a> = BTreeSet<(&'a str, Option<&'a str>, Option<&'a Path>)>;
        let mut seen: BTreeMap<String, (&str, Places<'_>)> = BTreeMap::new();
        let mut problems = Vec::new();
        for (alias, model) in &self.models {
            let mut own: BTreeMap<String, Places<'_>> = BTreeMap::new();
            for target in &model.targets {
                let place =
                    (target.base_url.as_str(), target.api_key_env.as_deref(), target.api_key_file.as_deref());
                own.entry(target.id()).or_default().insert(place);
            }
            for (id, places) in own {
                match seen.get(&id) {
                    Some((other, known)) if *known != places => {
                        let problem = format!(
                            "has {id} with other addresses or credentials than models.{other}; give the same in both, or a \
                             `provider` name of its own to one"
                        );
                        problems.push((format!("models.{alias}"), problem));
                    }
                    Some(_) => {}
                    None => drop(seen.insert(id, (alias, places))),
                }
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(base_url: &str) -> Target {
        let text = format!("base_url = \"{base_url}\"\nmodel = \"m\"");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_target_is_named_by_its_provider() {
        assert_eq!(target("https://api.openai.com/v1").id(), "openai/m");
        assert_eq!(target("http://127.0.0.1:1234/v1").id(), "local/m");
        assert_eq!(target("http://vllm:8000/v1").id(), "vllm/m");
    }

    #[test]
    fn one_model_with_two_keys_in_two_aliases_is_refused() {
        let document = |second: &str| {
            let text = format!(
                "[models.a]\ntargets = [{{ base_url = 'https://x.test/v1', model = 'm', api_key_env = 'ONE' }}]\n\
                 [models.b]\ntargets = [{{ base_url = 'https://x.test/v1', model = 'm', {second} }}]\n"
            );
            crate::Document::parse(&text, "test.toml").unwrap().shared()
        };
        assert!(document("api_key_env = 'ONE'").is_ok());
        assert!(document("api_key_env = 'TWO', provider = 'mine'").is_ok());
        let error = document("api_key_env = 'TWO'").unwrap_err().to_string();
        assert!(error.contains("models.b has x/m") && error.contains("models.a"), "{error}");
    }
}
