//! A point as the engine has it: its name, its payload, and what is asked of that.

use qdrant_edge::{Condition, FieldCondition, JsonPath, Payload, PointId, external::uuid::Uuid};

use crate::{
    backend::Named,
    canonical::Digest,
    entry::EntryId,
    vectors::{
        Point,
        field::{ENDS, KEY, PARTITION, TENANT},
    },
};

/// The order in which points came.
const NUMBER: &str = "number";

pub(super) fn path(field: &str) -> JsonPath {
    JsonPath { first_key: field.to_owned(), rest: Vec::new() }
}

pub(super) fn is(field: &str, value: String) -> Condition {
    Condition::Field(FieldCondition::new_match(path(field), value.into()))
}

/// The engine's name of a point.
pub(super) fn name(id: EntryId) -> PointId {
    PointId::Uuid(Uuid::from_u128(id.0))
}

pub(super) fn id(name: PointId) -> Option<EntryId> {
    match name {
        PointId::Uuid(uuid) => Some(EntryId(uuid.as_u128())),
        PointId::NumId(_) => None,
    }
}

pub(super) fn payload(point: &Point, number: u64) -> serde_json::Value {
    serde_json::json!({
        TENANT: &*point.tenant,
        PARTITION: format!("{:x}", point.partition),
        KEY: format!("{:x}", point.named.key),
        ENDS: point.ends_unix_ms,
        NUMBER: number,
    })
}

/// What the engine knows of a point.
pub(super) struct Known<'a> {
    pub(super) named: Named,
    pub(super) tenant: &'a str,
    pub(super) partition: Digest,
    pub(super) ends_unix_ms: i64,
    pub(super) number: u64,
}

impl<'a> Known<'a> {
    pub(super) fn of(name: PointId, payload: &'a Payload) -> Option<Self> {
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
