//! The `[router]` section.

use std::collections::BTreeMap;

use serde::Deserialize;

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
    /// Named policies, besides the built-in `fixed` and `lowest_cost`.
    pub policies: BTreeMap<String, Policy>,
    /// Output tokens assumed for the predicted cost of a request that sets no limit. Default 512, about what chats use.
    pub assumed_output_tokens: u64,
    /// Receipts kept for `Explain`, oldest forgotten first. Default 10,000, about 20 MB.
    pub receipts: u64,
    /// How long receipts are kept, in seconds. Default 86,400.
    pub receipts_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8083".into(),
            auto: None,
            auto_policy: Way::LowestCost.name().into(),
            aliases: BTreeMap::new(),
            policies: BTreeMap::new(),
            assumed_output_tokens: 512,
            receipts: 10_000,
            receipts_seconds: 86_400,
        }
    }
}

/// A named policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How targets are ordered.
    pub way: Way,
    /// Targets that may be used, as `provider/model`, `provider` or a pattern with a trailing `*`. Empty: all.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Targets that may not be used.
    #[serde(default)]
    pub deny: Vec<String>,
}

/// How targets are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// As configured.
    Fixed,
    /// By predicted cost, cheapest first; unknown prices last.
    LowestCost,
}

impl Way {
    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::LowestCost => "lowest_cost",
        }
    }
}

impl Config {
    /// The policy of a name: configured, or built in.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<Policy> {
        let built_in = |way: Way| Policy { way, allow: Vec::new(), deny: Vec::new() };
        self.policies.get(name).cloned().or_else(|| {
            [Way::Fixed, Way::LowestCost].into_iter().find(|way| way.name() == name).map(built_in)
        })
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

    fn known_policy(&self, key: &str, name: &str) -> Result<(), String> {
        if self.policy(name).is_some() {
            return Ok(());
        }
        Err(format!(
            "{key} names the policy `{name}`, which is not one of fixed, lowest_cost or [router.policies]"
        ))
    }
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
