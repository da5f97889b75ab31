//! Answers in flight, as this replica sees them: each is read from Redis once, whoever many follow it here.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use prost::{Message as _, bytes::Bytes};
use redis::Value;
use signalbox_proto::cache::v1::CachedEvents;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{Redis, link::Within, scripts};
use crate::{
    backend::Away,
    canonical::Digest,
    entry::EntryId,
    flight::{Flight, Follower},
    recording::Recording,
    vault::{Kind, Vault},
};

/// Records that are read at once.
const BATCH: usize = 128;
/// How long what is new may go unnoticed when no word of it comes.
const POLL: Duration = Duration::from_secs(1);
/// How long a replica counts as following after it last read.
const WATCH: Duration = Duration::from_secs(5);
/// How long Redis may be away before those who follow go on alone.
const TROUBLE: Duration = Duration::from_secs(1);
/// Why they do.
const UNAVAILABLE: &str = "unavailable";

/// An answer in flight, here.
pub(super) struct Mirror {
    pub(super) flight: Arc<Flight>,
    pub(super) tenant: Arc<str>,
    position: tokio::sync::Mutex<Position>,
    /// Its fill runs here.
    led: AtomicBool,
    /// A task reads it.
    fed: AtomicBool,
    wake: Notify,
}

/// How far it was read.
#[derive(Default)]
pub(super) struct Position {
    /// The last record's id.
    pub(super) last: String,
    pub(super) pending: Option<Bytes>,
}

/// All of them.
pub(super) struct Mirrors {
    most: usize,
    most_bytes: usize,
    ttl: Duration,
    table: Mutex<HashMap<(Digest, EntryId), Arc<Mirror>>>,
}

impl Mirror {
    /// Whether its fill runs here.
    pub(super) fn is_led(&self) -> bool {
        self.led.load(Ordering::Acquire)
    }

    pub(super) async fn position(&self) -> tokio::sync::MutexGuard<'_, Position> {
        self.position.lock().await
    }
}

impl Mirrors {
    pub(super) fn new(most: usize, most_bytes: usize, ttl: Duration) -> Self {
        Self { most, most_bytes, ttl, table: Mutex::default() }
    }

    pub(super) fn get(&self, key: Digest, id: EntryId) -> Option<Arc<Mirror>> {
        self.table.lock().get(&(key, id)).cloned()
    }

    /// Joins a flight. True: somebody must read it.
    fn follow(&self, key: Digest, id: EntryId, tenant: &Arc<str>) -> Option<(Follower, Arc<Mirror>, bool)> {
        let mut table = self.table.lock();
        let mirror = self.enter(&mut table, key, id, tenant)?;
        let follower = mirror.flight.follow();
        let feed = !mirror.fed.swap(true, Ordering::AcqRel);
        Some((follower, mirror, feed))
    }

    /// Leads a flight from here. `None`: there are too many.
    pub(super) fn lead(&self, key: Digest, id: EntryId, tenant: &Arc<str>) -> Option<Arc<Mirror>> {
        let mut table = self.table.lock();
        let mirror = self.enter(&mut table, key, id, tenant)?;
        mirror.led.store(true, Ordering::Release);
        Some(mirror)
    }

    fn enter(
        &self,
        table: &mut HashMap<(Digest, EntryId), Arc<Mirror>>,
        key: Digest,
        id: EntryId,
        tenant: &Arc<str>,
    ) -> Option<Arc<Mirror>> {
        if let Some(mirror) = table.get(&(key, id)) {
            return (mirror.tenant == *tenant).then(|| Arc::clone(mirror));
        }
        if table.len() >= self.most {
            return None;
        }
        let recording = Recording::new(self.most_bytes, None);
        let mirror = Arc::new(Mirror {
            flight: Arc::new(Flight::new(key, id, recording, Instant::now() + self.ttl)),
            tenant: Arc::clone(tenant),
            position: tokio::sync::Mutex::default(),
            led: AtomicBool::new(false),
            fed: AtomicBool::new(false),
            wake: Notify::new(),
        });
        table.insert((key, id), Arc::clone(&mirror));
        Some(mirror)
    }

