//! The embedded Qdrant engine: indexed vectors on disk, in this process, for more of them than a scan can bear.
//!
//! What the engine (0.7) leaves to its user is done here. Nothing of it runs in the background: it is optimised now and then, which lets
//! searches and changes through. It panics when it is flushed while something changes it: locks keep them apart. Its log of
//! changes only grows, though nobody reads it: when it is long the engine is opened anew without all but its end, which the numbers of
//! later changes follow from. A cache can bear that what was not flushed is gone after a crash.

mod files;
mod payload;

use std::{
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use qdrant_edge::{
    CreateIndex, DEFAULT_VECTOR_NAME, Distance, EdgeConfig, EdgeShard, EdgeVectorParams,
    FieldIndexOperations, Filter, HnswIndexConfig, KeywordIndexParams, NamedQuery, OperationError,
    OperationResult, PayloadFieldSchema, PayloadSchemaParams, PointInsertOperations, PointOperations,
    PointStruct, QuantizationConfig, QuantizationSearchParams, QueryEnum, QueryRequest,
    ScalarQuantizationConfig, ScalarType, ScoringQuery, ScrollRequest, SearchParams, UpdateOperation,
    WalOptions, WithPayloadInterface, WithVector,
};
use signalbox_embed::Vector;
use signalbox_mesh::Shutdown;
use tokio::time::timeout;

use self::{
    files::{log_bytes, make, shorten_log},
    payload::{Known, id, is, name, path, payload},
};
use super::{
    MOST, Neighbour, Point, Scope, VectorStore,
    field::{PARTITION, TENANT},
    roll::Roll,
};
use crate::{canonical::Digest, entry::EntryId};

/// How often it is optimised, if anything has changed.
const OPTIMISE: Duration = Duration::from_secs(10);
/// Bytes of the engine's log that are borne: some 30,000 changes.
const MOST_LOG: u64 = 64 << 20;
const LOG_SEGMENT: usize = 8 << 20;
/// Points read or removed at a time.
const PAGE: usize = 1_000;

/// Vectors on disk, indexed.
#[derive(Clone)]
pub(crate) struct Edge(Arc<Engine>);

/// The engine and what keeps its callers apart. Whoever takes several of the locks takes them in this order.
struct Engine {
    folder: PathBuf,
    config: EdgeConfig,
    /// Held while it is flushed, optimised or opened anew.
    tended: Mutex<Tended>,
    /// Held while a point comes or goes.
    roll: Mutex<Roll<()>>,
    /// Absent while it is opened anew, and after the end.
    shard: RwLock<Option<EdgeShard>>,
    changes: AtomicU64,
    failing: AtomicBool,
    told: AtomicBool,
    /// Held locked, so that no other process comes near.
    _lock: File,
}

/// How many changes there had been when it was last done.
#[derive(Default)]
struct Tended {
    flushed: u64,
    optimised: u64,
}

impl Edge {
    /// Opens the vectors of a folder, or makes it; what ended meanwhile is left out, and what cannot be read is removed. Blocks.
    ///
    /// # Errors
    /// The folder cannot be used, or another process has it.
    pub(crate) fn open(
        folder: &Path,
        dimensions: usize,
        most: usize,
        most_per_tenant: usize,
        now_unix_ms: i64,
    ) -> io::Result<Self> {
        let roll = Roll::new(most, most_per_tenant);
        Engine::open(folder, config(dimensions), roll, now_unix_ms).map(|engine| Self(Arc::new(engine)))
    }

    /// Optimises it now and then, until the end.
    pub(crate) async fn look_after(self, end: Shutdown) {
        while timeout(OPTIMISE, end.started()).await.is_err() {
            self.optimise().await;
        }
    }

    /// Optimises it, if anything has changed. Minutes for hundreds of thousands of new points; searches and changes go on.
    pub(crate) async fn optimise(&self) {
        self.aside(Engine::optimise).await;
    }

    /// Calls the engine where it blocks nobody; `None` when it fails.
    async fn aside<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Engine) -> OperationResult<T> + Send + 'static,
    ) -> Option<T> {
        let engine = Arc::clone(&self.0);
        let called = tokio::task::spawn_blocking(move || call(&engine)).await;
        let worked = called.ok().and_then(|called| {
            called
                .inspect_err(|error| tracing::debug!(%error, "the embedded vector engine refuses a call"))
                .ok()
        });
        self.0.failing.store(worked.is_none(), Ordering::Relaxed);
        if worked.is_none() && !self.0.told.swap(true, Ordering::Relaxed) {
            tracing::warn!("the embedded vector engine fails: answers by meaning may be missing");
        }
        worked
    }
}

#[tonic::async_trait]
impl VectorStore for Edge {
    async fn insert(&self, point: Point) -> bool {
        self.aside(move |engine| engine.insert(&point)).await.unwrap_or(false)
    }

