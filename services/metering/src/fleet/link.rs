//! The way to Redis: one server, a master that sentinels name, or a cluster.
//!
//! Everything that is sent over it may be sent twice: scripts recognise what they did already. So a connection that breaks is
//! made anew and the call repeated once.

use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, RedisError, RedisResult, Value};
use signalbox_config::Secret;
pub(super) use signalbox_redis::FORMS;
use signalbox_redis::{Connection, Patience, Server};

/// Somebody's request waits behind it.
const PATIENCE: Patience =
    Patience { connect: Duration::from_secs(1), answer: Duration::from_secs(2), retries: 16 };

/// The way to Redis.
pub(super) struct Link {
    server: Server,
    /// The present connection, and how many there were before it.
    present: Mutex<(u64, Option<Connection>)>,
    /// Held by whoever connects.
    connecting: tokio::sync::Mutex<()>,
}

/// Redis does not answer, or not what was expected. What it said is in the log, without addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Away;

impl Link {
    /// Reads an address; connects when it is first used. `None`: it is no address.
    pub(super) fn new(url: &Secret) -> Option<Self> {
        let server = Server::of(url, PATIENCE)?;
        Some(Self { server, present: Mutex::default(), connecting: tokio::sync::Mutex::default() })
    }

    /// Sends a command.
    ///
    /// Cancel safe, but for what Redis may do after the caller went away.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, Away> {
        match self.try_ask(command).await {
            Ok(value) => Ok(value),
            Err(error) if is_no_script(&error) => Err(Away),
            Err(error) => {
                tracing::warn!(kind = ?error.kind(), code = error.code(), "redis does not answer as it should");
                Err(Away)
            }
        }
    }

    /// As [`Link::ask`], with Redis' own error.
    pub(super) async fn try_ask(&self, command: &Cmd) -> RedisResult<Value> {
        let mut again = true;
        loop {
            let (age, mut connection) = self.connection().await?;
            match connection.ask(command).await {
                // A server that was the master until a moment ago, or one that still reads its files.
                Err(error)
                    if error.is_unrecoverable_error()
                        || error.is_io_error()
                        || error.code() == Some("READONLY") =>
                {
                    self.forget(age);
                    if !std::mem::take(&mut again) {
                        return Err(error);
                    }
                }
                answer => return answer,
            }
        }
    }

    fn forget(&self, age: u64) {
        let mut present = self.present.lock();
        if present.0 == age {
            *present = (age + 1, None);
        }
    }

    async fn connection(&self) -> RedisResult<(u64, Connection)> {
        if let (age, Some(connection)) = &*self.present.lock() {
            return Ok((*age, connection.clone()));
        }
        let _only_one = self.connecting.lock().await;
        if let (age, Some(connection)) = &*self.present.lock() {
            return Ok((*age, connection.clone()));
        }
        let made = self.server.connect().await?;
        let mut present = self.present.lock();
        present.1 = Some(made.clone());
        Ok((present.0, made))
    }
}

/// Whether a script must be sent whole.
pub(super) fn is_no_script(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}