    /// The fill here has ended.
    pub(super) fn leave(&self, mirror: &Arc<Mirror>) {
        let mut table = self.table.lock();
        mirror.led.store(false, Ordering::Release);
        if !mirror.fed.load(Ordering::Acquire) {
            Self::remove(&mut table, mirror);
        }
        mirror.wake.notify_one();
    }

    /// Whether its reader may end: nobody follows it here any more, or nothing more comes.
    fn is_done(&self, mirror: &Arc<Mirror>) -> bool {
        let mut table = self.table.lock();
        if !mirror.flight.is_over() && mirror.flight.followers() > 0 {
            return false;
        }
        mirror.fed.store(false, Ordering::Release);
        if !mirror.led.load(Ordering::Acquire) {
            Self::remove(&mut table, mirror);
        }
        true
    }

    fn remove(table: &mut HashMap<(Digest, EntryId), Arc<Mirror>>, mirror: &Arc<Mirror>) {
        let name = (mirror.flight.key, mirror.flight.entry_id);
        if table.get(&name).is_some_and(|known| Arc::ptr_eq(known, mirror)) {
            table.remove(&name);
        }
    }

    /// Reads on what is followed here: all of it, or the one that is named.
    pub(super) fn wake(&self, name: Option<(Digest, EntryId)>) {
        let table = self.table.lock();
        match name {
            Some(name) => table.get(&name).into_iter().for_each(|mirror| mirror.wake.notify_one()),
            None => table.values().for_each(|mirror| mirror.wake.notify_one()),
        }
    }

    pub(super) fn led_by(&self, tenant: &str) -> u64 {
        let table = self.table.lock();
        table.values().filter(|m| m.led.load(Ordering::Relaxed) && *m.tenant == *tenant).count() as u64
    }
}

impl Redis {
    /// Joins a flight that somebody leads somewhere. `None`: there are too many.
    pub(super) fn join(&self, key: Digest, id: EntryId, tenant: &Arc<str>) -> Option<Follower> {
        let (follower, mirror, feed) = self.0.mirrors.follow(key, id, tenant)?;
        if feed {
            let redis = self.clone();
            let flight = Arc::clone(&mirror.flight);
            if !self.0.feeds.spawn(async move { redis.feed(&mirror).await }) {
                flight.lose(UNAVAILABLE);
            }
        }
        Some(follower)
    }

    /// Reads a flight for all who follow it here, to its end or until they are gone.
    async fn feed(&self, mirror: &Arc<Mirror>) {
        let mut changes = mirror.flight.changes();
        let mut well = Instant::now();
        let mut due = well;
        loop {
            // What the fill here adds is known already; that this replica follows must be told all the same.
            if !mirror.led.load(Ordering::Acquire) || due <= Instant::now() {
                match self.read_on(mirror, &self.0.name, Within::Patience).await {
                    Ok(()) => {
                        well = Instant::now();
                        due = well + POLL;
                    }
                    Err(Away) if well.elapsed() >= TROUBLE => mirror.flight.lose(UNAVAILABLE),
                    Err(Away) => {}
                }
            }
            changes.borrow_and_update();
            if self.0.mirrors.is_done(mirror) {
                break;
            }
            tokio::select! {
                () = mirror.wake.notified() => {}
                // The last one may have left.
                _ = changes.changed() => {}
                // Word may be lost, or Redis be away; and it must hear that this replica still reads.
                () = tokio::time::sleep(POLL) => {}
                () = self.0.shutdown.started() => mirror.flight.lose(UNAVAILABLE),
            }
        }
        let mut leave = redis::cmd("ZREM");
        leave.arg(self.0.keys.watchers(mirror.flight.key)).arg(&self.0.name);
        let _left: Result<i64, Away> = self.0.link.ask(&leave, Within::Patience).await;
    }

