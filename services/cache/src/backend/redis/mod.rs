//! Everything in a Redis that replicas share.
//!
//! - An entry is a string with a time to live. Its lease, its flight and the recording, a stream, lie in the same hash slot, so that one
//!   script changes them together; a tenant's index lies in another one.
//! - A lease is a key that only one can set, which carries a token; every write of a fill is made under that token or not at all.
//! - Each replica listens on one connection. It is told when there is something to read, reads each flight once, and hands it to all
//!   who follow here.
//! - An entry is written into the index first, under the tenant's epoch, and kept then, unless a tombstone says that it was
//!   invalidated in between.

mod index;
mod keys;
mod link;
mod mirror;
mod scripts;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use moka::sync;
use prost::{Message as _, bytes::Bytes};
use redis::Value;
use signalbox_mesh::{Random, Shutdown, TaskSet};
use signalbox_proto::{cache::v1::CachedEvents, common::v1::GenerateEvent};
use tokio::sync::oneshot;

use self::{
    keys::Keys,
    link::{Link, Within},
    mirror::{Mirror, Mirrors, millis, script},
};
use super::{
    Away, Backend, Claimed, Cover, Grant, Kept, LeaseId, Named, Pending, Stop, TakeOver, UNCLAIMED, Wish,
};
use crate::{
    canonical::Digest,
    codec,
    config::Config,
    entry::{Entry, EntryId},
    error::Error,
    flight::Flight,
    recording::Flaw,
    standing::{HITS, Standing, Verdict},
    vault::{Kind, Vault},
};

/// Entries whose history a replica remembers.
const STANDINGS: u64 = 16_384;
/// Leases that are given back or taken over at a time.
const HANDOVERS: usize = 1_024;
/// How long the end of a flight can be read.
const OVER: Duration = Duration::from_secs(30);
/// How long an invalidated entry cannot be kept: far longer than keeping one may take.
const TOMBSTONE: Duration = Duration::from_secs(60);

/// Entries, leases and flights in Redis. Clones are the same.
#[derive(Clone)]
pub(crate) struct Redis(Arc<Inner>);

struct Inner {
    link: Link,
    keys: Keys,
    vault: Arc<Vault>,
    /// Tells this replica from the others.
    name: String,
    random: Random,
    ttl: Duration,
    most_entries: usize,
    most_bytes: u64,
    mirrors: Mirrors,
    standings: sync::Cache<EntryId, Arc<Standing>>,
    handovers: TaskSet,
    feeds: TaskSet,
    shutdown: Shutdown,
}

impl Redis {
    /// Makes the way to Redis, and begins to listen; must be called on a runtime.
    ///
    /// # Errors
    /// The address cannot be read.
    pub(crate) fn new(
        redis: &signalbox_config::Redis,
        config: &Config,
        random: &Random,
        vault: &Arc<Vault>,
        shutdown: &Shutdown,
    ) -> Result<Self, Error> {
        let ttl = Duration::from_millis(config.lease.ttl_ms);
        let this = Self(Arc::new(Inner {
            link: Link::new(redis, &config.shared)?,
            keys: Keys::new(&redis.prefix),
            vault: Arc::clone(vault),
            name: EntryId::draw(random).to_string(),
            random: random.clone(),
            ttl,
            most_entries: config.exact.max_entries_per_tenant,
            most_bytes: config.exact.max_bytes_per_tenant.unwrap_or(i64::MAX as u64),
            mirrors: Mirrors::new(config.lease.max, config.exact.max_entry_bytes, ttl),
            standings: sync::Cache::new(STANDINGS),
            handovers: TaskSet::new(HANDOVERS, shutdown),
            feeds: TaskSet::new(config.lease.max, shutdown),
            shutdown: shutdown.clone(),
        }));
        shutdown.spawn(this.clone().listen());
        Ok(this)
    }

