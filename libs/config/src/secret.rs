//! Secrets: named in configuration, read from the environment or a file, never printed.

use std::{fmt, path::Path};

/// A secret. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a secret cannot be read. Names the reference, never the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set, or empty.
    #[error("the variable {0} is not set; export it, or change api_key_env")]
    Unset(String),
    /// The file cannot be read.
    #[error("the key file {0} cannot be read: {1}")]
    File(String, String),
}

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Reads an environment variable.
    ///
    /// # Errors
    /// When it is not set, empty, or not Unicode.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        match std::env::var(name) {
            Ok(value) if !value.trim().is_empty() => Ok(Self(value.trim().to_owned())),
            _ => Err(SecretError::Unset(name.to_owned())),
        }
    }

    /// Reads a file; white space at its ends is cut off.
    ///
    /// # Errors
    /// When it cannot be read, or is empty.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|e| SecretError::File(shown.clone(), e.to_string()))?;
        match text.trim() {
            "" => Err(SecretError::File(shown, "it is empty".into())),
            text => Ok(Self(text.to_owned())),
        }
    }

    /// Returns the value, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_prints_its_value() {
        let secret = Secret::new("sk-very-secret");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    }

    #[test]
    fn an_unset_variable_is_named() {
        let error = Secret::from_env("SIGNALBOX_SURELY_UNSET").unwrap_err();
        assert!(error.to_string().contains("SIGNALBOX_SURELY_UNSET"));
    }
}
