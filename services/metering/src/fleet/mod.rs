//! The shared backend: Redis, for any number of replicas.
//!
//! All of a tenant lies in one slot, and each call is one script: it checks everything and changes everything, or nothing, in
//! one round trip. Calls that come while others are under way go together in one. A replica keeps no state of its own but what budgets and limits *are*; scripts refuse an old version of
//! that, and it is read again. What was answered is as durable as Redis is: with its append-only file on and `appendfsync
//! always` nothing is lost; with `everysec` a crash may lose the last seconds.
//!
//! `lua/prelude.lua` says which keys there are; `definitions.rs` how they are handed over.

mod administration;
mod batch;
mod definitions;
mod keys;
mod lane;
mod link;
mod money;
mod pack;
mod script;
mod usage;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use signalbox_config::{Redis, Secret};
use signalbox_mesh::{Clock, Random, Shutdown};

use self::{
    batch::Job,
    definitions::Definitions,
    lane::Lane,
    link::{Away, FORMS, Link},
    script::{Call, Reply},
};
use crate::{
    Error,
    alerts::{Alert, Alerts},
    audit::{Change, Look},
    backend::Backend,
    books::{Admitted, Ask, Extension},
    budget::{Budget, Origin, Terms},
    config::Config,
    counters::Violations,
    credential::Hash,
    keys::{Key, KeyChange, Keys},
    ledger::{Leaf, Page, Record, Score, Settled},
    limit::{Limit, LimitTerms},
    query::{Group, Question},
    refusal::Refusal,
    reservation::Told,
    store::Configured,
};

/// A budget's and a limit's definition as they are kept, for tests.
#[cfg(test)]
pub(crate) fn stored_forms(budget: &Terms, limit: &LimitTerms) -> (String, String) {
    let text = |form: Option<String>| form.unwrap_or_default();
    (text(definitions::budget_text(Origin::Call, budget)), text(definitions::limit_text(Origin::Call, limit)))
}

/// Tenants of which definitions are remembered; beyond them all is read again.
const TENANTS: usize = 10_000;
/// How often a call that met an old version is made again.
const TRIES: usize = 8;
/// How often changes of keys are looked for: four times within the second in which a revoked key must end.
const BEAT: Duration = Duration::from_millis(250);
/// How long one replica looks after what has expired, in milliseconds; then any may.
const WATCH_MS: i64 = 5_000;

/// What the backend is opened with.
pub(crate) struct Setting<'a> {
    pub(crate) redis: &'a Redis,
    pub(crate) config: &'a Config,
    pub(crate) configured: Configured,
    pub(crate) admin: Option<Hash>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: &'a Random,
    pub(crate) alerts: Alerts,
    pub(crate) violations: Violations,
    pub(crate) shutdown: &'a Shutdown,
}

/// The shared backend. Clones are the same.
#[derive(Clone)]
pub(crate) struct Fleet(Arc<Inner>);

struct Inner {
    link: Link,
    prefix: String,
    config: Config,
    keys: Keys,
    /// The newest change of keys that this replica knows.
    keys_version: Mutex<i64>,
    alerts_version: Mutex<i64>,
    /// Alerts that the watchers here have heard of and that are active.
    heard: Mutex<HashSet<String>>,
    clock: Arc<dyn Clock>,
    alerts: Alerts,
    violations: Violations,
    definitions: Mutex<HashMap<Arc<str>, Arc<Definitions>>>,
    lanes: Mutex<HashMap<Arc<str>, Arc<Lane<Job>>>>,
    shutdown: Shutdown,
    /// Tells this replica from the others.
    me: String,
}

impl From<Away> for Refusal {
    fn from(_: Away) -> Self {
        Self::StoreAway
    }
}

impl Fleet {
    /// Connects, brings what the configuration file says up to date, and begins to follow changes of keys.
    pub(crate) async fn open(setting: Setting<'_>) -> Result<(Self, Keys), Error> {
        let url: Secret = setting.redis.url().map_err(|what| Error::Config(format!("redis: {what}")))?;
        let link = Link::new(&url).ok_or_else(|| Error::Config(format!("redis.url {FORMS}")))?;
        let keys = Keys::new(Vec::new(), setting.admin);
        let fleet = Self(Arc::new(Inner {
            link,
            prefix: setting.redis.prefix.clone(),
            config: setting.config.clone(),
            keys: keys.clone(),
            keys_version: Mutex::new(0),
            alerts_version: Mutex::new(0),
            heard: Mutex::default(),
            clock: setting.clock,
            alerts: setting.alerts,
            violations: setting.violations,
            definitions: Mutex::default(),
            lanes: Mutex::default(),
            shutdown: setting.shutdown.clone(),
            me: format!("{:016x}", setting.random.u64()),
        }));
        let away = |_| Error::Redis;
        fleet.follow_keys().await.map_err(away)?;
        match fleet.configure(setting.configured).await {
            Ok(()) => {}
            Err(Refusal::StoreAway) => return Err(Error::Redis),
            Err(refusal) => return Err(Error::Config(refusal.to_string())),
        }
        fleet.beat(setting.shutdown);
        Ok((fleet, keys))
    }