    /// What names a lease in Redis: its token, and whose it is.
    fn token(tenant: &str, lease: LeaseId) -> String {
        format!("{}{}", lease.token, &blake3::hash(tenant.as_bytes()).to_hex()[..16])
    }

    /// How long a flight can be taken over after its leader was last heard of.
    fn keep_ms(&self) -> u64 {
        3 * millis(self.0.ttl)
    }

    /// Names a flight to those who are woken.
    fn name_of(flight: &Flight) -> Vec<u8> {
        [&flight.key.0[..], &flight.entry_id.0.to_be_bytes()].concat()
    }

    fn decode(&self, bytes: Vec<u8>, tenant: &str, key: Digest) -> Option<Arc<Entry>> {
        let standing = |id| self.0.standings.get_with(id, Arc::default);
        // The id comes first, so that a script can compare it.
        let id = codec::id(bytes.get(..16)?)?;
        let entry = codec::entry(Bytes::from(bytes).slice(16..), id, &self.0.vault, standing)?;
        (*entry.tenant == *tenant && entry.key == key).then(|| Arc::new(entry))
    }

    async fn read(&self, tenant: &str, key: Digest, within: Within) -> Result<Option<Arc<Entry>>, Away> {
        let mut command = redis::cmd("MGET");
        command.arg(self.0.keys.entry(key)).arg(self.0.keys.judged(key));
        let (bytes, judged): (Option<Vec<u8>>, Option<Vec<u8>>) = self.0.link.ask(&command, within).await?;
        let entry = bytes.and_then(|bytes| self.decode(bytes, tenant, key));
        if let Some((entry, judged)) = entry.as_ref().zip(judged) {
            hear(entry, &judged);
        }
        Ok(entry)
    }

    /// A command for a flight's scripts, with the keys `lease, flight, events, watchers` and then some.
    fn flight_command(&self, text: &str, flight: &Flight, more: &[String]) -> redis::Cmd {
        let keys = &self.0.keys;
        let mut command = script(text, 4 + more.len());
        command
            .arg(keys.lease(flight.key))
            .arg(keys.flight(flight.key))
            .arg(keys.events(flight.key, flight.entry_id))
            .arg(keys.watchers(flight.key))
            .arg(more);
        command
    }

    async fn ask_for_lease(
        &self,
        pending: &Pending,
        enough: bool,
    ) -> Result<(LeaseId, String, Vec<u8>), Away> {
        let keys = &self.0.keys;
        let about = codec::pending_bytes(pending, &self.0.vault).ok_or(Away)?;
        let lease = LeaseId { key: pending.key, token: EntryId::draw(&self.0.random) };
        let mut command = script(scripts::GRANT, 4);
        command
            .arg(keys.entry(pending.key))
            .arg(keys.lease(pending.key))
            .arg(keys.flight(pending.key))
            .arg(keys.events(pending.key, pending.entry_id))
            .arg(i32::from(enough))
            .arg(Self::token(&pending.tenant, lease))
            .arg(millis(self.0.ttl.min(UNCLAIMED)))
            .arg(pending.entry_id.to_string())
            .arg(about)
            .arg(self.keep_ms());
        let (state, about): (String, Vec<u8>) = self.0.link.ask(&command, Within::Deadline).await?;
        Ok((lease, state, about))
    }

