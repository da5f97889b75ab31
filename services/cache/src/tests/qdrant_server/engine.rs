//! Points in Qdrant's own engine, embedded.

use std::collections::HashMap;

use ::qdrant_client::qdrant::{
    self as grpc, CreateFieldIndexCollection, FieldType, ScoredPoint, Value, condition::ConditionOneOf,
    r#match::MatchValue, point_id::PointIdOptions,
};
use qdrant_edge::{
    Condition, CreateIndex, DEFAULT_VECTOR_NAME, Distance, EdgeConfig, EdgeShard, EdgeVectorParams,
    FieldCondition, FieldIndexOperations, Filter, HasIdCondition, JsonPath, NamedQuery, PayloadFieldSchema,
    PayloadSchemaType, PointId, PointInsertOperations, PointOperations, PointStruct, QueryEnum, QueryRequest,
    Range, ScoringQuery, UpdateOperation, WithPayloadInterface, WithVector, external::uuid::Uuid,
};
use tonic::Status;

use super::Points;

pub(super) struct Shard {
    shard: EdgeShard,
    _folder: tempfile::TempDir,
}

impl Shard {
    pub(super) fn new(width: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let params = EdgeVectorParams::builder(width, Distance::Cosine).build();
        let config = EdgeConfig::builder().vector(DEFAULT_VECTOR_NAME, params).build();
        Self { shard: EdgeShard::new(folder.path(), config).unwrap(), _folder: folder }
    }

    fn update(&self, operation: PointOperations) -> Result<(), Status> {
        self.shard.update(UpdateOperation::PointOperation(operation)).map_err(refused)
    }
}

impl Points for Shard {
    fn index(&mut self, request: &CreateFieldIndexCollection) {
        let schema = match request.field_type() {
            FieldType::Integer => PayloadSchemaType::Integer,
            _ => PayloadSchemaType::Keyword,
        };
        let index = CreateIndex {
            field_name: request.field_name.parse().unwrap(),
            field_schema: Some(PayloadFieldSchema::FieldType(schema)),
        };
        let index = FieldIndexOperations::CreateIndex(index);
        self.shard.update(UpdateOperation::FieldIndexOperation(index)).unwrap();
    }

    fn put(&mut self, id: &str, vector: Vec<f32>, payload: HashMap<String, Value>) {
        let payload = payload.into_iter().map(|(field, value)| (field, value.into_json())).collect();
        let point = PointStruct::new(name(id), vector, serde_json::Value::Object(payload));
        let points = PointInsertOperations::PointsList(vec![point.into()]);
        self.update(PointOperations::UpsertPoints(points)).unwrap();
    }

    fn delete(&mut self, filter: &grpc::Filter) -> Result<(), Status> {
        self.update(PointOperations::DeletePointsByFilter(own(filter)?))
    }

    fn nearest(
        &self,
        filter: &grpc::Filter,
        vector: &[f32],
        least: f32,
        most: usize,
    ) -> Result<Vec<ScoredPoint>, Status> {
        let nearest = QueryEnum::Nearest(NamedQuery::default_dense(vector.to_vec()));
        let found = self.shard.query(QueryRequest {
            prefetches: Vec::new(),
            query: Some(ScoringQuery::Vector(nearest)),
            filter: Some(own(filter)?),
            score_threshold: Some(least.into()),
            limit: most,
            offset: 0,
            params: None,
            with_vector: WithVector::Bool(false),
            with_payload: WithPayloadInterface::Bool(true),
        });
        let points = found.map_err(refused)?.into_iter().map(|point| ScoredPoint {
            id: Some(point.id.to_string().into()),
            score: point.score,
            payload: point
                .payload
                .map(|payload| payload.0.into_iter().map(|(field, value)| (field, value.into())).collect())
                .unwrap_or_default(),
            ..ScoredPoint::default()
        });
        Ok(points.collect())
    }
}

fn refused(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

fn name(id: &str) -> PointId {
    PointId::Uuid(Uuid::parse_str(id).unwrap())
}

/// A filter in the engine's own form.
fn own(filter: &grpc::Filter) -> Result<Filter, Status> {
    let condition = |condition: &grpc::Condition| match &condition.condition_one_of {
        Some(ConditionOneOf::HasId(ids)) => {
            let names = ids.has_id.iter().filter_map(|one| match &one.point_id_options {
                Some(PointIdOptions::Uuid(uuid)) => Some(name(uuid)),
                _ => None,
            });
            Ok(Condition::HasId(names.collect::<HasIdCondition>()))
        }
        Some(ConditionOneOf::Field(field)) => {
            let key = field.key.parse::<JsonPath>().unwrap();
            match (&field.r#match, &field.range) {
                (Some(grpc::Match { match_value: Some(MatchValue::Keyword(word)) }), _) => {
                    Ok(Condition::Field(FieldCondition::new_match(key, word.clone().into())))
                }
                (_, Some(range)) => {
                    let [lt, gt, gte, lte] =
                        [range.lt, range.gt, range.gte, range.lte].map(|bound| bound.map(Into::into));
                    Ok(Condition::Field(FieldCondition::new_range(key, Range { lt, gt, gte, lte })))
                }
                _ => Err(Status::unimplemented("this condition")),
            }
        }
        _ => Err(Status::unimplemented("this condition")),
    };
    let must = filter.must.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    Ok(Filter { must: Some(must), ..Filter::new() })
}
