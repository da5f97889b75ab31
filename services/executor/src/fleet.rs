//! Breakers in step over all replicas, through Redis.
//!
//! Each replica keeps its own breakers and works without Redis. Several times a second it writes down which of them opened or
//! closed, and reads what the others wrote: so all stop asking a broken target within a second. One hash holds all of it.
//! Whoever wants to probe takes a key that only one can have; where Redis does not answer at once, each replica probes for
//! itself.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use signalbox_config::Redis;
use signalbox_mesh::{Clock, Random, Shutdown};
use signalbox_redis::{Connection, FORMS, Patience, Server};
use tokio::time::{Instant, MissedTickBehavior, timeout};

use crate::breaker::{News, Word};
use crate::error::Error;
use crate::target::Target;
use crate::targets::Known;

/// How often replicas tell and listen: twice this is less than a second.
const BEAT: Duration = Duration::from_millis(250);
/// How long a request waits for the right to probe.
const CLAIM: Duration = Duration::from_millis(50);
/// How long Redis may take for all the rest.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a cluster's client tries another node.
const RETRIES: u32 = 3;
/// How long what was written is kept when no replica writes any more, in seconds.
const KEPT_S: u64 = 86_400;
/// Deletes a key if it is still ours.
const RELEASE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

/// Is the way to the other replicas.
pub(crate) struct Fleet {
    server: Server,
    connection: Mutex<Option<Connection>>,
    prefix: String,
    /// Tells this replica from the others.
    me: String,
    clock: Arc<dyn Clock>,
    /// How long a request waits for the right to probe.
    claim: Duration,
}

impl Fleet {
    /// Makes the way; connects when it is first used.
    ///
    /// # Errors
    ///
    /// The address cannot be read.
    pub(crate) fn new(redis: &Redis, clock: Arc<dyn Clock>, random: &Random) -> Result<Self, Error> {
        Self::waiting(redis, clock, random, PATIENCE, CLAIM)
    }

    /// The same, with other patience: on a busy machine a test's Redis takes longer than a request should wait.
    pub(crate) fn waiting(
        redis: &Redis,
        clock: Arc<dyn Clock>,
        random: &Random,
        patience: Duration,
        claim: Duration,
    ) -> Result<Self, Error> {
        let url = redis.url().map_err(|problem| Error::Config(format!("redis: {problem}")))?;
        let patience = Patience { connect: patience, answer: patience, retries: RETRIES };
        let server = Server::of(&url, patience).ok_or_else(|| Error::Config(format!("redis.url {FORMS}")))?;
        let me = format!("{:016x}", random.u64());
        let prefix = format!("{}:executor", redis.prefix);
        Ok(Self { server, connection: Mutex::default(), prefix, me, clock, claim })
    }

    /// Takes the right to probe a target for so long. False: another replica has it.
    ///
    /// Cancel safe: a right that was taken ends by itself.
    pub(crate) async fn claim(&self, target: &Target, lasting: Duration) -> bool {
        let mut command = redis::cmd("SET");
        command.arg(self.probe(target)).arg(&self.me).arg("NX").arg("PX").arg(millis(lasting));
        match timeout(self.claim, self.ask::<Option<String>>(command)).await {
            Ok(Ok(answer)) => answer.is_some(),
            Ok(Err(())) | Err(_) => true,
        }
    }

    /// Keeps the targets' breakers in step, until the end.
    pub(crate) async fn follow(self: Arc<Self>, targets: impl Fn() -> Arc<Known> + Send, end: Shutdown) {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = true;
        loop {
            tokio::select! {
                () = end.started() => return,
                _ = beats.tick() => {}
            }
            let known = targets();
            let beat = timeout(PATIENCE, self.beat(&known)).await.unwrap_or(Err(()));
            if beat.is_ok() != well {
                well = beat.is_ok();
                if well {
                    tracing::info!("breakers are shared again");
                } else {
                    self.connection.lock().take();
                    tracing::warn!("redis does not answer; breakers are this replica's own for now");
                }
            }
        }
    }

    /// Tells the others, and hears them, once.
    pub(crate) async fn beat(&self, known: &Known) -> Result<(), ()> {
        for target in known.values().flatten() {
            self.tell(target).await?;
        }
        let mut command = redis::cmd("HGETALL");
        command.arg(self.breakers());
        let words: std::collections::HashMap<String, String> = self.ask(command).await?;
        let (now, unix_ms) = (Instant::now(), self.clock.unix_ms());
        for target in known.values().flatten() {
            let word = words.get(&field(target)).and_then(|text| read(text, unix_ms));
            target.memory.breaker.hear(word, now);
        }
        Ok(())
    }

    /// Writes down what changed of a breaker. What could not be written is tried again with the next beat.
    async fn tell(&self, target: &Target) -> Result<(), ()> {
        let breaker = &target.memory.breaker;
        let Some(news) = breaker.news(Instant::now()) else { return Ok(()) };
        let told = self.write(target, &news).await;
        if told.is_err() {
            breaker.untold(&news);
        }
        told
    }

    async fn write(&self, target: &Target, news: &News) -> Result<(), ()> {
        if news.release {
            let mut command = redis::cmd("EVAL");
            command.arg(RELEASE).arg(1).arg(self.probe(target)).arg(&self.me);
            self.ask::<i64>(command).await?;
        }
        match &news.changed {
            Some(Some(Word { left, reason })) => {
                let until = self.clock.unix_ms().saturating_add_unsigned(millis(*left));
                let mut command = redis::cmd("HSET");
                command.arg(self.breakers()).arg(field(target)).arg(format!("{until} {reason}"));
                self.ask::<i64>(command).await?;
                let mut command = redis::cmd("EXPIRE");
                command.arg(self.breakers()).arg(KEPT_S);
                self.ask::<i64>(command).await?;
            }
            Some(None) => {
                let mut command = redis::cmd("HDEL");
                command.arg(self.breakers()).arg(field(target));
                self.ask::<i64>(command).await?;
            }
            None => {}
        }
        Ok(())
    }

    /// Asks Redis. Errors are not told apart, nor shown: they may hold an address with a password.
    async fn ask<T: redis::FromRedisValue>(&self, command: redis::Cmd) -> Result<T, ()> {
        let known = self.connection.lock().clone();
        let mut connection = match known {
            Some(connection) => connection,
            None => {
                let made = self.server.connect().await.map_err(|_| ())?;
                self.connection.lock().insert(made).clone()
            }
        };
        connection.ask(&command).await.map_err(|error| {
            if error.is_unrecoverable_error() {
                self.connection.lock().take();
            }
        })
    }

    /// One slot for all of it, in a cluster too.
    fn breakers(&self) -> String {
        format!("{}:{{breakers}}", self.prefix)
    }

    fn probe(&self, target: &Target) -> String {
        format!("{}:{{breakers}}:probe:{}", self.prefix, field(target))
    }
}

/// What tells deployments apart on every replica. Holds no secret: a base URL has no password.
fn field(target: &Target) -> String {
    format!("{} {} {}", target.id, target.base_url, target.credential_source)
}

/// Reads `unix_ms reason`.
fn read(text: &str, unix_ms: i64) -> Option<Word> {
    let (until, reason) = text.split_once(' ')?;
    let left = until.parse::<i64>().ok()?.saturating_sub(unix_ms);
    let reason = signalbox_wire::redact::bounded(reason, 200);
    Some(Word { left: Duration::from_millis(u64::try_from(left).unwrap_or_default()), reason })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
