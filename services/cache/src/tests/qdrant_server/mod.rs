//! A server that speaks Qdrant's own gRPC, on its own stubs, for the client's side of the contract: over a plain list, and with the cargo
//! feature `qdrant-edge` over Qdrant's own engine. It refuses what the real one would: unknown collections, wrong widths, filters on
//! fields without an index.

#[cfg(feature = "qdrant-edge")]
mod engine;
mod list;

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use ::qdrant_client::qdrant::{
    collections_server::{self, CollectionsServer},
    condition::ConditionOneOf,
    point_id::PointIdOptions,
    points_selector::PointsSelectorOneOf,
    points_server::{self, PointsServer},
    query, vector_input, *,
};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status};

/// A running server. Dropping it ends it, and its connections.
pub(super) struct QdrantServer {
    pub(super) url: String,
    pub(super) engine: Arc<Engine>,
    /// Its own, so that its connections end with it.
    runtime: Option<Runtime>,
}

/// Where the points of a collection are.
trait Points: Send {
    fn index(&mut self, request: &CreateFieldIndexCollection);

    fn put(&mut self, id: &str, vector: Vec<f32>, payload: HashMap<String, Value>);

    fn delete(&mut self, filter: &Filter) -> Result<(), Status>;

    /// The closest first.
    fn nearest(
        &self,
        filter: &Filter,
        vector: &[f32],
        least: f32,
        most: usize,
    ) -> Result<Vec<ScoredPoint>, Status>;
}

#[derive(Default)]
pub(super) struct Engine {
    /// Whether points are kept by Qdrant's own engine.
    #[cfg(feature = "qdrant-edge")]
    own: bool,
    collections: Mutex<HashMap<String, Collection>>,
    /// How long each answer takes.
    pub(super) delay: Mutex<Duration>,
    /// What each search filtered by.
    pub(super) filtered: Mutex<Vec<HashSet<String>>>,
    pub(super) created: Mutex<Vec<CreateCollection>>,
    pub(super) indexed: Mutex<Vec<CreateFieldIndexCollection>>,
}

struct Collection {
    width: usize,
    indexed: HashSet<String>,
    points: Box<dyn Points>,
}

impl Engine {
    fn points(&self, _width: usize) -> Box<dyn Points> {
        #[cfg(feature = "qdrant-edge")]
        if self.own {
            return Box::new(engine::Shard::new(_width));
        }
        Box::new(list::List::default())
    }
}

impl QdrantServer {
    pub(super) async fn start() -> Self {
        Self::with(Arc::default(), "127.0.0.1:0").await
    }

    /// The same over Qdrant's own engine.
    #[cfg(feature = "qdrant-edge")]
    pub(super) async fn on_its_own_engine() -> Self {
        Self::at("127.0.0.1:0").await
    }

    /// The same at an address.
    #[cfg(feature = "qdrant-edge")]
    pub(super) async fn at(address: &str) -> Self {
        Self::with(Arc::new(Engine { own: true, ..Engine::default() }), address).await
    }

    /// Serves what that engine holds.
    pub(super) async fn with(engine: Arc<Engine>, address: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let service = Served(Arc::clone(&engine));
        let server = tonic::transport::Server::builder()
            .add_service(CollectionsServer::new(service.clone()))
            .add_service(PointsServer::new(service));
        let address = address.parse().unwrap();
        let (bound, url) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let listener = signalbox_mesh::listen(address).unwrap();
            bound.send(format!("http://{}", listener.local_addr().unwrap())).unwrap();
            server.serve_with_incoming(listener).await.unwrap();
        });
        Self { url: url.await.unwrap(), engine, runtime: Some(runtime) }
    }

    /// Ends it as a crash would; gives where it was.
    pub(super) async fn kill(&mut self) -> String {
        let runtime = self.runtime.take().unwrap();
        let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(60)));
        ended.await.unwrap();
        self.url.trim_start_matches("http://").to_owned()
    }
}

impl Drop for QdrantServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Served(Arc<Engine>);

impl Served {
    async fn on<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Collection) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let delay = *self.0.delay.lock();
        tokio::time::sleep(delay).await;
        let mut collections = self.0.collections.lock();
        act(collections.get_mut(name).ok_or_else(|| Status::not_found("no such collection"))?)
    }
}

