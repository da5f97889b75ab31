//! The `[guard]` section.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use crate::policy::PolicyConfig;

/// Name of the section in the configuration file.
pub const SECTION: &str = "guard";

/// Configures the guard.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address to listen on. Default `127.0.0.1:8081`.
    pub listen: String,
    /// Whether prompts that patterns do not settle are judged by the learned model, which needs the embedding model.
    /// Default true.
    pub learned: bool,
    /// Named policies beside the built-in `default`, `strict` and `off`; a name of these replaces it.
    pub policies: BTreeMap<String, PolicyConfig>,
    /// The file with the key under which values are sealed: 32 bytes in base64, the same for all replicas. Default: the
    /// variable `SIGNALBOX_SEAL_KEY_FILE`, else a random key, good for one process.
    pub seal_key_file: Option<PathBuf>,
    /// How long a seal can be opened, in milliseconds: longer than the longest answer. Default 3,600,000.
    pub seal_ttl_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8081".into(),
            learned: true,
            policies: BTreeMap::new(),
            seal_key_file: None,
            seal_ttl_ms: 3_600_000,
        }
    }
}
