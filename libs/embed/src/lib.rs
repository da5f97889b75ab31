//! Text to vector, on the processor, by fastembed and ONNX Runtime.
//!
//! [`Embedder::load`] opens all-MiniLM-L6-v2 (or another model of that shape) from a folder; nothing is downloaded
//! unless the feature `hub` is on. What it guarantees:
//!
//! - A missing or broken model or runtime is an [`EmbedError`] with a remedy, never a panic: whoever needs vectors
//!   goes on without them.
//! - Inference runs on threads of its own behind a bounded queue. A full queue refuses at once
//!   ([`EmbedError::Busy`]): a late vector is worth less than none.
//! - A dropped future is skipped before it runs; of several texts, those not yet begun are skipped too.
//! - One text gives one vector, whatever else is in the queue: texts are never padded into a common batch.
//! - Vectors have length 1 and carry the meaning of one model file, named by [`ModelHash`].

mod changes;
mod classifier;
mod config;
mod error;
#[cfg(feature = "hub")]
mod hub;
mod location;
mod model;
mod pool;
mod runtime;
#[cfg(test)]
mod tests;
mod vector;

use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;

pub use crate::classifier::{Classifier, ClassifierFiles};
pub use crate::config::{EmbedConfig, SECTION};
pub use crate::error::EmbedError;
pub use crate::model::{MAX_TEXT_BYTES, MAX_TOKENS};
pub use crate::pool::MAX_TEXTS;
pub use crate::vector::{ModelHash, Vector};

use crate::location::Location;
use crate::model::Loaded;
use crate::pool::Pool;

/// Turns texts into vectors. Cheap to clone; all clones share the workers.
///
/// Dropping the last clone ends the workers and waits for the text that each is at: some tens of milliseconds at most.
#[derive(Clone, Debug)]
pub struct Embedder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: Pool<Vector>,
    hash: ModelHash,
    dimensions: usize,
    origin: Origin,
}

/// Where a model came from, and what it may take.
#[derive(Clone, Debug)]
struct Origin {
    location: Location,
    workers: NonZeroU8,
    queue: NonZeroU16,
}

impl Embedder {
    /// Loads ONNX Runtime and the model, starts the workers and embeds one text to prove that it works.
    ///
    /// Blocks for about half a second per worker: call it before serving, or in `spawn_blocking`. ONNX Runtime is
    /// loaded once per process; a later call with another `runtime_path` keeps the first.
    ///
    /// # Errors
    /// [`EmbedError::Unavailable`] when a file is missing or the runtime is too old, [`EmbedError::Broken`] when
    /// something is there but cannot be used.
    pub fn load(config: EmbedConfig) -> Result<Self, EmbedError> {
        let (workers, queue) = (config.workers, config.queue);
        let location = Location::find(config, |name| std::env::var_os(name))?;
        Self::open(Origin { location, workers, queue }, None)
    }

    /// Loads the same model once more, with what further training changed of its weights; it has workers and a queue of its own.
    ///
    /// Blocks as [`Self::load`] does.
    ///
    /// # Errors
    /// [`EmbedError::Broken`] when the changes belong to another model, otherwise as [`Self::load`].
    pub fn changed(&self, changes: &[u8]) -> Result<Self, EmbedError> {
        Self::open(self.inner.origin.clone(), Some(changes))
    }

    fn open(origin: Origin, changes: Option<&[u8]>) -> Result<Self, EmbedError> {
        let Origin { location, workers, queue } = &origin;
        let environment = runtime::environment(&location.runtime)?;
        let loaded = model::load(&location.model, changes, &environment, *workers)?;
        let pool = Pool::start(loaded.models, *queue)?;
        tracing::info!(
            model = %location.model.display(),
            changed = changes.is_some(),
            runtime = %location.runtime.display(),
            hash = %loaded.hash,
            dimensions = loaded.dimensions,
            "embedding model loaded"
        );
        let Loaded { hash, dimensions, .. } = loaded;
        Ok(Self { inner: Arc::new(Inner { pool, hash, dimensions, origin }) })
    }

    /// Embeds one text; what lies beyond [`MAX_TOKENS`] tokens does not count.
    ///
    /// Cancel safe: dropping the future frees the worker of a text it has not begun.
    ///
    /// # Errors
    /// [`EmbedError::Busy`] when the queue is full, [`EmbedError::Inference`] when the model fails,
    /// [`EmbedError::Panicked`] when it panics; later calls may succeed after each of them.
    pub async fn embed(&self, text: impl Into<String>) -> Result<Vector, EmbedError> {
        let mut vectors = self.embed_all(vec![text.into()]).await?;
        vectors.pop().ok_or_else(|| EmbedError::Inference("no vector came back".to_owned()))
    }

    /// Embeds several texts as one job of one worker, and gives their vectors in the same order.
    ///
    /// Cancel safe as [`Self::embed`].
    ///
    /// # Errors
    /// As [`Self::embed`], and [`EmbedError::TooManyTexts`] above [`MAX_TEXTS`].
    pub async fn embed_all(&self, texts: Vec<String>) -> Result<Vec<Vector>, EmbedError> {
        self.inner.pool.run(texts).await
    }

    /// Gives the hash of the model file. Vectors of different hashes must never be compared.
    #[must_use]
    pub fn model_hash(&self) -> ModelHash {
        self.inner.hash
    }

    /// Gives the number of components of every vector (384 for all-MiniLM-L6-v2).
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.inner.dimensions
    }
}
