//! The way to the Redis that replicas share small things through, which they can do without: one connection, made when it is first used
//! and again after it broke.

use std::time::Duration;

use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, RedisError, aio::MultiplexedConnection};
pub use redis::{Cmd, FromRedisValue, cmd};
use signalbox_config::Redis;

/// How long Redis may take for an answer, or a connection.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Redis did not answer, or not as it should. Why is not told: it may hold an address with a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away;

/// A connection.
pub struct Link {
    client: redis::Client,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Link {
    /// Makes the way; connects when it is first used.
    ///
    /// # Errors
    /// The address cannot be read; names the key.
    pub fn new(redis: &Redis) -> Result<Self, String> {
        let url = redis.url().map_err(|problem| format!("redis: {problem}"))?;
        // The error may hold the address, and that a password.
        let client = redis::Client::open(url.expose()).map_err(|_| {
            "redis.url: is no address of the form redis://[user:password@]host:6379/0".to_owned()
        })?;
        Ok(Self { client, connection: Mutex::default() })
    }

    /// Asks Redis. Cancel safe, as far as the command is.
    ///
    /// # Errors
    /// It did not answer within [`PATIENCE`], or with something else.
    pub async fn ask<T: FromRedisValue>(&self, command: Cmd) -> Result<T, Away> {
        let known = self.connection.lock().clone();
        let mut connection = match known {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(PATIENCE))
                    .set_response_timeout(Some(PATIENCE));
                let made = self.client.get_multiplexed_async_connection_with_config(&config).await;
                let made = made.map_err(|_| Away)?;
                self.connection.lock().insert(made).clone()
            }
        };
        command.query_async(&mut connection).await.map_err(|error: RedisError| {
            if error.is_unrecoverable_error() {
                self.forget();
            }
            Away
        })
    }

    /// Drops the connection; the next question makes another.
    pub fn forget(&self) {
        self.connection.lock().take();
    }
}