    /// Looks for changes of keys again and again.
    fn beat(&self, shutdown: &Shutdown) {
        let (fleet, end) = (self.clone(), shutdown.started());
        shutdown.spawn(async move {
            let mut end = std::pin::pin!(end);
            loop {
                tokio::select! {
                    () = &mut end => return,
                    () = tokio::time::sleep(BEAT) => {}
                }
                if fleet.follow_keys().await.and(fleet.follow_alerts().await).is_err() {
                    tracing::warn!(
                        "changes of keys cannot be read; revoked keys may stay good until redis answers"
                    );
                }
            }
        });
    }

    fn now(&self) -> i64 {
        self.0.clock.unix_ms()
    }

    /// What the keys of a tenant begin with; the braces put them in one slot.
    fn of(&self, tenant: &str) -> String {
        format!("{}:metering:{{{tenant}}}:", self.0.prefix)
    }

    /// What belongs to no tenant. None has a name like that.
    fn all(&self) -> String {
        self.of("!")
    }

    /// How long what is recorded of a request is kept beside the ledger, so that it counts once.
    fn keep_ms(&self) -> i64 {
        self.0.config.redis.once_days.saturating_mul(86_400_000)
    }

    /// A call over a tenant's keys.
    fn call(&self, tenant: &str) -> Call {
        Call::new(&self.of(tenant), self.now())
    }

    /// A command over a key.
    async fn command(&self, name: &str, key: &str, arguments: &[&str]) -> Result<Reply, Away> {
        let mut command = redis::cmd(name);
        command.arg(key);
        for argument in arguments {
            command.arg(*argument);
        }
        self.0.link.ask(&command).await.map(Reply::of)
    }

    /// The definitions of a tenant, as they were the last time that somebody looked.
    async fn definitions(&self, tenant: &Arc<str>) -> Result<Arc<Definitions>, Refusal> {
        let known = self.0.definitions.lock().get(tenant).cloned();
        match known {
            Some(known) => Ok(known),
            None => self.load(tenant).await,
        }
    }

    /// Reads the definitions of a tenant.
    async fn load(&self, tenant: &Arc<str>) -> Result<Arc<Definitions>, Refusal> {
        self.command("SADD", &format!("{}tenants", self.all()), &[tenant]).await?;
        let call = self.call(tenant).with(self.keep_ms());
        let reply = call.run(&self.0.link, &script::LOAD).await.map(Reply::of)?;
        let read = Arc::new(Definitions::read(tenant, reply).ok_or(Refusal::Unreadable)?);
        let mut known = self.0.definitions.lock();
        if known.len() >= TENANTS {
            known.clear();
        }
        known.insert(Arc::clone(tenant), Arc::clone(&read));
        Ok(read)
    }

    fn forget(&self, tenant: &Arc<str>) {
        self.0.definitions.lock().remove(tenant);
    }

    /// All tenants that ever called.
    async fn tenants(&self) -> Result<Vec<Arc<str>>, Away> {
        let mut names: Vec<Arc<str>> = self
            .command("SMEMBERS", &format!("{}tenants", self.all()), &[])
            .await?
            .texts()
            .into_iter()
            .map(Arc::from)
            .collect();
        names.sort();
        Ok(names)
    }

    /// Tells what a budget has to tell, once over all replicas; and counts what must not be.
    async fn look_at(&self, budget: &Budget) -> Result<(), Away> {
        if !budget.is_kept() {
            let past = budget.spent.saturating_add(budget.reserved).saturating_sub(budget.ceiling());
            self.0.violations.count_b1(&budget.terms.tenant, &budget.terms.name, past);
        }
        let passed = budget.passed_percent();
        if passed <= budget.told_percent {
            return Ok(());
        }
        let call = self.call(&budget.terms.tenant).with(budget.id).with(budget.window.start).with(passed);
        if Reply::of(call.run(&self.0.link, &script::TELL).await?).number() == 1 {
            let told = Budget { told_percent: passed, told_unix_ms: self.now(), ..budget.clone() };
            if let Some(alert) = Alert::of(&told) {
                self.publish(&alert).await?;
                self.0.alerts.tell(alert);
            }
        }
        Ok(())
    }

    /// Notes an alert for all replicas; false: it was noted before.
    async fn publish(&self, alert: &Alert) -> Result<bool, Away> {
        let text = serde_json::to_string(alert).map_err(|_| Away)?;
        let all = self.all();
        let new = self.command("HSETNX", &format!("{all}alerts"), &[&alert.id, &text]).await?.number() == 1;
        if new {
            self.0.heard.lock().insert(alert.id.clone());
            self.command("INCR", &format!("{all}alerts-version"), &[]).await?;
        }
        Ok(new)
    }

