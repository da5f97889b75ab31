//! Statistics in step over all replicas, through Redis.
//!
//! Each replica counts for itself and works without Redis. Once a second it writes down what it was told since, by target, and takes in
//! what the others wrote: so all know within two seconds what any of them was told. One stream holds the news of the last minutes, from
//! which a replica that starts learns, too.
//!
//! Receipts stay with the replica that planned, for they are many and hardly ever read: whoever is asked for one that it does not have
//! asks the others, by a stream of its own, and whoever has it puts it down for some seconds.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prost::Message as _;
use redis::{Cmd, FromRedisValue, cmd};
use serde::{Deserialize, Serialize};
use signalbox_config::Redis;
use signalbox_mesh::{Random, Shutdown};
use signalbox_proto::router::v1::ExplainResponse;
use signalbox_redis::{Connection, FORMS, Patience, Server};
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, timeout},
};

use crate::{
    error::Error,
    learned::Lesson,
    receipts::Receipts,
    reports::{ID_BYTES, Reports, Score},
    stats::Sample,
};

/// How often replicas tell and listen.
const BEAT: Duration = Duration::from_secs(1);
/// News that the stream keeps, about, and those that are read at once.
const NEWS: usize = 600;
const READ: usize = 64;
/// How long it keeps them when nobody writes any more, in seconds.
const KEPT_S: u64 = 3_600;

/// Questions for receipts that the stream keeps, about, and those that a replica has open at a time.
const QUESTIONS: usize = 64;
const OPEN_QUESTIONS: usize = 8;
/// How often, and how many times, an asker looks for an answer: for somewhat more than two beats.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: usize = 25;
/// How long questions and answers are kept, in milliseconds.
const KEPT_MS: u64 = 10_000;

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
    /// Of requests that another replica planned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scores: Vec<Score>,
}

/// Scores on their way out; given back where it is dropped with some left.
struct Untold<'a>(&'a Reports, Vec<Score>);

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        self.0.untold(std::mem::take(&mut self.1));
    }
}

