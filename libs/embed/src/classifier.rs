//! Text to probabilities of labels, by any sequence classifier that was exported to ONNX.

use std::num::{NonZeroU8, NonZeroU16};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;
use tokenizers::{Tokenizer, TruncationParams};

use crate::pool::{Model, Pool};
use crate::{EmbedError, MAX_TEXT_BYTES, location, runtime};

/// Says where a classifier lies and how much of the machine it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassifierFiles {
    /// The graph: inputs `input_ids`, `attention_mask` and perhaps `token_type_ids`, first output a row of logits.
    pub model: PathBuf,
    /// Its `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// ONNX Runtime's library. Absent: as for the embedding model.
    pub runtime: Option<PathBuf>,
    /// Tokens of a text that count, those of its frame included.
    pub max_tokens: usize,
    /// Threads, each with a copy of the model.
    pub workers: NonZeroU8,
    /// Jobs that may wait for a worker before further ones are refused.
    pub queue: NonZeroU16,
}

/// Gives the probabilities of a classifier's labels. Cheap to clone; all clones share the workers.
#[derive(Clone, Debug)]
pub struct Classifier {
    pool: Arc<Pool<Vec<f32>>>,
    labels: usize,
}

impl Classifier {
    /// Loads the runtime and the model, starts the workers and classifies one text to prove that it works. Blocks: see
    /// [`crate::Embedder::load`].
    ///
    /// # Errors
    /// [`EmbedError::Unavailable`] when the runtime is missing, [`EmbedError::Broken`] when a file cannot be used.
    pub fn load(files: &ClassifierFiles) -> Result<Self, EmbedError> {
        let library = location::runtime(files.runtime.clone(), &|name: &str| std::env::var_os(name))?;
        let environment = runtime::environment(&library)?;
        let mut models: Vec<Model<Vec<f32>>> = Vec::new();
        let mut labels = 0;
        for _ in 0..files.workers.get() {
            let mut network = Network::open(files, &environment)?;
            let proof =
                network.classify("proof").map_err(|error| broken(&files.model, &error.to_string()))?;
            labels = proof.len();
            models.push(Box::new(move |text: &str| network.classify(text)));
        }
        Ok(Self { pool: Arc::new(Pool::start(models, files.queue)?), labels })
    }

    /// Gives the number of labels.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// Classifies texts as one job; each answer has a probability for each label, in the graph's order. A graph with a single
    /// logit has two labels, of which it speaks of the second.
    ///
    /// Cancel safe as [`crate::Embedder::embed`].
    ///
    /// # Errors
    /// As [`crate::Embedder::embed_all`].
    pub async fn classify(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.pool.run(texts).await
    }
}

fn broken(path: &Path, reason: &str) -> EmbedError {
    EmbedError::Broken {
        what: format!("the classifier {}", path.display()),
        reason: reason.replace('\n', " "),
    }
}

/// One session with its tokenizer.
struct Network {
    session: Session,
    tokenizer: Tokenizer,
}

impl Network {
    fn open(files: &ClassifierFiles, environment: &Environment) -> Result<Self, EmbedError> {
        let mut tokenizer = Tokenizer::from_file(&files.tokenizer)
            .map_err(|error| broken(&files.tokenizer, &error.to_string()))?;
        let cut = TruncationParams { max_length: files.max_tokens, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(cut)).map_err(|error| broken(&files.tokenizer, &error.to_string()))?;
        tokenizer.with_padding(None);
        let failed = |error: &dyn std::fmt::Display| broken(&files.model, &error.to_string());
        let builder = Session::builder(environment).map_err(|error| failed(&error))?;
        let mut builder = builder.with_intra_threads(1).map_err(|error| failed(&error))?;
        let session = builder.commit_from_file(&files.model).map_err(|error| failed(&error))?;
        Ok(Self { session, tokenizer })
    }

    fn classify(&mut self, text: &str) -> Result<Vec<f32>, EmbedError> {
        // Errors of tokenizer and runtime name shapes and nodes, never the text.
        let failed = |error: &dyn std::fmt::Display| EmbedError::Inference(error.to_string());
        let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
        let encoded = self.tokenizer.encode(text, true).map_err(|error| failed(&error))?;
        let row = |values: &[u32]| -> Vec<i64> { values.iter().map(|value| i64::from(*value)).collect() };
        let mut inputs: Vec<(String, SessionInputValue<'_>)> = Vec::new();
        for input in self.session.inputs() {
            let values = match input.name() {
                "input_ids" => row(encoded.get_ids()),
                "attention_mask" => row(encoded.get_attention_mask()),
                "token_type_ids" => row(encoded.get_type_ids()),
                other => {
                    return Err(EmbedError::Inference(format!("the graph has an unknown input `{other}`")));
                }
            };
            let tensor = Tensor::from_array(([1, values.len()], values)).map_err(|error| failed(&error))?;
            inputs.push((input.name().to_owned(), tensor.into()));
        }
        let outputs = self.session.run(inputs).map_err(|error| failed(&error))?;
        let (_, logits) = outputs[0].try_extract_tensor::<f32>().map_err(|error| failed(&error))?;
        match logits {
            [] => Err(EmbedError::Inference("the graph gave no logits".to_owned())),
            logits => Ok(probabilities(logits)),
        }
    }
}

/// Softmax; of a single logit, the logistic function.
fn probabilities(logits: &[f32]) -> Vec<f32> {
    if let [logit] = logits {
        let probability = 1.0 / (1.0 + (-logit).exp());
        return vec![1.0 - probability, probability];
    }
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - highest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::probabilities;

    #[test]
    fn logits_become_probabilities() {
        assert_eq!(probabilities(&[0.0]), [0.5, 0.5]);
        let three = probabilities(&[1_000.0, 1_000.0, -1_000.0]);
        assert_eq!(three, [0.5, 0.5, 0.0]);
    }
}
