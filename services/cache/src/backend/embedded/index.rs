//! Entries by what names them, and who has how much.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use signalbox_embed::Vector;

use crate::{
    backend::{Cover, Named},
    codec,
    config::Exact,
    entry::{Entry, EntryId},
    journal::Journal,
    vault::Vault,
};

/// Points without an entry that are remembered for removal; the others are found when a search meets them.
const GARBAGE: usize = 4_096;
/// Invalidations that are remembered; a fill that began before all of them is not kept.
const INVALIDATIONS: usize = 128;

/// The entries of all tenants. Every entry is here as long as the exact tier has it.
///
/// Where there are too many, the tenant with the most bytes gives, so that nobody is pushed out by a neighbour's flood. Of one tenant
/// go those first that were not used since they were last passed by (a clock with small counters, as in S3-FIFO).
#[derive(Debug)]
pub(super) struct Index {
    most_bytes: u64,
    most_bytes_of_one: u64,
    most_entries_of_one: usize,
    /// Seals what is written down.
    pub(super) vault: Arc<Vault>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tenants: HashMap<Arc<str>, Tenant>,
    /// Tenants that have something, by bytes.
    by_size: BTreeSet<(u64, Arc<str>)>,
    bytes: u64,
    /// How many invalidations there were, of all tenants: no tenant that was forgotten begins again.
    epoch: u64,
    garbage: Vec<EntryId>,
    /// Where they are written down as well.
    journal: Option<Arc<Journal>>,
}

#[derive(Debug, Default)]
struct Tenant {
    entries: HashMap<EntryId, Arc<Entry>>,
    tags: HashMap<Arc<str>, HashSet<EntryId>>,
    models: HashMap<Arc<str>, HashSet<EntryId>>,
    /// The oldest first. Holds ids that were removed, until they come to the front or are too many.
    order: VecDeque<EntryId>,
    bytes: u64,
    /// The last invalidations, each with the epoch that it began.
    recent: VecDeque<(u64, Cover)>,
    /// The epoch of the last one that was forgotten.
    forgotten: u64,
}

impl Tenant {
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
        if self.order.len() > 2 * self.entries.len() + 16 {
            let entries = &self.entries;
            self.order.retain(|id| entries.contains_key(id));
        }
        Some(entry)
    }

    fn add(&mut self, entry: &Arc<Entry>) {
        self.bytes += u64::from(entry.weight());
        let Self { tags, models, .. } = self;
        for (map, names) in [(tags, &entry.tags), (models, &entry.answer.models)] {
            for name in names {
                map.entry(Arc::clone(name)).or_default().insert(entry.id);
            }
        }
        self.order.push_back(entry.id);
        self.entries.insert(entry.id, Arc::clone(entry));
    }

    /// Who goes first. Each entry that was used is passed by as often.
    fn victim(&mut self) -> Option<EntryId> {
        while let Some(id) = self.order.pop_front() {
            match self.entries.get(&id) {
                Some(entry) if entry.usage.pass() => self.order.push_back(id),
                Some(_) => return Some(id),
                None => {}
            }
        }
        None
    }

    /// Whether something was invalidated since `epoch` that covers the entry. Forgotten ones may have covered it.
    fn invalidated(&self, epoch: u64, entry: &Entry, vector: Option<&Vector>) -> bool {
        self.forgotten > epoch
            || self.recent.iter().any(|(began, cover)| *began > epoch && cover.covers(entry, vector))
    }
}

impl State {
    /// Changes a tenant, and books how much it has then.
    fn change<T>(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Tenant) -> T) -> T {
        let tenant = self.tenants.entry(Arc::clone(name)).or_default();
        let before = tenant.bytes;
        let result = change(tenant);
        let after = tenant.bytes;
        if before != after {
            self.bytes = self.bytes - before + after;
            self.by_size.remove(&(before, Arc::clone(name)));
            if after > 0 {
                self.by_size.insert((after, Arc::clone(name)));
            }
        }
        result
    }

    /// Forgets entries on disk.
    fn strike<'a>(&self, entries: impl IntoIterator<Item = &'a Arc<Entry>>) {
        if let Some(journal) = &self.journal {
            entries.into_iter().for_each(|entry| journal.remove(entry.id));
        }
    }

    fn waste(&mut self, entry: &Entry) {
        if entry.question.is_some() && self.garbage.len() < GARBAGE {
            self.garbage.push(entry.id);
        }
    }
}