    /// Takes in what was recorded since. With a name, that replica counts as following.
    pub(super) async fn read_on(&self, mirror: &Mirror, name: &str, within: Within) -> Result<(), Away> {
        let (keys, flight) = (&self.0.keys, &mirror.flight);
        let mut position = mirror.position().await;
        loop {
            let mut command = script(scripts::READ, 4);
            command
                .arg(keys.lease(flight.key))
                .arg(keys.flight(flight.key))
                .arg(keys.events(flight.key, flight.entry_id))
                .arg(keys.watchers(flight.key))
                .arg(&position.last)
                .arg(BATCH)
                .arg(name)
                .arg(millis(WATCH));
            let (life, current, records): (i64, String, Vec<Value>) =
                self.0.link.ask(&command, within).await?;
            let more = records.len() == BATCH;
            for record in records {
                position.take(&record, flight, &self.0.vault).ok_or(Away)?;
            }
            if more {
                continue;
            }
            if current != flight.entry_id.to_string() {
                // It ended, and nothing says how: Redis lost it.
                flight.lose(UNAVAILABLE);
            } else if !flight.is_over() {
                // Without a lease, the leader has expired.
                flight.renew(Instant::now() + Duration::from_millis(life.try_into().unwrap_or(0)));
            }
            return Ok(());
        }
    }

    /// Hears of what is new, on one connection for all flights, until the end.
    pub(super) async fn listen(self) {
        let mut wait = Duration::from_millis(50);
        loop {
            tokio::select! {
                () = self.0.shutdown.started() => return,
                heard = self.hear() => if heard { wait = Duration::from_millis(50) },
            }
            // What was said meanwhile went unheard.
            self.0.mirrors.wake(None);
            let _ended = timeout(wait, self.0.shutdown.started()).await;
            wait = (wait * 2).min(POLL);
        }
    }

    /// Listens until the connection breaks; true if there was one.
    async fn hear(&self) -> bool {
        use futures_util::StreamExt as _;
        let Ok(mut listening) = self.0.link.listen().await else { return false };
        let channel = format!("{}{}", self.0.keys.channel(), self.0.name);
        if listening.subscribe(channel).await.is_err() {
            return false;
        }
        self.0.mirrors.wake(None);
        let mut messages = listening.on_message();
        while let Some(message) = messages.next().await {
            let bytes = message.get_payload_bytes();
            if let Some((key, id)) = bytes.split_at_checked(32)
                && let (Some(key), Some(id)) = (crate::codec::key(key), crate::codec::id(id))
            {
                self.0.mirrors.wake(Some((key, id)));
            }
        }
        true
    }
}

impl Position {
    /// Takes in a record, `[id, [field, value]]`.
    fn take(&mut self, record: &Value, flight: &Flight, vault: &Vault) -> Option<()> {
        let (id, fields): (String, Vec<Vec<u8>>) = redis::from_redis_value_ref(record).ok()?;
        self.last = id;
        let [field, value] = <[Vec<u8>; 2]>::try_from(fields).ok()?;
        match &*field {
            b"pending" => {
                let value = Bytes::from(value);
                flight.limit(crate::codec::pending(value.clone(), flight.key, vault)?.max_output_tokens);
                self.pending = Some(value);
            }
            b"events" => {
                // A flaw is the flight's own: whoever follows goes on alone.
                let events = vault.open(Kind::Events, &Redis::name_of(flight), value.into())?;
                let _flaw = flight.push(CachedEvents::decode(events).ok()?.events);
            }
            b"done" => {
                let cost = std::str::from_utf8(&value).ok()?.parse().ok()?;
                if let Ok(answer) = flight.complete(cost) {
                    flight.done(Arc::new(answer));
                }
            }
            b"orphaned" => flight.orphaned(reason(&value)),
            b"lost" => flight.lose(reason(&value)),
            b"led" => flight.led(),
            // Of a newer build.
            _ => flight.lose(UNAVAILABLE),
        }
        Some(())
    }
}

/// The words for why a leader failed.
fn reason(word: &[u8]) -> &'static str {
    use crate::recording::Flaw;
    let flaws = [
        Flaw::Incomplete,
        Flaw::Refused,
        Flaw::Restarted,
        Flaw::TooLarge,
        Flaw::Empty,
        Flaw::Malformed,
        Flaw::Invalidated,
    ];
    let known = crate::fill::REASONS.into_iter().chain(flaws.map(Flaw::as_str));
    known
        .chain([crate::flight::EXPIRED, UNAVAILABLE])
        .find(|known| known.as_bytes() == word)
        .unwrap_or("failed")
}

/// A script with that many keys.
pub(super) fn script(text: &str, keys: usize) -> redis::Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(keys);
    command
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
