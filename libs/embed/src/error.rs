//! What may go wrong on the way to a vector.

/// Says why there is no vector. Holds no part of any text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// Something that embedding needs is not on this machine.
    #[error("{what}; {remedy}")]
    Unavailable {
        /// What is missing, with its path.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// Something is there but cannot be used, for instance a damaged model file.
    #[error("{what}: {reason}")]
    Broken {
        /// What was found, with its path.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The queue is full. May be retried; better is to go on without a vector.
    #[error("all embedding workers are busy and the queue is full")]
    Busy,
    /// One call brought more texts than [`crate::MAX_TEXTS`].
    #[error("{given} texts in one call, at most {} are allowed", crate::MAX_TEXTS)]
    TooManyTexts {
        /// How many the call brought.
        given: usize,
    },
    /// The model refused a text or gave no usable vector.
    #[error("the embedding model failed: {0}")]
    Inference(String),
    /// The model panicked; the worker goes on with the next job.
    #[error("the embedding model panicked")]
    Panicked,
    /// The workers have ended.
    #[error("the embedding workers have ended")]
    Stopped,
}