fn id(id: Option<&PointId>) -> Result<String, Status> {
    match id.and_then(|id| id.point_id_options.as_ref()) {
        Some(PointIdOptions::Uuid(uuid)) if uuid.len() == 36 => Ok(uuid.clone()),
        _ => Err(Status::invalid_argument("not a UUID")),
    }
}

impl Collection {
    /// Refuses a filter on what has no index, as a server with strict mode does.
    fn permits(&self, filter: &Filter) -> Result<(), Status> {
        for condition in &filter.must {
            match condition.condition_one_of.as_ref() {
                Some(ConditionOneOf::HasId(ids)) => {
                    ids.has_id.iter().try_for_each(|one| id(Some(one)).map(drop))?;
                }
                Some(ConditionOneOf::Field(field)) if self.indexed.contains(&field.key) => {}
                Some(ConditionOneOf::Field(field)) => {
                    return Err(Status::invalid_argument(format!("no index on {}", field.key)));
                }
                _ => return Err(Status::unimplemented("this condition")),
            }
        }
        Ok(())
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'a>>;

/// Writes out the methods that nobody calls, in the form that the trait's own attribute gives them.
macro_rules! unused {
    ($($method:ident($request:ty) -> $response:ty;)*) => {
        $(
            fn $method<'life0, 'async_trait>(
                &'life0 self,
                _: Request<$request>,
            ) -> Answer<'async_trait, $response>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin(std::future::ready(Err(Status::unimplemented(stringify!($method)))))
            }
        )*
    };
}

#[tonic::async_trait]
impl collections_server::Collections for Served {
    async fn create(
        &self,
        request: Request<CreateCollection>,
    ) -> Result<Response<CollectionOperationResponse>, Status> {
        let request = request.into_inner();
        let Some(vectors_config::Config::Params(params)) =
            request.vectors_config.as_ref().and_then(|config| config.config.clone())
        else {
            return Err(Status::invalid_argument("one vector per point"));
        };
        let mut collections = self.0.collections.lock();
        if collections.contains_key(&request.collection_name) {
            return Err(Status::already_exists("it is there"));
        }
        let width = usize::try_from(params.size).unwrap();
        let collection = Collection { width, indexed: HashSet::new(), points: self.0.points(width) };
        collections.insert(request.collection_name.clone(), collection);
        self.0.created.lock().push(request);
        Ok(Response::new(CollectionOperationResponse { result: true, time: 0.0 }))
    }

    async fn collection_exists(
        &self,
        request: Request<CollectionExistsRequest>,
    ) -> Result<Response<CollectionExistsResponse>, Status> {
        let exists = self.0.collections.lock().contains_key(&request.into_inner().collection_name);
        let result = Some(CollectionExists { exists });
        Ok(Response::new(CollectionExistsResponse { result, time: 0.0 }))
    }

    unused! {
        get(GetCollectionInfoRequest) -> GetCollectionInfoResponse;
        list(ListCollectionsRequest) -> ListCollectionsResponse;
        update(UpdateCollection) -> CollectionOperationResponse;
        delete(DeleteCollection) -> CollectionOperationResponse;
        update_aliases(ChangeAliases) -> CollectionOperationResponse;
        list_collection_aliases(ListCollectionAliasesRequest) -> ListAliasesResponse;
        list_aliases(ListAliasesRequest) -> ListAliasesResponse;
        collection_cluster_info(CollectionClusterInfoRequest) -> CollectionClusterInfoResponse;
        update_collection_cluster_setup(UpdateCollectionClusterSetupRequest) -> UpdateCollectionClusterSetupResponse;
        create_shard_key(CreateShardKeyRequest) -> CreateShardKeyResponse;
        delete_shard_key(DeleteShardKeyRequest) -> DeleteShardKeyResponse;
        list_shard_keys(ListShardKeysRequest) -> ListShardKeysResponse;
    }
}

fn done() -> Response<PointsOperationResponse> {
    let result = UpdateResult { operation_id: Some(1), status: UpdateStatus::Completed.into() };
    Response::new(PointsOperationResponse { result: Some(result), ..PointsOperationResponse::default() })
}

#[tonic::async_trait]
impl points_server::Points for Served {
    async fn upsert(
        &self,
        request: Request<UpsertPoints>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        let request = request.into_inner();
        self.on(&request.collection_name.clone(), |collection| {
            for point in request.points {
                let name = id(point.id.as_ref())?;
                let vector = point.vectors.and_then(|vectors| match vectors.vectors_options? {
                    vectors::VectorsOptions::Vector(vector) => match vector.vector? {
                        vector::Vector::Dense(dense) => Some(dense.data),
                        _ => None,
                    },
                    vectors::VectorsOptions::Vectors(_) => None,
                });
                let vector = vector.filter(|vector| vector.len() == collection.width);
                let vector = vector.ok_or_else(|| Status::invalid_argument("a vector of another width"))?;
                collection.points.put(&name, vector, point.payload);
            }
            Ok(done())
        })
        .await
    }

