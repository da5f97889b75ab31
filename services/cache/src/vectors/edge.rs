//! The embedded Qdrant engine: indexed vectors on disk, in this process, for more of them than a scan can bear.
//!
//! What the engine (0.7) leaves to its user is done here. Nothing of it runs in the background: it is optimised now and then, which lets
//! searches and changes through. It panics when it is flushed while something changes it: locks keep them apart. Its log of
//! changes only grows, though nobody reads it: when it is long the engine is opened anew without all but its end, which the numbers of
//! later changes follow from. A cache can bear that what was not flushed is gone after a crash.

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
    Condition, CreateIndex, DEFAULT_VECTOR_NAME, Distance, EdgeConfig, EdgeShard, EdgeVectorParams,
    FieldCondition, FieldIndexOperations, Filter, HnswIndexConfig, JsonPath, KeywordIndexParams, NamedQuery,
    OperationError, OperationResult, Payload, PayloadFieldSchema, PayloadSchemaParams, PointId,
    PointInsertOperations, PointOperations, PointStruct, QuantizationConfig, QuantizationSearchParams,
    QueryEnum, QueryRequest, ScalarQuantizationConfig, ScalarType, ScoringQuery, ScrollRequest, SearchParams,
    UpdateOperation, WalOptions, WithPayloadInterface, WithVector, external::uuid::Uuid,
};
use signalbox_embed::Vector;
use signalbox_mesh::Shutdown;
use tokio::time::timeout;

use super::{
    MOST, Neighbour, Point, Scope, VectorStore,
    field::{ENDS, KEY, PARTITION, TENANT},
    roll::Roll,
};
use crate::{backend::Named, canonical::Digest, entry::EntryId};

/// The order in which points came.
const NUMBER: &str = "number";
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

fn path(field: &str) -> JsonPath {
    JsonPath { first_key: field.to_owned(), rest: Vec::new() }
}

fn is(field: &str, value: String) -> Condition {
    Condition::Field(FieldCondition::new_match(path(field), value.into()))
}

/// The engine's name of a point.
fn name(id: EntryId) -> PointId {
    PointId::Uuid(Uuid::from_u128(id.0))
}

fn id(name: PointId) -> Option<EntryId> {
    match name {
        PointId::Uuid(uuid) => Some(EntryId(uuid.as_u128())),
        PointId::NumId(_) => None,
    }
}

fn payload(point: &Point, number: u64) -> serde_json::Value {
    serde_json::json!({
        TENANT: &*point.tenant,
        PARTITION: format!("{:x}", point.partition),
        KEY: format!("{:x}", point.named.key),
        ENDS: point.ends_unix_ms,
        NUMBER: number,
    })
}

/// What the engine knows of a point.
struct Known<'a> {
    named: Named,
    tenant: &'a str,
    partition: Digest,
    ends_unix_ms: i64,
    number: u64,
}

impl<'a> Known<'a> {
    fn of(name: PointId, payload: &'a Payload) -> Option<Self> {
        let text = |field: &str| payload.0.get(field)?.as_str();
        Some(Self {
            named: Named { id: id(name)?, key: text(KEY)?.parse().ok()? },
            tenant: text(TENANT)?,
            partition: text(PARTITION)?.parse().ok()?,
            ends_unix_ms: payload.0.get(ENDS)?.as_i64()?,
            number: payload.0.get(NUMBER)?.as_u64()?,
        })
    }
}

