//! Everything in this process: for one replica.

mod index;
mod leases;

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{Expiry, sync};
use signalbox_mesh::Random;
use signalbox_proto::common::v1::GenerateEvent;

use self::{index::Index, leases::Leases};
use super::{Away, Backend, Claimed, Cover, Grant, Kept, LeaseId, Named, Stop, TakeOver, Wish};
use crate::{
    canonical::Digest,
    codec,
    config::Config,
    entry::{Entry, EntryId},
    flight::Flight,
    journal::Journal,
    recording::{Flaw, Recording},
    standing::Verdict,
    vault::Vault,
};

/// Entries in memory. `moka` answers by key and forgets what has expired; the index knows who has how much.
pub(crate) struct Embedded {
    exact: sync::Cache<Digest, Arc<Entry>>,
    index: Arc<Index>,
    leases: Leases,
    most_entry_bytes: usize,
}

/// Lets the exact tier drop what nobody may read any more. Reads check the injected clock themselves.
struct ByPolicy;

impl Expiry<Digest, Arc<Entry>> for ByPolicy {
    fn expire_after_create(&self, _: &Digest, entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(Duration::from_millis(entry.life_ms()))
    }

    fn expire_after_update(
        &self,
        key: &Digest,
        entry: &Arc<Entry>,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, entry, now)
    }
}

impl Embedded {
    pub(crate) fn new(config: &Config, random: &Random, vault: Arc<Vault>) -> Self {
        let index = Arc::new(Index::new(&config.exact, vault));
        let forgetting = Arc::clone(&index);
        let exact = sync::Cache::builder()
            .max_capacity(config.exact.max_bytes)
            .weigher(|_: &Digest, entry: &Arc<Entry>| entry.weight())
            .expire_after(ByPolicy)
            .eviction_listener(move |_, entry: Arc<Entry>, _| forgetting.forget(&entry))
            .build();
        let ttl = Duration::from_millis(config.lease.ttl_ms);
        let leases = Leases::new(ttl, config.lease.max, random.clone());
        Self { exact, index, leases, most_entry_bytes: config.exact.max_entry_bytes }
    }

    /// Takes in what was written down in a file, and writes down what comes; what ended meanwhile is left out.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(crate) fn restore(&self, path: &Path, now_unix_ms: i64) -> io::Result<()> {
        let mut gone = Vec::new();
        let journal = Journal::open(path, |id, bytes| {
            let entry = codec::entry(bytes.into(), id, &self.index.vault, |_| Arc::default());
            let lives = |entry: &Entry| entry.fresh_or_stale(now_unix_ms, u64::MAX, true).is_some();
            match entry.filter(lives).map(Arc::new) {
                Some(entry) => {
                    let crowded_out = self.index.add(&entry, self.index.epoch(), None).unwrap_or_default();
                    gone.extend(crowded_out.iter().map(|entry| entry.id));
                    self.exact.insert(entry.key, entry);
                    self.drop_entries(&crowded_out);
                }
                None => gone.push(id),
            }
        })?;
        gone.into_iter().for_each(|id| journal.remove(id));
        self.index.keep_in(Arc::new(journal));
        Ok(())
    }

    fn entry(&self, tenant: &str, key: Digest) -> Option<Arc<Entry>> {
        self.exact.get(&key).filter(|entry| *entry.tenant == *tenant)
    }

    /// Frees what is dead already.
    fn drop_entries(&self, entries: &[Arc<Entry>]) {
        for entry in entries {
            // Another answer may have taken its place.
            if self.exact.get(&entry.key).is_some_and(|there| there.id == entry.id) {
                self.exact.invalidate(&entry.key);
            }
        }
    }

    /// Lets the exact tier finish what it does now and then: evictions.
    #[cfg(test)]
    pub(crate) fn settle(&self) {
        self.exact.run_pending_tasks();
    }
}

#[tonic::async_trait]
impl Backend for Embedded {
    /// There is nothing to wait for.
    fn deadline(&self) -> Duration {
        Duration::MAX
    }