    async fn search(&self, scope: Scope<'_>, vector: &Vector, at_least: f32, limit: usize) -> Vec<Neighbour> {
        let (tenant, partition) = match scope {
            Scope::Partition { tenant, partition } => (tenant.to_owned(), Some(partition)),
            Scope::Tenant(tenant) => (tenant.to_owned(), None),
        };
        let vector = vector.to_vec();
        let search = move |engine: &Engine| engine.search(&tenant, partition, vector, at_least, limit);
        self.aside(search).await.unwrap_or_default()
    }

    async fn remove(&self, tenant: &str, ids: &[EntryId]) {
        let (tenant, ids) = (tenant.to_owned(), ids.to_vec());
        self.aside(move |engine| engine.remove(&tenant, &ids)).await;
    }

    fn trouble(&self) -> Option<&'static str> {
        self.0.failing.load(Ordering::Relaxed).then_some("off: the embedded vector engine fails")
    }

    async fn flush(&self) {
        self.aside(|engine| match engine.tended.try_lock() {
            Some(mut tended) => engine.flush(&mut tended),
            // Whoever tends it flushes it at the end.
            None => Ok(()),
        })
        .await;
    }

    async fn close(&self) {
        self.aside(Engine::close).await;
    }
}

impl Engine {
    fn open(folder: &Path, config: EdgeConfig, mut roll: Roll<()>, now_unix_ms: i64) -> io::Result<Self> {
        make(folder)?;
        let lock =
            File::options().create(true).truncate(false).write(true).open(folder.with_extension("lock"))?;
        lock.try_lock()?;
        let shard = match load(folder, &config) {
            Ok(shard) => shard,
            Err(error) => {
                // No great loss: vectors come back with their questions.
                tracing::warn!(%error, "the vectors on disk cannot be read: it begins without");
                fs::remove_dir_all(folder)?;
                make(folder)?;
                load(folder, &config).map_err(io::Error::other)?
            }
        };
        restore(&shard, &mut roll, now_unix_ms).map_err(io::Error::other)?;
        Ok(Self {
            folder: folder.to_owned(),
            config,
            tended: Mutex::default(),
            roll: Mutex::new(roll),
            shard: RwLock::new(Some(shard)),
            changes: AtomicU64::new(1),
            failing: AtomicBool::new(false),
            told: AtomicBool::new(false),
            _lock: lock,
        })
    }

    fn insert(&self, point: &Point) -> OperationResult<bool> {
        let mut roll = self.roll.lock();
        let shard = self.shard.read();
        let Some(shard) = &*shard else { return Ok(false) };
        roll.remove(point.named.id);
        let mut gone = Vec::new();
        while let Some(id) = roll.full(&point.tenant) {
            roll.remove(id);
            gone.push(id);
        }
        let number = roll.add(point.named.id, &point.tenant, ());
        self.changes.fetch_add(1, Ordering::Relaxed);
        delete(shard, &gone)?;
        let point = PointStruct::new(name(point.named.id), point.vector.to_vec(), payload(point, number));
        let points = PointInsertOperations::PointsList(vec![point.into()]);
        shard.update(UpdateOperation::PointOperation(PointOperations::UpsertPoints(points)))?;
        Ok(true)
    }

    fn search(
        &self,
        tenant: &str,
        partition: Option<Digest>,
        vector: Vec<f32>,
        at_least: f32,
        limit: usize,
    ) -> OperationResult<Vec<Neighbour>> {
        // While it is opened anew there is nothing to be found, rather than something to wait for.
        let Some(shard) = self.shard.try_read() else { return Ok(Vec::new()) };
        let Some(shard) = &*shard else { return Ok(Vec::new()) };
        let mut conditions = vec![is(TENANT, tenant.to_owned())];
        conditions.extend(partition.map(|partition| is(PARTITION, format!("{partition:x}"))));
        let rescored = QuantizationSearchParams { ignore: false, rescore: Some(true), oversampling: None };
        let found = shard.query(QueryRequest {
            prefetches: Vec::new(),
            query: Some(ScoringQuery::Vector(QueryEnum::Nearest(NamedQuery::default_dense(vector)))),
            filter: Some(Filter { must: Some(conditions), ..Filter::new() }),
            score_threshold: Some(at_least.into()),
            limit: limit.min(MOST),
            offset: 0,
            params: Some(SearchParams { quantization: Some(rescored), ..SearchParams::default() }),
            with_vector: WithVector::Bool(false),
            with_payload: WithPayloadInterface::Bool(true),
        })?;
        // The filter is the engine's to keep; that it was kept is checked here all the same.
        let neighbours = found.into_iter().filter_map(|point| {
            let known = Known::of(point.id, point.payload.as_ref()?)?;
            let here =
                known.tenant == tenant && partition.is_none_or(|partition| partition == known.partition);
            here.then_some(Neighbour { named: known.named, similarity: point.score })
        });
        Ok(neighbours.collect())
    }

    fn remove(&self, tenant: &str, ids: &[EntryId]) -> OperationResult<()> {
        let mut roll = self.roll.lock();
        let own: Vec<EntryId> = ids.iter().copied().filter(|id| roll.has(tenant, *id)).collect();
        own.iter().for_each(|id| drop(roll.remove(*id)));
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.shard.read().as_ref().map_or(Ok(()), |shard| delete(shard, &own))
    }

