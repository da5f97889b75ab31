//! A classifier of attacks that the operator brings: any sequence classifier in ONNX form, such as Prompt Guard 2.

use std::{
    num::{NonZeroU8, NonZeroU16},
    path::PathBuf,
    sync::Arc,
};

use serde::Deserialize;
use signalbox_embed::{ClassifierFiles, EmbedError};

/// The section `[guard.classifier]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// The folder with `model.onnx` and `tokenizer.json`.
    pub folder: PathBuf,
    /// The labels that mean an attack, by their place among the model's outputs, from 0. Default `[1]`.
    #[serde(default = "second")]
    pub attack_labels: Vec<usize>,
    /// Tokens of a window that count. Default 512.
    #[serde(default = "most")]
    pub max_tokens: usize,
    /// Threads, each with a copy of the model. Default 1.
    #[serde(default = "one")]
    pub workers: NonZeroU8,
    /// ONNX Runtime's library. Default: as for the embedding model.
    #[serde(default)]
    pub runtime_path: Option<PathBuf>,
}

fn second() -> Vec<usize> {
    vec![1]
}

const fn most() -> usize {
    512
}

const fn one() -> NonZeroU8 {
    NonZeroU8::MIN
}

/// Jobs that may wait.
const QUEUE: NonZeroU16 = NonZeroU16::MIN.saturating_add(63);

/// The classifier, and what its labels mean.
pub(crate) struct Classifier {
    inner: signalbox_embed::Classifier,
    attack: Vec<usize>,
}

/// Loads the classifier; a sentence that names the key where that fails.
pub(crate) async fn load(config: ClassifierConfig) -> Result<Arc<Classifier>, String> {
    let files = ClassifierFiles {
        model: config.folder.join("model.onnx"),
        tokenizer: config.folder.join("tokenizer.json"),
        runtime: config.runtime_path,
        max_tokens: config.max_tokens.max(8),
        workers: config.workers,
        queue: QUEUE,
    };
    let loaded = tokio::task::spawn_blocking(move || signalbox_embed::Classifier::load(&files)).await;
    let inner = loaded
        .map_err(|_| "guard.classifier: loading it failed".to_owned())?
        .map_err(|error| format!("guard.classifier: {error}"))?;
    let labels = inner.labels();
    if config.attack_labels.is_empty() || config.attack_labels.iter().any(|label| *label >= labels) {
        return Err(format!(
            "guard.classifier.attack_labels must name some of the model's {labels} labels, 0 to {}",
            labels.saturating_sub(1)
        ));
    }
    Ok(Arc::new(Classifier { inner, attack: config.attack_labels }))
}

impl Classifier {
    /// The highest probability of an attack among windows of a text. Cancel safe.
    pub(crate) async fn attack(&self, windows: Vec<String>) -> Result<f64, EmbedError> {
        let windows = self.inner.classify(windows).await?;
        let of = |labels: &Vec<f32>| self.attack.iter().filter_map(|at| labels.get(*at)).sum::<f32>();
        Ok(windows.iter().map(|labels| f64::from(of(labels))).fold(0.0, f64::max))
    }
}