    /// Keeps an entry, unless it was invalidated, and ends its flight; gives the entry that it replaced.
    async fn commit(
        &self,
        claimed: &Claimed,
        entry: Option<&Entry>,
        cost_nanousd: i64,
    ) -> Result<Option<EntryId>, Stop> {
        let (flight, pending) = (&claimed.flight, &claimed.pending);
        let keys = &self.0.keys;
        let more = [keys.entry(flight.key), keys.tombstone(flight.key, flight.entry_id)];
        let bytes = match entry {
            Some(entry) => {
                let bytes = codec::entry_bytes(entry, &self.0.vault).ok_or(Stop::Away)?;
                [&codec::id_bytes(entry.id)[..], &bytes].concat()
            }
            None => Vec::new(),
        };
        let mut command = self.flight_command(scripts::COMMIT, flight, &more);
        command
            .arg(Self::token(&pending.tenant, claimed.lease))
            .arg(millis(OVER))
            .arg(cost_nanousd)
            .arg(keys.channel())
            .arg(Self::name_of(flight))
            .arg(bytes)
            .arg(pending.ttl_ms.saturating_add(pending.stale_ms));
        let answer = self.0.link.ask(&command, Within::Patience).await;
        let (outcome, before): (String, Vec<u8>) = answer.map_err(|_| Stop::Away)?;
        match &*outcome {
            "kept" => Ok(codec::id(&before)),
            "invalidated" => Err(Stop::Flawed(Flaw::Invalidated)),
            _ => Err(Stop::Expired),
        }
    }

    /// Removes entries for good, those too that are about to be kept.
    async fn kill(&self, gone: &[Named]) -> Result<(), Away> {
        for some in gone.chunks(64) {
            let killed = join_all(some.iter().map(|named| async move {
                let keys = &self.0.keys;
                let mut command = script(scripts::KILL, 3);
                command
                    .arg(keys.entry(named.key))
                    .arg(keys.tombstone(named.key, named.id))
                    .arg(keys.judged(named.key))
                    .arg(&codec::id_bytes(named.id)[..])
                    .arg(millis(TOMBSTONE));
                self.0.link.ask::<i64>(&command, Within::Patience).await
            }));
            killed.await.into_iter().try_for_each(|killed| killed.map(drop))?;
        }
        Ok(())
    }

    async fn claim_now(&self, tenant: &Arc<str>, lease: LeaseId) -> Result<Option<Claimed>, Away> {
        let mut command = script(scripts::CLAIM, 2);
        command
            .arg(self.0.keys.lease(lease.key))
            .arg(self.0.keys.flight(lease.key))
            .arg(Self::token(tenant, lease))
            .arg(millis(self.0.ttl));
        let id: Option<String> = self.0.link.ask(&command, Within::Patience).await?;
        let Some(id) = id.and_then(|id| id.parse().ok()) else { return Ok(None) };
        let Some(mirror) = self.0.mirrors.lead(lease.key, id, tenant) else { return Ok(None) };
        let read = self.read_on(&mirror, "", Within::Patience).await;
        let pending = mirror.position().await.pending.clone();
        let pending = pending.and_then(|bytes| codec::pending(bytes, lease.key, &self.0.vault));
        match pending {
            Some(pending) if read.is_ok() && *pending.tenant == **tenant => {
                let flight = Arc::clone(&mirror.flight);
                flight.renew(tokio::time::Instant::now() + self.0.ttl);
                Ok(Some(Claimed { lease, pending: Box::new(pending), flight }))
            }
            _ => {
                self.0.mirrors.leave(&mirror);
                read.map(|()| None)
            }
        }
    }

    /// Takes over, for one who may stop waiting at any time.
    async fn take_over_now(&self, flight: &Arc<Flight>) -> TakeOver {
        let mirror = self.0.mirrors.get(flight.key, flight.entry_id);
        let Some(mirror) = mirror.filter(|mirror| Arc::ptr_eq(&mirror.flight, flight)) else {
            flight.lose("unavailable");
            return TakeOver::Gone;
        };
        let lease = LeaseId { key: flight.key, token: EntryId::draw(&self.0.random) };
        let mut command = self.flight_command(scripts::TAKE_OVER, flight, &[]);
        command
            .arg(flight.entry_id.to_string())
            .arg(Self::token(&mirror.tenant, lease))
            .arg(millis(self.0.ttl))
            .arg(self.keep_ms())
            .arg(self.0.keys.channel())
            .arg(Self::name_of(flight));
        let outcome: Result<String, Away> = self.0.link.ask(&command, Within::Patience).await;
        // What was recorded, by the leader or by who took over, comes before anything else is said.
        let read = self.read_on(&mirror, "", Within::Patience).await;
        match (outcome.as_deref(), read) {
            (Ok("given"), Ok(())) if !flight.is_over() => TakeOver::Given(lease),
            (Ok("led"), Ok(())) => TakeOver::Led,
            _ => {
                flight.lose("unavailable");
                TakeOver::Gone
            }
        }
    }

