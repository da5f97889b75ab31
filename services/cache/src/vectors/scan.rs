//! The scan: every vector of the partition, one after the other, in this process.

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::Path,
    sync::Arc,
};

use parking_lot::RwLock;
use prost::Message;
use signalbox_embed::Vector;

use super::{
    Neighbour, Point, Scope, VectorStore,
    sketch::{self, Quantised, WORDS},
};
use crate::{
    backend::Named,
    canonical::Digest,
    codec,
    entry::EntryId,
    journal::Journal,
    vault::{Kind, Vault},
};

/// Vectors in memory, those of a partition side by side.
pub(crate) struct ExactScan {
    most: usize,
    most_per_tenant: usize,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    tenants: HashMap<Arc<str>, Tenant>,
    places: HashMap<EntryId, Place>,
    /// Where they are written down as well, and what seals them.
    journal: Option<(Arc<Journal>, Arc<Vault>)>,
}

/// A point as it is written down.
#[derive(Clone, PartialEq, Message)]
struct StoredPoint {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(bytes = "vec", tag = "2")]
    partition: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    /// Signed bytes.
    #[prost(bytes = "vec", tag = "4")]
    values: Vec<u8>,
    #[prost(int64, tag = "5")]
    ends_unix_ms: i64,
}

#[derive(Default)]
struct Tenant {
    partitions: HashMap<Digest, Partition>,
    /// Oldest first. Holds ids that were removed, until they come to the front or are too many.
    order: VecDeque<EntryId>,
    points: usize,
}

#[derive(Default)]
struct Partition {
    names: Vec<Named>,
    /// Of each name, where its vector is long enough.
    sketches: Vec<[u64; WORDS]>,
    /// Those of all names, one after the other.
    values: Vec<i8>,
    norms: Vec<f32>,
}

struct Place {
    tenant: Arc<str>,
    partition: Digest,
    index: usize,
}

impl ExactScan {
    pub(crate) fn new(most: usize, most_per_tenant: usize) -> Self {
        Self { most, most_per_tenant, state: RwLock::default() }
    }

    /// The same, with what was written down in a file; what ended meanwhile is left out.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(crate) fn restored(
        most: usize,
        most_per_tenant: usize,
        path: &Path,
        now_unix_ms: i64,
        vault: Arc<Vault>,
    ) -> io::Result<Self> {
        let this = Self::new(most, most_per_tenant);
        let mut ended = Vec::new();
        let journal = Journal::open(path, |id, bytes| match restore(id, bytes, &vault) {
            Some(point) if point.ends_unix_ms > now_unix_ms => this.add(&point),
            _ => ended.push(id),
        })?;
        ended.into_iter().for_each(|id| journal.remove(id));
        this.state.write().journal = Some((Arc::new(journal), vault));
        Ok(this)
    }

    /// Adds a point, and makes room for it.
    fn add(&self, point: &QuantisedPoint) {
        let mut state = self.state.write();
        state.remove(point.named.id);
        let own = state.tenants.get(&point.tenant).map_or(0, |tenant| tenant.points);
        if own >= self.most_per_tenant {
            state.evict(&point.tenant);
        } else if state.places.len() >= self.most {
            // Whoever has the most gives: nobody is pushed out by a neighbour's flood.
            let most = state.tenants.iter().max_by_key(|(_, tenant)| tenant.points);
            if let Some(tenant) = most.map(|(name, _)| Arc::clone(name)) {
                state.evict(&tenant);
            }
        }
        state.insert(point);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.state.read().places.len()
    }
}

#[tonic::async_trait]
impl VectorStore for ExactScan {
    async fn insert(&self, point: Point) -> bool {
        let Point { named, tenant, partition, vector, ends_unix_ms } = point;
        let vector = Quantised::of(&vector);
        self.add(&QuantisedPoint { named, tenant, partition, vector, ends_unix_ms });
        true
    }

