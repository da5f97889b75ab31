//! Vectors in a Qdrant server that replicas share, over its own gRPC.
//!
//! One collection per embedding model, named by the model's hash. Tenant and partition are payload, both indexed, the tenant as such, so that
//! Qdrant lays each tenant's vectors side by side and gives each a graph of its own; every search and removal names the tenant.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use qdrant_client::{
    Qdrant as Client, QdrantError,
    qdrant::{
        Condition, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder, DeletePointsBuilder, Distance,
        FieldType, Filter, HnswConfigDiffBuilder, IntegerIndexParamsBuilder, KeywordIndexParamsBuilder,
        PointId, PointStruct, QuantizationType, QueryPointsBuilder, Range, ScalarQuantizationBuilder,
        ScoredPoint, UpsertPointsBuilder, Value, VectorParamsBuilder, point_id::PointIdOptions, value::Kind,
    },
};
use signalbox_embed::Vector;
use signalbox_mesh::{Clock, Shutdown};
use tokio::time::timeout;

use super::{
    MOST, Neighbour, Point, Scope, VectorStore,
    field::{ENDS, KEY, PARTITION, TENANT},
};
use crate::{
    backend::Named, canonical::Digest, config, embedding::Hash, entry::EntryId, error::Error, fuse::Fuse,
};

/// How often points are removed whose entries have ended.
const SWEEP: Duration = Duration::from_secs(60);

/// The way to a collection. Clones are the same.
#[derive(Clone)]
pub(crate) struct Qdrant(Arc<Inner>);

struct Inner {
    client: Client,
    collection: String,
    dimensions: u64,
    settings: config::Qdrant,
    fuse: Fuse,
    clock: Arc<dyn Clock>,
    /// The collection is there.
    ready: AtomicBool,
}

impl Qdrant {
    /// Makes the way and, beside everything else, the collection; must be called on a runtime.
    ///
    /// # Errors
    /// The address or the key cannot be read.
    pub(crate) fn new(
        settings: &config::Qdrant,
        model: &Hash,
        dimensions: usize,
        clock: Arc<dyn Clock>,
        shutdown: &Shutdown,
    ) -> Result<Self, Error> {
        let Some(url) = &settings.url else {
            return Err(Error::Config("cache.qdrant.url is missing; give it as http://host:6334".into()));
        };
        let patience = Duration::from_millis(settings.patience_ms);
        let mut client = Client::from_url(url)
            .timeout(patience)
            .connect_timeout(patience)
            .keep_alive_while_idle()
            .skip_compatibility_check();
        client.set_pool_size(settings.connections);
        if let Some(key) =
            settings.api_key().map_err(|problem| Error::Config(format!("cache.qdrant: {problem}")))?
        {
            client.set_api_key(key.expose());
        }
        let client = client.build().map_err(|_| {
            Error::Config("cache.qdrant.url is no address of the form http://host:6334".into())
        })?;
        let hash: String = model[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let this = Self(Arc::new(Inner {
            client,
            collection: format!("{}-{hash}", settings.collection),
            dimensions: dimensions as u64,
            fuse: Fuse::new("qdrant", settings.failures, Duration::from_millis(settings.open_ms)),
            settings: settings.clone(),
            clock,
            ready: AtomicBool::new(false),
        }));
        shutdown.spawn(this.clone().look_after(shutdown.clone()));
        Ok(this)
    }

    /// Makes the collection, brings the connections back, removes what has ended.
    async fn look_after(self, end: Shutdown) {
        let open = Duration::from_millis(self.0.settings.open_ms);
        let mut swept = tokio::time::Instant::now();
        loop {
            if !self.0.ready.load(Ordering::Acquire) || self.0.fuse.is_open() {
                let prepared = self.ask(self.0.settings.patience_ms, self.prepare()).await.is_some();
                self.0.ready.fetch_or(prepared, Ordering::AcqRel);
            } else if swept.elapsed() >= SWEEP {
                swept = tokio::time::Instant::now();
                self.sweep().await;
            }
            tokio::select! {
                () = end.started() => return,
                () = tokio::time::sleep(open) => {}
            }
        }
    }

    /// Makes the collection and its indexes where they are missing.
    async fn prepare(&self) -> Result<(), QdrantError> {
        let Inner { client, collection, settings, .. } = &*self.0;
        // Each call takes the next connection: so all of them are there before a lookup needs one.
        let mut exists = false;
        for _ in 0..settings.connections.max(1) {
            exists = client.collection_exists(collection).await?;
        }
        if !exists {
            // No graph over all tenants, which nobody searches; one for each of them.
            let graphs = HnswConfigDiffBuilder::default().m(0).payload_m(16);
            let mut wish = CreateCollectionBuilder::new(collection)
                .vectors_config(
                    VectorParamsBuilder::new(self.0.dimensions, Distance::Cosine).on_disk(settings.on_disk),
                )
                .hnsw_config(graphs)
                .replication_factor(settings.replication_factor)
                .write_consistency_factor(settings.write_consistency_factor)
                .on_disk_payload(true);
            if settings.quantise {
                let bytes = ScalarQuantizationBuilder::default().r#type(QuantizationType::Int8.into());
                wish = wish.quantization_config(bytes.always_ram(true));
            }
            if let Some(shards) = settings.shards {
                wish = wish.shard_number(shards);
            }
            let made = client.create_collection(wish).await;
            // Another replica may have been faster.
            if made.is_err() && !client.collection_exists(collection).await? {
                made?;
            }
        }
        let fields =
            [(TENANT, FieldType::Keyword), (PARTITION, FieldType::Keyword), (ENDS, FieldType::Integer)];
        for (field, kind) in fields {
            let index = CreateFieldIndexCollectionBuilder::new(collection, field, kind).wait(true);
            let index = match field {
                TENANT => index.field_index_params(KeywordIndexParamsBuilder::default().is_tenant(true)),
                ENDS => index.field_index_params(IntegerIndexParamsBuilder::new(false, true)),
                _ => index,
            };
            client.create_field_index(index).await?;
        }
        Ok(())
    }

    async fn sweep(&self) {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds fit for a quarter of a million years")]
        let now = self.0.clock.unix_ms() as f64;
        let ended = Filter::must([Condition::range(ENDS, Range { lt: Some(now), ..Range::default() })]);
        let removal = DeletePointsBuilder::new(&self.0.collection).points(ended);
        self.ask(self.0.settings.patience_ms, self.0.client.delete_points(removal)).await;
    }

    /// Asks Qdrant; `None` when it does not answer in time, or refuses. Errors are not shown: they may hold what was sent.
    async fn ask<T>(&self, most_ms: u64, call: impl Future<Output = Result<T, QdrantError>>) -> Option<T> {
        let permit = self.0.fuse.admit()?;
        match timeout(Duration::from_millis(most_ms), call).await {
            Ok(Ok(answer)) => {
                permit.worked();
                Some(answer)
            }
            Ok(Err(QdrantError::ResponseError { status })) => {
                tracing::debug!(code = ?status.code(), "qdrant refuses a call of the cache");
                permit.failed();
                None
            }
            Ok(Err(_)) | Err(_) => {
                permit.failed();
                None
            }
        }
    }

    /// Waits until it can be used.
    #[cfg(test)]
    pub(crate) async fn prepared(&self) {
        while self.trouble().is_some() {
            tokio::task::yield_now().await;
        }
    }

    fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }
}

