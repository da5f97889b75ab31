//! Moves what was committed from the log into the database, beside the writer.
//!
//! A checkpoint waits for the disk, some ten milliseconds at a time, and whoever asks the writer meanwhile waits too. A passive one on a
//! connection of its own holds up nobody (<https://sqlite.org/pragma.html#pragma_wal_checkpoint>). The writer's own, far away, finds
//! little left to do.

use std::{path::Path, sync::mpsc, time::Duration};

use rusqlite::Connection;

use super::schema;

/// How often.
const EVERY: Duration = Duration::from_millis(250);

/// Ends its thread when it is dropped.
pub(super) struct Checkpoints {
    _end: mpsc::SyncSender<()>,
}

impl Checkpoints {
    /// Begins, on a thread of its own.
    ///
    /// # Errors
    /// The database cannot be opened once more, or there is no thread for it.
    pub(super) fn start(path: &Path) -> Result<Self, std::io::Error> {
        let connection = schema::connect(path).map_err(std::io::Error::other)?;
        let (end, ended) = mpsc::sync_channel(0);
        let thread = std::thread::Builder::new().name("metering-checkpoint".to_owned());
        thread.spawn(move || {
            while ended.recv_timeout(EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                if let Err(error) = once(&connection) {
                    tracing::debug!(%error, "a checkpoint was not made; the next one does more");
                }
            }
        })?;
        Ok(Self { _end: end })
    }
}

fn once(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_is_moved_beside_an_open_transaction() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = schema::connect(&path).unwrap();
        writer.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)").unwrap();
        writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (2)").unwrap();
        once(&schema::connect(&path).unwrap()).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        assert!(length > 4_096, "the table is in the database itself: {length} bytes");
        writer.execute_batch("COMMIT").unwrap();
    }
}
