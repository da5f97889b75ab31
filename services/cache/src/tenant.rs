//! What the cache knows of each tenant: its entries by name, label and writer, its invalidations, its figures.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use signalbox_embed::Vector;

use crate::{
    entry::{Entry, EntryId},
    error::Failure,
    standing::{self, Change, Estimate},
};

/// Tenants that are known at a time. Their names come from metering, so this bounds a fault, not a caller.
const TENANTS: usize = 65_536;
/// Points without an entry that are remembered for removal; the others are found when a search meets them.
const GARBAGE: usize = 4_096;
/// Invalidations that are remembered; a fill that began before all of them is not kept.
const INVALIDATIONS: usize = 128;

/// One tenant.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) name: Arc<str>,
    pub(crate) figures: Figures,
    index: Mutex<Index>,
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

/// What is removed.
#[derive(Debug, Clone)]
pub(crate) enum Cover {
    Entry(EntryId),
    Tag(Arc<str>),
    Model(Arc<str>),
    All,
    Like { vector: Vector, at_least: f32 },
}

impl Cover {
    fn covers(&self, entry: &Entry, of_entry: Option<&Vector>) -> bool {
        match self {
            Self::All => true,
            Self::Entry(id) => entry.id == *id,
            Self::Tag(tag) => entry.tags.contains(tag),
            Self::Model(model) => entry.answer.models.contains(model),
            Self::Like { vector, at_least } => of_entry.is_some_and(|own| own.cosine(vector) >= *at_least),
        }
    }
}

/// Entries by what names them. Every entry is here as long as the exact tier has it.
#[derive(Debug, Default)]
struct Index {
    entries: HashMap<EntryId, Arc<Entry>>,
    tags: HashMap<Arc<str>, HashSet<EntryId>>,
    models: HashMap<Arc<str>, HashSet<EntryId>>,
    bytes: u64,
    /// How many invalidations there were.
    epoch: u64,
    /// The last of them.
    recent: VecDeque<Cover>,
}

impl Index {
    fn remove(&mut self, id: EntryId) -> Option<Arc<Entry>> {
        let entry = self.entries.remove(&id)?;
        self.bytes -= u64::from(entry.weight());
        let Self { tags, models, .. } = self;
        for (map, names) in [(tags, &entry.tags), (models, &entry.answer.models)] {
            for name in names {
                if let Some(ids) = map.get_mut(name) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        map.remove(name);
                    }
                }
            }
        }
        Some(entry)
    }

    /// Whether something was invalidated since `epoch` that covers the entry.
    fn invalidated(&self, epoch: u64, entry: &Entry, vector: Option<&Vector>) -> bool {
        let since = usize::try_from(self.epoch - epoch).unwrap_or(usize::MAX);
        // Forgotten ones may have covered it.
        since > self.recent.len()
            || self.recent.iter().rev().take(since).any(|cover| cover.covers(entry, vector))
    }
}

impl Tenant {
    fn new(name: &str) -> Self {
        Self { name: name.into(), figures: Figures::default(), index: Mutex::default() }
    }

    /// Names the present, for [`Tenant::add`].
    pub(crate) fn epoch(&self) -> u64 {
        self.index.lock().epoch
    }

    /// Adds an entry whose fill began at `epoch`; false if it was invalidated since.
    pub(crate) fn add(&self, entry: &Arc<Entry>, epoch: u64, vector: Option<&Vector>) -> bool {
        let mut index = self.index.lock();
        if index.invalidated(epoch, entry, vector) {
            return false;
        }
        index.bytes += u64::from(entry.weight());
        let Index { entries, tags, models, .. } = &mut *index;
        for (map, names) in [(tags, &entry.tags), (models, &entry.answer.models)] {
            for name in names {
                map.entry(Arc::clone(name)).or_default().insert(entry.id);
            }
        }
        entries.insert(entry.id, Arc::clone(entry));
        true
    }

    pub(crate) fn get(&self, id: EntryId) -> Option<Arc<Entry>> {
        self.index.lock().entries.get(&id).cloned()
    }

    /// Removes what is covered, now and when a running fill ends; gives the entries that were there. `near` are the ones that
    /// [`Cover::Like`] means. They are dead when this returns, whatever store still holds them.
    pub(crate) fn invalidate(&self, cover: Cover, near: &[EntryId]) -> Vec<Arc<Entry>> {
        let mut index = self.index.lock();
        let ids: Vec<EntryId> = match &cover {
            Cover::All => index.entries.keys().copied().collect(),
            Cover::Entry(id) => vec![*id],
            Cover::Tag(tag) => index.tags.get(tag).into_iter().flatten().copied().collect(),
            Cover::Model(model) => index.models.get(model).into_iter().flatten().copied().collect(),
            Cover::Like { .. } => near.to_vec(),
        };
        index.epoch += 1;
        if index.recent.len() == INVALIDATIONS {
            index.recent.pop_front();
        }
        index.recent.push_back(cover);
        let removed: Vec<_> = ids.into_iter().filter_map(|id| index.remove(id)).collect();
        removed.iter().for_each(|entry| entry.kill());
        removed
    }

    /// Entries and their bytes.
    pub(crate) fn extent(&self) -> (u64, u64) {
        let index = self.index.lock();
        (index.entries.len() as u64, index.bytes)
    }
}

/// All tenants.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    by_name: Mutex<HashMap<Arc<str>, Arc<Tenant>>>,
    garbage: Mutex<Vec<EntryId>>,
}

impl Tenants {
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

    /// Forgets an entry that the exact tier has dropped.
    pub(crate) fn forget(&self, entry: &Entry) {
        let tenant = self.by_name.lock().get(&entry.tenant).cloned();
        if let Some(tenant) = tenant {
            tenant.index.lock().remove(entry.id);
        }
        let mut garbage = self.garbage.lock();
        if entry.question.is_some() && garbage.len() < GARBAGE {
            garbage.push(entry.id);
        }
    }

    /// Points whose entry is gone.
    pub(crate) fn garbage(&self) -> Vec<EntryId> {
        std::mem::take(&mut *self.garbage.lock())
    }
}
