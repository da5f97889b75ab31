//! Cohere's errors: `{"id": …, "message": …}`.

use std::time::SystemTime;

use http::HeaderMap;

use crate::{ErrorClass, ProviderError};

/// Reads an answer whose status says that it failed.
#[must_use]
pub fn error(status: u16, headers: &HeaderMap, body: &[u8], now: SystemTime) -> ProviderError {
    let mut error = ProviderError::from_response(status, headers, body, now);
    let message = error.message.to_ascii_lowercase();
    error.class = match (status, error.class) {
        // An invalid token.
        (498, _) => ErrorClass::Credential,
        (_, ErrorClass::Rejected) if message.contains("too many tokens: max tokens must be") => {
            ErrorClass::Rejected
        }
        (_, ErrorClass::Rejected) if message.contains("too many tokens") => ErrorClass::ContextTooLong,
        (_, ErrorClass::Rejected) if message.contains("model '") && message.contains("not found") => {
            ErrorClass::ModelMissing
        }
        (_, class) => class,
    };
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_unusual_states_are_understood() {
        let class = |status, message: &str| {
            let body = format!(r#"{{"message":"{message}"}}"#);
            error(status, &HeaderMap::new(), body.as_bytes(), SystemTime::UNIX_EPOCH).class
        };
        assert_eq!(class(498, "invalid token"), ErrorClass::Credential);
        let long =
            "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292.";
        assert_eq!(class(400, long), ErrorClass::ContextTooLong);
        let asked = "too many tokens: max tokens must be less than or equal to 4096";
        assert_eq!(class(400, asked), ErrorClass::Rejected);
        assert_eq!(class(429, "limited"), ErrorClass::RateLimited);
    }
}