    async fn get(&self, tenant: &str, key: Digest) -> Result<Option<Arc<Entry>>, Away> {
        Ok(self.entry(tenant, key))
    }

    async fn resolve(&self, tenant: &str, named: &[Named]) -> Result<Vec<Option<Arc<Entry>>>, Away> {
        let entries = named.iter().map(|Named { id, key }| {
            self.index.get(tenant, *id).filter(|entry| entry.key == *key && self.exact.contains_key(key))
        });
        Ok(entries.collect())
    }

    async fn find(&self, tenant: &str, id: EntryId) -> Result<Option<Arc<Entry>>, Away> {
        Ok(self.index.get(tenant, id))
    }

    fn used(&self, entry: &Entry) {
        entry.usage.note();
        // Tells moka, too.
        drop(self.exact.get(&entry.key));
    }

    async fn judged(&self, entry: &Arc<Entry>, _: Verdict) {
        self.index.write_anew(entry);
    }

    async fn grant(&self, mut wish: Wish) -> Result<Grant, Away> {
        wish.pending.epoch = self.index.epoch();
        let Wish { pending, enough } = wish;
        let (tenant, key) = (Arc::clone(&pending.tenant), pending.key);
        let most_tokens = pending.max_output_tokens;
        let grant = self.leases.grant(pending, || Recording::new(self.most_entry_bytes, most_tokens));
        if let (Grant::Given(lease, _), Some(enough)) = (&grant, enough) {
            // A leader may have ended since the exact tier was asked; its entry was there before its lease was gone.
            if let Some(entry) = self.entry(&tenant, key).filter(|entry| enough(entry)) {
                self.leases.take_back(*lease, Arc::clone(&entry.answer));
                return Ok(Grant::Known(entry));
            }
        }
        Ok(grant)
    }

    async fn claim(&self, tenant: &str, lease: LeaseId) -> Result<Option<Claimed>, Away> {
        Ok(self.leases.claim(tenant, lease))
    }

    async fn take_over(&self, flight: &Arc<Flight>) -> TakeOver {
        self.leases.take_over(flight)
    }

    async fn write(&self, claimed: &Claimed, events: Vec<GenerateEvent>) -> Result<(), Stop> {
        if !self.leases.renew(claimed) {
            return Err(Stop::Expired);
        }
        claimed.flight.push(events).map_err(Stop::Flawed)
    }

    async fn keep(&self, claimed: &Claimed, kept: Kept) -> Result<Vec<EntryId>, Stop> {
        if !self.leases.renew(claimed) {
            return Err(Stop::Expired);
        }
        let Kept { entry, vector } = kept;
        let added = self.index.add(&entry, claimed.pending.epoch, vector.as_ref());
        claimed.flight.done(Arc::clone(&entry.answer));
        let crowded_out = added.ok_or(Stop::Flawed(Flaw::Invalidated))?;
        self.exact.insert(entry.key, entry);
        self.drop_entries(&crowded_out);
        Ok(self.index.garbage())
    }

    async fn give_back(&self, claimed: &Claimed, reason: &'static str) {
        self.leases.release(claimed, reason);
    }

    fn drop_lease(&self, claimed: Claimed, reason: &'static str) {
        self.leases.release(&claimed, reason);
    }

    async fn invalidate(&self, tenant: &str, cover: Cover, near: &[Named]) -> Result<Vec<EntryId>, Away> {
        let removed = self.index.invalidate(tenant, cover, near);
        self.drop_entries(&removed);
        Ok(removed.into_iter().map(|entry| entry.id).collect())
    }

    async fn extent(&self, tenant: &str) -> (u64, u64) {
        self.index.extent(tenant)
    }

    fn leases(&self, tenant: &str) -> u64 {
        self.leases.count(tenant)
    }

    async fn followers(&self, tenant: &str, lease: LeaseId) -> u64 {
        self.leases.followers(tenant, lease)
    }

    fn trouble(&self) -> Option<&'static str> {
        None
    }

    async fn flush(&self) {
        if let Some(journal) = self.index.journal() {
            journal.flush_aside().await;
        }
    }
}