    async fn delete(
        &self,
        request: Request<DeletePoints>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        let request = request.into_inner();
        self.on(&request.collection_name.clone(), |collection| {
            let Some(PointsSelectorOneOf::Filter(filter)) =
                request.points.and_then(|points| points.points_selector_one_of)
            else {
                return Err(Status::unimplemented("removal without a filter"));
            };
            collection.permits(&filter)?;
            collection.points.delete(&filter)?;
            Ok(done())
        })
        .await
    }

    async fn create_field_index(
        &self,
        request: Request<CreateFieldIndexCollection>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        let request = request.into_inner();
        self.0.indexed.lock().push(request.clone());
        self.on(&request.collection_name, |collection| {
            collection.indexed.insert(request.field_name.clone());
            collection.points.index(&request);
            Ok(done())
        })
        .await
    }

    async fn query(&self, request: Request<QueryPoints>) -> Result<Response<QueryResponse>, Status> {
        let request = request.into_inner();
        let Some(query::Variant::Nearest(VectorInput { variant: Some(vector_input::Variant::Dense(probe)) })) =
            request.query.and_then(|query| query.variant)
        else {
            return Err(Status::unimplemented("this query"));
        };
        let filter = request.filter.unwrap_or_default();
        let fields = filter.must.iter().filter_map(|condition| match &condition.condition_one_of {
            Some(ConditionOneOf::Field(field)) => Some(field.key.clone()),
            _ => None,
        });
        self.0.filtered.lock().push(fields.collect());
        let least = request.score_threshold.unwrap_or(-1.0);
        let limit = usize::try_from(request.limit.unwrap_or(10)).unwrap();
        let result = self.on(&request.collection_name, |collection| {
            collection.permits(&filter)?;
            collection.points.nearest(&filter, &probe.data, least, limit)
        });
        Ok(Response::new(QueryResponse { result: result.await?, ..QueryResponse::default() }))
    }

    unused! {
        get(GetPoints) -> GetResponse;
        update_vectors(UpdatePointVectors) -> PointsOperationResponse;
        delete_vectors(DeletePointVectors) -> PointsOperationResponse;
        set_payload(SetPayloadPoints) -> PointsOperationResponse;
        overwrite_payload(SetPayloadPoints) -> PointsOperationResponse;
        delete_payload(DeletePayloadPoints) -> PointsOperationResponse;
        clear_payload(ClearPayloadPoints) -> PointsOperationResponse;
        delete_field_index(DeleteFieldIndexCollection) -> PointsOperationResponse;
        create_vector_name(CreateVectorNameRequest) -> PointsOperationResponse;
        delete_vector_name(DeleteVectorNameRequest) -> PointsOperationResponse;
        search(SearchPoints) -> SearchResponse;
        search_batch(SearchBatchPoints) -> SearchBatchResponse;
        search_groups(SearchPointGroups) -> SearchGroupsResponse;
        scroll(ScrollPoints) -> ScrollResponse;
        recommend(RecommendPoints) -> RecommendResponse;
        recommend_batch(RecommendBatchPoints) -> RecommendBatchResponse;
        recommend_groups(RecommendPointGroups) -> RecommendGroupsResponse;
        discover(DiscoverPoints) -> DiscoverResponse;
        discover_batch(DiscoverBatchPoints) -> DiscoverBatchResponse;
        count(CountPoints) -> CountResponse;
        update_batch(UpdateBatchPoints) -> UpdateBatchResponse;
        query_batch(QueryBatchPoints) -> QueryBatchResponse;
        query_groups(QueryPointGroups) -> QueryGroupsResponse;
        facet(FacetCounts) -> FacetResponse;
        search_matrix_pairs(SearchMatrixPoints) -> SearchMatrixPairsResponse;
        search_matrix_offsets(SearchMatrixPoints) -> SearchMatrixOffsetsResponse;
    }
}
