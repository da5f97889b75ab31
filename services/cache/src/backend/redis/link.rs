//! The connection to Redis: one for all commands, made again when it breaks, with a deadline on every answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::{FromRedisValue, RedisError};
use signalbox_redis::{Connection, FORMS, Patience, Server, why};
use tokio::{sync::Notify, time::timeout};

use crate::{backend::Away, config::Shared, error::Error, fuse::Fuse};

/// How long a connection may take to be made, beside those who wait for it.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a cluster's client follows a redirection or tries another node.
const RETRIES: u32 = 3;

/// The way to Redis.
pub(super) struct Link {
    server: Arc<Server>,
    fuse: Fuse,
    pub(super) deadline: Duration,
    patience: Duration,
    state: Arc<Connecting>,
}

#[derive(Default)]
struct Connecting {
    connection: Mutex<Option<Connection>>,
    /// A task is making one.
    busy: AtomicBool,
    made: Notify,
    /// That there is none was told, and why.
    told: AtomicBool,
}

/// How long a command may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// Somebody's answer waits for it.
    Deadline,
    /// Nobody's does.
    Patience,
}

impl Link {
    pub(super) fn new(redis: &signalbox_config::Redis, shared: &Shared) -> Result<Self, Error> {
        let url = redis.url().map_err(|problem| Error::Config(format!("redis: {problem}")))?;
        let patience = Patience {
            connect: CONNECT,
            answer: Duration::from_millis(shared.patience_ms),
            retries: RETRIES,
        };
        let server = Server::of(&url, patience).ok_or_else(|| Error::Config(format!("redis.url {FORMS}")))?;
        let link = Self {
            server: Arc::new(server),
            fuse: Fuse::new("redis", shared.failures, Duration::from_millis(shared.open_ms)),
            deadline: Duration::from_millis(shared.deadline_ms),
            patience: patience.answer,
            state: Arc::default(),
        };
        link.connect();
        Ok(link)
    }

    /// Asks Redis. Errors are not told apart, nor shown: they may hold an address with a password.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        command: &redis::Cmd,
        within: Within,
    ) -> Result<T, Away> {
        let permit = self.fuse.admit().ok_or(Away)?;
        let most = match within {
            Within::Deadline => self.deadline,
            Within::Patience => self.patience,
        };
        let answer = timeout(most, async {
            let mut connection = self.connection().await;
            connection.ask::<T>(command).await
        });
        match answer.await {
            Ok(Ok(answer)) => {
                permit.worked();
                return Ok(answer);
            }
            Ok(Err(error)) => {
                if !is_gone(&error) {
                    tracing::warn!(kind = ?error.kind(), code = error.code(), "redis refuses a command of the cache");
                }
                self.forget();
                permit.failed();
            }
            Err(_) => {
                // One that is stuck for so long may be dead without a word.
                if permit.failed() {
                    self.forget();
                }
            }
        }
        Err(Away)
    }

    /// A connection of its own for listening.
    pub(super) async fn listen(&self) -> Result<redis::aio::PubSub, Away> {
        match timeout(CONNECT, self.server.listen()).await {
            Ok(Ok(listening)) => Ok(listening),
            Ok(Err(_)) | Err(_) => Err(Away),
        }
    }

    pub(super) fn trouble(&self) -> Option<&'static str> {
        self.fuse.is_open().then_some("redis does not answer: lookups are misses, fills are dropped")
    }

    async fn connection(&self) -> Connection {
        loop {
            // Before looking, so that one that is made meanwhile is not missed.
            let made = self.state.made.notified();
            tokio::pin!(made);
            made.as_mut().enable();
            if let Some(connection) = &*self.state.connection.lock() {
                return connection.clone();
            }
            self.connect();
            made.await;
        }
    }

    fn forget(&self) {
        self.state.connection.lock().take();
    }

    /// Makes a connection beside those who wait, whose deadline may be too short for it.
    fn connect(&self) {
        if self.state.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let (server, state) = (Arc::clone(&self.server), Arc::clone(&self.state));
        tokio::spawn(async move {
            // A cluster's nodes may each take as long.
            let made = timeout(2 * CONNECT, server.connect()).await;
            match made {
                Ok(Ok(connection)) => {
                    *state.connection.lock() = Some(connection);
                    state.told.store(false, Ordering::Relaxed);
                }
                failed => {
                    let why = match &failed {
                        Ok(Err(error)) => why(error),
                        _ => "it does not answer",
                    };
                    if !state.told.swap(true, Ordering::Relaxed) {
                        tracing::warn!(why, "the cache has no connection to redis");
                    }
                    // Whoever waits asks at once for the next.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            state.busy.store(false, Ordering::Release);
            state.made.notify_waiters();
        });
    }
}

/// Whether it is the connection that failed, not the command.
fn is_gone(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_timeout()
}