impl Index {
    pub(super) fn new(exact: &Exact, vault: Arc<Vault>) -> Self {
        // Below moka's own bound, so that fairness decides and not who asks most often.
        let most_bytes = exact.max_bytes - exact.max_bytes / 32;
        Self {
            most_bytes,
            most_bytes_of_one: exact.max_bytes_per_tenant.unwrap_or(most_bytes).min(most_bytes),
            most_entries_of_one: exact.max_entries_per_tenant,
            vault,
            state: Mutex::default(),
        }
    }

    /// Writes down from now on what is there.
    pub(super) fn keep_in(&self, journal: Arc<Journal>) {
        self.state.lock().journal = Some(journal);
    }

    pub(super) fn journal(&self) -> Option<Arc<Journal>> {
        self.state.lock().journal.clone()
    }

    /// Names the present, for [`Self::add`].
    pub(super) fn epoch(&self) -> u64 {
        self.state.lock().epoch
    }

    /// Adds an entry whose fill began at `epoch`, and gives those that had to go for it; `None` if it was invalidated since.
    pub(super) fn add(
        &self,
        entry: &Arc<Entry>,
        epoch: u64,
        vector: Option<&Vector>,
    ) -> Option<Vec<Arc<Entry>>> {
        let mut state = self.state.lock();
        let known = state.tenants.get(&entry.tenant);
        if known.is_some_and(|tenant| tenant.invalidated(epoch, entry, vector)) {
            return None;
        }
        state.change(&entry.tenant, |tenant| tenant.add(entry));
        self.write(&state, entry);
        let mut gone = Vec::new();
        loop {
            let own = state.tenants.get(&entry.tenant);
            let own_full = own.is_some_and(|tenant| {
                tenant.bytes > self.most_bytes_of_one || tenant.entries.len() > self.most_entries_of_one
            });
            let name = if own_full {
                Arc::clone(&entry.tenant)
            } else if state.bytes > self.most_bytes {
                match state.by_size.last() {
                    Some((_, largest)) => Arc::clone(largest),
                    None => break,
                }
            } else {
                break;
            };
            let evicted = state.change(&name, |tenant| tenant.victim().and_then(|id| tenant.remove(id)));
            let Some(evicted) = evicted else { break };
            evicted.kill();
            state.waste(&evicted);
            gone.push(evicted);
        }
        state.strike(&gone);
        Some(gone)
    }

    /// Writes an entry down once more, as what is known of it has changed, if it is still there.
    pub(super) fn write_anew(&self, entry: &Arc<Entry>) {
        let state = self.state.lock();
        let there = state.tenants.get(&entry.tenant).and_then(|tenant| tenant.entries.get(&entry.id));
        if there.is_some_and(|there| Arc::ptr_eq(there, entry)) {
            self.write(&state, entry);
        }
    }

    fn write(&self, state: &State, entry: &Entry) {
        if let Some(journal) = &state.journal
            && let Some(bytes) = codec::entry_bytes(entry, &self.vault)
        {
            journal.put(entry.id, &bytes);
        }
    }

    pub(super) fn get(&self, tenant: &str, id: EntryId) -> Option<Arc<Entry>> {
        self.state.lock().tenants.get(tenant)?.entries.get(&id).cloned()
    }

    /// Removes what is covered, now and when a running fill ends; gives the entries that were there. They are dead when this
    /// returns, whatever store still holds them.
    pub(super) fn invalidate(&self, tenant: &str, cover: Cover, near: &[Named]) -> Vec<Arc<Entry>> {
        let mut state = self.state.lock();
        state.epoch += 1;
        let epoch = state.epoch;
        let removed = state.change(&tenant.into(), |tenant| {
            let ids: Vec<EntryId> = match &cover {
                Cover::All => tenant.entries.keys().copied().collect(),
                Cover::Entry(id) => vec![*id],
                Cover::Tag(tag) => tenant.tags.get(tag).into_iter().flatten().copied().collect(),
                Cover::Model(model) => tenant.models.get(model).into_iter().flatten().copied().collect(),
                Cover::Like { .. } => near.iter().map(|named| named.id).collect(),
            };
            if tenant.recent.len() == INVALIDATIONS
                && let Some((began, _)) = tenant.recent.pop_front()
            {
                tenant.forgotten = began;
            }
            tenant.recent.push_back((epoch, cover));
            ids.into_iter().filter_map(|id| tenant.remove(id)).collect::<Vec<_>>()
        });
        removed.iter().for_each(|entry| entry.kill());
        state.strike(&removed);
        removed
    }

