//! Errors in the dialects' own forms.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::ErrorReason;

use super::Door;

/// Is a failure as the mesh knows it.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// Its cause.
    pub reason: ErrorReason,
    /// What to change.
    pub message: &'a str,
    /// The request's field at fault, by its JSON path.
    pub field: Option<&'a str>,
    /// The mesh's id of the request. Empty: none was given yet.
    pub request_id: &'a str,
}

impl Failure<'_> {
    /// Returns the HTTP status.
    #[must_use]
    pub fn status(&self, door: Door) -> u16 {
        use ErrorReason as R;
        let status = match self.reason {
            R::InvalidRequest
            | R::NoCandidate
            | R::ContextTooLong
            | R::PolicyInvalid
            | R::ProviderRejected => 400,
            // As providers answer what their own filters stop.
            R::PromptBlocked | R::OutputBlocked | R::ProviderContentFilter => 400,
            R::CredentialMissing | R::CredentialInvalid | R::CredentialRevoked | R::CredentialExpired => 401,
            R::AdminRequired | R::NotAllowed | R::SealInvalid => 403,
            R::NotFound | R::ModelUnknown | R::NotCached | R::NotSupported => 404,
            R::RequestTimeout => 408,
            R::AlreadyExists => 409,
            R::MessageTooLarge => 413,
            R::RateLimited | R::BudgetExhausted | R::ProviderRateLimited => 429,
            R::Cancelled => 499,
            R::Unspecified | R::Internal => 500,
            R::CallerRefused
            | R::ProviderCredential
            | R::ProviderConnection
            | R::ProviderProtocol
            | R::StreamBroken
            | R::OutputInvalid => 502,
            R::Overloaded
            | R::Draining
            | R::ServiceUnavailable
            | R::AllowanceExhausted
            | R::ProviderUnavailable
            | R::RetryBudgetExhausted => 503,
            R::DeadlineExceeded | R::ProviderTimeout => 504,
        };
        match (door, status, self.reason) {
            (Door::Messages, _, R::BudgetExhausted) => 402,
            (Door::Messages, 503, _) => 529,
            _ => status,
        }
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self, door: Door) -> Bytes {
        Bytes::from(self.value(door).to_string())
    }

    pub(crate) fn value(&self, door: Door) -> Value {
        match door {
            Door::Chat | Door::Responses => json!({ "error": self.openai() }),
            Door::Messages => {
                let error =
                    json!({ "type": self.anthropic(), "message": self.message, "reason": self.name() });
                json!({ "type": "error", "error": error, "request_id": self.request_id })
            }
        }
    }

    /// The reason's name, the same at all doors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let name = self.reason.as_str_name();
        name.strip_prefix("ERROR_REASON_").unwrap_or(name)
    }

    pub(crate) fn openai(&self) -> Map<String, Value> {
        let kind = match self.status(Door::Chat) {
            401 => "authentication_error",
            403 => "permission_error",
            429 if self.reason == ErrorReason::BudgetExhausted => "insufficient_quota",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        let mut map = Map::new();
        map.insert("message".to_owned(), self.message.into());
        map.insert("type".to_owned(), kind.into());
        map.insert("param".to_owned(), self.field.into());
        map.insert("code".to_owned(), self.code().into());
        map.insert("reason".to_owned(), self.name().into());
        map
    }

    /// The code, in OpenAI's words where it has one for it.
    pub(crate) fn code(&self) -> String {
        use ErrorReason as R;
        match self.reason {
            R::ContextTooLong => "context_length_exceeded".to_owned(),
            R::ModelUnknown => "model_not_found".to_owned(),
            R::CredentialMissing | R::CredentialInvalid | R::CredentialRevoked | R::CredentialExpired => {
                "invalid_api_key".to_owned()
            }
            R::RateLimited | R::ProviderRateLimited => "rate_limit_exceeded".to_owned(),
            R::BudgetExhausted => "insufficient_quota".to_owned(),
            R::PromptBlocked | R::OutputBlocked | R::ProviderContentFilter => "content_filter".to_owned(),
            _ => self.name().to_ascii_lowercase(),
        }
    }

    fn anthropic(&self) -> &'static str {
        match self.status(Door::Messages) {
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            504 => "timeout_error",
            529 => "overloaded_error",
            _ => "api_error",
        }
    }
}
