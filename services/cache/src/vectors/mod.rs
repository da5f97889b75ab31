//! Where vectors are kept and searched.

mod scan;

use std::sync::Arc;

use signalbox_embed::Vector;

pub(crate) use self::scan::ExactScan;
use crate::{canonical::Digest, entry::EntryId};

/// A question's vector and where it may be compared.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) id: EntryId,
    pub(crate) tenant: Arc<str>,
    pub(crate) partition: Digest,
    pub(crate) vector: Vector,
}

/// Where a search looks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope<'a> {
    /// Questions asked by the same tenant in the same setting.
    Partition { tenant: &'a str, partition: Digest },
    /// All questions of a tenant: for removal only, never for an answer.
    Tenant(&'a str),
}

/// A point close to what was searched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Neighbour {
    pub(crate) id: EntryId,
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
    /// Adds a point.
    async fn insert(&self, point: Point);

    /// Finds the points of at least that similarity, the closest first, at most `limit` of them.
    async fn search(&self, scope: Scope<'_>, vector: &Vector, at_least: f32, limit: usize) -> Vec<Neighbour>;

    /// Removes points; unknown ids are ignored.
    async fn remove(&self, ids: &[EntryId]);
}
