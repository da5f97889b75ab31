//! Errors in this dialect's words.

use crate::{ErrorClass, ProviderError};

/// Decides an error's class from Anthropic's types and sentences, where it is not told by a status.
///
/// The types are those of <https://docs.anthropic.com/en/api/errors>; a stream that has begun has no status to give.
#[must_use]
pub fn refine(mut error: ProviderError) -> ProviderError {
    if !matches!(error.class, ErrorClass::Rejected | ErrorClass::Protocol) {
        return error;
    }
    let words = error.message.to_ascii_lowercase();
    let said = [
        ("exceed context limit", ErrorClass::ContextTooLong),
        ("credit balance is too low", ErrorClass::Credential),
        ("content filtering policy", ErrorClass::ContentFilter),
    ];
    if let Some((_, class)) = said.into_iter().find(|(sentence, _)| words.contains(sentence)) {
        error.class = class;
    } else if error.class == ErrorClass::Protocol {
        error.class = match error.kind.as_deref().unwrap_or_default() {
            "authentication_error" | "billing_error" | "permission_error" => ErrorClass::Credential,
            "rate_limit_error" => ErrorClass::RateLimited,
            "overloaded_error" | "api_error" => ErrorClass::Overloaded,
            "timeout_error" => ErrorClass::Timeout,
            "not_found_error" => ErrorClass::ModelMissing,
            "request_too_large" => ErrorClass::ContextTooLong,
            "invalid_request_error" => ErrorClass::Rejected,
            _ => ErrorClass::Protocol,
        };
    }
    error
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::HeaderMap;

    use super::*;

    #[test]
    fn types_and_sentences_decide_the_class() {
        use ErrorClass::*;
        let event = |kind: &str| format!(r#"{{"type":"{kind}","message":"no"}}"#);
        for (kind, class) in [
            ("overloaded_error", Overloaded),
            ("api_error", Overloaded),
            ("rate_limit_error", RateLimited),
            ("authentication_error", Credential),
            ("permission_error", Credential),
            ("timeout_error", Timeout),
            ("invalid_request_error", Rejected),
            ("not_found_error", ModelMissing),
            ("something_new", Protocol),
        ] {
            assert_eq!(refine(ProviderError::from_event(&event(kind))).class, class, "{kind}");
            let body = format!(r#"{{"type":"error","error":{}}}"#, event(kind));
            assert_eq!(refine(ProviderError::from_success(body.as_bytes())).class, class, "{kind}");
        }
        let status = |status: u16, message: &str| {
            let body = format!(
                r#"{{"type":"error","error":{{"type":"invalid_request_error","message":"{message}"}},"request_id":"r"}}"#
            );
            let now = SystemTime::UNIX_EPOCH;
            refine(ProviderError::from_response(status, &HeaderMap::new(), body.as_bytes(), now)).class
        };
        assert_eq!(status(400, "messages: at least one message is required"), Rejected);
        assert_eq!(status(400, "prompt is too long: 210000 tokens > 200000 maximum"), ContextTooLong);
        assert_eq!(
            status(400, "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000"),
            ContextTooLong
        );
        assert_eq!(status(400, "Your credit balance is too low to access the Anthropic API."), Credential);
        assert_eq!(status(400, "Output blocked by content filtering policy"), ContentFilter);
        assert_eq!(status(529, "Overloaded"), Overloaded);
    }
}
