//! Statuses with machine-readable details, and the one decision about what may be retried.
//!
//! Every error carries `google.rpc.ErrorInfo` with the domain [`DOMAIN`] and a reason of
//! [`ErrorReason`], and `RetryInfo`, `BadRequest` and `QuotaFailure` where they apply.

use std::time::Duration;

use signalbox_proto::common::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every `ErrorInfo` of the mesh.
pub const DOMAIN: &str = "signalbox";

const PREFIX: &str = "ERROR_REASON_";
/// Longest message, in bytes: it travels in a header, and headers are bounded.
const MESSAGE_MOST: usize = 2_048;
/// Longest value in an error's metadata, in bytes.
const VALUE_MOST: usize = 512;
/// The delay that callers are told when the mesh itself is short of something.
pub(crate) const RETRY_SOON: Duration = Duration::from_millis(200);

/// Begins a status. The message says what to change; it is cut at 2,048 bytes.
#[must_use]
pub fn status(code: Code, reason: ErrorReason, message: impl Into<String>) -> StatusBuilder {
    let message = bounded(message.into(), MESSAGE_MOST);
    let name = reason.as_str_name();
    let mut details = ErrorDetails::new();
    details.set_error_info(name.strip_prefix(PREFIX).unwrap_or(name), DOMAIN, []);
    StatusBuilder { code, message, details }
}

/// An error about one field of a request: `INVALID_ARGUMENT` with `INVALID_REQUEST` and `BadRequest`.
#[must_use]
pub fn invalid(field: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    status(Code::InvalidArgument, ErrorReason::InvalidRequest, format!("{field}: {description}"))
        .with_bad_request(field, description)
        .into()
}

/// A fault of ours: `INTERNAL`. The message must hold nothing of the request.
#[must_use]
pub fn internal(message: impl Into<String>) -> Status {
    status(Code::Internal, ErrorReason::Internal, message).into()
}

/// A status in the making; `into()` ends it.
#[derive(Debug, Clone)]
pub struct StatusBuilder {
    code: Code,
    message: String,
    details: ErrorDetails,
}

impl StatusBuilder {
    /// Adds a fact to the `ErrorInfo`. The value is cut at 512 bytes.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        if let Some(info) = self.details.error_info() {
            let mut info = info.clone();
            info.metadata.insert(key.into(), bounded(value.into(), VALUE_MOST));
            self.details.set_error_info(info.reason, info.domain, info.metadata);
        }
        self
    }

    /// Adds `RetryInfo`: when it is worth asking again.
    #[must_use]
    pub fn with_retry(mut self, after: Duration) -> Self {
        self.details.set_retry_info(Some(after));
        self
    }

    /// Adds a `BadRequest` violation: the path of the field at fault and what is wrong with it.
    #[must_use]
    pub fn with_bad_request(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.details.add_bad_request_violation(field, bounded(description.into(), VALUE_MOST));
        self
    }

    /// Adds a `QuotaFailure` violation: whose quota, and which.
    #[must_use]
    pub fn with_quota(mut self, subject: impl Into<String>, description: impl Into<String>) -> Self {
        self.details.add_quota_failure_violation(subject, bounded(description.into(), VALUE_MOST));
        self
    }
}

impl From<StatusBuilder> for Status {
    fn from(builder: StatusBuilder) -> Self {
        Status::with_error_details(builder.code, builder.message, builder.details)
    }
}

/// Reads the reason of a status; `None` when it is not from the mesh, or newer than this build.
#[must_use]
pub fn reason_of(status: &Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
    ErrorReason::from_str_name(&format!("{PREFIX}{}", info.reason))
}

/// Reads a fact of a status's `ErrorInfo`.
#[must_use]
pub fn metadata_of(status: &Status, key: &str) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == DOMAIN)?.metadata.remove(key)
}

