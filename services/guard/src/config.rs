//! The `[guard]` section.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use crate::{classifier::ClassifierConfig, policy::PolicyConfig};

/// Name of the section in the configuration file.
pub const SECTION: &str = "guard";

/// Configures the guard.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address to listen on. Default `127.0.0.1:8081`.
    pub listen: String,
    /// Whether prompts that patterns do not settle are judged by the learned model, which needs the embedding model.
    /// Default true.
    pub learned: bool,
    /// Named policies beside the built-in `default`, `strict` and `off`; a name of these replaces it.
    pub policies: BTreeMap<String, PolicyConfig>,
    /// A classifier of attacks beside the learned model. Default: none.
    pub classifier: Option<ClassifierConfig>,
    /// The file with the keys under which values are sealed: 32 bytes in base64 each, one a line, the same for all replicas; the
    /// first seals, all of them open. Default: the variable `SIGNALBOX_SEAL_KEY_FILE`, else a random key, good for one process.
    pub seal_key_file: Option<PathBuf>,
    /// How long a seal can be opened, in milliseconds: longer than the longest answer. Default 3,600,000.
    pub seal_ttl_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: signalbox_config::listen::GUARD.to_owned(),
            learned: true,
            policies: BTreeMap::new(),
            classifier: None,
            seal_key_file: None,
            seal_ttl_ms: 3_600_000,
        }
    }
}
