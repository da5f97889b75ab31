//! Vectors, at OpenAI's door.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::HeaderValue,
    response::Response,
};
use signalbox_proto::gateway::v1::EmbedRequest;
use signalbox_wire::{door::Door, openai::embeddings};

use super::{ask, failure::unreadable, headers, models::told, options};
use crate::{Mesh, queries, validate};

/// Turns texts into vectors.
pub(super) async fn embed(State(mesh): State<Arc<Mesh>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut known = None;
    let mut response = told(Door::Chat, &parts, &mesh, async |caller| {
        let wishes = options::read(&parts.headers)?;
        let body = ask::body(&parts.headers, body, &caller, &mesh).await?;
        let asked = embeddings::parse(&body).map_err(unreadable)?;
        let request = EmbedRequest {
            model: asked.model,
            inputs: asked.inputs,
            dimensions: asked.dimensions,
            attribution: wishes.attribution,
            extra: asked.extra,
        };
        validate::embed(&request)?;
        let answer = queries::embed(&mesh, caller, request).await?;
        known = Some((answer.model.clone(), answer.cost_nanousd));
        Ok(embeddings::reply(&answer, asked.base64))
    })
    .await;
    if let Some((model, cost)) = known {
        let fields = response.headers_mut();
        for (name, value) in [("x-signalbox-model", model), ("x-signalbox-cost-usd", headers::usd(cost))] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                fields.insert(name, value);
            }
        }
    }
    response
}
