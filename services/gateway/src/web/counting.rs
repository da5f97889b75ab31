//! The tokens of a request, counted before it is asked.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::json;
use signalbox_proto::gateway::v1::CountTokensRequest;
use signalbox_wire::{anthropic, door::Door};

use super::{ask, failure::unreadable, models::told};
use crate::{Mesh, queries};

/// Counts, at Anthropic's door.
pub(super) async fn count(State(mesh): State<Arc<Mesh>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    told(Door::Messages, &parts, &mesh, async |caller| {
        let body = ask::body(&parts.headers, body, &caller, &mesh).await?;
        let mut chat = anthropic::parse(&body, None).map_err(unreadable)?.chat;
        anthropic::forget(&mut chat);
        let counted = queries::count_tokens(&mesh, caller, CountTokensRequest { chat: Some(chat) }).await?;
        Ok(json!({ "input_tokens": counted.input_tokens, "signalbox": { "exact": counted.exact } }))
    })
    .await
}