    /// Does what makes a lease one's own, in a task: who asks may be slow to go on, and nobody else could lead meanwhile; or leave, and
    /// then nobody would give it back but `unwanted`. `None`: there are too many at once.
    async fn beside<T, Left>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
        unwanted: impl FnOnce(Self, T) -> Left + Send + 'static,
    ) -> Option<T>
    where
        T: Send + 'static,
        Left: Future<Output = ()> + Send,
    {
        let (tell, told) = oneshot::channel();
        let redis = self.clone();
        let spawned = self.0.handovers.spawn(async move {
            if let Err(left) = tell.send(work.await) {
                unwanted(redis, left).await;
            }
        });
        if spawned { told.await.ok() } else { None }
    }

    fn mirror_of(&self, claimed: &Claimed) -> Result<Arc<Mirror>, Stop> {
        self.0.mirrors.get(claimed.flight.key, claimed.flight.entry_id).ok_or(Stop::Expired)
    }
}

#[tonic::async_trait]
impl Backend for Redis {
    fn deadline(&self) -> Duration {
        self.0.link.deadline
    }

    async fn get(&self, tenant: &str, key: Digest) -> Result<Option<Arc<Entry>>, Away> {
        self.read(tenant, key, Within::Deadline).await
    }

    async fn resolve(&self, tenant: &str, named: &[Named]) -> Result<Vec<Option<Arc<Entry>>>, Away> {
        let all = named.iter().map(|named| async move {
            let entry = self.read(tenant, named.key, Within::Deadline).await?;
            Ok(entry.filter(|entry| entry.id == named.id))
        });
        join_all(all).await.into_iter().collect()
    }

    async fn find(&self, tenant: &str, id: EntryId) -> Result<Option<Arc<Entry>>, Away> {
        let Some(key) = self.key_of(tenant, id).await? else { return Ok(None) };
        let entry = self.read(tenant, key, Within::Patience).await?;
        Ok(entry.filter(|entry| entry.id == id))
    }

    /// Redis counts by itself.
    fn used(&self, _: &Entry) {}

    async fn judged(&self, entry: &Arc<Entry>, Verdict(request_id, probability, wrong): Verdict) {
        let keys = &self.0.keys;
        let mut command = script(scripts::JUDGE, 2);
        command
            .arg(keys.entry(entry.key))
            .arg(keys.judged(entry.key))
            .arg(&codec::id_bytes(entry.id)[..])
            .arg(request_id)
            .arg(probability)
            .arg(i32::from(wrong))
            .arg(HITS);
        let _kept: Result<i64, Away> = self.0.link.ask(&command, Within::Patience).await;
    }

    async fn grant(&self, wish: Wish) -> Result<Grant, Away> {
        let Wish { mut pending, enough } = wish;
        pending.epoch = self.epoch(&pending.tenant).await?;
        let (mut lease, mut state, mut about) = self.ask_for_lease(&pending, enough.is_some()).await?;
        if state == "known" {
            let entry = self.decode(about, &pending.tenant, pending.key);
            if let Some(entry) = entry.filter(|entry| enough.is_some_and(|enough| enough(entry))) {
                return Ok(Grant::Known(entry));
            }
            (lease, state, about) = self.ask_for_lease(&pending, false).await?;
        }
        if state == "given" {
            return Ok(Grant::Given(lease, pending.entry_id));
        }
        let flight = std::str::from_utf8(&about).ok().and_then(|id| id.parse().ok()).ok_or(Away)?;
        Ok(self.join(pending.key, flight, &pending.tenant).map_or(Grant::Full, Grant::Held))
    }

