//! Failures inside an answer, and what this dialect's codes mean.

use crate::{ErrorClass, ProviderError};

/// Reads the error of an `error` event or of a failed answer.
pub(super) fn failed(raw: &str) -> ProviderError {
    refine(ProviderError::from_event(raw))
}

/// Decides by this dialect's codes where the general reading could not.
#[must_use]
pub fn refine(mut error: ProviderError) -> ProviderError {
    let code = error.code.as_deref().unwrap_or_default();
    let rejected = error.kind.as_deref() == Some("invalid_request_error");
    error.class = match (error.class, code) {
        (ErrorClass::Protocol | ErrorClass::Rejected, "image_content_policy_violation" | "cyber_policy") => {
            ErrorClass::ContentFilter
        }
        (ErrorClass::Protocol | ErrorClass::Rejected, "invalid_prompt") if flagged(&error.message) => {
            ErrorClass::ContentFilter
        }
        (
            ErrorClass::Protocol,
            "server_error" | "vector_store_timeout" | "server_is_overloaded" | "slow_down",
        ) => ErrorClass::Overloaded,
        (ErrorClass::Protocol, "model_not_found") => ErrorClass::ModelMissing,
        (ErrorClass::Protocol, _) if rejected || names_the_request(code) => ErrorClass::Rejected,
        (class, _) => class,
    };
    error
}

fn flagged(message: &str) -> bool {
    message.contains("flagged") || message.contains("usage policy") || message.contains("safety")
}

fn names_the_request(code: &str) -> bool {
    ["invalid_", "unsupported_", "image_", "empty_image", "failed_to_download_image", "bio_policy"]
        .iter()
        .any(|beginning| code.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_failed_answers_have_classes() {
        use ErrorClass::*;
        for (code, message, class) in [
            ("server_error", "boom", Overloaded),
            ("rate_limit_exceeded", "slow", RateLimited),
            ("insufficient_quota", "empty", Credential),
            ("invalid_prompt", "Invalid prompt: your prompt was flagged", ContentFilter),
            ("invalid_prompt", "unreadable", Rejected),
            ("image_content_policy_violation", "no", ContentFilter),
            ("image_too_large", "big", Rejected),
            ("context_length_exceeded", "long", ContextTooLong),
            ("new_code", "odd", Protocol),
        ] {
            let error = failed(&format!(r#"{{"code":"{code}","message":"{message}"}}"#));
            assert_eq!((error.class, &*error.message), (class, message), "{code}");
        }
    }
}
