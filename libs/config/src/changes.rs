//! What differs between two configurations, and what of it needs a restart.

use std::{collections::BTreeMap, fmt};

use toml::{Table, Value};

use crate::{ConfigError, Document, SECTIONS};

/// Longest value that is shown.
const SHOWN: usize = 60;
const NOT_SHOWN: &str = "(not shown)";

/// What takes over while a process runs; all else waits for its next start. The longest prefix decides.
const LIVE: [(&str, bool); 19] = [
    ("models", true),
    ("tenants", true),
    ("prices", true),
    ("guard.policies", true),
    ("cache.policies", true),
    ("router", true),
    ("router.listen", false),
    ("router.receipts", false),
    ("router.receipts_seconds", false),
    ("gateway", true),
    ("gateway.listen", false),
    ("gateway.replica", false),
    ("gateway.tls", false),
    ("gateway.peers", false),
    ("gateway.spool", false),
    ("gateway.shadow.most", false),
    ("gateway.principal_grace_ms", false),
    ("gateway.principal_memory_ms", false),
    ("telemetry.log_level", true),
];

/// A key that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key, with its section: `models.fast.targets[0].model`.
    pub key: String,
    /// What it was; absent: it is new.
    pub before: Option<String>,
    /// What it is; absent: it is gone.
    pub after: Option<String>,
}

impl Change {
    /// Whether it takes over while the process runs.
    #[must_use]
    pub fn is_live(&self) -> bool {
        let within = |prefix: &str| {
            self.key.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let deciding =
            LIVE.iter().filter(|(prefix, _)| within(prefix)).max_by_key(|(prefix, _)| prefix.len());
        deciding.is_some_and(|(_, live)| *live)
    }

    /// The section that it stands in.
    #[must_use]
    pub fn section(&self) -> &str {
        self.key.split(['.', '[']).next().unwrap_or_default()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{}: {before} -> {after}", self.key),
            (None, Some(after)) => write!(f, "{}: {after} (new)", self.key),
            (Some(before), None) => write!(f, "{}: gone (was {before})", self.key),
            (None, None) => write!(f, "{}", self.key),
        }
    }
}

impl Document {
    /// What another configuration has otherwise, environment included, by key. Values that might be secret are not shown.
    ///
    /// # Errors
    /// A section that is no table.
    pub fn changes(&self, other: &Self) -> Result<Vec<Change>, ConfigError> {
        let (before, after) = (self.leaves()?, other.leaves()?);
        let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let changed = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
        let show = |of: &BTreeMap<String, Value>, key: &String| of.get(key).map(|value| shown(key, value));
        Ok(changed
            .map(|key| Change { key: key.clone(), before: show(&before, key), after: show(&after, key) })
            .collect())
    }

    fn leaves(&self) -> Result<BTreeMap<String, Value>, ConfigError> {
        let mut leaves = BTreeMap::new();
        for section in SECTIONS {
            flatten(section, Value::Table(self.section::<Table>(section)?), &mut leaves);
        }
        Ok(leaves)
    }
}

fn flatten(key: &str, value: Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                let plain =
                    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
                let name = if plain { name } else { format!("\"{name}\"") };
                flatten(&format!("{key}.{name}"), value, into);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_table) => {
            for (index, value) in list.into_iter().enumerate() {
                flatten(&format!("{key}[{index}]"), value, into);
            }
        }
        value => drop(into.insert(key.to_owned(), value)),
    }
}

/// A value as people may see it: the end of a key tells what is behind it.
fn shown(key: &str, value: &Value) -> String {
    let name = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    let private = ["key", "secret", "password", "headers", "salt"].iter().any(|word| name.contains(word));
    let text = match value.as_str() {
        Some(address) if name.ends_with("url") => {
            without_secrets(address).unwrap_or_else(|| NOT_SHOWN.into())
        }
        _ => value.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        _ if private => NOT_SHOWN.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// An address without its user, password and query.
fn without_secrets(address: &str) -> Option<String> {
    let mut address = url::Url::parse(address).ok()?;
    address.set_username("").ok()?;
    address.set_password(None).ok()?;
    address.set_query(None);
    Some(format!("\"{address}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(before: &str, after: &str) -> Vec<Change> {
        let document = |text| Document::parse(text, "f").unwrap();
        document(before).changes(&document(after)).unwrap()
    }

    #[test]
    fn keys_that_differ_are_listed_and_secrets_are_not_shown() {
        let changes = changes(
            "[models.m]\ntargets = [{ base_url = 'http://u:pw@b', model = 'a' }]\n[mesh.server]\nconcurrency = 5\n[guard]\nlisten = 'x'",
            "[models.m]\ntargets = [{ base_url = 'http://u:pq@c?k=1', model = 'b', api_key_env = 'K' }]\n[mesh.server]\nconcurrency = 6\n[guard]\nlisten = 'x'\n\
             [guard.policies.\"a b\"]\nbase = 'strict'",
        );
        let said: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "guard.policies.\"a b\".base: \"strict\" (new)",
                "mesh.server.concurrency: 5 -> 6",
                "models.m.targets[0].api_key_env: (not shown) (new)",
                "models.m.targets[0].base_url: \"http://b/\" -> \"http://c/\"",
                "models.m.targets[0].model: \"a\" -> \"b\"",
            ]
        );
        assert_eq!(changes.iter().map(Change::is_live).collect::<Vec<_>>(), [true, false, true, true, true]);
        assert_eq!(changes[2].section(), "models");
    }

    #[test]
    fn the_longest_prefix_decides() {
        let live = |key: &str| Change { key: key.into(), before: None, after: None }.is_live();
        assert!(live("gateway.steps.plan_ms") && live("router.policies.p.way"));
        assert!(!live("gateway.listen") && !live("gateway.peers.guard") && !live("guard.listen"));
        assert!(!live("router.receipts") && !live("modelsx"));
    }
}
