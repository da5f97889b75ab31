//! Google's errors: `{"error": {"code", "message", "status", "details"}}`, alone or in a list of one.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use serde_json::Value;

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
    error.class = match (status, error.class) {
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

/// Reads `RetryInfo.retryDelay`, such as `34.07s`.
fn retry_delay(body: &Value) -> Option<Duration> {
    let details = body.pointer("/error/details")?.as_array()?;
    let seconds = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str()?.strip_suffix('s'))?;
    Duration::try_from_secs_f64(seconds.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> ProviderError {
        error(status, &HeaderMap::new(), body.as_bytes(), SystemTime::UNIX_EPOCH)
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
