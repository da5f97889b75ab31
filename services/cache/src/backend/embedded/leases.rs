//! The right to fill an entry: held by one request at a time, given back at the end of its fill or by its expiry.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use signalbox_embed::Vector;
use signalbox_mesh::Random;
use tokio::time::Instant;

use crate::{
    canonical::Digest,
    entry::{EntryId, Question},
    flight::Flight,
    recording::Recording,
    tenant::Tenant,
};

/// What a fill will need to know.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) key: Digest,
    pub(crate) entry_id: EntryId,
    /// The tenant's epoch when the lease was given.
    pub(crate) epoch: u64,
    pub(crate) ttl_ms: u64,
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) question: Option<(Question, Vector)>,
    pub(crate) max_output_tokens: Option<u32>,
    pub(crate) request_id: String,
}

/// All leases. Those that expired are removed by the next grant or count, at the latest after one more life.
#[derive(Debug)]
pub(crate) struct Leases {
    ttl: Duration,
    most: usize,
    random: Random,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<u128, Slot>,
    by_key: HashMap<Digest, u128>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    tenant: Arc<str>,
    key: Digest,
    expires: Instant,
    flight: Arc<Flight>,
    /// Taken by the fill.
    pending: Option<Box<Pending>>,
}

impl Table {
    fn remove(&mut self, id: u128) {
        if let Some(slot) = self.slots.remove(&id) {
            self.by_key.remove(&slot.key);
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.swept = Some(now);
        let Self { slots, by_key, .. } = self;
        slots.retain(|_, slot| {
            let live = slot.expires > now || slot.flight.followers() > 0;
            if !live {
                by_key.remove(&slot.key);
            }
            live
        });
    }
}

impl Leases {
    pub(crate) fn new(ttl: Duration, most: usize, random: Random) -> Arc<Self> {
        Arc::new(Self { ttl, most, random, table: Mutex::default() })
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Gives a lease for a key, to be recorded in what `recording` gives.
    pub(crate) fn grant(&self, pending: Pending, recording: impl FnOnce() -> Recording) -> Grant {
        let now = Instant::now();
        let mut table = self.table.lock();
        if table.swept.is_none_or(|swept| now >= swept + self.ttl) || table.slots.len() >= self.most {
            table.sweep(now);
        }
        if let Some(&id) = table.by_key.get(&pending.key) {
            // One that expired is still followed by those who may take it over.
            let held = table.slots.get(&id).filter(|slot| slot.expires > now || slot.flight.followers() > 0);
            if let Some(slot) = held {
                let same = slot.tenant == pending.tenant.name;
                return if same { Grant::Held(Arc::clone(&slot.flight)) } else { Grant::Full };
            }
            table.remove(id);
        }
        if table.slots.len() >= self.most {
            return Grant::Full;
        }
        let id = EntryId::draw(&self.random);
        let entry_id = pending.entry_id;
        let flight = Arc::new(Flight::new(entry_id, recording(), now + self.ttl));
        let slot = Slot {
            tenant: Arc::clone(&pending.tenant.name),
            key: pending.key,
            expires: now + self.ttl,
            flight,
            pending: Some(Box::new(pending)),
        };
        table.by_key.insert(slot.key, id.0);
        table.slots.insert(id.0, slot);
        Grant::Given(id.to_string(), entry_id)
    }

    /// Gives the lease of a leader that failed to one of its followers.
    pub(crate) fn take_over(&self, flight: &Arc<Flight>) -> Option<String> {
        let now = Instant::now();
        let mut table = self.table.lock();
        let old =
            table.slots.iter().find(|(_, slot)| Arc::ptr_eq(&slot.flight, flight)).map(|(id, _)| *id)?;
        // Where the leader holds it still, without a sign of life, what it will need is gone with it.
        let ready = table.slots.get(&old).is_some_and(|slot| slot.pending.is_some());
        if !ready || !flight.adopt(now, self.ttl) {
            return None;
        }
        let mut slot = table.slots.remove(&old)?;
        slot.expires = now + self.ttl;
        let id = EntryId::draw(&self.random);
        table.by_key.insert(slot.key, id.0);
        table.slots.insert(id.0, slot);
        Some(id.to_string())
    }

    /// Takes back a lease that was just given and that nobody was told of.
    pub(crate) fn take_back(&self, id: &str) {
        if let Ok(EntryId(id)) = id.parse() {
            self.table.lock().remove(id);
        }
    }

    /// How many follow the fill of a lease.
    pub(crate) fn followers(&self, tenant: &str, id: &str) -> Option<usize> {
        let EntryId(id) = id.parse().ok()?;
        let table = self.table.lock();
        let slot = table.slots.get(&id).filter(|slot| *slot.tenant == *tenant)?;
        Some(slot.flight.followers())
    }

    pub(crate) fn expiry(&self) -> Instant {
        Instant::now() + self.ttl
    }

    /// Begins the fill of a lease; `None` if the tenant holds none of that name, or its fill has begun already.
    pub(crate) fn claim(self: &Arc<Self>, tenant: &str, id: &str) -> Option<Held> {
        let EntryId(id) = id.parse().ok()?;
        let now = Instant::now();
        let mut table = self.table.lock();
        let slot = table.slots.get_mut(&id).filter(|slot| *slot.tenant == *tenant && slot.expires > now)?;
        let pending = slot.pending.take()?;
        slot.expires = now + self.ttl;
        let flight = Arc::clone(&slot.flight);
        drop(table);
        flight.renew(now + self.ttl);
        Some(Held { leases: Arc::clone(self), id, pending: Some(pending), flight, reason: "failed" })
    }

    /// Leases of a tenant that are held now.
    pub(crate) fn count(&self, tenant: &str) -> u64 {
        let mut table = self.table.lock();
        table.sweep(Instant::now());
        table.slots.values().filter(|slot| *slot.tenant == *tenant).count() as u64
    }
}

/// A lease while it is filled. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Held {
    leases: Arc<Leases>,
    id: u128,
    /// There until it is dropped.
    pending: Option<Box<Pending>>,
    pub(crate) flight: Arc<Flight>,
    /// Why it is given back, for whoever goes on.
    pub(crate) reason: &'static str,
}

/// What became of the wish for a lease.
#[derive(Debug)]
pub(crate) enum Grant {
    /// The lease's id.
    Given(String, EntryId),
    /// Somebody fills the entry; it can be followed.
    Held(Arc<Flight>),
    /// There are too many.
    Full,
}

impl Held {
    /// What the fill needs to know. `None` never: it is there until the lease is given back.
    pub(crate) fn pending(&mut self) -> Option<&mut Pending> {
        self.pending.as_deref_mut()
    }

