//! Statistics in step over all replicas, through Redis.
//!
//! Each replica counts for itself and works without Redis. Once a second it writes down what it was told since, by target, and takes in
//! what the others wrote: so all know within two seconds what any of them was told. One stream holds the news of the last minutes, from
//! which a replica that starts learns, too.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, cmd};
use serde::{Deserialize, Serialize};
use signalbox_config::Redis;
use signalbox_mesh::{Random, Shutdown};
use signalbox_redis::{Connection, FORMS, Patience, Server};
use tokio::time::{MissedTickBehavior, timeout};

use crate::{
    error::Error,
    learned::{Learned, Lesson},
    stats::{Sample, Stats},
};

/// How often replicas tell and listen.
const BEAT: Duration = Duration::from_secs(1);
/// News that the stream keeps, about.
const NEWS: usize = 600;
/// How long it keeps them when nobody writes any more, in seconds.
const KEPT_S: u64 = 3_600;

/// How long Redis may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a cluster's client tries another node.
const RETRIES: u32 = 3;

/// Redis did not answer, or not as it should. Why is not told: it may hold an address with a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Away;

/// What a replica was told since its last beat.
#[derive(Debug, Default, Serialize, Deserialize)]
struct News {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    targets: BTreeMap<String, Sample>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    lessons: BTreeMap<String, Lesson>,
}

/// The way to the other replicas.
pub(crate) struct Fleet {
    server: Server,
    connection: Mutex<Option<Connection>>,
    key: String,
    /// Tells this replica from the others.
    me: String,
    /// The newest entry that was taken in.
    after: Mutex<String>,
}

impl Fleet {
    /// Makes the way; connects when it is first used.
    ///
    /// # Errors
    /// The address cannot be read.
    pub(crate) fn new(redis: &Redis, random: &Random) -> Result<Self, Error> {
        let url = redis.url().map_err(|problem| Error::Config(format!("redis: {problem}")))?;
        let patience = Patience { connect: PATIENCE, answer: PATIENCE, retries: RETRIES };
        Ok(Self {
            server: Server::of(&url, patience).ok_or_else(|| Error::Config(format!("redis.url {FORMS}")))?,
            connection: Mutex::default(),
            key: format!("{}:router:news", redis.prefix),
            me: format!("{:016x}", random.u64()),
            after: Mutex::new("0".into()),
        })
    }

    /// Keeps statistics in step, until the end.
    pub(crate) async fn follow(self, stats: Arc<Stats>, learned: Arc<Learned>, end: Shutdown) {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = true;
        loop {
            tokio::select! {
                () = end.started() => return,
                _ = beats.tick() => {}
            }
            let beat = timeout(PATIENCE, self.beat(&stats, &learned)).await.unwrap_or(Err(Away));
            if beat.is_ok() != well {
                well = beat.is_ok();
                if well {
                    tracing::info!("the router's statistics are shared again");
                } else {
                    self.connection.lock().take();
                    tracing::warn!(
                        "redis does not answer; the router's statistics are this replica's own for now"
                    );
                }
            }
        }
    }

    /// Tells the others, and hears them, once.
    pub(crate) async fn beat(&self, stats: &Stats, learned: &Learned) -> Result<(), Away> {
        self.tell(stats, learned).await?;
        loop {
            let after = self.after.lock().clone();
            let mut command = cmd("XRANGE");
            command.arg(&self.key).arg(format!("({after}")).arg("+").arg("COUNT").arg(NEWS);
            let entries: Vec<(String, Vec<String>)> = self.ask(command).await?;
            let Some((last, _)) = entries.last() else { return Ok(()) };
            *self.after.lock() = last.clone();
            for (id, fields) in &entries {
                self.hear(id, fields, stats, learned);
            }
        }
    }

    /// Writes down what is new. What could not be written is lost to the others, and known here.
    async fn tell(&self, stats: &Stats, learned: &Learned) -> Result<(), Away> {
        let news = News { targets: stats.take_news(), lessons: learned.take_news() };
        if news.targets.is_empty() && news.lessons.is_empty() {
            return Ok(());
        }
        let Ok(text) = serde_json::to_string(&news) else { return Ok(()) };
        let mut command = cmd("XADD");
        command
            .arg(&self.key)
            .arg("MAXLEN")
            .arg("~")
            .arg(NEWS)
            .arg("*")
            .arg("r")
            .arg(&self.me)
            .arg("n")
            .arg(text);
        self.ask::<String>(command).await?;
        let mut command = cmd("EXPIRE");
        command.arg(&self.key).arg(KEPT_S);
        self.ask::<i64>(command).await.map(drop)
    }