    /// Writes down what has changed since it was last done.
    fn flush(&self, tended: &mut Tended) -> OperationResult<()> {
        let _unchanged = self.roll.lock();
        let changes = self.changes.load(Ordering::Relaxed);
        if changes != tended.flushed {
            if let Some(shard) = &*self.shard.read() {
                shard.flush();
            }
            tended.flushed = changes;
        }
        Ok(())
    }

    /// Builds indexes and drops what was removed; shortens the log when it is too long.
    fn optimise(&self) -> OperationResult<()> {
        let mut tended = self.tended.lock();
        let changes = self.changes.load(Ordering::Relaxed);
        if changes != tended.optimised {
            if let Some(shard) = &*self.shard.read() {
                shard.optimize()?;
            }
            tended.optimised = changes;
        }
        self.flush(&mut tended)?;
        if log_bytes(&self.folder) > MOST_LOG { self.reopen(&mut tended) } else { Ok(()) }
    }

    /// Opens it anew without most of its log.
    fn reopen(&self, tended: &mut Tended) -> OperationResult<()> {
        self.flush(tended)?;
        let _unchanged = self.roll.lock();
        let mut shard = self.shard.write();
        drop(shard.take());
        *shard = Some(load(&self.folder, &self.config)?);
        Ok(())
    }

    fn close(&self) -> OperationResult<()> {
        let mut tended = self.tended.lock();
        self.flush(&mut tended)?;
        let _unchanged = self.roll.lock();
        drop(self.shard.write().take());
        Ok(())
    }
}

/// As a Qdrant server is set up: a graph for each tenant and none over all, bytes in memory, floats on disk. One thread builds them, so
/// that requests keep theirs.
fn config(dimensions: usize) -> EdgeConfig {
    let graphs =
        HnswIndexConfig { m: 0, payload_m: Some(16), max_indexing_threads: 1, ..HnswIndexConfig::default() };
    let bytes = ScalarQuantizationConfig { r#type: ScalarType::Int8, quantile: None, always_ram: Some(true) };
    EdgeConfig::builder()
        .vector(
            DEFAULT_VECTOR_NAME,
            EdgeVectorParams::builder(dimensions, Distance::Cosine).on_disk(true).build(),
        )
        .on_disk_payload(true)
        .hnsw_config(graphs)
        .quantization_config(QuantizationConfig::from(bytes))
        .wal_options(WalOptions { segment_capacity: LOG_SEGMENT, ..WalOptions::default() })
        .build()
}

/// Opens the engine on a folder; one that it cannot read may make it panic.
fn load(folder: &Path, config: &EdgeConfig) -> OperationResult<EdgeShard> {
    let loaded = catch_unwind(AssertUnwindSafe(|| -> OperationResult<EdgeShard> {
        shorten_log(folder)?;
        let shard = EdgeShard::load(folder, Some(config.clone()))?;
        for (field, is_tenant) in [(TENANT, true), (PARTITION, false)] {
            let field_name = path(field);
            if !shard.info().payload_schema.contains_key(&field_name) {
                let keyword =
                    KeywordIndexParams { is_tenant: Some(is_tenant), ..KeywordIndexParams::default() };
                let schema = PayloadFieldSchema::FieldParams(PayloadSchemaParams::Keyword(keyword));
                let index = CreateIndex { field_name, field_schema: Some(schema) };
                shard
                    .update(UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(index)))?;
            }
        }
        Ok(shard)
    }));
    loaded.unwrap_or_else(|_| Err(OperationError::service_error("the embedded vector engine panicked")))
}

/// Notes the points that are there; removes those that have ended, and those for which there is no more room.
fn restore(shard: &EdgeShard, roll: &mut Roll<()>, now_unix_ms: i64) -> OperationResult<()> {
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    let mut offset = None;
    loop {
        let (page, next) = shard.scroll(ScrollRequest {
            offset,
            limit: Some(PAGE),
            filter: None,
            with_payload: Some(WithPayloadInterface::Bool(true)),
            with_vector: WithVector::Bool(false),
            order_by: None,
        })?;
        for record in page {
            match record.payload.as_ref().and_then(|payload| Known::of(record.id, payload)) {
                Some(known) if known.ends_unix_ms > now_unix_ms => {
                    there.push((known.number, known.named.id, Arc::from(known.tenant)));
                }
                Some(known) => gone.push(known.named.id),
                None => gone.extend(id(record.id)),
            }
        }
        offset = next;
        if offset.is_none() {
            break;
        }
    }
    there.sort_unstable_by_key(|(number, ..)| *number);
    for (number, id, tenant) in &there {
        while let Some(old) = roll.full(tenant) {
            roll.remove(old);
            gone.push(old);
        }
        roll.restore(*number, *id, tenant, ());
    }
    gone.chunks(PAGE).try_for_each(|gone| delete(shard, gone))
}

fn delete(shard: &EdgeShard, ids: &[EntryId]) -> OperationResult<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids = ids.iter().map(|id| name(*id)).collect();
    shard.update(UpdateOperation::PointOperation(PointOperations::DeletePoints { ids }))
}

#[cfg(test)]
mod tests;
