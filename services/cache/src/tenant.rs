//! What this replica counts of each tenant.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    error::Failure,
    standing::{self, Change, Estimate},
};

/// Tenants that are known at a time. Their names come from metering, so this bounds a fault, not a caller.
const TENANTS: usize = 65_536;

/// One tenant.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) name: Arc<str>,
    pub(crate) figures: Figures,
}

/// Counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) lookups: AtomicU64,
    pub(crate) exact_hits: AtomicU64,
    pub(crate) semantic_hits: AtomicU64,
    pub(crate) follows: AtomicU64,
    pub(crate) stored: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) saved_nanousd: AtomicI64,
    pub(crate) wrong_hits: AtomicI64,
    pub(crate) stale_hits: AtomicU64,
    pub(crate) judged_candidates: AtomicU64,
    pub(crate) shadow_checks: AtomicU64,
    pub(crate) shadow_agreed: AtomicU64,
    pub(crate) shadow_differed: AtomicU64,
    /// What the model expects of all hits by meaning, in millionths.
    expected_wrong: AtomicU64,
    judged: AtomicI64,
    judged_wrong: AtomicI64,
}

impl Figures {
    /// Counts a hit by meaning that is wrong with that probability.
    pub(crate) fn semantic_hit(&self, error: f64) {
        self.semantic_hits.fetch_add(1, Ordering::Relaxed);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a million"
        )]
        self.expected_wrong.fetch_add((error.clamp(0.0, 1.0) * 1e6) as u64, Ordering::Relaxed);
    }

    /// Counts a judgement.
    pub(crate) fn judged(&self, change: Change) {
        self.wrong_hits.fetch_add(change.wrong, Ordering::Relaxed);
        self.judged.fetch_add(change.semantic, Ordering::Relaxed);
        self.judged_wrong.fetch_add(change.semantic_wrong, Ordering::Relaxed);
    }

    /// The share of lookups that were answered; `None` before the first.
    pub(crate) fn hit_rate(&self) -> Option<f64> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let lookups = of(&self.lookups);
        let hits = of(&self.exact_hits) + of(&self.semantic_hits) + of(&self.follows);
        (lookups > 0).then(|| hits as f64 / lookups as f64)
    }

    /// Hits by meaning that were judged.
    pub(crate) fn verified(&self) -> u64 {
        u64::try_from(self.judged.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The share of wrong ones among hits by meaning; `None` before the first.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        let hits = self.semantic_hits.load(Ordering::Relaxed);
        let expected = self.expected_wrong.load(Ordering::Relaxed) as f64 / 1e6 / hits as f64;
        let wrong = u64::try_from(self.judged_wrong.load(Ordering::Relaxed)).unwrap_or(0);
        (hits > 0).then(|| standing::estimate(expected, self.verified(), wrong))
    }
}

impl Tenant {
    fn new(name: &str) -> Self {
        Self { name: name.into(), figures: Figures::default() }
    }
}

/// All tenants.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    by_name: Mutex<HashMap<Arc<str>, Arc<Tenant>>>,
}

impl Tenants {
    /// All that are known.
    pub(crate) fn all(&self) -> Vec<Arc<Tenant>> {
        self.by_name.lock().values().cloned().collect()
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<Tenant>, Failure> {
        let mut by_name = self.by_name.lock();
        if let Some(tenant) = by_name.get(name) {
            return Ok(Arc::clone(tenant));
        }
        if by_name.len() >= TENANTS {
            return Err(Failure::TooManyTenants);
        }
        let tenant = Arc::new(Tenant::new(name));
        by_name.insert(Arc::clone(&tenant.name), Arc::clone(&tenant));
        Ok(tenant)
    }
}