    async fn search(&self, scope: Scope<'_>, vector: &Vector, at_least: f32, limit: usize) -> Vec<Neighbour> {
        let probe = Probe::new(vector, at_least);
        let state = self.state.read();
        let mut found = Vec::new();
        match scope {
            Scope::Partition { tenant, partition } => {
                if let Some(points) =
                    state.tenants.get(tenant).and_then(|tenant| tenant.partitions.get(&partition))
                {
                    points.scan(&probe, &mut found);
                }
            }
            Scope::Tenant(tenant) => {
                let tenant = state.tenants.get(tenant);
                for points in tenant.into_iter().flat_map(|tenant| tenant.partitions.values()) {
                    points.scan(&probe, &mut found);
                }
            }
        }
        drop(state);
        found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        found.truncate(limit);
        found
    }

    async fn remove(&self, tenant: &str, ids: &[EntryId]) {
        let mut state = self.state.write();
        for id in ids {
            if state.places.get(id).is_some_and(|place| *place.tenant == *tenant) {
                state.remove(*id);
            }
        }
    }

    fn trouble(&self) -> Option<&'static str> {
        None
    }

    async fn flush(&self) {
        let journal = self.state.read().journal.clone();
        if let Some((journal, _)) = journal {
            journal.flush_aside().await;
        }
    }
}

impl State {
    fn insert(&mut self, point: &QuantisedPoint) {
        if let Some((journal, vault)) = &self.journal
            && let Some(bytes) = stored(point, vault)
        {
            journal.put(point.named.id, &bytes);
        }
        let tenant = self.tenants.entry(Arc::clone(&point.tenant)).or_default();
        let partition = tenant.partitions.entry(point.partition).or_default();
        let place = Place {
            tenant: Arc::clone(&point.tenant),
            partition: point.partition,
            index: partition.names.len(),
        };
        partition.push(point);
        tenant.order.push_back(point.named.id);
        tenant.points += 1;
        self.places.insert(point.named.id, place);
    }

    fn remove(&mut self, id: EntryId) {
        let Some(place) = self.places.remove(&id) else { return };
        if let Some((journal, _)) = &self.journal {
            journal.remove(id);
        }
        let Some(tenant) = self.tenants.get_mut(&place.tenant) else { return };
        if let Some(partition) = tenant.partitions.get_mut(&place.partition) {
            if let Some(moved) = partition.take(place.index)
                && let Some(of_moved) = self.places.get_mut(&moved)
            {
                of_moved.index = place.index;
            }
            if partition.names.is_empty() {
                tenant.partitions.remove(&place.partition);
            }
        }
        tenant.points -= 1;
        if tenant.points == 0 {
            self.tenants.remove(&place.tenant);
        } else if tenant.order.len() > 2 * tenant.points + 16 {
            tenant.order.retain(|id| self.places.contains_key(id));
        }
    }

    /// Removes a tenant's oldest point.
    fn evict(&mut self, name: &Arc<str>) {
        while let Some(oldest) = self.tenants.get_mut(name).and_then(|tenant| tenant.order.pop_front()) {
            if self.places.contains_key(&oldest) {
                return self.remove(oldest);
            }
        }
    }
}

/// A point in the form in which it is kept.
struct QuantisedPoint {
    named: Named,
    tenant: Arc<str>,
    partition: Digest,
    vector: Quantised,
    ends_unix_ms: i64,
}

fn stored(point: &QuantisedPoint, vault: &Vault) -> Option<Vec<u8>> {
    let stored = StoredPoint {
        tenant: point.tenant.to_string(),
        partition: point.partition.0.to_vec(),
        key: point.named.key.0.to_vec(),
        values: point.vector.values.iter().map(|value| value.cast_unsigned()).collect(),
        ends_unix_ms: point.ends_unix_ms,
    };
    vault.seal(Kind::Vector, &point.tenant, &codec::id_bytes(point.named.id), stored.encode_to_vec())
}

fn restore(id: EntryId, bytes: Vec<u8>, vault: &Vault) -> Option<QuantisedPoint> {
    let bytes = vault.open(Kind::Vector, &codec::id_bytes(id), bytes.into())?;
    let StoredPoint { tenant, partition, key, values, ends_unix_ms } = StoredPoint::decode(bytes).ok()?;
    Some(QuantisedPoint {
        named: Named { id, key: codec::key(&key)? },
        tenant: tenant.into(),
        partition: codec::key(&partition)?,
        vector: Quantised::new(values.into_iter().map(u8::cast_signed).collect()),
        ends_unix_ms,
    })
}

/// What is searched, in the forms that it is compared in.
struct Probe {
    vector: Quantised,
    sketch: Option<[u64; WORDS]>,
    at_least: f32,
    most_differing: u32,
}

