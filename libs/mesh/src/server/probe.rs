//! `GET /healthz` and `GET /readyz`, for supervisors that speak no gRPC.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use tonic::body::Body;

use crate::health::Health;

/// Whether a path is one of the two: answered also under overload, and never a reason to hold up the end.
pub(crate) fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// Answers `/healthz` with 200 while the process can answer at all, `/readyz` with 200 while every part serves and 503 otherwise;
/// what is degraded stands in the lines below.
pub(crate) fn answer(health: &Health, request: &Request<Body>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "ask with GET\n".to_owned());
    }
    if request.uri().path() == "/healthz" {
        return text(StatusCode::OK, "ok\n".to_owned());
    }
    let (ready, details) = health.overall();
    let (status, word) =
        if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    let lines = std::iter::once(word.to_owned()).chain(details);
    text(status, lines.fold(String::new(), |all, line| all + &line + "\n"))
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
