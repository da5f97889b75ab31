//! The `[router]` section.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    experiment::{Experiment, Shadow},
    learned::Learn,
};

/// Name of the section in the configuration file.
pub const SECTION: &str = "router";

/// Configures the router.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address to listen on. Default `127.0.0.1:8083`.
    pub listen: String,
    /// Aliases that `auto` chooses among. Default: all.
    pub auto: Option<Vec<String>>,
    /// The way in which `auto` chooses. Default `lowest_cost`.
    pub auto_policy: String,
    /// The way in which each alias orders its targets, by alias. Default: `fixed`, as configured.
    pub aliases: BTreeMap<String, String>,
    /// Named policies, besides the built-in ones, which have the names of the ways.
    pub policies: BTreeMap<String, Policy>,
    /// Splits of requests among arms, by name; a request takes part in the first that concerns it.
    pub experiments: BTreeMap<String, Experiment>,
    /// Copies of requests whose answers are only recorded, by name.
    pub shadows: BTreeMap<String, Shadow>,
    /// Whether each request's complexity is recorded, so that `signalbox replay` can judge policies by complexity before one decides.
    /// Costs some 0.1 ms for a long prompt; no vector is computed for it. Default false.
    pub record_complexity: bool,
    /// Output tokens assumed for the predicted cost of a request that sets no limit. Default 512, about what chats use.
    pub assumed_output_tokens: u64,
    /// Receipts kept for `Explain`, oldest forgotten first. Default 10,000, about 20 MB.
    pub receipts: u64,
    /// How long receipts are kept, in seconds. Default 86,400.
    pub receipts_seconds: u64,
}

impl Config {
    /// How long receipts are kept.
    pub(crate) fn kept(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.receipts_seconds)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: signalbox_config::listen::ROUTER.to_owned(),
            auto: None,
            auto_policy: Way::LowestCost.name().into(),
            aliases: BTreeMap::new(),
            policies: BTreeMap::new(),
            experiments: BTreeMap::new(),
            shadows: BTreeMap::new(),
            record_complexity: false,
            assumed_output_tokens: 512,
            receipts: 10_000,
            receipts_seconds: 86_400,
        }
    }
}

/// A named policy.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How targets are ordered where no rule holds.
    pub way: Way,
    /// Targets that may be used, as `provider/model`, `provider` or a pattern with a trailing `*`. Empty: all.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Targets that may not be used.
    #[serde(default)]
    pub deny: Vec<String>,
    /// Rules that come before the way; the first that holds decides.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// For `weighted`: the share of requests by target pattern. Targets that no pattern covers have none and come last.
    #[serde(default)]
    pub weights: BTreeMap<String, f64>,
    /// For `lowest_latency` and `balanced`: which time counts. Default `first_output`.
    #[serde(default)]
    pub latency: Latency,
    /// For `balanced`: how much each side counts. Default: cost 1, latency 1, errors 2.
    #[serde(default)]
    pub balance: Balance,
    /// For `complexity`: the targets that are asked what is simple, as patterns. Empty: all but the dearest.
    #[serde(default)]
    pub small: Vec<String>,
    /// For `complexity`: the share of the large model's quality to keep, 0 to 1; a request may state its own. Default 0.95.
    #[serde(default = "quality")]
    pub quality: f64,
    /// For `sticky`: what keeps requests together. Default `conversation`.
    #[serde(default)]
    pub stick_to: StickTo,
    /// For `learned`: what it learns from, and within which bounds.
    #[serde(default)]
    pub learn: Learn,
}

fn quality() -> f64 {
    0.95
}

impl Policy {
    pub(crate) fn of(way: Way) -> Self {
        Self {
            way,
            allow: Vec::new(),
            deny: Vec::new(),
            rules: Vec::new(),
            weights: BTreeMap::new(),
            latency: Latency::default(),
            balance: Balance::default(),
            small: Vec::new(),
            quality: quality(),
            stick_to: StickTo::default(),
            learn: Learn::default(),
        }
    }
}

/// A condition, and the targets that go first where it holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A CEL expression over `tenant`, `user`, `feature`, `conversation`, `model` (as asked for), `tags` (a map), `tokens`, `turns`,
    /// `tools` (whether there are any), `hour` (UTC, 0 to 23) and `weekday` (1 is Monday). One that cannot be evaluated, because it
    /// asks for a tag that is not there, does not hold.
    pub when: String,
    /// Targets in the order in which they are tried, as patterns. The others come behind them.
    pub targets: Vec<String>,
}

/// Which time counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Latency {
    /// To the first piece of output.
    #[default]
    FirstOutput,
    /// To the end.
    Total,
}

/// How much each side of a balanced score counts, as weights of 0 or more. Cost and latency are shares of the dearest and slowest
/// candidate's, errors the share of recent attempts that failed.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Balance {
    /// Predicted cost.
    pub cost: f64,
    /// Latency as reported.
    pub latency: f64,
    /// Failures as reported.
    pub errors: f64,
}

