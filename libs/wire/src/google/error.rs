//! Google's errors: `{"error": {"code", "message", "status", "details"}}`, alone or in a list of one.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use serde_json::Value;

use crate::error::seconds;
use crate::{ErrorClass, ProviderError};

/// Reads an answer whose status says that it failed.
#[must_use]
pub fn error(status: u16, headers: &HeaderMap, body: &[u8], now: SystemTime) -> ProviderError {
    let parsed = serde_json::from_slice::<Value>(body).ok();
    // A stream's error without `alt=sse` is a list.
    let inner = parsed.as_ref().map(|value| value.get(0).unwrap_or(value));
    let unwrapped = inner.map(Value::to_string);
    let body = unwrapped.as_deref().map_or(body, str::as_bytes);
    let mut error = ProviderError::from_response(status, headers, body, now);
    let message = error.message.to_ascii_lowercase();
    let reason = inner.and_then(reason);
    if let Some(reason) = reason {
        error.code = Some(crate::redact::bounded(reason, 128));
    }
    error.class = match (status, error.class) {
        (400..=403, _) if reason.is_some_and(is_credential) => ErrorClass::Credential,
        (_, ErrorClass::Credential) if reason == Some("RATE_LIMIT_EXCEEDED") => ErrorClass::RateLimited,
        (400, _) if message.contains("api key") => ErrorClass::Credential,
        (400, _) if message.contains("exceeds the maximum number of tokens") => ErrorClass::ContextTooLong,
        (404, ErrorClass::Rejected) => ErrorClass::ModelMissing,
        (_, class) => class,
    };
    if error.retry_after.is_none() {
        error.retry_after = inner.and_then(retry_delay);
    }
    error
}

/// Reads `ErrorInfo.reason`, which says more than the status: a wrong key is a 400 at Google.
fn reason(body: &Value) -> Option<&str> {
    let details = body.pointer("/error/details")?.as_array()?;
    details.iter().find_map(|detail| detail.get("reason")?.as_str().filter(|reason| !reason.is_empty()))
}

/// Tells the reasons of Google's `ErrorReason` that are the credential's, its project's or its account's fault.
fn is_credential(reason: &str) -> bool {
    const PREFIXES: [&str; 5] = ["API_KEY_", "ACCESS_TOKEN_", "BILLING_", "CONSUMER_", "SERVICE_DISABLED"];
    PREFIXES.iter().any(|prefix| reason.starts_with(prefix))
        || matches!(
            reason,
            "ACCOUNT_STATE_INVALID" | "CREDENTIALS_MISSING" | "IAM_PERMISSION_DENIED" | "USER_PROJECT_DENIED"
        )
}

/// Reads `RetryInfo.retryDelay`, such as `34.07s`; bounded to a day, as every wait.
fn retry_delay(body: &Value) -> Option<Duration> {
    let details = body.pointer("/error/details")?.as_array()?;
    let words = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str()?.strip_suffix('s'))?;
    seconds(words.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> ProviderError {
        error(status, &HeaderMap::new(), body.as_bytes(), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_reason_says_more_than_the_status_and_a_wait_has_a_bound() {
        let body = |reason: &str, delay: &str| {
            format!(
                r#"{{"error":{{"message":"m","details":[{{"@type":"x/google.rpc.ErrorInfo","reason":"{reason}"}},{{"retryDelay":"{delay}"}}]}}}}"#
            )
        };
        let invalid = read(400, &body("API_KEY_INVALID", "1s"));
        assert_eq!(
            (invalid.class, invalid.code.as_deref()),
            (ErrorClass::Credential, Some("API_KEY_INVALID"))
        );
        assert_eq!(read(403, &body("RATE_LIMIT_EXCEEDED", "1s")).class, ErrorClass::RateLimited);
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(read(429, &body("x", "99999999999s")).retry_after, Some(day));
        assert_eq!(read(429, &body("x", "-3s")).retry_after, None);
        assert_eq!(read(429, &body("x", "NaNs")).retry_after, None);
    }

    #[test]
    fn classes_and_waits_are_understood() {
        let limited = r#"[{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED","details":[
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.5s"}]}}]"#;
        let limited = read(429, limited);
        assert_eq!((limited.class, limited.message.as_str()), (ErrorClass::RateLimited, "Quota exceeded"));
        assert_eq!(limited.retry_after, Some(Duration::from_millis(34_500)));
        let class =
            |status, message: &str| read(status, &format!(r#"{{"error":{{"message":"{message}"}}}}"#)).class;
        assert_eq!(class(400, "API key not valid. Please pass a valid API key."), ErrorClass::Credential);
        let long = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).";
        assert_eq!(class(400, long), ErrorClass::ContextTooLong);
        assert_eq!(class(404, "models/x is not found"), ErrorClass::ModelMissing);
        assert_eq!(class(503, "The model is overloaded."), ErrorClass::Overloaded);
    }
}
