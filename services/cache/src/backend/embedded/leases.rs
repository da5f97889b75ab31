//! The right to fill an entry: held by one request at a time, given back at the end of its fill or by its expiry.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use signalbox_mesh::Random;
use tokio::time::Instant;

use crate::{
    backend::{Claimed, Grant, LeaseId, Pending, TakeOver, UNCLAIMED},
    canonical::Digest,
    entry::EntryId,
    flight::Flight,
    recording::{Answer, Recording},
};

/// All leases. Those that expired are removed by the next grant or count, at the latest after one more life.
#[derive(Debug)]
pub(super) struct Leases {
    ttl: Duration,
    most: usize,
    random: Random,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<Digest, Slot>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    token: EntryId,
    tenant: Arc<str>,
    expires: Instant,
    flight: Arc<Flight>,
    /// Taken by the fill.
    pending: Option<Box<Pending>>,
}

impl Slot {
    /// One that expired is still followed by those who may take it over.
    fn lives(&self, now: Instant) -> bool {
        self.expires > now || self.flight.followers() > 0
    }
}

impl Table {
    fn slot(&mut self, lease: LeaseId) -> Option<&mut Slot> {
        self.slots.get_mut(&lease.key).filter(|slot| slot.token == lease.token)
    }

    fn sweep(&mut self, now: Instant) {
        self.swept = Some(now);
        self.slots.retain(|_, slot| slot.lives(now));
    }
}

impl Leases {
    pub(super) fn new(ttl: Duration, most: usize, random: Random) -> Self {
        Self { ttl, most, random, table: Mutex::default() }
    }

    /// Gives a lease for a key, to be recorded in what `recording` gives.
    pub(super) fn grant(&self, pending: Pending, recording: impl FnOnce() -> Recording) -> Grant {
        let now = Instant::now();
        let mut table = self.table.lock();
        if table.swept.is_none_or(|swept| now >= swept + self.ttl) || table.slots.len() >= self.most {
            table.sweep(now);
        }
        if let Some(slot) = table.slots.get(&pending.key).filter(|slot| slot.lives(now)) {
            let same = slot.tenant == pending.tenant;
            return if same { Grant::Held(slot.flight.follow()) } else { Grant::Full };
        }
        table.slots.remove(&pending.key);
        if table.slots.len() >= self.most {
            return Grant::Full;
        }
        let lease = LeaseId { key: pending.key, token: EntryId::draw(&self.random) };
        let (entry_id, expires) = (pending.entry_id, now + self.ttl.min(UNCLAIMED));
        let slot = Slot {
            token: lease.token,
            tenant: Arc::clone(&pending.tenant),
            expires,
            flight: Arc::new(Flight::new(lease.key, entry_id, recording(), expires)),
            pending: Some(Box::new(pending)),
        };
        table.slots.insert(lease.key, slot);
        Grant::Given(lease, entry_id)
    }

    /// Gives the lease of a leader that failed to one of its followers.
    pub(super) fn take_over(&self, flight: &Arc<Flight>) -> TakeOver {
        let now = Instant::now();
        let mut table = self.table.lock();
        let slot = table.slots.get_mut(&flight.key).filter(|slot| Arc::ptr_eq(&slot.flight, flight));
        let Some(slot) = slot else {
            flight.lose(crate::flight::EXPIRED);
            return TakeOver::Gone;
        };
        // Where the leader holds it still, without a sign of life, what it will need is gone with it.
        if slot.pending.is_none() || !flight.adopt(now, now + self.ttl) {
            return TakeOver::Led;
        }
        slot.expires = now + self.ttl;
        slot.token = EntryId::draw(&self.random);
        TakeOver::Given(LeaseId { key: flight.key, token: slot.token })
    }

    /// Takes back a lease that was just given and that nobody was told of; who follows it already gets that answer.
    pub(super) fn take_back(&self, lease: LeaseId, answer: Arc<Answer>) {
        let mut table = self.table.lock();
        if let Some(slot) = table.slot(lease) {
            slot.flight.done(answer);
            table.slots.remove(&lease.key);
        }
    }

    /// How many follow the fill of a lease.
    pub(super) fn followers(&self, tenant: &str, lease: LeaseId) -> u64 {
        let mut table = self.table.lock();
        let slot = table.slot(lease).filter(|slot| *slot.tenant == *tenant);
        slot.map_or(0, |slot| slot.flight.followers() as u64)
    }