    async fn claim(&self, tenant: &str, lease: LeaseId) -> Result<Option<Claimed>, Away> {
        let (redis, tenant) = (self.clone(), Arc::<str>::from(tenant));
        let unwanted = async |redis: Self, claimed| {
            if let Ok(Some(claimed)) = claimed {
                redis.give_back(&claimed, "failed").await;
            }
        };
        let claimed = self.beside(async move { redis.claim_now(&tenant, lease).await }, unwanted).await;
        claimed.unwrap_or(Err(Away))
    }

    async fn take_over(&self, flight: &Arc<Flight>) -> TakeOver {
        let (redis, taken) = (self.clone(), Arc::clone(flight));
        let flight = Arc::clone(flight);
        let unwanted = async move |redis: Self, outcome| {
            // The next one takes it.
            if let TakeOver::Given(lease) = outcome
                && let Some(mirror) = redis.0.mirrors.get(flight.key, flight.entry_id)
                && let Ok(Some(claimed)) = redis.claim_now(&mirror.tenant, lease).await
            {
                redis.give_back(&claimed, "failed").await;
            }
        };
        let outcome = self.beside(async move { redis.take_over_now(&taken).await }, unwanted).await;
        // Too many at once: the others go on, or it is tried again.
        outcome.unwrap_or(TakeOver::Led)
    }

    async fn write(&self, claimed: &Claimed, events: Vec<GenerateEvent>) -> Result<(), Stop> {
        let mirror = self.mirror_of(claimed)?;
        let events = CachedEvents { events, ..CachedEvents::default() };
        let tenant = &claimed.pending.tenant;
        let name = Self::name_of(&claimed.flight);
        let sealed =
            self.0.vault.seal(Kind::Events, tenant, &name, events.encode_to_vec()).ok_or(Stop::Away)?;
        let mut command = self.flight_command(scripts::APPEND, &claimed.flight, &[]);
        command
            .arg(Self::token(tenant, claimed.lease))
            .arg(millis(self.0.ttl))
            .arg(self.keep_ms())
            .arg(sealed)
            .arg(self.0.keys.channel())
            .arg(name);
        // Held until it is taken in here as well: nobody reads it a second time.
        let mut position = mirror.position().await;
        let id: Option<String> = self.0.link.ask(&command, Within::Patience).await.map_err(|_| Stop::Away)?;
        position.last = id.ok_or(Stop::Expired)?;
        claimed.flight.renew(tokio::time::Instant::now() + self.0.ttl);
        claimed.flight.push(events.events).map_err(Stop::Flawed)
    }

    async fn keep(&self, claimed: &Claimed, kept: Kept) -> Result<Vec<EntryId>, Stop> {
        let Kept { entry, vector } = kept;
        // The answer is complete: whoever follows it here needs nothing more, whatever becomes of the entry.
        claimed.flight.done(Arc::clone(&entry.answer));
        let added = self.add(&entry, claimed.pending.epoch, vector.as_ref()).await;
        let crowded_out = added.map_err(|_| Stop::Away)?;
        let kept = crowded_out.is_some().then_some(&*entry);
        let before = self.commit(claimed, kept, entry.cost_nanousd).await?;
        if let Some(mirror) = self.0.mirrors.get(claimed.flight.key, claimed.flight.entry_id) {
            self.0.mirrors.leave(&mirror);
        }
        let mut gone = crowded_out.unwrap_or_default();
        // What fails of the rest answers nobody by meaning, and ends by itself.
        let _killed = self.kill(&gone).await;
        if let Some(id) = before.filter(|id| *id != entry.id) {
            gone.extend(self.unlist(&entry.tenant, &[id]).await.unwrap_or_default());
        }
        Ok(gone.into_iter().map(|named| named.id).collect())
    }