    /// Makes it last; false if it expired and is lost.
    pub(crate) fn renew(&self) -> bool {
        let now = Instant::now();
        let mut table = self.leases.table.lock();
        match table.slots.get_mut(&self.id) {
            Some(slot) if slot.expires > now => {
                slot.expires = now + self.leases.ttl;
                self.flight.renew(slot.expires);
                true
            }
            _ => false,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut table = self.leases.table.lock();
        let expires = self.leases.expiry();
        match table.slots.get_mut(&self.id) {
            // What was recorded stays for the follower who goes on.
            Some(slot) if self.flight.orphan(self.reason, expires) => {
                slot.pending = self.pending.take();
                slot.expires = expires;
            }
            Some(_) => table.remove(self.id),
            None => {
                self.flight.lose(self.reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::Tenants;

    const TTL: Duration = Duration::from_secs(60);

    fn pending(tenant: &str, key: u8) -> Pending {
        Pending {
            tenant: Tenants::default().get(tenant).unwrap(),
            key: Digest([key; 32]),
            entry_id: EntryId(1),
            epoch: 0,
            ttl_ms: 1,
            tags: Vec::new(),
            question: None,
            max_output_tokens: None,
            request_id: String::new(),
        }
    }

    fn leases(most: usize) -> Arc<Leases> {
        Leases::new(TTL, most, Random::seeded(1))
    }

    /// The lease, if one is given.
    fn grant(leases: &Leases, pending: Pending) -> Option<String> {
        match leases.grant(pending, || Recording::new(1_000, None)) {
            Grant::Given(id, _) => Some(id),
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_until_it_is_given_back() {
        let leases = leases(8);
        let id = grant(&leases, pending("a", 1)).unwrap();
        assert!(grant(&leases, pending("a", 1)).is_none());
        assert!(grant(&leases, pending("a", 2)).is_some());
        assert!(leases.claim("b", &id).is_none(), "another tenant's");
        assert!(leases.claim("a", "no id").is_none());
        let held = leases.claim("a", &id).unwrap();
        assert!(leases.claim("a", &id).is_none(), "being filled");
        assert!(grant(&leases, pending("a", 1)).is_none());
        drop(held);
        assert!(grant(&leases, pending("a", 1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn it_expires_unless_events_come() {
        let leases = leases(8);
        let lost = grant(&leases, pending("a", 1)).unwrap();
        tokio::time::advance(TTL).await;
        assert_eq!(leases.count("a"), 0);
        assert!(leases.claim("a", &lost).is_none());

        let id = grant(&leases, pending("a", 1)).unwrap();
        let held = leases.claim("a", &id).unwrap();
        for _ in 0..3 {
            tokio::time::advance(TTL / 2).await;
            assert!(held.renew());
        }
        tokio::time::advance(TTL).await;
        let next = grant(&leases, pending("a", 1));
        assert!(next.is_some(), "taken over");
        assert!(!held.renew());
        drop(held);
        assert!(
            leases.claim("a", &next.unwrap()).is_some(),
            "the loser does not take the next one's lease along"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn their_number_is_bounded() {
        let leases = leases(2);
        assert!(grant(&leases, pending("a", 1)).is_some());
        assert!(grant(&leases, pending("a", 2)).is_some());
        assert!(grant(&leases, pending("a", 3)).is_none());
        tokio::time::advance(TTL).await;
        assert!(grant(&leases, pending("a", 3)).is_some());
    }
}