    /// Begins the fill of a lease; `None` if the tenant holds none of that name, or its fill has begun already.
    pub(super) fn claim(&self, tenant: &str, lease: LeaseId) -> Option<Claimed> {
        let now = Instant::now();
        let mut table = self.table.lock();
        let slot = table.slot(lease).filter(|slot| *slot.tenant == *tenant && slot.expires > now)?;
        let pending = slot.pending.take()?;
        slot.expires = now + self.ttl;
        let flight = Arc::clone(&slot.flight);
        drop(table);
        flight.renew(now + self.ttl);
        Some(Claimed { lease, pending, flight })
    }

    /// Makes a lease last; false if it expired and is lost.
    pub(super) fn renew(&self, claimed: &Claimed) -> bool {
        let now = Instant::now();
        let mut table = self.table.lock();
        match table.slot(claimed.lease) {
            Some(slot) if slot.expires > now => {
                slot.expires = now + self.ttl;
                claimed.flight.renew(slot.expires);
                true
            }
            _ => false,
        }
    }

    /// Gives a lease back.
    pub(super) fn release(&self, claimed: &Claimed, reason: &'static str) {
        let Claimed { lease, pending, flight } = claimed;
        let expires = Instant::now() + self.ttl;
        let mut table = self.table.lock();
        match table.slot(*lease) {
            // What was recorded stays for the follower who goes on.
            Some(slot) if flight.orphan(reason, expires) => {
                slot.pending = Some(pending.clone());
                slot.expires = expires;
            }
            Some(_) => {
                table.slots.remove(&lease.key);
            }
            None => flight.lose(reason),
        }
    }

    /// Leases of a tenant that are held now.
    pub(super) fn count(&self, tenant: &str) -> u64 {
        let mut table = self.table.lock();
        table.sweep(Instant::now());
        table.slots.values().filter(|slot| *slot.tenant == *tenant).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn pending(key: u8) -> Pending {
        Pending {
            tenant: "a".into(),
            key: Digest([key; 32]),
            entry_id: EntryId(1),
            epoch: 0,
            ttl_ms: 1,
            tags: Vec::new(),
            question: None,
            max_output_tokens: None,
            request_id: String::new(),
            stale_ms: 0,
            shadow: None,
        }
    }

    fn leases(most: usize) -> Leases {
        Leases::new(TTL, most, Random::seeded(1))
    }

    /// The lease, if one is given.
    fn grant(leases: &Leases, key: u8) -> Option<LeaseId> {
        match leases.grant(pending(key), || Recording::new(1_000, None)) {
            Grant::Given(lease, _) => Some(lease),
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_until_it_is_given_back() {
        let leases = leases(8);
        let lease = grant(&leases, 1).unwrap();
        assert!(grant(&leases, 1).is_none());
        assert!(grant(&leases, 2).is_some());
        assert!(leases.claim("b", lease).is_none(), "another tenant's");
        let stranger = LeaseId { token: EntryId(0), ..lease };
        assert!(leases.claim("a", stranger).is_none());
        let claimed = leases.claim("a", lease).unwrap();
        assert!(leases.claim("a", lease).is_none(), "being filled");
        assert!(grant(&leases, 1).is_none());
        leases.release(&claimed, "failed");
        assert!(grant(&leases, 1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn it_expires_unless_events_come() {
        let leases = leases(8);
        let lost = grant(&leases, 1).unwrap();
        tokio::time::advance(TTL).await;
        assert_eq!(leases.count("a"), 0);
        assert!(leases.claim("a", lost).is_none());

        let lease = grant(&leases, 1).unwrap();
        let claimed = leases.claim("a", lease).unwrap();
        for _ in 0..3 {
            tokio::time::advance(TTL / 2).await;
            assert!(leases.renew(&claimed));
        }
        tokio::time::advance(TTL).await;
        let next = grant(&leases, 1).expect("taken over");
        assert!(!leases.renew(&claimed));
        leases.release(&claimed, "failed");
        assert!(leases.claim("a", next).is_some(), "the loser does not take the next one's lease along");
    }

    #[tokio::test(start_paused = true)]
    async fn their_number_is_bounded() {
        let leases = leases(2);
        assert!(grant(&leases, 1).is_some());
        assert!(grant(&leases, 2).is_some());
        assert!(grant(&leases, 3).is_none());
        tokio::time::advance(TTL).await;
        assert!(grant(&leases, 3).is_some());
    }
}
