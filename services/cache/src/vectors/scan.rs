//! The scan: every vector of the partition, one after the other, in this process.

use std::{collections::HashMap, io, path::Path, sync::Arc};

use parking_lot::RwLock;
use prost::Message;
use signalbox_embed::Vector;

use super::{
    MOST, Neighbour, Point, Scope, VectorStore,
    roll::Roll,
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
    state: RwLock<State>,
}

struct State {
    tenants: HashMap<Arc<str>, HashMap<Digest, Partition>>,
    roll: Roll<Place>,
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
struct Partition {
    names: Vec<Named>,
    /// Of each name, where its vector is long enough.
    sketches: Vec<[u64; WORDS]>,
    /// Those of all names, one after the other.
    values: Vec<i8>,
    norms: Vec<f32>,
}

struct Place {
    partition: Digest,
    index: usize,
}

impl ExactScan {
    pub(crate) fn new(most: usize, most_per_tenant: usize) -> Self {
        let roll = Roll::new(most, most_per_tenant);
        Self { state: RwLock::new(State { tenants: HashMap::new(), roll, journal: None }) }
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
        while let Some(gone) = state.roll.full(&point.tenant) {
            state.remove(gone);
        }
        state.insert(point);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.state.read().roll.len()
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
                    state.tenants.get(tenant).and_then(|partitions| partitions.get(&partition))
                {
                    points.scan(&probe, &mut found);
                }
            }
            Scope::Tenant(tenant) => {
                for points in state.tenants.get(tenant).into_iter().flat_map(HashMap::values) {
                    points.scan(&probe, &mut found);
                }
            }
        }
        drop(state);
        found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        found.truncate(limit.min(MOST));
        found
    }

    async fn remove(&self, tenant: &str, ids: &[EntryId]) {
        let mut state = self.state.write();
        for id in ids {
            if state.roll.has(tenant, *id) {
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
        let partitions = self.tenants.entry(Arc::clone(&point.tenant)).or_default();
        let partition = partitions.entry(point.partition).or_default();
        let place = Place { partition: point.partition, index: partition.names.len() };
        partition.push(point);
        self.roll.add(point.named.id, &point.tenant, place);
    }

    fn remove(&mut self, id: EntryId) {
        let Some((tenant, place)) = self.roll.remove(id) else { return };
        if let Some((journal, _)) = &self.journal {
            journal.remove(id);
        }
        let Some(partitions) = self.tenants.get_mut(&tenant) else { return };
        if let Some(partition) = partitions.get_mut(&place.partition) {
            if let Some(moved) = partition.take(place.index)
                && let Some(of_moved) = self.roll.place_mut(moved)
            {
                of_moved.index = place.index;
            }
            if partition.names.is_empty() {
                partitions.remove(&place.partition);
            }
        }
        if partitions.is_empty() {
            self.tenants.remove(&tenant);
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
    async fn a_flood_of_partitions_takes_no_more_room_than_is_given() {
        let store = ExactScan::new(1_000, 500);
        for id in 0..1_000_000u32 {
            let mut partition = Digest([0; 32]);
            partition.0[..4].copy_from_slice(&id.to_le_bytes());
            let tenant = if id % 3 == 0 { "a" } else { "b" };
            store.insert(Point { partition, ..point(id.into(), tenant, 0, 0.0) }).await;
        }
        let state = store.state.read();
        assert_eq!(state.roll.len(), 1_000);
        assert!(state.tenants.values().all(|partitions| partitions.len() == 500));
        assert!(state.roll.tenants().all(|(points, ids)| points == 500 && ids <= 1_016));
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
                assert!(state.roll.tenants().all(|(points, ids)| ids <= 2 * points + 17));
            });
        }
    }
}