    /// Entries and their bytes.
    pub(super) fn extent(&self, tenant: &str) -> (u64, u64) {
        let state = self.state.lock();
        state
            .tenants
            .get(tenant)
            .map(|tenant| (tenant.entries.len() as u64, tenant.bytes))
            .unwrap_or_default()
    }

    /// Forgets an entry that the exact tier has dropped.
    pub(super) fn forget(&self, entry: &Entry) {
        let mut state = self.state.lock();
        if !state.tenants.contains_key(&entry.tenant) {
            return;
        }
        if let Some(forgotten) = state.change(&entry.tenant, |tenant| tenant.remove(entry.id)) {
            state.waste(&forgotten);
            state.strike([&forgotten]);
        }
    }

    /// Points whose entry is gone.
    pub(super) fn garbage(&self) -> Vec<EntryId> {
        std::mem::take(&mut self.state.lock().garbage)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use prost::bytes::Bytes;
    use signalbox_mesh::Random;

    use super::*;
    use crate::{canonical::Digest, entry::Usage, recording::Answer};

    fn entry(id: u128, tenant: &str, bytes: usize) -> Arc<Entry> {
        let batches = vec![Bytes::from(vec![0; bytes])];
        Arc::new(Entry {
            id: EntryId(id),
            tenant: tenant.into(),
            key: Digest([id.to_le_bytes()[0]; 32]),
            answer: Arc::new(Answer::restore(batches, vec!["p/m".into()], false)),
            cost_nanousd: 0,
            created_unix_ms: 0,
            ttl_ms: 1,
            stale_ms: 0,
            tags: vec!["news".into()],
            question: None,
            writer: String::new(),
            standing: Arc::default(),
            usage: Usage::default(),
            dead: AtomicBool::new(false),
        })
    }

    fn there(index: &Index, tenant: &str) -> Vec<u128> {
        (0..100).filter(|id| index.get(tenant, EntryId(*id)).is_some()).collect()
    }

    fn add(index: &Index, entry: &Arc<Entry>) -> Vec<u128> {
        index.add(entry, index.epoch(), None).unwrap().iter().map(|gone| gone.id.0).collect()
    }

    #[test]
    fn who_has_most_gives_and_what_is_used_least_goes() {
        let exact = Exact { max_bytes: 64_000, ..Exact::default() };
        let index = Index::new(&exact, Arc::new(Vault::open_to_all(Random::seeded(1))));
        for id in 0..4 {
            add(&index, &entry(id, "quiet", 1_000));
        }
        let used = entry(10, "flood", 1_000);
        used.usage.note();
        add(&index, &used);
        for id in 11..99 {
            add(&index, &entry(id, "flood", 1_000));
        }
        assert_eq!(there(&index, "quiet"), [0, 1, 2, 3], "nobody is pushed out by a neighbour");
        let flood = there(&index, "flood");
        assert!(flood.contains(&98) && !flood.contains(&11), "{flood:?}");
        assert!(index.extent("quiet").1 + index.extent("flood").1 <= 62_000);
        assert!(add(&index, &entry(99, "new", 70_000)).contains(&99), "larger than all there is");
        assert_eq!(index.extent("new"), (0, 0));
    }

    #[test]
    fn what_was_used_is_passed_by_as_often() {
        let exact = Exact { max_entries_per_tenant: 3, ..Exact::default() };
        let index = Index::new(&exact, Arc::new(Vault::open_to_all(Random::seeded(1))));
        let used = entry(1, "a", 10);
        used.usage.note();
        add(&index, &used);
        assert_eq!((add(&index, &entry(2, "a", 10)), add(&index, &entry(3, "a", 10))), (vec![], vec![]));
        assert_eq!(add(&index, &entry(4, "a", 10)), [2]);
        assert_eq!(add(&index, &entry(5, "a", 10)), [3]);
        assert_eq!(add(&index, &entry(6, "a", 10)), [4]);
        assert_eq!(add(&index, &entry(7, "a", 10)), [1], "not for ever");
        assert_eq!(add(&index, &entry(8, "b", 10)), [0u128; 0]);
        assert_eq!((index.extent("a").0, index.extent("b").0), (3, 1));
    }
}