    async fn give_back(&self, claimed: &Claimed, reason: &'static str) {
        let Claimed { lease, pending, flight } = claimed;
        let mirror = self.0.mirrors.get(flight.key, flight.entry_id).filter(|mirror| mirror.is_led());
        let Some(mirror) = mirror else { return };
        let mut command = self.flight_command(scripts::RELEASE, flight, &[]);
        command
            .arg(Self::token(&pending.tenant, *lease))
            .arg(millis(OVER))
            .arg(reason)
            .arg(i32::from(!flight.is_over()))
            .arg(i32::from(flight.followers() > 0))
            .arg(self.0.keys.channel())
            .arg(Self::name_of(flight));
        let told: Result<i64, Away> = self.0.link.ask(&command, Within::Patience).await;
        if told.is_err() || self.read_on(&mirror, "", Within::Patience).await.is_err() {
            flight.lose(reason);
        }
        self.0.mirrors.leave(&mirror);
    }

    fn drop_lease(&self, claimed: Claimed, reason: &'static str) {
        let (redis, flight) = (self.clone(), Arc::clone(&claimed.flight));
        if !self.0.handovers.spawn(async move { redis.give_back(&claimed, reason).await }) {
            // The lease expires by itself.
            flight.lose(reason);
            if let Some(mirror) = self.0.mirrors.get(flight.key, flight.entry_id) {
                self.0.mirrors.leave(&mirror);
            }
        }
    }

    async fn invalidate(&self, tenant: &str, cover: Cover, near: &[Named]) -> Result<Vec<EntryId>, Away> {
        let gone = self.take(tenant, &cover, near).await?;
        Ok(gone.into_iter().map(|named| named.id).collect())
    }

    async fn extent(&self, tenant: &str) -> (u64, u64) {
        self.count(tenant).await.unwrap_or_default()
    }

    fn leases(&self, tenant: &str) -> u64 {
        self.0.mirrors.led_by(tenant)
    }

    async fn followers(&self, tenant: &str, lease: LeaseId) -> u64 {
        let keys = &self.0.keys;
        let mut command = script(scripts::FOLLOWERS, 3);
        command
            .arg(keys.lease(lease.key))
            .arg(keys.watchers(lease.key))
            .arg(keys.flight(lease.key))
            .arg(Self::token(tenant, lease))
            .arg(&self.0.name);
        let found: Result<(i64, String), Away> = self.0.link.ask(&command, Within::Deadline).await;
        let Ok((others @ 0.., flight)) = found else { return 0 };
        let here = flight.parse().ok().and_then(|id| self.0.mirrors.get(lease.key, id));
        others.unsigned_abs() + here.map_or(0, |mirror| mirror.flight.followers() as u64)
    }

    fn trouble(&self) -> Option<&'static str> {
        self.0.link.trouble()
    }

    async fn flush(&self) {}
}

/// Takes in what was judged of an entry's hits at any replica; what was said of an earlier entry of its key is none.
fn hear(entry: &Entry, judged: &[u8]) {
    let of_entry = judged.split_at_checked(16).filter(|(id, _)| codec::id(id) == Some(entry.id));
    let verdicts = of_entry.and_then(|(_, list)| serde_json::from_slice::<Vec<Verdict>>(list).ok());
    verdicts.into_iter().flatten().for_each(|verdict| entry.standing.hear(verdict));
}

/// An answer of a script that is a list of bytes.
fn pairs(values: &[Value]) -> Result<Vec<Named>, Away> {
    let pairs = values.chunks(2).map(|pair| {
        let [id, key] = pair else { return None };
        let (id, key): (Vec<u8>, Vec<u8>) =
            (redis::from_redis_value_ref(id).ok()?, redis::from_redis_value_ref(key).ok()?);
        Some(Named { id: codec::id(&id)?, key: codec::key(&key)? })
    });
    pairs.collect::<Option<_>>().ok_or(Away)
}
