//! Where vectors are kept and searched.

#[cfg(feature = "qdrant-edge")]
mod edge;
pub(crate) mod leftover;
mod qdrant;
mod roll;
mod scan;
mod sketch;

use std::sync::Arc;

use signalbox_embed::Vector;

#[cfg(feature = "qdrant-edge")]
pub(crate) use self::edge::Edge;
pub(crate) use self::{qdrant::Qdrant, scan::ExactScan};
use crate::{backend::Named, canonical::Digest, entry::EntryId};

/// What a point carries in an engine of Qdrant's, beside its vector.
mod field {
    pub(super) const TENANT: &str = "tenant";
    pub(super) const PARTITION: &str = "partition";
    pub(super) const KEY: &str = "key";
    pub(super) const ENDS: &str = "ends_unix_ms";
}

/// A question's vector and where it may be compared.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) named: Named,
    pub(crate) tenant: Arc<str>,
    pub(crate) partition: Digest,
    pub(crate) vector: Vector,
    /// When its entry ends; a store may remove it then.
    pub(crate) ends_unix_ms: i64,
}

/// Where a search looks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope<'a> {
    /// Questions asked by the same tenant in the same setting.
    Partition { tenant: &'a str, partition: Digest },
    /// All questions of a tenant: for removal only, never for an answer.
    Tenant(&'a str),
}

/// Most points that one search gives, whatever its limit.
pub(crate) const MOST: usize = 10_000;

/// A point close to what was searched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Neighbour {
    pub(crate) named: Named,
    /// Cosine.
    pub(crate) similarity: f32,
}

/// A store of vectors of one embedding model.
///
/// - A point that was inserted is found by the next search in its scope, unless it was evicted; an id that is inserted again
///   moves.
/// - A search never gives a point of another scope than it names, and gives the closest first.
/// - What is kept is bounded, in total and per tenant; eviction takes from the tenant that has the most, its oldest first.
/// - It may hold points whose entry is gone: who searches checks, and removes them.
/// - Stores may be remote: a failure is an empty answer, and insertion is an attempt.
#[tonic::async_trait]
pub(crate) trait VectorStore: Send + Sync + 'static {
    /// Adds a point; false if that is certain not to have worked.
    async fn insert(&self, point: Point) -> bool;

    /// Finds the points of at least that similarity, the closest first, at most `limit` of them, and at most [`MOST`].
    async fn search(&self, scope: Scope<'_>, vector: &Vector, at_least: f32, limit: usize) -> Vec<Neighbour>;

    /// Removes points of a tenant; unknown ids are ignored.
    async fn remove(&self, tenant: &str, ids: &[EntryId]);

    /// Why there is nothing to be found in it now, in bounded words.
    fn trouble(&self) -> Option<&'static str>;

    /// Writes down what would be lost with the process, unless that is being done.
    async fn flush(&self);

    /// Writes down everything, for the last time: what comes after is not kept.
    async fn close(&self) {
        self.flush().await;
    }
}