impl Probe {
    fn new(vector: &Vector, at_least: f32) -> Self {
        let vector = Quantised::of(vector);
        Self {
            sketch: sketch::sketch(&vector),
            vector,
            at_least,
            most_differing: sketch::most_differing(at_least),
        }
    }
}

impl Partition {
    fn push(&mut self, point: &QuantisedPoint) {
        self.names.push(point.named);
        self.sketches.extend(sketch::sketch(&point.vector));
        self.values.extend(&point.vector.values);
        self.norms.push(point.vector.norm);
    }

    fn scan(&self, probe: &Probe, found: &mut Vec<Neighbour>) {
        let width = probe.vector.values.len();
        if width == 0 || self.values.len() != width * self.names.len() {
            return;
        }
        match &probe.sketch {
            Some(sketch) if self.sketches.len() == self.names.len() => {
                for (index, other) in self.sketches.iter().enumerate() {
                    if sketch::differing(sketch, other) <= probe.most_differing {
                        self.measure(index, probe, found);
                    }
                }
            }
            _ => (0..self.names.len()).for_each(|index| self.measure(index, probe, found)),
        }
    }

    fn measure(&self, index: usize, probe: &Probe, found: &mut Vec<Neighbour>) {
        let Quantised { values, norm } = &probe.vector;
        let width = values.len();
        let own = &self.values[index * width..][..width];
        #[expect(clippy::cast_precision_loss, reason = "16 million per thousand components")]
        let similarity = sketch::dot(values, own) as f32 / (norm * self.norms[index]);
        if similarity >= probe.at_least {
            found.push(Neighbour { named: self.names[index], similarity });
        }
    }

