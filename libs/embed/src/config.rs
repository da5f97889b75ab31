//! What an operator may choose.

use std::num::{NonZeroU8, NonZeroU16};
use std::path::PathBuf;

use serde::Deserialize;

/// Names the section of the configuration file.
pub const SECTION: &str = "embed";

/// Configures where the embedding model is found and how much of the machine it may take.
///
/// ```
/// # use signalbox_embed::EmbedConfig;
/// let config: EmbedConfig = toml::from_str("workers = 2")?;
/// assert_eq!(config.workers.get(), 2);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbedConfig {
    /// The folder with `model.onnx`, `tokenizer.json`, `config.json`, `special_tokens_map.json` and
    /// `tokenizer_config.json`. Absent: `SIGNALBOX_MODEL_DIR`, else `models/all-MiniLM-L6-v2` in the cache folder
    /// (`SIGNALBOX_CACHE`, else `signalbox` under `XDG_CACHE_HOME` or `~/.cache`), where `make setup` puts it.
    pub model_dir: Option<PathBuf>,
    /// ONNX Runtime's library, version 1.24 or newer. Absent: `ORT_DYLIB_PATH`, else `onnxruntime/libonnxruntime.so`
    /// (`.dylib` on macOS) in the cache folder.
    pub runtime_path: Option<PathBuf>,
    /// Threads that embed, each with a copy of the model: about 100 MB and 300 short texts per second. Default: 1;
    /// more than the machine's idle cores makes every text slower.
    pub workers: NonZeroU8,
    /// Jobs that may wait for a worker before further ones are refused. Default: 64, about 0.2 s of short texts.
    pub queue: NonZeroU16,
}

impl Default for EmbedConfig {
    fn default() -> Self {
        const DEFAULT_QUEUE: NonZeroU16 = NonZeroU16::MIN.saturating_add(63);
        Self { model_dir: None, runtime_path: None, workers: NonZeroU8::MIN, queue: DEFAULT_QUEUE }
    }
}

#[cfg(test)]
mod tests {
    use super::EmbedConfig;

    #[test]
    fn defaults_are_one_worker_and_a_short_queue() {
        let config: EmbedConfig = toml::from_str("").unwrap();
        assert_eq!((config.workers.get(), config.queue.get()), (1, 64));
    }

    #[test]
    fn a_wrong_key_or_no_worker_is_refused_by_name() {
        let unknown = toml::from_str::<EmbedConfig>("model_path = '/m'").unwrap_err().to_string();
        assert!(unknown.contains("model_path") && unknown.contains("model_dir"), "{unknown}");
        let none = toml::from_str::<EmbedConfig>("workers = 0").unwrap_err().to_string();
        assert!(none.contains("workers") && none.contains("nonzero"), "{none}");
    }
}
