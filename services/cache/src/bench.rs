//! What `examples/cache_bench.rs` cannot reach from the outside: the search alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use signalbox_embed::Vector;
use signalbox_mesh::Random;

use crate::{
    backend::Named,
    canonical::Digest,
    entry::EntryId,
    vectors::{ExactScan, Point, Scope, VectorStore},
};

/// Points of one tenant, in this process, to be searched. They lie in groups around random centres, as questions do.
pub struct Search {
    store: Arc<dyn VectorStore>,
    centres: Vec<Vec<f32>>,
    random: Random,
}

impl Search {
    /// Fills a scan with so many points of one partition.
    pub async fn scanned(points: usize, dimensions: usize) -> Self {
        Self::filled(Arc::new(ExactScan::new(points, points)), points, dimensions).await
    }

    /// Fills the embedded engine with as many, and lets it index them; gives how long that took. `None`: the folder cannot be used.
    #[cfg(feature = "qdrant-edge")]
    pub async fn indexed(
        folder: &std::path::Path,
        points: usize,
        dimensions: usize,
    ) -> Option<(Self, Duration)> {
        let edge = crate::vectors::Edge::open(folder, dimensions, points, points, 0).ok()?;
        let filled = Self::filled(Arc::new(edge.clone()), points, dimensions).await;
        let begun = Instant::now();
        edge.optimise().await;
        Some((filled, begun.elapsed()))
    }

    async fn filled(store: Arc<dyn VectorStore>, points: usize, dimensions: usize) -> Self {
        let random = Random::seeded(1);
        let centre = |_| (0..dimensions).map(|_| gaussian(&random)).collect();
        let centres: Vec<Vec<f32>> = (0..1_000).map(centre).collect();
        let this = Self { store, centres, random };
        for _ in 0..points {
            let named = Named { id: EntryId::draw(&this.random), key: Digest([0; 32]) };
            let Some(vector) = this.vector() else { continue };
            let point = Point {
                named,
                tenant: "a".into(),
                partition: Digest([1; 32]),
                vector,
                ends_unix_ms: i64::MAX,
            };
            this.store.insert(point).await;
        }
        this
    }

    /// Searches once as a lookup does; gives how long it took, and how many it found.
    pub async fn once(&self) -> (Duration, usize) {
        let Some(vector) = self.vector() else { return (Duration::ZERO, 0) };
        let scope = Scope::Partition { tenant: "a", partition: Digest([1; 32]) };
        let begun = Instant::now();
        let found = self.store.search(scope, &vector, 0.75, 8).await;
        (begun.elapsed(), found.len())
    }

    /// A question near a centre.
    fn vector(&self) -> Option<Vector> {
        let centre = &self.centres[self.random.below(self.centres.len())];
        let values: Vec<f32> = centre.iter().map(|value| value + 0.6 * gaussian(&self.random)).collect();
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        Vector::from_unit(values.into_iter().map(|value| value / length).collect()).ok()
    }
}

/// Near enough: the sum of twelve uniform numbers.
fn gaussian(random: &Random) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "between -6 and 6")]
    let value = ((0..12).map(|_| random.f64()).sum::<f64>() - 6.0) as f32;
    value
}
