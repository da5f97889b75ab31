//! Errors on their way out.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use signalbox_mesh::error;
use signalbox_proto::common::v1::ErrorReason;
use signalbox_wire::{
    RequestError,
    door::{Door, Failure},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::headers::REQUEST_ID;

/// The libraries of OpenAI and Anthropic ask again as this says, and only else by the status.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const REASON: HeaderName = HeaderName::from_static("x-signalbox-reason");

/// Makes the answer to a request that failed. An empty id: none was given.
pub(super) fn refused(door: Door, status: &Status, request_id: &str) -> Response {
    with_failure(status, request_id, |failure| {
        let mut response = Response::new(Body::from(failure.body(door)));
        *response.status_mut() =
            StatusCode::from_u16(failure.status(door)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(REASON, HeaderValue::from_static(failure.name()));
        if let Ok(id) = HeaderValue::from_str(request_id)
            && !request_id.is_empty()
        {
            headers.insert(REQUEST_ID, id);
        }
        let again = error::retryable(status);
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(if again { "true" } else { "false" }));
        if let Some(after) = error::retry_after(status) {
            // Whole seconds, rounded up: sooner is too soon.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    })
}

/// Reads a status as the failure that the dialects write.
pub(super) fn with_failure<T>(status: &Status, request_id: &str, then: impl FnOnce(&Failure<'_>) -> T) -> T {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    let field = violations.first().map(|violation| violation.field.as_str());
    let reason = error::reason_of(status).unwrap_or(match status.code() {
        Code::Unavailable => ErrorReason::ServiceUnavailable,
        Code::DeadlineExceeded => ErrorReason::DeadlineExceeded,
        Code::Cancelled => ErrorReason::Cancelled,
        Code::InvalidArgument => ErrorReason::InvalidRequest,
        _ => ErrorReason::Internal,
    });
    then(&Failure { reason, message: status.message(), field, request_id })
}

/// What a dialect's parser refuses.
pub(super) fn unreadable(error: RequestError) -> Status {
    let RequestError { field, message } = error;
    error::invalid(&field, message)
}