impl Default for Balance {
    fn default() -> Self {
        Self { cost: 1.0, latency: 1.0, errors: 2.0 }
    }
}

/// What keeps requests at one target, so that the provider's prompt cache hits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StickTo {
    /// The conversation's id, else as `prefix`.
    #[default]
    Conversation,
    /// The system prompt and the names of the tools.
    Prefix,
    /// The end user.
    User,
}

/// How targets are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// As configured.
    Fixed,
    /// By predicted cost, cheapest first; unknown prices last.
    LowestCost,
    /// By latency as reported, a peak-sensitive average; those never asked first, so that theirs becomes known.
    LowestLatency,
    /// By a weighted sum of cost, latency and errors.
    Balanced,
    /// By shares, the same for the same request id.
    Weighted,
    /// What needs no large model goes to a small one.
    Complexity,
    /// Requests that belong together stay together.
    Sticky,
    /// By what reports teach (Thompson sampling), within the bounds of `learn`.
    Learned,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Fixed,
        Self::LowestCost,
        Self::LowestLatency,
        Self::Balanced,
        Self::Weighted,
        Self::Complexity,
        Self::Sticky,
        Self::Learned,
    ];

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::LowestCost => "lowest_cost",
            Self::LowestLatency => "lowest_latency",
            Self::Balanced => "balanced",
            Self::Weighted => "weighted",
            Self::Complexity => "complexity",
            Self::Sticky => "sticky",
            Self::Learned => "learned",
        }
    }

    /// Whether a policy of that name exists without being configured. Shares cannot be guessed, and who lets traffic be shifted says so.
    const fn is_built_in(self) -> bool {
        !matches!(self, Self::Weighted | Self::Learned)
    }
}

impl Config {
    /// The policy of a name: configured, or built in.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<Policy> {
        let built_in = || Way::ALL.into_iter().find(|way| way.name() == name && way.is_built_in());
        self.policies.get(name).cloned().or_else(|| built_in().map(Policy::of))
    }

    /// Whether any request may be ordered by complexity, so that an embedding model is of use. Every policy can be named by a
    /// request, but the built-in one works without vectors; a model is loaded only where the configuration names it.
    #[must_use]
    pub fn wants_complexity(&self) -> bool {
        let named = |name: &str| self.policy(name).is_some_and(|policy| policy.way == Way::Complexity);
        named(&self.auto_policy)
            || self.aliases.values().any(|name| named(name))
            || self.policies.values().any(|policy| policy.way == Way::Complexity)
    }

    /// Checks that names fit together; `aliases` are the configured ones.
    ///
    /// # Errors
    /// A sentence that names the key and what to change.
    pub fn validate<'a>(&self, aliases: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
        let aliases: Vec<&str> = aliases.into_iter().collect();
        let known = |name: &str| aliases.contains(&name);
        let missing = |key: String, alias: &str| {
            format!("{key} names the alias `{alias}`, which is not configured; known: {}", aliases.join(", "))
        };
        for alias in self.auto.iter().flatten() {
            if !known(alias) {
                return Err(missing("router.auto".into(), alias));
            }
        }
        if self.auto.as_ref().is_some_and(Vec::is_empty) {
            return Err("router.auto is empty; leave it out for all aliases".into());
        }
        for (alias, policy) in &self.aliases {
            if !known(alias) {
                return Err(missing("router.aliases".into(), alias));
            }
            self.known_policy(&format!("router.aliases.{alias}"), policy)?;
        }
        self.known_policy("router.auto_policy", &self.auto_policy)?;
        if self.receipts == 0 || self.receipts_seconds == 0 {
            return Err("router.receipts and router.receipts_seconds must be at least 1".into());
        }
        Ok(())
    }

    pub(crate) fn known_policy(&self, key: &str, name: &str) -> Result<(), String> {
        if self.policy(name).is_some() {
            return Ok(());
        }
        Err(format!(
            "{key} names the policy `{name}`, which is neither under [router.policies] nor one of {}",
            built_in_names()
        ))
    }
}

/// The policies that need no configuration, for a message.
pub(crate) fn built_in_names() -> String {
    let names: Vec<&str> = Way::ALL.into_iter().filter(|way| way.is_built_in()).map(Way::name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_do_not_exist() {
        let mut config = Config { auto: Some(vec!["fats".into()]), ..Config::default() };
        assert!(config.validate(["fast"]).unwrap_err().contains("`fats`"));
        config.auto = Some(vec!["fast".into()]);
        config.validate(["fast"]).unwrap();
        config.aliases.insert("fast".into(), "cheapest".into());
        assert!(config.validate(["fast"]).unwrap_err().contains("`cheapest`"));
    }
}
