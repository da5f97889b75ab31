//! A server that speaks Qdrant's own gRPC, on its own stubs, over a plain list: for the client's side of the contract. It refuses what
//! the real one would: unknown collections, wrong widths, filters on fields without an index.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use ::qdrant_client::qdrant::{
    collections_server::{Collections, CollectionsServer},
    condition::ConditionOneOf,
    r#match::MatchValue,
    point_id::PointIdOptions,
    points_selector::PointsSelectorOneOf,
    points_server::{Points, PointsServer},
    query, value, vector_input, *,
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

#[derive(Default)]
pub(super) struct Engine {
    collections: Mutex<HashMap<String, Collection>>,
    /// How long each answer takes.
    pub(super) delay: Mutex<Duration>,
    /// What each search filtered by.
    pub(super) filtered: Mutex<Vec<HashSet<String>>>,
    pub(super) created: Mutex<Vec<CreateCollection>>,
    pub(super) indexed: Mutex<Vec<CreateFieldIndexCollection>>,
}

#[derive(Default)]
struct Collection {
    width: usize,
    indexed: HashSet<String>,
    points: HashMap<String, (Vec<f32>, HashMap<String, Value>)>,
}

impl QdrantServer {
    pub(super) async fn start() -> Self {
        Self::with(Arc::default(), "127.0.0.1:0").await
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
    fn matches(&self, filter: &Filter, name: &str, payload: &HashMap<String, Value>) -> Result<bool, Status> {
        for condition in &filter.must {
            let met = match condition.condition_one_of.as_ref() {
                Some(ConditionOneOf::HasId(ids)) => ids
                    .has_id
                    .iter()
                    .map(|one| id(Some(one)))
                    .collect::<Result<Vec<_>, _>>()?
                    .contains(&name.to_owned()),
                Some(ConditionOneOf::Field(field)) => {
                    if !self.indexed.contains(&field.key) {
                        return Err(Status::invalid_argument(format!("no index on {}", field.key)));
                    }
                    let value = payload.get(&field.key).and_then(|value| value.kind.clone());
                    match (&field.r#match, &field.range, value) {
                        (Some(wanted), _, Some(value::Kind::StringValue(text))) => {
                            matches!(&wanted.match_value, Some(MatchValue::Keyword(word)) if *word == text)
                        }
                        (_, Some(range), Some(value::Kind::IntegerValue(number))) => {
                            range.lt.is_none_or(|most| (number as f64) < most)
                        }
                        _ => false,
                    }
                }
                _ => return Err(Status::unimplemented("this condition")),
            };
            if !met {
                return Ok(false);
            }
        }
        Ok(true)
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
impl Collections for Served {
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
        let collection = Collection { width: usize::try_from(params.size).unwrap(), ..Collection::default() };
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
impl Points for Served {
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
                collection.points.insert(name, (vector, point.payload));
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
            let mut gone = Vec::new();
            for (name, (_, payload)) in &collection.points {
                if collection.matches(&filter, name, payload)? {
                    gone.push(name.clone());
                }
            }
            gone.iter().for_each(|name| drop(collection.points.remove(name)));
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
            let mut found = Vec::new();
            for (name, (vector, payload)) in &collection.points {
                let score: f32 = vector.iter().zip(&probe.data).map(|(a, b)| a * b).sum();
                if score >= least && collection.matches(&filter, name, payload)? {
                    let point = ScoredPoint { score, payload: payload.clone(), ..ScoredPoint::default() };
                    found.push(ScoredPoint { id: Some(name.clone().into()), ..point });
                }
            }
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found.truncate(limit);
            Ok(found)
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
