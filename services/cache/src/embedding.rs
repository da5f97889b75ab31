//! Where vectors come from.

use std::time::Duration;

use signalbox_embed::{EmbedConfig, EmbedError, Embedder, ModelHash, Vector};
use signalbox_proto::common::v1;

use crate::question::Skip;

/// The embedding model, or why there is none. Cheap to clone: several services of one process share it.
#[derive(Debug, Clone)]
pub struct Embedding(State);

#[derive(Debug, Clone)]
enum State {
    Ready(Embedder),
    Off(EmbedError),
    /// Nobody wants vectors, so no model was loaded.
    Unwanted,
    /// Every text has the same vector: the encoder that makes most mistakes.
    #[cfg(test)]
    Constant(std::sync::Arc<tokio::sync::Semaphore>),
}

/// Loads the embedding model, about half a second on a thread of its own, if anybody wants it.
///
/// A missing model is no error here but a semantic tier that is off, see [`crate::build`]. Cancel safe.
pub async fn embedder(wanted: bool, embed: EmbedConfig) -> Embedding {
    if !wanted {
        return Embedding(State::Unwanted);
    }
    match tokio::task::spawn_blocking(move || Embedder::load(embed)).await {
        Ok(loaded) => loaded.into(),
        Err(error) => Embedding(State::Off(EmbedError::Broken {
            what: "the embedding model".to_owned(),
            reason: format!("loading it failed: {error}"),
        })),
    }
}

impl From<Result<Embedder, EmbedError>> for Embedding {
    fn from(loaded: Result<Embedder, EmbedError>) -> Self {
        Self(match loaded {
            Ok(embedder) => State::Ready(embedder),
            Err(error) => State::Off(error),
        })
    }
}

/// How long a vector for an invalidation may take: nobody waits for an answer behind it.
pub(crate) const LIKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The bytes of a model's hash.
pub(crate) type Hash = [u8; 32];

impl Embedding {
    /// The loaded model, for whoever else needs vectors.
    #[must_use]
    pub fn embedder(&self) -> Option<&Embedder> {
        match &self.0 {
            State::Ready(embedder) => Some(embedder),
            _ => None,
        }
    }

    #[cfg(test)]
    pub(crate) fn constant() -> Self {
        Self::behind(std::sync::Arc::new(tokio::sync::Semaphore::new(1)))
    }

    /// The same, which waits for a gate to be open.
    #[cfg(test)]
    pub(crate) fn behind(gate: std::sync::Arc<tokio::sync::Semaphore>) -> Self {
        Self(State::Constant(gate))
    }

    /// Why there is no model.
    pub(crate) fn error(&self) -> Option<&EmbedError> {
        match &self.0 {
            State::Off(error) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn hash(&self) -> Option<Hash> {
        match &self.0 {
            State::Ready(embedder) => Some(*ModelHash::as_bytes(&embedder.model_hash())),
            State::Off(_) | State::Unwanted => None,
            #[cfg(test)]
            State::Constant(_) => Some([7; 32]),
        }
    }

    /// How long its vectors are.
    pub(crate) fn dimensions(&self) -> Option<usize> {
        match &self.0 {
            State::Ready(embedder) => Some(embedder.dimensions()),
            State::Off(_) | State::Unwanted => None,
            #[cfg(test)]
            State::Constant(_) => Some(2),
        }
    }

    /// Embeds a text within a bound of time. Cancel safe.
    pub(crate) async fn embed(&self, text: &str, most: Duration) -> Result<Vector, Skip> {
        let embedder = match &self.0 {
            State::Ready(embedder) => embedder,
            State::Off(_) | State::Unwanted => return Err(Skip::Unavailable),
            #[cfg(test)]
            State::Constant(gate) => {
                let _open = gate.acquire().await;
                return Vector::from_unit(vec![0.6, 0.8]).map_err(|_| Skip::Failed);
            }
        };
        match tokio::time::timeout(most, embedder.embed(text)).await {
            Ok(Ok(vector)) => Ok(vector),
            Ok(Err(EmbedError::Busy)) => Err(Skip::Busy),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a question could not be embedded");
                Err(Skip::Failed)
            }
            Err(_) => Err(Skip::Timeout),
        }
    }

    /// Takes a vector that came with the request, if it is of this model and well formed.
    pub(crate) fn take(&self, given: Option<&v1::Vector>) -> Option<Vector> {
        let given = given?;
        let of_this_model = self.hash().is_some_and(|hash| given.model_hash[..] == hash);
        let dimensions = self.embedder().map(Embedder::dimensions);
        let fits = dimensions.is_none_or(|dimensions| dimensions == given.values.len());
        if of_this_model && fits { Vector::from_unit(given.values.clone()).ok() } else { None }
    }

    /// A vector in the form in which it travels.
    pub(crate) fn pack(&self, vector: Option<&Vector>) -> Option<v1::Vector> {
        let hash = self.hash()?;
        vector.map(|vector| v1::Vector { model_hash: hash.to_vec().into(), values: vector.to_vec() })
    }

    /// What is wrong, for health answers and figures: no path, nothing secret.
    pub(crate) fn state(&self) -> &'static str {
        match &self.0 {
            State::Off(EmbedError::Unavailable { .. }) => {
                "off: the embedding model or its runtime is missing; run `make setup`, or see [embed]"
            }
            State::Unwanted => "off: disabled in the configuration",
            State::Off(_) => "off: the embedding model cannot be used; the log says why",
            _ => "on",
        }
    }
}
