//! Points in a plain list.

use std::collections::HashMap;

use ::qdrant_client::qdrant::{
    CreateFieldIndexCollection, Filter, ScoredPoint, Value, condition::ConditionOneOf, r#match::MatchValue,
    point_id::PointIdOptions, value,
};
use tonic::Status;

use super::Points;

#[derive(Default)]
pub(super) struct List(HashMap<String, (Vec<f32>, HashMap<String, Value>)>);

impl Points for List {
    fn index(&mut self, _: &CreateFieldIndexCollection) {}

    fn put(&mut self, id: &str, vector: Vec<f32>, payload: HashMap<String, Value>) {
        self.0.insert(id.to_owned(), (vector, payload));
    }

    fn delete(&mut self, filter: &Filter) -> Result<(), Status> {
        self.0.retain(|id, (_, payload)| !matches(filter, id, payload));
        Ok(())
    }

    fn nearest(
        &self,
        filter: &Filter,
        vector: &[f32],
        least: f32,
        most: usize,
    ) -> Result<Vec<ScoredPoint>, Status> {
        let mut found = Vec::new();
        for (id, (own, payload)) in &self.0 {
            let score: f32 = own.iter().zip(vector).map(|(a, b)| a * b).sum();
            if score >= least && matches(filter, id, payload) {
                let point = ScoredPoint { score, payload: payload.clone(), ..ScoredPoint::default() };
                found.push(ScoredPoint { id: Some(id.clone().into()), ..point });
            }
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.truncate(most);
        Ok(found)
    }
}

fn matches(filter: &Filter, id: &str, payload: &HashMap<String, Value>) -> bool {
    filter.must.iter().all(|condition| match &condition.condition_one_of {
        Some(ConditionOneOf::HasId(ids)) => ids
            .has_id
            .iter()
            .any(|one| matches!(&one.point_id_options, Some(PointIdOptions::Uuid(uuid)) if uuid == id)),
        Some(ConditionOneOf::Field(field)) => {
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
        _ => false,
    })
}