    /// Removes by moving the last one into the gap; gives the one that moved.
    fn take(&mut self, index: usize) -> Option<EntryId> {
        let width = self.values.len() / self.names.len().max(1);
        let last = self.names.len().checked_sub(1)?;
        self.names.swap_remove(index);
        self.norms.swap_remove(index);
        if self.sketches.len() > last {
            self.sketches.swap_remove(index);
        }
        if index != last {
            self.values.copy_within(last * width.., index * width);
        }
        self.values.truncate(last * width);
        self.names.get(index).map(|named| named.id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(id: u128, tenant: &str, partition: u8, angle: f32) -> Point {
        let vector = Vector::from_unit(vec![angle.cos(), angle.sin()]).unwrap();
        let named = Named { id: EntryId(id), key: Digest([9; 32]) };
        let tenant = tenant.into();
        Point { named, tenant, partition: Digest([partition; 32]), vector, ends_unix_ms: 0 }
    }

    fn measured(a: &Vector, b: &Vector) -> f32 {
        let (a, b) = (Quantised::of(a), Quantised::of(b));
        sketch::dot(&a.values, &b.values) as f32 / (a.norm * b.norm)
    }

    async fn found(store: &ExactScan, tenant: &str, partition: u8, angle: f32) -> Vec<u128> {
        let scope = Scope::Partition { tenant, partition: Digest([partition; 32]) };
        let vector = Vector::from_unit(vec![angle.cos(), angle.sin()]).unwrap();
        store.search(scope, &vector, 0.9, 8).await.into_iter().map(|neighbour| neighbour.named.id.0).collect()
    }

    #[tokio::test]
    async fn the_closest_comes_first_and_only_from_its_own_scope() {
        let store = ExactScan::new(100, 100);
        for point in [
            point(1, "a", 1, 0.2),
            point(2, "a", 1, 0.1),
            point(3, "a", 1, 3.0),
            point(4, "a", 2, 0.0),
            point(5, "b", 1, 0.0),
        ] {
            store.insert(point).await;
        }
        assert_eq!(found(&store, "a", 1, 0.0).await, [2, 1]);
        assert_eq!(found(&store, "a", 3, 0.0).await, [0u128; 0]);
        assert_eq!(found(&store, "c", 1, 0.0).await, [0u128; 0]);
        let vector = Vector::from_unit(vec![1.0, 0.0]).unwrap();
        let all = store.search(Scope::Tenant("a"), &vector, 0.9, 8).await;
        assert_eq!(all.iter().map(|n| n.named.id.0).collect::<Vec<_>>(), [4, 2, 1]);
    }

    #[tokio::test]
    async fn a_flood_pushes_out_its_own_oldest() {
        let store = ExactScan::new(6, 4);
        store.insert(point(1, "quiet", 1, 0.0)).await;
        for id in 10..30 {
            store.insert(point(id, "flood", u8::try_from(id).unwrap(), 0.0)).await;
        }
        assert_eq!(store.len(), 5);
        for id in 30..34 {
            store.insert(point(id, "second", 1, 0.0)).await;
        }
        assert_eq!(store.len(), 6);
        assert_eq!(found(&store, "quiet", 1, 0.0).await, [1]);
        assert_eq!(found(&store, "flood", 29, 0.0).await, [29]);
        assert_eq!(found(&store, "flood", 10, 0.0).await, [0u128; 0]);
    }

    #[tokio::test]
    async fn a_flood_of_partitions_takes_no_more_room_than_is_given() {
        let store = ExactScan::new(1_000, 500);
        for id in 0..1_000_000u32 {
            let mut partition = Digest([0; 32]);
            partition.0[..4].copy_from_slice(&id.to_le_bytes());
            let tenant = if id % 3 == 0 { "a" } else { "b" };
            store.insert(Point { partition, ..point(id.into(), tenant, 0, 0.0) }).await;
        }
        let state = store.state.read();
        assert_eq!(state.places.len(), 1_000);
        let tenants = state.tenants.values();
        assert!(tenants.clone().all(|tenant| tenant.points == 500 && tenant.partitions.len() == 500));
        assert!(tenants.clone().all(|tenant| tenant.order.len() <= 1_016));
    }

    #[tokio::test]
    async fn it_survives_a_restart_without_what_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors");
        let vault = || Arc::new(Vault::open_to_all(signalbox_mesh::Random::seeded(1)));
        let store = ExactScan::restored(100, 100, &path, 0, vault()).unwrap();
        for id in 1..=4 {
            let ends_unix_ms = if id == 3 { 5 } else { 50 };
            store.insert(Point { ends_unix_ms, ..point(id, "a", 1, 0.1) }).await;
        }
        store.remove("a", &[EntryId(2)]).await;
        store.flush().await;
        drop(store);
        let store = ExactScan::restored(100, 100, &path, 10, vault()).unwrap();
        let mut there = found(&store, "a", 1, 0.1).await;
        there.sort_unstable();
        assert_eq!((there, found(&store, "b", 1, 0.1).await), (vec![1, 4], vec![]));
        assert_eq!(store.len(), 2);
    }

    proptest! {
        #[test]
        fn it_gives_what_a_plain_list_would(
            steps in prop::collection::vec((0u128..12, 0u8..2, 0u8..3, 0f32..6.3, any::<bool>()), 1..80),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let store = ExactScan::new(1_000, 1_000);
                let mut list: Vec<Point> = Vec::new();
                for (id, tenant, partition, angle, insert) in steps {
                    let tenant = ["a", "b"][usize::from(tenant)];
                    list.retain(|known| known.named.id.0 != id || (!insert && *known.tenant != *tenant));
                    if insert {
                        list.push(point(id, tenant, partition, angle));
                        store.insert(point(id, tenant, partition, angle)).await;
                    } else {
                        store.remove(tenant, &[EntryId(id)]).await;
                    }
                    assert_eq!(store.len(), list.len());
                    let here = |known: &&Point| *known.tenant == *tenant && known.partition.0[0] == partition;
                    let probe = Vector::from_unit(vec![angle.cos(), angle.sin()]).unwrap();
                    let mut expected: Vec<u128> = list.iter().filter(here)
                        .filter(|known| measured(&known.vector, &probe) >= 0.9).map(|known| known.named.id.0).collect();
                    let mut got = Vec::new();
                    let scope = Scope::Partition { tenant, partition: Digest([partition; 32]) };
                    got.extend(store.search(scope, &probe, 0.9, 100).await.iter().map(|n| n.named.id.0));
                    expected.sort_unstable();
                    got.sort_unstable();
                    assert_eq!(got, expected);
                }
                let state = store.state.read();
                assert!(state.tenants.values().all(|tenant| tenant.order.len() <= 2 * tenant.points + 17));
            });
        }
    }
}
