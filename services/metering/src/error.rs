//! What keeps metering from starting.

use std::path::PathBuf;

/// Why metering cannot start. Each says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is at fault.
    #[error("{0}")]
    Config(String),
    /// The admin credential is not one.
    #[error("{origin}: {what}")]
    AdminKey {
        /// Where it comes from.
        origin: String,
        /// What is wrong; never the credential.
        what: String,
    },
    /// The data folder cannot be used.
    #[error(
        "the data folder {folder} cannot be written: {source}; give another with --data-dir, or change its permissions"
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Another process has the database.
    #[error(
        "another metering service uses the data folder {0}; end it, or give this one another with --data-dir"
    )]
    InUse(PathBuf),
    /// The database was written by a newer version.
    #[error(
        "{path} has schema version {found} and this build knows {known}; use a newer signalbox, or another data folder"
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this build knows.
        known: i64,
    },
    /// The file is a database of something else.
    #[error("{0} is not a database of signalbox's metering; move it away, or use another data folder")]
    Foreign(PathBuf),
    /// The database cannot be used.
    #[error("{path} cannot be opened: {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// The database holds something that this build cannot read.
    #[error("{path} holds a damaged row: {what}; restore it from a copy, or move it away")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is damaged.
        what: String,
    },
    /// Redis does not answer.
    #[error(
        "redis does not answer, or refuses the login; the log says more. Start it, or correct [redis] in the configuration"
    )]
    Redis,
    /// The system gives no thread.
    #[error("no thread for the database: {0}")]
    Thread(std::io::Error),
    /// The models' prices cannot be read.
    #[error("{0}")]
    Catalog(String),
}
