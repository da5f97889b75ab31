//! How good an earlier answer was. No dialect has a place for that, so the form is that of the gRPC contract.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::json;
use signalbox_mesh::error;
use signalbox_proto::gateway::v1::FeedbackRequest;
use signalbox_wire::door::Door;
use tonic::Status;

use super::{ask, models::told};
use crate::{Mesh, queries};

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scored {
    request_id: String,
    score: f64,
    kind: Option<String>,
    entry_id: Option<String>,
}

/// Takes a score.
pub(super) async fn take(State(mesh): State<Arc<Mesh>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    told(Door::Chat, &parts, &mesh, async |caller| {
        let body = ask::body(&parts.headers, body, &caller, &mesh).await?;
        let scored = read(&body)?;
        let answer = json!({ "object": "feedback", "request_id": scored.request_id, "score": scored.score });
        queries::feedback(&mesh, caller, scored).await.map(|_| answer)
    })
    .await
}

fn read(body: &[u8]) -> Result<FeedbackRequest, Status> {
    let Scored { request_id, score, kind, entry_id } = serde_json::from_slice(body).map_err(|problem| {
        error::invalid(
            "body",
            format!("{problem}; send {{\"request_id\": the answer's, \"score\": -1 to 1, \"kind\": a word if you like}}"),
        )
    })?;
    Ok(FeedbackRequest { request_id, score, kind, entry_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_read_and_what_is_wrong_with_it_is_said() {
        let whole = br#"{"request_id":"r1","score":-1,"kind":"thumbs","entry_id":"e1"}"#;
        let expected = FeedbackRequest {
            request_id: "r1".into(),
            score: -1.0,
            kind: Some("thumbs".into()),
            entry_id: Some("e1".into()),
        };
        assert_eq!(read(whole).unwrap(), expected);
        let short = FeedbackRequest { kind: None, entry_id: None, ..expected };
        assert_eq!(read(br#"{"request_id":"r1","score":-1.0}"#).unwrap(), short);
        for (body, says) in [
            (&br#"{"request_id":"r1"}"#[..], "missing field `score`"),
            (br#"{"request_id":"r1","score":1,"stars":5}"#, "unknown field `stars`"),
            (br#"{"request_id":"r1","score":"good"}"#, "invalid type"),
            (b"good", "-1 to 1"),
        ] {
            let status = read(body).unwrap_err();
            assert!(status.message().contains(says), "{}", status.message());
        }
    }
}
