//! Why the executor cannot be built.

/// Says what to change in the configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key of the section has an impossible value.
    #[error("{0}")]
    Config(String),
    /// A target cannot be asked as it is configured.
    #[error("{id}: {problem}")]
    Target {
        /// The target's id.
        id: String,
        /// What is wrong with it; holds no credential.
        problem: String,
    },
}
