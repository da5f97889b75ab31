//! The HTTP face, for the SDKs that people already have: decode, call the same pipeline as gRPC, encode. No decisions.
//!
//! `signalbox_wire::door` has the dialects; `docs/http.md` what clients may expect.

mod ask;
mod counting;
mod embeddings;
mod failure;
mod feedback;
mod generate;
mod headers;
mod models;
mod options;
mod sse;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, Uri, request::Parts},
    response::Response,
    routing::{get, post},
};
use signalbox_mesh::{Http, Manner, error};
use signalbox_proto::common::v1::ErrorReason;
use signalbox_wire::door::Door;
use tonic::{Code, Status, body::Body, service::Routes};

use self::failure::refused;
use crate::Mesh;

/// What is served beside the gRPC services.
pub(crate) fn http(mesh: &Arc<Mesh>) -> Http {
    let router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/responses", post(responses))
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(counting::count))
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/v1/feedback", post(feedback::take))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(model))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(mesh));
    Http { routes: Routes::from(router), manner }
}

async fn chat(State(mesh): State<Arc<Mesh>>, request: Request) -> Response {
    generate::answer(mesh, Door::Chat, request).await
}

async fn responses(State(mesh): State<Arc<Mesh>>, request: Request) -> Response {
    generate::answer(mesh, Door::Responses, request).await
}

async fn messages(State(mesh): State<Arc<Mesh>>, request: Request) -> Response {
    generate::answer(mesh, Door::Messages, request).await
}

async fn model(State(mesh): State<Arc<Mesh>>, Path(id): Path<String>, request: Request) -> Response {
    models::one(mesh, &id, request).await
}

/// The dialect of a request that is not understood yet.
fn door(path: &str, headers: &HeaderMap) -> Door {
    match path {
        "/v1/responses" => Door::Responses,
        path if path.starts_with("/v1/messages") || headers.contains_key("anthropic-version") => {
            Door::Messages
        }
        _ => Door::Chat,
    }
}

/// How the layers before a handler refuse.
fn manner(request: &Parts) -> Manner {
    match door(request.uri.path(), &request.headers) {
        Door::Messages => |status| refused(Door::Messages, status, "").map(Body::new),
        Door::Chat | Door::Responses => |status| refused(Door::Chat, status, "").map(Body::new),
    }
}

async fn nothing(headers: HeaderMap, uri: Uri) -> Response {
    let message = "nothing is served at this path; there are /v1/chat/completions, /v1/responses, /v1/embeddings, /v1/models, \
                   /v1/messages, /v1/messages/count_tokens and /v1/feedback; a base URL ends in /v1 for OpenAI's libraries and without it for \
                   Anthropic's";
    let status = error::status(Code::NotFound, ErrorReason::NotFound, message);
    refused(door(uri.path(), &headers), &status.into(), "")
}

async fn wrong_method(headers: HeaderMap, uri: Uri) -> Response {
    let status = Status::from(error::status(
        Code::Unimplemented,
        ErrorReason::NotSupported,
        "this path is asked with another method: POST, or GET for models",
    ));
    let mut response = refused(door(uri.path(), &headers), &status, "");
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