/// Reads how long to wait before asking again; `None` when the status does not say.
#[must_use]
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// Decides whether the same call may be sent again: the cause is passing and nothing was delivered. The only such
/// decision in the mesh; budgets and deadlines come on top.
#[must_use]
pub fn retryable(status: &Status) -> bool {
    use ErrorReason as R;
    match reason_of(status) {
        Some(reason) => matches!(
            reason,
            R::Overloaded
                | R::Draining
                | R::ServiceUnavailable
                | R::RateLimited
                | R::AllowanceExhausted
                | R::ProviderRateLimited
                | R::ProviderUnavailable
                | R::ProviderTimeout
                | R::ProviderConnection
                | R::ProviderProtocol
        ),
        // A proxy or a foreign peer: only the code can be judged.
        None => status.code() == Code::Unavailable,
    }
}

/// The peer cannot be reached, or the connection to it broke.
pub(crate) fn unreachable(service: &str, message: impl Into<String>, after: Duration) -> Status {
    status(Code::Unavailable, ErrorReason::ServiceUnavailable, message)
        .with_metadata("service", service)
        .with_retry(after)
        .into()
}

pub(crate) fn cancelled(message: impl Into<String>) -> Status {
    status(Code::Cancelled, ErrorReason::Cancelled, message).into()
}

pub(crate) fn deadline_exceeded(message: impl Into<String>) -> Status {
    status(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, message).into()
}

pub(crate) fn too_large(bytes: u64, limit: usize) -> Status {
    let message = format!("a message of {bytes} bytes is larger than the limit of {limit} bytes");
    status(
        Code::InvalidArgument,
        ErrorReason::MessageTooLarge,
        format!("{message}; send less, or raise max_message_bytes"),
    )
    .with_metadata("limit_bytes", limit.to_string())
    .with_bad_request("message", message)
    .into()
}

fn bounded(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_survive_the_way_through_headers() {
        let sent: Status =
            status(Code::ResourceExhausted, ErrorReason::RateLimited, "60 requests per minute")
                .with_metadata("limit", "rpm")
                .with_retry(Duration::from_millis(1_500))
                .with_quota("tenant:acme", "requests per minute")
                .into();
        let headers = sent.into_http::<()>();
        let got = Status::from_header_map(headers.headers()).unwrap();

        assert_eq!(got.code(), Code::ResourceExhausted);
        assert_eq!(reason_of(&got), Some(ErrorReason::RateLimited));
        assert_eq!(retry_after(&got), Some(Duration::from_millis(1_500)));
        assert_eq!(metadata_of(&got, "limit").as_deref(), Some("rpm"));
        let quota = got.get_details_quota_failure().unwrap();
        assert_eq!(quota.violations[0].subject, "tenant:acme");
    }

    #[test]
    fn a_field_error_names_the_field() {
        let status = invalid("sampling.temperature", "must be between 0 and 2");
        assert_eq!(status.message(), "sampling.temperature: must be between 0 and 2");
        assert_eq!(reason_of(&status), Some(ErrorReason::InvalidRequest));
        let bad = status.get_details_bad_request().unwrap();
        assert_eq!(bad.field_violations[0].field, "sampling.temperature");
    }

    #[test]
    fn what_may_be_retried() {
        let of = |code, reason| retryable(&status(code, reason, "").into());
        assert!(of(Code::Unavailable, ErrorReason::Overloaded));
        assert!(of(Code::ResourceExhausted, ErrorReason::RateLimited));
        assert!(!of(Code::Unavailable, ErrorReason::StreamBroken), "something was delivered");
        assert!(!of(Code::Unavailable, ErrorReason::RetryBudgetExhausted));
        assert!(!of(Code::ResourceExhausted, ErrorReason::BudgetExhausted));
        assert!(!of(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded));
        assert!(retryable(&Status::unavailable("from a proxy")));
        assert!(!retryable(&Status::internal("from a proxy")));
    }

    #[test]
    fn foreign_domains_have_no_reason() {
        let mut details = ErrorDetails::new();
        details.set_error_info("OVERLOADED", "example.com", []);
        let foreign = Status::with_error_details(Code::Internal, "", details);
        assert_eq!(reason_of(&foreign), None);
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let long: Status = status(Code::Internal, ErrorReason::Internal, "ä".repeat(3_000)).into();
        assert_eq!(long.message().len(), MESSAGE_MOST);
    }
}
