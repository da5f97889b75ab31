//! Why a gateway cannot be built.

use crate::spool::SpoolError;

/// Why a gateway cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The `[gateway]` section is illegal; the text names the key.
    #[error("{0}")]
    Config(String),
    /// The spool cannot be opened.
    #[error(transparent)]
    Spool(Box<dyn std::error::Error + Send + Sync>),
}

impl From<SpoolError> for Error {
    fn from(error: SpoolError) -> Self {
        Self::Spool(Box::new(error))
    }
}
