//! What may be asked for.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header, request::Parts},
    response::Response,
};
use serde_json::{Value, json};
use signalbox_mesh::error;
use signalbox_proto::{common::v1::ErrorReason, gateway::v1::Model};
use signalbox_wire::door::Door;
use tonic::{Code, Status};

use super::{ask, door, failure::refused, headers};
use crate::{Mesh, caller::Caller, queries};

/// Unix time and its text: models of ours have no date.
const CREATED: i64 = 1_704_067_200;
const CREATED_AT: &str = "2024-01-01T00:00:00Z";

/// Lists models, in the dialect that the caller speaks.
pub(super) async fn list(State(mesh): State<Arc<Mesh>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let door = door(parts.uri.path(), &parts.headers);
    told(door, &parts, &mesh, async |caller| {
        let models = queries::list_models(&mesh, caller).await?.models;
        let list: Vec<Value> = models.iter().map(|model| written(door, model)).collect();
        Ok(match door {
            Door::Messages => json!({
                "first_id": models.first().map(|model| &model.name), "last_id": models.last().map(|model| &model.name),
                "has_more": false, "data": list,
            }),
            Door::Chat | Door::Responses => json!({ "object": "list", "data": list }),
        })
    })
    .await
}

/// Describes one model.
pub(super) async fn one(mesh: Arc<Mesh>, id: &str, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let door = door(parts.uri.path(), &parts.headers);
    told(door, &parts, &mesh, async |caller| {
        let models = queries::list_models(&mesh, caller).await?.models;
        let found = models.iter().find(|model| model.name == id);
        found.map(|model| written(door, model)).ok_or_else(|| {
            let message = format!(
                "there is no model `{}` that this key may ask",
                id.chars().take(256).collect::<String>()
            );
            Status::from(error::status(Code::NotFound, ErrorReason::ModelUnknown, message))
        })
    })
    .await
}

fn written(door: Door, model: &Model) -> Value {
    let more = json!({
        "targets": model.targets, "capabilities": model.capabilities, "simulated": model.simulated,
        "context_window_tokens": model.context_window_tokens,
        "input_nanousd_per_mtok": model.input_nanousd_per_mtok, "output_nanousd_per_mtok": model.output_nanousd_per_mtok,
    });
    match door {
        Door::Messages => json!({
            "type": "model", "id": model.name, "display_name": model.name, "created_at": CREATED_AT, "signalbox": more,
        }),
        Door::Chat | Door::Responses => json!({
            "id": model.name, "object": "model", "created": CREATED, "owned_by": "signalbox", "signalbox": more,
        }),
    }
}

/// Answers a question that is no request for an answer.
pub(super) async fn told(
    door: Door,
    parts: &Parts,
    mesh: &Mesh,
    ask: impl AsyncFnOnce(Caller) -> Result<Value, Status>,
) -> Response {
    let caller = match ask::caller(parts, mesh) {
        Ok(caller) => caller,
        Err(status) => return refused(door, &status, ""),
    };
    let id = caller.context.request_id().to_owned();
    let mut response = match ask(caller).await {
        Ok(value) => {
            let mut response = Response::new(Body::from(value.to_string()));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(status) => refused(door, &status, &id),
    };
    headers::request_id(response.headers_mut(), &id);
    response
}
