//! Folders of the user.

use std::path::PathBuf;

use crate::ConfigError;

/// Returns the folder for state: the one given, else the user's data folder.
///
/// # Errors
/// When none is given and the user has no home folder.
pub fn data_dir(given: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let own = || directories::ProjectDirs::from("", "", "signalbox").map(|dirs| dirs.data_dir().to_owned());
    given
        .or_else(own)
        .ok_or_else(|| ConfigError::plain("there is no home folder for state; give one with --data-dir"))
}

/// Returns the folder for models and tools: `SIGNALBOX_CACHE`, else `signalbox` in `XDG_CACHE_HOME` or `~/.cache`.
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("SIGNALBOX_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("signalbox")))
        .or_else(|| directories::BaseDirs::new().map(|dirs| dirs.home_dir().join(".cache").join("signalbox")))
}