    /// The alerts of all replicas that are active; those that are over are forgotten.
    async fn published(&self) -> Result<Vec<Alert>, Away> {
        let key = format!("{}alerts", self.all());
        let mut pairs = self.command("HGETALL", &key, &[]).await?;
        let (mut active, now) = (Vec::new(), self.now());
        while !pairs.is_empty() {
            let (id, text) = (pairs.text(), pairs.text());
            match serde_json::from_str::<Alert>(&text) {
                Ok(alert) if alert.until_unix_ms > now => active.push(alert),
                _ => drop(self.command("HDEL", &key, &[&id]).await?),
            }
        }
        active.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(active)
    }

    /// Tells the watchers here of what other replicas found since the last time.
    async fn follow_alerts(&self) -> Result<(), Away> {
        let version = self.command("GET", &format!("{}alerts-version", self.all()), &[]).await?.number();
        if std::mem::replace(&mut *self.0.alerts_version.lock(), version) == version {
            return Ok(());
        }
        let active = self.published().await?;
        let mut heard = self.0.heard.lock();
        heard.retain(|id| active.iter().any(|alert| alert.id == *id));
        for alert in active {
            if heard.insert(alert.id.clone()) {
                self.0.alerts.hear(alert);
            }
        }
        Ok(())
    }

    /// Whether this replica is the one that looks after what expires.
    async fn is_on_watch(&self) -> Result<bool, Away> {
        let key = format!("{}watch", self.all());
        let lasting = WATCH_MS.to_string();
        let taken = self.command("SET", &key, &[&self.0.me, "NX", "PX", &lasting]).await?;
        if !taken.is_empty() {
            return Ok(true);
        }
        let mine = self.command("GET", &key, &[]).await?.text() == self.0.me;
        if mine {
            self.command("PEXPIRE", &key, &[&lasting]).await?;
        }
        Ok(mine)
    }

    async fn look_after(&self) -> Result<(), Away> {
        if !self.is_on_watch().await? {
            return Ok(());
        }
        for tenant in self.tenants().await? {
            let call = || self.call(&tenant).with(self.keep_ms());
            while Reply::of(call().run(&self.0.link, &script::EXPIRE).await?).number() == 100 {}
            self.roll(&tenant).await?;
            self.trim(&tenant).await?;
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Backend for Fleet {
    async fn admit(&self, ask: Ask) -> Result<Admitted, Refusal> {
        Self::admit(self, ask).await
    }

    async fn configure(&self, configured: Configured) -> Result<(), Refusal> {
        Self::configure(self, configured).await
    }

    async fn extend(&self, extension: Extension) -> Result<Told, Refusal> {
        Self::extend(self, extension).await
    }

    async fn settle(&self, records: Vec<Record>) -> Result<(Settled, Vec<(usize, Refusal)>), Refusal> {
        self.settle_all(&records).await
    }

    async fn score(&self, tenant: &str, request_id: &str, score: Score) -> Result<(), Refusal> {
        Self::score(self, tenant, request_id, &score).await
    }

    async fn budgets(&self, tenant: &str) -> Result<Vec<Budget>, Refusal> {
        self.all_budgets(tenant).await
    }

    async fn put_budget(
        &self,
        id: Option<i64>,
        terms: Terms,
        origin: Origin,
        actor: &str,
    ) -> Result<Budget, Refusal> {
        self.write_budget(id, terms, origin, actor).await
    }

    async fn delete_budget(&self, id: i64, actor: &str) -> Result<(), Refusal> {
        self.remove(("budget", id), Origin::Call, actor).await
    }

    async fn limits(&self, tenant: &str) -> Result<Vec<Limit>, Refusal> {
        self.all_limits(tenant).await
    }

    async fn put_limit(
        &self,
        id: Option<i64>,
        terms: LimitTerms,
        origin: Origin,
        actor: &str,
    ) -> Result<Limit, Refusal> {
        self.write_limit(id, terms, origin, actor).await
    }

    async fn delete_limit(&self, id: i64, actor: &str) -> Result<(), Refusal> {
        self.remove(("limit", id), Origin::Call, actor).await
    }

    async fn create_key(&self, key: Key, actor: &str) -> Result<Arc<Key>, Refusal> {
        self.add_key(key, actor).await
    }

    async fn change_key(&self, id: &str, change: KeyChange, actor: &str) -> Result<Arc<Key>, Refusal> {
        self.alter_key(id, &change, actor).await
    }

    async fn audit(&self, look: Look) -> Result<Vec<Change>, Refusal> {
        self.changes(look).await
    }

    async fn answer(&self, question: Question) -> Result<(Vec<Group>, bool), Refusal> {
        Self::answer(self, question).await
    }

    async fn page(&self, page: Page) -> Result<Leaf, Refusal> {
        Self::page(self, page).await
    }

    async fn tell_once(&self, alert: &Alert) -> Result<bool, Refusal> {
        Ok(self.publish(alert).await?)
    }

    async fn active(&self) -> Result<Vec<Alert>, Refusal> {
        Ok(self.published().await?)
    }

    async fn tick(&self) {
        if self.look_after().await.is_err() {
            tracing::debug!("redis is away; what has expired is given back when it answers");
        }
    }

    async fn close(&self) {}
}
