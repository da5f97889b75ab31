//! Answers of the layers themselves, to callers that speak gRPC and to those that do not.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::Full;
use tonic::{Code, Status, body::Body};

/// Whether a request is gRPC, by its content type.
pub(crate) fn speaks_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// A whole answer that says only what went wrong, in the caller's dialect.
pub type Manner = fn(&Status) -> Response<Body>;

/// The manner of gRPC.
pub(crate) fn grpc(status: &Status) -> Response<Body> {
    status.clone().into_http()
}

/// The manner of HTTP, to callers of whom nothing is known.
pub(crate) fn plain(status: &Status) -> Response<Body> {
    let code = match status.code() {
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unimplemented => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let text = Bytes::from(format!("{}\n", status.message()));
    let mut response = Response::new(Body::new(Full::new(text)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The end of an answer that was begun: trailers for gRPC; for others nothing but a broken stream can tell that what
/// came is not all.
pub(crate) fn ending(grpc: bool, status: Status) -> Result<Frame<Bytes>, Status> {
    if !grpc {
        return Err(status);
    }
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}