#[tonic::async_trait]
impl VectorStore for Qdrant {
    async fn insert(&self, point: Point) -> bool {
        if !self.is_ready() {
            return false;
        }
        let payload: HashMap<String, Value> = HashMap::from([
            (TENANT.to_owned(), (*point.tenant).into()),
            (PARTITION.to_owned(), format!("{:x}", point.partition).into()),
            (KEY.to_owned(), format!("{:x}", point.named.key).into()),
            (ENDS.to_owned(), point.ends_unix_ms.into()),
        ]);
        let point = PointStruct::new(point_id(point.named.id), point.vector.to_vec(), payload);
        let wish = UpsertPointsBuilder::new(&self.0.collection, vec![point]).wait(true);
        self.ask(self.0.settings.patience_ms, self.0.client.upsert_points(wish)).await.is_some()
    }

    async fn search(&self, scope: Scope<'_>, vector: &Vector, at_least: f32, limit: usize) -> Vec<Neighbour> {
        if !self.is_ready() {
            return Vec::new();
        }
        let (tenant, partition) = match scope {
            Scope::Partition { tenant, partition } => (tenant, Some(partition)),
            Scope::Tenant(tenant) => (tenant, None),
        };
        let mut conditions = vec![Condition::matches(TENANT, tenant.to_owned())];
        conditions.extend(partition.map(|partition| Condition::matches(PARTITION, format!("{partition:x}"))));
        let query = QueryPointsBuilder::new(&self.0.collection)
            .query(vector.to_vec())
            .filter(Filter::must(conditions))
            .score_threshold(at_least)
            .limit(limit.min(MOST) as u64)
            .with_payload(true);
        let most_ms = match scope {
            Scope::Partition { .. } => self.0.settings.deadline_ms,
            Scope::Tenant(_) => self.0.settings.patience_ms,
        };
        let found = self.ask(most_ms, self.0.client.query(query)).await;
        // The filter is Qdrant's to keep; that it was kept is checked here all the same.
        found
            .into_iter()
            .flat_map(|found| found.result)
            .filter_map(|p| neighbour(&p, tenant, partition))
            .collect()
    }

    async fn remove(&self, tenant: &str, ids: &[EntryId]) {
        if !self.is_ready() || ids.is_empty() {
            return;
        }
        let which = Filter::must([
            Condition::matches(TENANT, tenant.to_owned()),
            Condition::has_id(ids.iter().map(|id| point_id(*id))),
        ]);
        let removal = DeletePointsBuilder::new(&self.0.collection).points(which).wait(true);
        self.ask(self.0.settings.patience_ms, self.0.client.delete_points(removal)).await;
    }

    fn trouble(&self) -> Option<&'static str> {
        (self.0.fuse.is_open() || !self.is_ready()).then_some("off: qdrant does not answer")
    }

    async fn flush(&self) {}
}

/// Qdrant's name of a point: the entry's id, written as a UUID.
fn point_id(id: EntryId) -> PointId {
    let hex = id.to_string();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-").into()
}

fn neighbour(point: &ScoredPoint, tenant: &str, partition: Option<Digest>) -> Option<Neighbour> {
    let text = |field: &str| match point.payload.get(field)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text.as_str()),
        _ => None,
    };
    if text(TENANT)? != tenant || partition.is_some_and(|own| text(PARTITION) != Some(&format!("{own:x}"))) {
        return None;
    }
    let PointIdOptions::Uuid(uuid) = point.id.as_ref()?.point_id_options.as_ref()? else { return None };
    let id = uuid.replace('-', "").parse().ok()?;
    Some(Neighbour { named: Named { id, key: text(KEY)?.parse().ok()? }, similarity: point.score })
}
