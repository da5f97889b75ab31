//! The exact scan: every vector of the partition, one after the other, in this process.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::RwLock;
use signalbox_embed::Vector;

use super::{Neighbour, Point, Scope, VectorStore};
use crate::{canonical::Digest, entry::EntryId};

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
    ids: Vec<EntryId>,
    /// Those of `ids`, one after the other.
    values: Vec<f32>,
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

    #[cfg(test)]
    fn len(&self) -> usize {
        self.state.read().places.len()
    }
}

#[tonic::async_trait]
impl VectorStore for ExactScan {
    async fn insert(&self, point: Point) {
        let mut state = self.state.write();
        state.remove(point.id);
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
        state.insert(&point);
    }

    async fn search(&self, scope: Scope<'_>, vector: &Vector, at_least: f32, limit: usize) -> Vec<Neighbour> {
        let state = self.state.read();
        let mut found = Vec::new();
        match scope {
            Scope::Partition { tenant, partition } => {
                if let Some(points) =
                    state.tenants.get(tenant).and_then(|tenant| tenant.partitions.get(&partition))
                {
                    points.scan(vector, at_least, &mut found);
                }
            }
            Scope::Tenant(tenant) => {
                let tenant = state.tenants.get(tenant);
                for points in tenant.into_iter().flat_map(|tenant| tenant.partitions.values()) {
                    points.scan(vector, at_least, &mut found);
                }
            }
        }
        drop(state);
        found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        found.truncate(limit);
        found
    }

    async fn remove(&self, ids: &[EntryId]) {
        let mut state = self.state.write();
        for id in ids {
            state.remove(*id);
        }
    }
}

impl State {
    fn insert(&mut self, point: &Point) {
        let tenant = self.tenants.entry(Arc::clone(&point.tenant)).or_default();
        let partition = tenant.partitions.entry(point.partition).or_default();
        let place = Place {
            tenant: Arc::clone(&point.tenant),
            partition: point.partition,
            index: partition.ids.len(),
        };
        partition.ids.push(point.id);
        partition.values.extend_from_slice(&point.vector);
        tenant.order.push_back(point.id);
        tenant.points += 1;
        self.places.insert(point.id, place);
    }

    fn remove(&mut self, id: EntryId) {
        let Some(place) = self.places.remove(&id) else { return };
        let Some(tenant) = self.tenants.get_mut(&place.tenant) else { return };
        if let Some(partition) = tenant.partitions.get_mut(&place.partition) {
            if let Some(moved) = partition.take(place.index)
                && let Some(of_moved) = self.places.get_mut(&moved)
            {
                of_moved.index = place.index;
            }
            if partition.ids.is_empty() {
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

impl Partition {
    fn scan(&self, vector: &Vector, at_least: f32, found: &mut Vec<Neighbour>) {
        let width = vector.len();
        if width == 0 || self.values.len() != width * self.ids.len() {
            return;
        }
        for (id, values) in self.ids.iter().zip(self.values.chunks_exact(width)) {
            let similarity = dot(vector, values);
            if similarity >= at_least {
                found.push(Neighbour { id: *id, similarity });
            }
        }
    }

    /// Removes by moving the last one into the gap; gives the one that moved.
    fn take(&mut self, index: usize) -> Option<EntryId> {
        let width = self.values.len() / self.ids.len().max(1);
        let last = self.ids.len().checked_sub(1)?;
        self.ids.swap_remove(index);
        if index != last {
            self.values.copy_within(last * width.., index * width);
        }
        self.values.truncate(last * width);
        self.ids.get(index).copied()
    }
}

/// Eight sums at a time, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0f32; LANES];
    let (in_a, in_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = in_a.remainder().iter().zip(in_b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in in_a.zip(in_b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(id: u128, tenant: &str, partition: u8, angle: f32) -> Point {
        let vector = Vector::from_unit(vec![angle.cos(), angle.sin()]).unwrap();
        Point { id: EntryId(id), tenant: tenant.into(), partition: Digest([partition; 32]), vector }
    }

    async fn found(store: &ExactScan, tenant: &str, partition: u8, angle: f32) -> Vec<u128> {
        let scope = Scope::Partition { tenant, partition: Digest([partition; 32]) };
        let vector = Vector::from_unit(vec![angle.cos(), angle.sin()]).unwrap();
        store.search(scope, &vector, 0.9, 8).await.into_iter().map(|neighbour| neighbour.id.0).collect()
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
        assert_eq!(all.iter().map(|n| n.id.0).collect::<Vec<_>>(), [4, 2, 1]);
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
                    list.retain(|known| known.id.0 != id);
                    if insert {
                        list.push(point(id, tenant, partition, angle));
                        store.insert(point(id, tenant, partition, angle)).await;
                    } else {
                        store.remove(&[EntryId(id)]).await;
                    }
                    assert_eq!(store.len(), list.len());
                    let here = |known: &&Point| *known.tenant == *tenant && known.partition.0[0] == partition;
                    let probe = Vector::from_unit(vec![angle.cos(), angle.sin()]).unwrap();
                    let mut expected: Vec<u128> = list.iter().filter(here)
                        .filter(|known| known.vector.cosine(&probe) >= 0.9).map(|known| known.id.0).collect();
                    let mut got = Vec::new();
                    let scope = Scope::Partition { tenant, partition: Digest([partition; 32]) };
                    got.extend(store.search(scope, &probe, 0.9, 100).await.iter().map(|n| n.id.0));
                    expected.sort_unstable();
                    got.sort_unstable();
                    assert_eq!(got, expected);
                }
                let state = store.state.read();
                assert!(state.tenants.values().all(|tenant| tenant.order.len() <= 2 * tenant.points + 17));
            });
        }
    }

    #[test]
    fn dot_of_any_width() {
        for width in 0..40u8 {
            let a: Vec<f32> = (0..width).map(f32::from).collect();
            let expected: f32 = a.iter().map(|x| x * x).sum();
            assert!((dot(&a, &a) - expected).abs() <= expected * 1e-6);
        }
    }
}