    /// Asks Redis. Cancel safe, as far as the command is.
    async fn ask<T: FromRedisValue>(&self, command: Cmd) -> Result<T, Away> {
        let known = self.connection.lock().clone();
        let mut connection = match known {
            Some(connection) => connection,
            None => {
                let made = self.server.connect().await.map_err(|_| Away)?;
                self.connection.lock().insert(made).clone()
            }
        };
        connection.ask(&command).await.map_err(|error| {
            if error.is_unrecoverable_error() {
                self.connection.lock().take();
            }
            Away
        })
    }

    /// Takes in what another replica was told. An entry that cannot be read is one of another version.
    fn hear(&self, id: &str, fields: &[String], stats: &Stats, learned: &Learned) {
        let [r, replica, n, text] = fields else { return };
        if r != "r" || n != "n" || *replica == self.me {
            return;
        }
        let Ok(news) = serde_json::from_str::<News>(text) else { return };
        // Redis' own time: the same for all.
        let at_ms = id.split_once('-').and_then(|(ms, _)| ms.parse().ok()).unwrap_or_default();
        for (target_id, sample) in &news.targets {
            stats.apply(target_id, sample, at_ms);
        }
        for (key, lesson) in news.lessons {
            learned.apply(key, &lesson);
        }
    }
}

#[cfg(test)]
mod tests {
    use signalbox_proto::{
        common::v1::{Attempt, AttemptKind, AttemptOutcome},
        router::v1::Candidate,
    };
    use signalbox_testkit::redis::{RedisError, RedisServer};

    use super::*;
    use crate::{config::Latency, learned::Learn};

    /// Starts Redis, or says why the test is skipped.
    fn redis(test: &str) -> Option<(RedisServer, Redis, tempfile::TempDir)> {
        let folder = tempfile::tempdir().unwrap();
        match RedisServer::start(&folder.path().join("redis")) {
            Ok(server) => {
                let redis = Redis { url: Some(server.url()), ..Redis::default() };
                Some((server, redis, folder))
            }
            Err(RedisError::Missing) => {
                println!("SKIPPED: {test}: {}", RedisError::Missing);
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    struct Replica {
        fleet: Fleet,
        stats: Stats,
        learned: Learned,
    }

    impl Replica {
        fn new(redis: &Redis, number: u64) -> Self {
            let random = Random::seeded(number);
            Self {
                fleet: Fleet::new(redis, &random).unwrap(),
                stats: Stats::shared(),
                learned: Learned::shared(random),
            }
        }

        async fn beat(&self) {
            self.fleet.beat(&self.stats, &self.learned).await.unwrap();
        }

        fn told(&self, outcome: AttemptOutcome, ms: u64) {
            let attempt = Attempt {
                target_id: "p/a".into(),
                kind: AttemptKind::First.into(),
                outcome: outcome.into(),
                first_output_ms: Some(ms),
                duration_ms: ms,
                ..Attempt::default()
            };
            self.stats.record(&attempt, 1_000);
            self.learned.served(&Learn::default(), ("x", "m"), &attempt, None);
        }

        fn knows(&self) -> (Option<f64>, f64, f64) {
            let candidate = Candidate { target_id: "p/a".into(), ..Candidate::default() };
            let (draws, _) = self.learned.draw(&Learn::default(), "x", "m", &[candidate]);
            (self.stats.latency_ms("p/a", Latency::FirstOutput), self.stats.errors("p/a"), draws[0].count)
        }
    }

    #[tokio::test]
    async fn what_one_replica_is_told_all_know_once() {
        let Some((_server, redis, _folder)) = redis("shared statistics") else { return };
        let (one, other) = (Replica::new(&redis, 1), Replica::new(&redis, 2));
        one.told(AttemptOutcome::Ok, 40);
        one.told(AttemptOutcome::Ok, 90);
        one.told(AttemptOutcome::Timeout, 70);
        for replica in [&one, &other, &one, &other] {
            replica.beat().await;
        }
        let known = one.knows();
        assert_eq!((known.0, known.2), (Some(90.0), 3.0), "its own news teach it nothing twice");
        let (latency, errors, count) = other.knows();
        assert_eq!((latency, count), (Some(90.0), 3.0));
        // A third of three, as far as three attempts count.
        assert!((errors - (1.0 - 0.9_f64.powi(3)) / 3.0).abs() < 1e-9, "{errors}");

        let late = Replica::new(&redis, 3);
        late.beat().await;
        assert_eq!(late.knows().0, Some(90.0), "who starts later learns it, too");
    }

    #[tokio::test]
    async fn breakers_and_lessons_without_redis_are_a_replicas_own() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("redis+unix://{}", folder.path().join("nobody").display());
        let alone = Replica::new(&Redis { url: Some(url), ..Redis::default() }, 1);
        alone.told(AttemptOutcome::Ok, 40);
        assert_eq!(alone.fleet.beat(&alone.stats, &alone.learned).await, Err(Away));
        assert_eq!(alone.knows().0, Some(40.0));
    }
}
