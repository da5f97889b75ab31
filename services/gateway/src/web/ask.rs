//! A request before its body is understood: who asks, and the body within its bounds.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use http_body_util::BodyExt as _;
use signalbox_mesh::error;
use signalbox_proto::common::v1::ErrorReason;
use tokio::time::timeout_at;
use tonic::{Code, Status, metadata::MetadataMap};

use crate::{Mesh, caller::Caller};

/// Who asks. A key may come as OpenAI's libraries send it, or as Anthropic's do.
///
/// # Errors
/// As [`Caller::of`].
pub(super) fn caller(parts: &Parts, mesh: &Mesh) -> Result<Caller, Status> {
    let mut metadata = MetadataMap::new();
    let own = parts.headers.get(header::AUTHORIZATION);
    let key = parts.headers.get("x-api-key").or_else(|| parts.headers.get("api-key"));
    if let Some(value) = own {
        metadata.as_mut().insert(header::AUTHORIZATION, value.clone());
    } else if let Some(bearer) = key.and_then(|key| format!("Bearer {}", key.to_str().ok()?).parse().ok()) {
        metadata.insert("authorization", bearer);
    }
    Caller::of(&tonic::Request::from_parts(metadata, parts.extensions.clone(), ()), mesh)
}

/// Reads a body to its end.
///
/// # Errors
/// It is no JSON by its content type, too large, or comes too slowly.
pub(super) async fn body(
    headers: &HeaderMap,
    mut body: Body,
    caller: &Caller,
    mesh: &Mesh,
) -> Result<Bytes, Status> {
    // A web page of somebody else's may send anything but this without being asked for leave first.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(error::invalid(
            "content-type",
            "is not application/json; send the body as JSON and say so",
        ));
    }
    // A few bytes may unpack to any number: what is counted is what is sent.
    let plain = |coding: &HeaderValue| {
        coding
            .to_str()
            .is_ok_and(|coding| coding.trim().is_empty() || coding.trim().eq_ignore_ascii_case("identity"))
    };
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        return Err(error::invalid("content-encoding", "bodies are taken as they are; send it uncompressed"));
    }
    let limits = mesh.config.load().http.clone();
    let most = limits.max_body_bytes;
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most as u64) {
        return Err(too_large(most));
    }
    let end = caller.arrived + Duration::from_millis(mesh.config.load().deadline_ms);
    let idle = Duration::from_millis(limits.body_idle_ms);
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    loop {
        let patience = end.min(tokio::time::Instant::now() + idle);
        let frame = match timeout_at(patience, body.frame()).await {
            Err(_) => return Err(too_slow()),
            Ok(None) => break,
            Ok(Some(frame)) => frame,
        };
        let frame = frame.map_err(|_| Status::cancelled("the request's body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > most {
            return Err(too_large(most));
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { Bytes::from(rest) })
}

fn too_large(most: usize) -> Status {
    let message =
        format!("the body is larger than {most} bytes; send less, or raise gateway.http.max_body_bytes");
    error::status(Code::InvalidArgument, ErrorReason::MessageTooLarge, message).into()
}

fn too_slow() -> Status {
    let message = "the request's body came too slowly; send it at once";
    error::status(Code::DeadlineExceeded, ErrorReason::RequestTimeout, message).into()
}
