//! Bedrock's exceptions: in a response's header, in its body, or in a stream.

use std::time::SystemTime;

use http::HeaderMap;
use serde_json::Value;

use crate::error::retry_after;
use crate::{ErrorClass, ProviderError, redact};

/// Reads an answer whose status says that it failed.
#[must_use]
pub fn error(status: u16, headers: &HeaderMap, body: &[u8], now: SystemTime) -> ProviderError {
    let mut error = ProviderError::from_response(status, headers, body, now);
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    if error.message.is_empty() || error.message.starts_with('{') {
        error.message =
            words(&value).map_or(error.message, |words| redact::bounded(words, redact::MAX_WORDS));
    }
    let header = headers.get("x-amzn-errortype").and_then(|v| v.to_str().ok());
    if let Some(name) = header.or_else(|| value.get("__type")?.as_str()).map(bare) {
        error.kind = Some(redact::bounded(name, 128));
        error.class = class(name).filter(|_| !decided(error.class)).unwrap_or(error.class);
    }
    error.class = by_words(&error).unwrap_or(error.class);
    error.retry_after = retry_after(headers, now);
    error
}

/// Reads an exception inside a stream.
pub(super) fn exception(name: &str, payload: &[u8]) -> ProviderError {
    let value: Value = serde_json::from_slice(payload).unwrap_or_default();
    let plain = String::from_utf8_lossy(&payload[..payload.len().min(redact::MAX_WORDS)]);
    let mut error = ProviderError::new(
        class(bare(name)).unwrap_or(ErrorClass::Overloaded),
        words(&value).filter(|words| !words.is_empty()).unwrap_or(&plain),
    );
    if error.message.is_empty() {
        error.message = redact::bounded(bare(name), 128);
    }
    error.kind = Some(redact::bounded(bare(name), 128));
    error.class = by_words(&error).unwrap_or(error.class);
    error
}

fn words(value: &Value) -> Option<&str> {
    ["message", "Message", "originalMessage"].iter().find_map(|key| value.get(key)?.as_str())
}

/// Takes the name out of `com.amazon.coral#Name:http://…`.
fn bare(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default()
}

/// Tells whether the words already said more than any name can.
fn decided(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::ContextTooLong | ErrorClass::ContentFilter)
}

/// The names of the Bedrock Runtime API reference and of AWS's common errors. In streams they begin in lower case.
fn class(name: &str) -> Option<ErrorClass> {
    let name = name.to_ascii_lowercase();
    Some(match name.strip_suffix("exception").unwrap_or(&name) {
        "accessdenied"
        | "unrecognizedclient"
        | "expiredtoken"
        | "invalidsignature"
        | "incompletesignature"
        | "missingauthenticationtoken"
        | "invalidclienttokenid"
        | "notauthorized"
        | "optinrequired" => ErrorClass::Credential,
        "throttling" | "toomanyrequests" | "servicequotaexceeded" | "requestlimitexceeded" => {
            ErrorClass::RateLimited
        }
        "modelnotready" | "modelerror" | "modelstreamerror" | "internalserver" | "serviceunavailable"
        | "internalfailure" | "conflict" => ErrorClass::Overloaded,
        "modeltimeout" | "requestexpired" => ErrorClass::Timeout,
        "resourcenotfound" => ErrorClass::ModelMissing,
        "validation" | "serialization" | "malformedinput" => ErrorClass::Rejected,
        _ => return None,
    })
}

/// A `ValidationException` hides these.
fn by_words(error: &ProviderError) -> Option<ErrorClass> {
    if error.class != ErrorClass::Rejected {
        return None;
    }
    let message = error.message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| message.contains(w));
    if has(&["model identifier is invalid", "model id is invalid", "reached the end of its life"]) {
        return Some(ErrorClass::ModelMissing);
    }
    has(&["input is too long", "too many input tokens", "prompt is too long", "maximum context length"])
        .then_some(ErrorClass::ContextTooLong)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn names_come_from_the_header_or_the_body() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amzn-errortype", HeaderValue::from_static("ThrottlingException:http://internal/"));
        let read = |headers: &HeaderMap, status, body: &str| {
            error(status, headers, body.as_bytes(), SystemTime::UNIX_EPOCH)
        };
        let limited = read(&headers, 429, r#"{"message":"Too many tokens"}"#);
        assert_eq!(
            (limited.class, limited.kind.as_deref()),
            (ErrorClass::RateLimited, Some("ThrottlingException"))
        );
        let quota =
            r#"{"__type":"com.amazon.coral.service#ServiceQuotaExceededException","Message":"no more"}"#;
        let quota = read(&HeaderMap::new(), 400, quota);
        assert_eq!((quota.class, quota.message.as_str()), (ErrorClass::RateLimited, "no more"));
        let missing =
            read(&HeaderMap::new(), 400, r#"{"message":"The provided model identifier is invalid."}"#);
        assert_eq!(missing.class, ErrorClass::ModelMissing);
        let long = read(&HeaderMap::new(), 400, r#"{"message":"Input is too long for requested model."}"#);
        assert_eq!(long.class, ErrorClass::ContextTooLong);
        assert_eq!(read(&HeaderMap::new(), 403, "{}").class, ErrorClass::Credential);
        headers.insert("x-amzn-errortype", HeaderValue::from_static("ModelNotReadyException"));
        assert_eq!(read(&headers, 429, "{}").class, ErrorClass::Overloaded);
    }

    #[test]
    fn an_unknown_exception_in_a_stream_keeps_its_words() {
        let error = exception("somethingNewException", b"not json");
        assert_eq!((error.class, error.message.as_str()), (ErrorClass::Overloaded, "not json"));
        assert_eq!(exception("throttlingException", b"").message, "throttlingException");
    }
}