/// Makes a folder that only its owner reads: what people asked about can be guessed from vectors.
fn make(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The closed parts of the engine's log, in order.
fn closed_parts(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder.join("wal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut parts = Vec::new();
    for entry in entries {
        let entry = entry?;
        let begins = entry.file_name().to_str().and_then(|name| name.strip_prefix("closed-")?.parse().ok());
        parts.extend(begins.map(|begins| (begins, entry.path())));
    }
    parts.sort_unstable();
    Ok(parts)
}

/// Removes what nobody reads again; the last closed part stays, for the engine counts on from it.
fn shorten_log(folder: &Path) -> io::Result<()> {
    let mut parts = closed_parts(folder)?;
    parts.pop();
    parts.into_iter().try_for_each(|(_, path)| fs::remove_file(path))
}

fn log_bytes(folder: &Path) -> u64 {
    let parts = closed_parts(folder).unwrap_or_default();
    parts.iter().filter_map(|(_, path)| path.metadata().ok()).map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 96;

    /// Of which everything is soon too much, and soon indexed.
    fn small() -> EdgeConfig {
        let mut config = config(WIDTH);
        config.wal_options = Some(WalOptions { segment_capacity: 1 << 16, ..WalOptions::default() });
        config.optimizers.indexing_threshold = Some(64);
        config.hnsw_config.full_scan_threshold = 10;
        config
    }

    fn open(folder: &Path, most: usize, now_unix_ms: i64) -> io::Result<Engine> {
        Engine::open(&folder.join("edge"), small(), Roll::new(most, most), now_unix_ms)
    }

    fn at(angle: f32) -> Vec<f32> {
        let mut values = vec![0.0; WIDTH];
        (values[0], values[70]) = (angle.cos(), angle.sin());
        values
    }

    fn point(id: u32, angle: f32) -> Point {
        Point {
            named: Named { id: EntryId(id.into()), key: Digest([9; 32]) },
            tenant: "a".into(),
            partition: Digest([1; 32]),
            vector: Vector::from_unit(at(angle)).unwrap(),
            ends_unix_ms: 10 * i64::from(id),
        }
    }

    fn found(engine: &Engine, angle: f32, limit: usize) -> Vec<u128> {
        let near = engine.search("a", Some(Digest([1; 32])), at(angle), 0.9, limit).unwrap();
        near.iter().map(|neighbour| neighbour.named.id.0).collect()
    }

    /// All around, a thousandth of a turn apart.
    #[expect(clippy::cast_precision_loss, reason = "some thousand")]
    fn turn(id: u32) -> f32 {
        id as f32 * std::f32::consts::TAU / 1_000.0
    }

    #[test]
    fn it_survives_a_restart_without_what_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let engine = open(folder.path(), 100, 0).unwrap();
        for id in [4, 1, 2, 3] {
            assert!(engine.insert(&point(id, 0.0)).unwrap());
        }
        engine.remove("a", &[EntryId(2)]).unwrap();
        engine.remove("b", &[EntryId(3)]).unwrap();
        assert!(open(folder.path(), 100, 0).is_err(), "one process at a time");
        engine.close().unwrap();
        assert!(!engine.insert(&point(5, 0.0)).unwrap(), "nothing is kept after the end");
        drop(engine);
        let engine = open(folder.path(), 2, 10).unwrap();
        let mut there = found(&engine, 0.0, 8);
        there.sort_unstable();
        assert_eq!(there, [3, 4]);
        engine.insert(&point(6, 0.0)).unwrap();
        let mut there = found(&engine, 0.0, 8);
        there.sort_unstable();
        assert_eq!(there, [3, 6], "the oldest went, though its id is higher");
    }

    #[test]
    fn what_cannot_be_read_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let engine = open(folder.path(), 100, 0).unwrap();
        engine.insert(&point(1, 0.0)).unwrap();
        engine.close().unwrap();
        drop(engine);
        let segments = folder.path().join("edge/segments");
        for segment in fs::read_dir(&segments).unwrap() {
            for file in fs::read_dir(segment.unwrap().path()).unwrap() {
                let file = file.unwrap().path();
                if file.is_file() {
                    fs::write(file, b"broken").unwrap();
                }
            }
        }
        let engine = open(folder.path(), 100, 0).unwrap();
        assert_eq!(found(&engine, 0.0, 8), [0u128; 0]);
        engine.insert(&point(2, 0.0)).unwrap();
        assert_eq!(found(&engine, 0.0, 8), [2]);
    }

    #[test]
    fn searches_go_on_while_it_is_optimised_flushed_and_changed() {
        let folder = tempfile::tempdir().unwrap();
        let engine = open(folder.path(), 10_000, 0).unwrap();
        (1..=1_000).for_each(|id| assert!(engine.insert(&point(id, turn(id))).unwrap()));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                engine.optimise().unwrap();
                over.store(true, Ordering::Relaxed);
            });
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if let Some(mut tended) = engine.tended.try_lock() {
                        engine.flush(&mut tended).unwrap();
                    }
                }
            });
            let mut id = 1;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(found(&engine, turn(id), 1), [u128::from(id)]);
                engine.insert(&point(id, turn(id))).unwrap();
                id = id % 1_000 + 1;
            }
        });
        assert!(engine.shard.read().as_ref().unwrap().info().indexed_vectors_count > 0);
        for id in [1, 500, 1_000] {
            assert_eq!(found(&engine, turn(id), 1), [u128::from(id)]);
        }
        engine.remove("a", &[EntryId(500)]).unwrap();
        assert_ne!(found(&engine, turn(500), 1), [500]);
    }

    #[test]
    fn its_log_stays_short_and_later_changes_count() {
        let folder = tempfile::tempdir().unwrap();
        let engine = open(folder.path(), 10_000, 0).unwrap();
        (1..=500).for_each(|id| assert!(engine.insert(&point(id, turn(id))).unwrap()));
        let long = log_bytes(&engine.folder);
        engine.reopen(&mut engine.tended.lock()).unwrap();
        let short = log_bytes(&engine.folder);
        assert!(short <= 1 << 16 && long > 2 * short, "{long} {short}");
        assert_eq!(found(&engine, turn(7), 1), [7]);
        engine.insert(&point(7, turn(900))).unwrap();
        engine.remove("a", &[EntryId(8)]).unwrap();
        assert_eq!(found(&engine, turn(900), 1), [7], "what was there has moved");
        assert!(!found(&engine, turn(8), 20).contains(&8));
        engine.close().unwrap();
        drop(engine);
        let engine = open(folder.path(), 10_000, 0).unwrap();
        assert_eq!(found(&engine, turn(900), 1), [7]);
        assert!(!found(&engine, turn(8), 20).contains(&8));
    }
}