/// The way to the other replicas.
pub(crate) struct Fleet {
    server: Server,
    connection: Mutex<Option<Connection>>,
    /// What the names of keys begin with.
    prefix: String,
    /// Tells this replica from the others.
    me: String,
    /// The newest entry that was taken in.
    after: Mutex<String>,
    /// The newest question for a receipt that was heard.
    heard: Mutex<String>,
    asking: Semaphore,
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
            prefix: format!("{}:router:", redis.prefix),
            me: format!("{:016x}", random.u64()),
            after: Mutex::new("0".into()),
            heard: Mutex::new("0".into()),
            asking: Semaphore::new(OPEN_QUESTIONS),
        })
    }

    /// Keeps statistics in step, until the end.
    pub(crate) async fn follow(self: Arc<Self>, reports: Arc<Reports>, end: Shutdown) {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = true;
        loop {
            tokio::select! {
                () = end.started() => return,
                _ = beats.tick() => {}
            }
            let beat = async { self.beat(&reports).await.and(self.answer(&reports.receipts).await) };
            let beat = timeout(PATIENCE, beat).await.unwrap_or(Err(Away));
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
    pub(crate) async fn beat(&self, reports: &Reports) -> Result<(), Away> {
        self.tell(reports).await?;
        loop {
            let entries = self.entries(&self.key("news"), &self.after).await?;
            if entries.is_empty() {
                return Ok(());
            }
            for (id, fields) in &entries {
                self.hear(id, fields, reports);
            }
        }
    }

    /// What came to a stream behind a mark, which moves on.
    async fn entries(&self, key: &str, after: &Mutex<String>) -> Result<Vec<(String, Vec<String>)>, Away> {
        let from = format!("({}", after.lock());
        let mut command = cmd("XRANGE");
        command.arg(key).arg(from).arg("+").arg("COUNT").arg(READ);
        let entries: Vec<(String, Vec<String>)> = self.ask(command).await?;
        if let Some((last, _)) = entries.last() {
            after.lock().clone_from(last);
        }
        Ok(entries)
    }

    /// Asks the other replicas for a receipt; takes two seconds and a half where nobody has it. Cancel safe.
    pub(crate) async fn find(&self, tenant: &str, request_id: &str) -> Option<ExplainResponse> {
        if request_id.is_empty() || request_id.len() > ID_BYTES {
            return None;
        }
        // Beyond so many it is as if nobody had it.
        let _open = self.asking.try_acquire().ok()?;
        let mut question = cmd("XADD");
        question.arg(self.key("questions")).arg("MAXLEN").arg("~").arg(QUESTIONS).arg("*");
        question.arg("r").arg(&self.me).arg("t").arg(tenant).arg("q").arg(request_id);
        self.ask::<String>(question).await.ok()?;
        let mut kept = cmd("PEXPIRE");
        kept.arg(self.key("questions")).arg(KEPT_MS);
        self.ask::<i64>(kept).await.ok()?;
        let mut looks = tokio::time::interval(LOOK);
        for _ in 0..LOOKS {
            looks.tick().await;
            let mut look = cmd("GET");
            look.arg(self.answer_key(tenant, request_id));
            if let Some(bytes) = self.ask::<Option<Vec<u8>>>(look).await.ok()? {
                return ExplainResponse::decode(&*bytes).ok();
            }
        }
        None
    }

    /// Puts down the receipts that other replicas ask for.
    pub(crate) async fn answer(&self, receipts: &Receipts) -> Result<(), Away> {
        for (_, fields) in self.entries(&self.key("questions"), &self.heard).await? {
            let [r, replica, t, tenant, q, request_id] = fields.as_slice() else { continue };
            if r != "r" || t != "t" || q != "q" || *replica == self.me {
                continue;
            }
            let Some(explained) = receipts.of(tenant, request_id) else { continue };
            let mut answer = cmd("SET");
            answer.arg(self.answer_key(tenant, request_id)).arg(explained.encode_to_vec());
            answer.arg("PX").arg(KEPT_MS);
            self.ask::<String>(answer).await?;
        }
        Ok(())
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn answer_key(&self, tenant: &str, request_id: &str) -> String {
        self.key(&format!("receipt:{}:{tenant}:{request_id}", tenant.len()))
    }

    /// Writes down what is new. What could not be written is lost to the others, and known here; scores, which may be of no use here, are
    /// told later, also where this is cancelled.
    async fn tell(&self, reports: &Reports) -> Result<(), Away> {
        let Reports { stats, learned, .. } = reports;
        let mut untold = Untold(reports, reports.take_news());
        let news =
            News { targets: stats.take_news(), lessons: learned.take_news(), scores: untold.1.clone() };
        if news.targets.is_empty() && news.lessons.is_empty() && news.scores.is_empty() {
            return Ok(());
        }
        let Ok(text) = serde_json::to_string(&news) else { return Ok(()) };
        let mut command = cmd("XADD");
        command
            .arg(self.key("news"))
            .arg("MAXLEN")
            .arg("~")
            .arg(NEWS)
            .arg("*")
            .arg("r")
            .arg(&self.me)
            .arg("n")
            .arg(text);
        self.ask::<String>(command).await?;
        untold.1.clear();
        let mut command = cmd("EXPIRE");
        command.arg(self.key("news")).arg(KEPT_S);
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
    fn hear(&self, id: &str, fields: &[String], reports: &Reports) {
        let [r, replica, n, text] = fields else { return };
        if r != "r" || n != "n" || *replica == self.me {
            return;
        }
        let Ok(news) = serde_json::from_str::<News>(text) else { return };
        // Redis' own time: the same for all.
        let at_ms = id.split_once('-').and_then(|(ms, _)| ms.parse().ok()).unwrap_or_default();
        for (target_id, sample) in &news.targets {
            reports.stats.apply(target_id, sample, at_ms);
        }
        for (key, lesson) in news.lessons {
            reports.learned.apply(key, &lesson);
        }
        news.scores.into_iter().for_each(|score| reports.hear(score));
    }
}

#[cfg(test)]
mod tests {
    use signalbox_config::{Document, Live};
    use signalbox_mesh::ManualClock;
    use signalbox_proto::{
        common::v1::{Attempt, AttemptKind, AttemptOutcome, Learning},
        router::v1::{Candidate, PlanResponse, Report},
    };
    use signalbox_testkit::redis::{RedisError, RedisServer};

    use super::*;
    use crate::{
        config::Latency,
        learned::{Draw, Learn, Learned},
        receipts::Receipt,
        setup::Setup,
        stats::Stats,
    };

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

    const LEARNED: &str = "[models.m]\ntargets = [{ base_url = 'http://h/v1', model = 'a', provider = 'p' }]\n\
                           [router]\naliases = { m = 'x' }\n[router.policies.x]\nway = 'learned'\n";

    struct Replica {
        fleet: Fleet,
        reports: Reports,
    }

    impl Replica {
        fn new(redis: &Redis, number: u64) -> Self {
            let random = Random::seeded(number);
            let document = Document::parse(LEARNED, "t").unwrap();
            let config = document.section(crate::SECTION).unwrap();
            let setup = Live::new(Setup::new(&document.shared().unwrap(), config).unwrap());
            let fleet = Fleet::new(redis, &random).unwrap();
            let receipts = Receipts::new(10, Duration::from_secs(60));
            let known = (Arc::new(Stats::shared()), Arc::new(Learned::shared(random)), Arc::new(receipts));
            Self { fleet, reports: Reports::new(setup, known, true, Arc::new(ManualClock::new(1_000))) }
        }

        /// Keeps the plan of a request of the tenant `acme`.
        fn planned(&self, id: &str) {
            let plan = Some(PlanResponse { policy: "x".into(), ..PlanResponse::default() });
            let explained =
                ExplainResponse { plan, requested_model: "m".into(), ..ExplainResponse::default() };
            let receipt = Receipt { tenant: "acme".into(), explained: Arc::new(explained) };
            self.reports.receipts.keep(id.into(), receipt);
        }

        async fn beat(&self) {
            self.fleet.beat(&self.reports).await.unwrap();
        }

        fn told(&self, outcome: AttemptOutcome, ms: u64) {
            let attempt = attempt(outcome, ms);
            self.reports.stats.record(&attempt, 1_000);
            self.reports.learned.served(&Learn::default(), ("x", "m"), &attempt, None);
        }

        fn drawn(&self) -> Draw {
            let candidate = Candidate { target_id: "p/a".into(), ..Candidate::default() };
            self.reports.learned.draw(&Learn::default(), "x", "m", &[candidate]).0.remove(0)
        }

        fn knows(&self) -> (Option<f64>, f64, f64) {
            let stats = &self.reports.stats;
            (stats.latency_ms("p/a", Latency::FirstOutput), stats.errors("p/a"), self.drawn().count)
        }
    }

    fn attempt(outcome: AttemptOutcome, ms: u64) -> Attempt {
        Attempt {
            target_id: "p/a".into(),
            kind: AttemptKind::First.into(),
            outcome: outcome.into(),
            first_output_ms: Some(ms),
            duration_ms: ms,
            ..Attempt::default()
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
    async fn a_receipt_is_found_at_another_replica_and_by_its_own_tenant_alone() {
        let Some((_server, redis, _folder)) = redis("receipts of other replicas") else { return };
        let (one, other) = (Replica::new(&redis, 1), Replica::new(&redis, 2));
        let receipts = Receipts::new(10, Duration::from_secs(60));
        let explained = ExplainResponse { requested_model: "fast".into(), ..ExplainResponse::default() };
        receipts.keep("r1".into(), Receipt { tenant: "acme".into(), explained: Arc::new(explained.clone()) });
        let beats = async {
            loop {
                one.fleet.answer(&receipts).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let asked = async {
            let found = other.fleet.find("acme", "r1").await;
            (found, other.fleet.find("globex", "r1").await, other.fleet.find("acme", "r2").await)
        };
        let found = tokio::select! {
            () = beats => return,
            found = asked => found,
        };
        assert_eq!(found, (Some(explained), None, None));
        assert_eq!(other.fleet.find("acme", &"r".repeat(ID_BYTES + 1)).await, None);
    }

    #[tokio::test]
    async fn a_score_finds_the_replica_that_planned() {
        let Some((_server, redis, _folder)) = redis("scores told to another replica") else { return };
        let (planner, other) = (Replica::new(&redis, 1), Replica::new(&redis, 2));
        planner.planned("r1");
        let answered = vec![attempt(AttemptOutcome::Ok, 40)];
        let report = |tenant: &str, attempts, quality| Report {
            request_id: "r1".into(),
            tenant: tenant.into(),
            attempts,
            quality,
            ..Report::default()
        };
        assert!(planner.reports.take(report("acme", answered, None)));
        let score = || planner.reports.receipts.of("acme", "r1").unwrap().report.clone().unwrap().quality;
        let before = planner.drawn().mean;

        assert!(other.reports.take(report("globex", Vec::new(), Some(-1.0))));
        for replica in [&other, &planner, &other] {
            replica.beat().await;
        }
        assert_eq!(score(), None, "it is another tenant's request");
        // A caller that was not answered comes again.
        for new in [true, false] {
            assert_eq!(other.reports.take(report("acme", Vec::new(), Some(-1.0))), new);
        }
        for replica in [&other, &planner, &planner, &other] {
            replica.beat().await;
        }
        assert_eq!(score(), Some(-1.0));
        let (here, there) = (planner.drawn(), other.drawn());
        assert!(here.mean < before, "{here:?}, {before}");
        assert_eq!((here.mean, here.count), (there.mean, there.count), "all replicas know it");
        assert!(planner.reports.take_news().is_empty(), "it told nobody of what it knew itself");
        assert!(!planner.reports.take(report("acme", Vec::new(), Some(-1.0))), "known");
    }

    #[tokio::test]
    async fn a_policy_learns_wherever_a_report_and_a_score_come_to() {
        let Some((_server, redis, _folder)) = redis("reports that come to another replica") else { return };
        let replicas = [1, 2, 3].map(|number| Replica::new(&redis, number));
        let [planner, told, third] = &replicas;
        planner.planned("r1");
        let known = |replica: &Replica| (replica.drawn().mean, replica.drawn().count);
        // A score is heard with one beat, what it teaches is told with the next, and heard with the third.
        let all_beat = async || {
            for replica in [&replicas, &replicas, &replicas].into_iter().flatten() {
                replica.beat().await;
            }
        };
        let report = Report {
            request_id: "r1".into(),
            tenant: "acme".into(),
            attempts: vec![attempt(AttemptOutcome::Ok, 40)],
            requested_model: "m".into(),
            learning: Some(Learning { policy: "x".into(), dearest_nanousd: None }),
            ..Report::default()
        };
        assert!(told.reports.take(report.clone()));
        assert!(!told.reports.take(report), "known");
        all_beat().await;
        let served = known(planner);
        assert!(served.1 == 1.0 && known(told) == served && known(third) == served, "{served:?}");

        let score = Report {
            request_id: "r1".into(),
            tenant: "acme".into(),
            quality: Some(-1.0),
            ..Report::default()
        };
        for replica in [third, planner] {
            assert!(replica.reports.take(score.clone()), "somebody else knows more");
        }
        all_beat().await;
        let scored = known(planner);
        assert!(
            scored.0 < served.0 && known(told) == scored && known(third) == scored,
            "{scored:?}, {served:?}"
        );
        let receipt = planner.reports.receipts.of("acme", "r1").unwrap();
        assert_eq!(receipt.report.as_ref().unwrap().quality, Some(-1.0));
        let better = Report { quality: Some(1.0), ..score };
        assert!(told.reports.take(better), "the last one is kept");
        all_beat().await;
        assert_eq!(known(planner), scored, "the first one taught");
        assert_eq!(
            planner.reports.receipts.of("acme", "r1").unwrap().report.clone().unwrap().quality,
            Some(1.0)
        );
    }

    #[tokio::test]
    async fn a_score_that_comes_before_the_report_teaches_when_that_comes() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("redis+unix://{}", folder.path().join("nobody").display());
        let redis = Redis { url: Some(url), ..Redis::default() };
        let (alone, silent) = (Replica::new(&redis, 1), Replica::new(&redis, 2));
        for replica in [&alone, &silent] {
            replica.planned("own");
        }
        let mut apart = 0.0;
        for id in ["own", "elsewhere"] {
            let report = Report { request_id: id.into(), tenant: "acme".into(), ..Report::default() };
            assert!(alone.reports.take(Report { quality: Some(-1.0), ..report.clone() }));
            assert_eq!(silent.drawn().mean - alone.drawn().mean, apart, "nobody answered yet");
            let report = Report {
                attempts: vec![attempt(AttemptOutcome::Ok, 40)],
                requested_model: "m".into(),
                learning: Some(Learning { policy: "x".into(), dearest_nanousd: None }),
                ..report
            };
            assert!(alone.reports.take(report.clone()) && silent.reports.take(report));
            let now = silent.drawn().mean - alone.drawn().mean;
            assert!(now > apart, "{id}: {now}, {apart}");
            apart = now;
        }
        // What cannot be told now is told later.
        assert_eq!(alone.fleet.beat(&alone.reports).await, Err(Away));
        assert_eq!(alone.reports.take_news().len(), 2);
    }

    #[tokio::test]
    async fn breakers_and_lessons_without_redis_are_a_replicas_own() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("redis+unix://{}", folder.path().join("nobody").display());
        let alone = Replica::new(&Redis { url: Some(url), ..Redis::default() }, 1);
        alone.told(AttemptOutcome::Ok, 40);
        assert_eq!(alone.fleet.beat(&alone.reports).await, Err(Away));
        assert_eq!(alone.knows().0, Some(40.0));
    }
}
