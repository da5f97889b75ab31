//! What a provider's refusal means, decided once.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::redact::{self, MAX_WORDS};

/// The longest wait that a provider may ask for; more is taken as this.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Says that a request cannot be written in a dialect, or that a body is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct RequestError {
    /// The field at fault, for example `messages[2].parts[0].image`.
    pub field: String,
    /// What to change.
    pub message: String,
}

impl RequestError {
    /// Names a field and what to change about it.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Is the kind of a provider's failure: the one thing from which retries and fallbacks are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The credential is refused or its account is empty (401, 402, 403, exhausted quota).
    Credential,
    /// Too many requests or tokens for now (429).
    RateLimited,
    /// The provider is overloaded or broken (5xx).
    Overloaded,
    /// The connection failed or broke.
    Transport,
    /// The provider was silent too long.
    Timeout,
    /// The request is at fault (400, 405 to 422, and the like).
    Rejected,
    /// The provider does not have this model (404).
    ModelMissing,
    /// The prompt does not fit the model's window.
    ContextTooLong,
    /// The provider's content filter refused.
    ContentFilter,
    /// The answer cannot be understood.
    Protocol,
}

impl ErrorClass {
    /// Returns a bounded label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Transport => "transport",
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::ModelMissing => "model_missing",
            Self::ContextTooLong => "context_too_long",
            Self::ContentFilter => "content_filter",
            Self::Protocol => "protocol",
        }
    }
}

/// Is a provider's failure in its own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", class.label())]
pub struct ProviderError {
    /// What kind of failure it is.
    pub class: ErrorClass,
    /// The HTTP status, if one came.
    pub status: Option<u16>,
    /// The provider's code, for example `context_length_exceeded`; at most 128 bytes.
    pub code: Option<String>,
    /// The provider's type, for example `invalid_request_error`; at most 128 bytes.
    pub kind: Option<String>,
    /// The provider's words: at most 2 KiB, what looks like a credential masked.
    pub message: String,
    /// The request's field that the provider names; at most 128 bytes.
    pub param: Option<String>,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
}

impl ProviderError {
    /// Makes an error of a class with words of ours or the provider's, bounded and masked here.
    #[must_use]
    pub fn new(class: ErrorClass, message: &str) -> Self {
        Self {
            class,
            status: None,
            code: None,
            kind: None,
            message: redact::bounded(message, MAX_WORDS),
            param: None,
            retry_after: None,
        }
    }

    /// Reads an answer whose status says that it failed.
    ///
    /// `body` may be cut off; `now` is needed for a `Retry-After` that names a date.
    #[must_use]
    pub fn from_response(status: u16, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Self {
        let mut error = Self::from_words(&Words::read(body), Some(status));
        error.retry_after = retry_after(headers, now);
        error
    }

    /// Reads the body of an answer that claimed success but holds no answer.
    ///
    /// An error object with a code of its own is classified by it, everything else is [`ErrorClass::Protocol`].
    #[must_use]
    pub fn from_success(body: &[u8]) -> Self {
        Self::in_band(&Words::read(body), body, ErrorClass::Protocol)
    }

    /// Reads the `error` field of a stream's chunk.
    #[must_use]
    pub fn from_event(raw: &str) -> Self {
        let words = Words::of_error(raw);
        let overloaded = ["server_error", "overloaded_error", "api_error"].iter().any(|name| words.are(name));
        let unnamed = if overloaded { ErrorClass::Overloaded } else { ErrorClass::Protocol };
        Self::in_band(&words, raw.as_bytes(), unnamed)
    }

    /// Reads an error that came where an answer should be; `unnamed` is its class if nothing in it says more.
    fn in_band(words: &Words, body: &[u8], unnamed: ErrorClass) -> Self {
        let status =
            words.status.or_else(|| words.code.as_deref()?.parse().ok()).filter(|s| (400..600).contains(s));
        let mut error = Self::from_words(words, status);
        let told = status.is_some() || error.class == ErrorClass::Credential;
        if !told && !matches!(error.class, ErrorClass::ContextTooLong | ErrorClass::ContentFilter) {
            let limited = words.are("rate_limit_error") || words.are("rate_limit_exceeded");
            error.class = if limited { ErrorClass::RateLimited } else { unnamed };
        }
        error.status = None;
        if error.message.is_empty() {
            error.message = format!("an answer that is none, {} bytes", body.len());
        }
        error
    }

    fn from_words(words: &Words, status: Option<u16>) -> Self {
        let short = |text: &Option<String>| text.as_deref().map(|t| redact::bounded(t, 128));
        Self {
            class: classify(status, words),
            status,
            code: short(&words.code),
            kind: short(&words.kind),
            message: redact::bounded(&words.message, MAX_WORDS),
            param: short(&words.param),
            retry_after: None,
        }
    }

    /// Masks a known secret in all of the error's words.
    #[must_use]
    pub fn without(mut self, secret: Option<&str>) -> Self {
        if let Some(secret) = secret.filter(|s| s.len() >= 4) {
            let mask = |text: &mut String| {
                if text.contains(secret) {
                    *text = text.replace(secret, "[redacted]");
                }
            };
            mask(&mut self.message);
            [&mut self.code, &mut self.kind, &mut self.param].into_iter().flatten().for_each(mask);
        }
        self
    }
}

/// What an error body says, as far as it can be read.
#[derive(Debug, Default)]
struct Words {
    message: String,
    code: Option<String>,
    kind: Option<String>,
    param: Option<String>,
    /// A status inside the body (`status_code`).
    status: Option<u16>,
}

/// The fields of the error objects in use; every one may be of any type.
#[derive(Deserialize)]
struct Fields {
    error: Option<Value>,
    errors: Option<Value>,
    message: Option<Value>,
    detail: Option<Value>,
    code: Option<Value>,
    #[serde(rename = "type")]
    kind: Option<Value>,
    param: Option<Value>,
    status_code: Option<Value>,
    metadata: Option<Value>,
}

impl Words {
    /// Tells whether this is the error's code or type.
    fn are(&self, name: &str) -> bool {
        self.code.as_deref() == Some(name) || self.kind.as_deref() == Some(name)
    }

    fn read(body: &[u8]) -> Self {
        let value = match serde_json::from_slice::<Value>(body) {
            // Google's OpenAI-compatible door wraps the object in a list.
            Ok(Value::Array(mut list)) if !list.is_empty() => list.swap_remove(0),
            Ok(value) => value,
            Err(_) => return Self::plain(&String::from_utf8_lossy(&body[..body.len().min(4 * MAX_WORDS)])),
        };
        Self::of(&value)
    }

    fn of_error(raw: &str) -> Self {
        serde_json::from_str(raw).map_or_else(|_| Self::plain(raw), |value| Self::of(&value))
    }

    fn of(value: &Value) -> Self {
        let Ok(fields) = Fields::deserialize(value) else {
            return Self { message: words(value), ..Self::default() };
        };
        if let Some(inner) = fields.error.filter(|e| e.is_object() || e.is_string()) {
            let mut read = Self::of(&inner);
            read.code = read.code.or_else(|| scalar(fields.code.as_ref()));
            return read;
        }
        let mut message = [&fields.message, &fields.detail, &fields.errors]
            .into_iter()
            .flatten()
            .next()
            .map(words)
            .unwrap_or_default();
        // OpenRouter hides the upstream's own words there.
        if let Some(raw) = fields.metadata.as_ref().and_then(|m| m.get("raw")).and_then(Value::as_str) {
            message = format!("{message}: {raw}");
        }
        Self {
            message,
            code: scalar(fields.code.as_ref()),
            kind: scalar(fields.kind.as_ref()),
            param: scalar(fields.param.as_ref()),
            status: fields.status_code.and_then(|s| u16::try_from(s.as_u64()?).ok()),
        }
    }

    /// Takes text as it is, or a web page without its tags.
    fn plain(text: &str) -> Self {
        let text = text.trim();
        let message =
            if text.starts_with('<') { format!("a web page: {}", untag(text)) } else { text.to_owned() };
        Self { message, ..Self::default() }
    }
}

fn scalar(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

fn untag(html: &str) -> String {
    let mut out = String::new();
    for piece in html.split('<') {
        let text = piece.split_once('>').map_or("", |(_, text)| text).trim();
        if !text.is_empty() {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(text);
        }
        if out.len() > MAX_WORDS {
            break;
        }
    }
    out
}

/// Decides the class from status, code, type and, as the last resort, well-known words.
fn classify(status: Option<u16>, words: &Words) -> ErrorClass {
    let code = words.code.as_deref().unwrap_or_default().to_ascii_lowercase();
    let kind = words.kind.as_deref().unwrap_or_default().to_ascii_lowercase();
    let message = redact::clip(&words.message, MAX_WORDS).to_ascii_lowercase();
    // Some servers answer these with 500; what they say is more precise than their status.
    if status.is_none_or(|s| s <= 500) && too_long(&code, &kind, &message) {
        return ErrorClass::ContextTooLong;
    }
    if filtered(&code, &kind, &message, status) {
        return ErrorClass::ContentFilter;
    }
    if code == "insufficient_quota" || kind == "insufficient_quota" || code == "invalid_api_key" {
        return ErrorClass::Credential;
    }
    match status {
        Some(401..=403) => ErrorClass::Credential,
        Some(429) => ErrorClass::RateLimited,
        Some(404) => ErrorClass::ModelMissing,
        Some(408) => ErrorClass::Timeout,
        Some(409 | 425) => ErrorClass::Overloaded,
        Some(400..=499) if code == "model_not_found" => ErrorClass::ModelMissing,
        Some(413) => ErrorClass::ContextTooLong,
        Some(400..=499) => ErrorClass::Rejected,
        Some(500..=599) => ErrorClass::Overloaded,
        _ => ErrorClass::Protocol,
    }
}

fn too_long(code: &str, kind: &str, message: &str) -> bool {
    const CODES: [&str; 4] = [
        "context_length_exceeded",
        "exceed_context_size_error",
        "string_above_max_length",
        "context_window_exceeded",
    ];
    const WORDS: [&str; 9] = [
        "maximum context length",
        "context_length_exceeded",
        "exceeds the available context size",
        "exceeds the model's context",
        "prompt is too long",
        "input is too long",
        "exceed context window",
        "exceeds the context window",
        "reduce the length of the messages",
    ];
    CODES.contains(&code) || CODES.contains(&kind) || WORDS.iter().any(|w| message.contains(w))
}

fn filtered(code: &str, kind: &str, message: &str, status: Option<u16>) -> bool {
    const CODES: [&str; 6] = [
        "content_filter",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "moderation_blocked",
        "data_inspection_failed",
        "sensitive",
    ];
    CODES.contains(&code)
        || CODES.contains(&kind)
        || (status == Some(403) && message.contains("moderation"))
        || (status == Some(400) && message.contains("content management policy"))
}

/// Reads how long a provider asks to wait: `retry-after-ms`, `Retry-After` in seconds or as a date, and for a limit that
/// is used up the reset time that belongs to it. Bounded to a day.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let get = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    if let Some(ms) =
        get("retry-after-ms").and_then(|v| v.parse::<f64>().ok()).and_then(|ms| seconds(ms / 1000.0))
    {
        return Some(ms);
    }
    if let Some(value) = get("retry-after") {
        if let Some(wait) = value.parse::<f64>().ok().and_then(seconds) {
            return Some(wait);
        }
        if let Ok(date) = httpdate::parse_http_date(value) {
            return Some(date.duration_since(now).unwrap_or_default().min(MAX_WAIT));
        }
    }
    let reset = |what: &str| {
        let used_up = get(&format!("x-ratelimit-remaining-{what}")) == Some("0");
        get(&format!("x-ratelimit-reset-{what}")).filter(|_| used_up).and_then(go_duration)
    };
    [reset("requests"), reset("tokens")].into_iter().flatten().max()
}

pub(crate) fn seconds(n: f64) -> Option<Duration> {
    (n >= 0.0).then(|| Duration::try_from_secs_f64(n).unwrap_or(MAX_WAIT).min(MAX_WAIT))
}

/// Reads a duration as OpenAI and Groq write it: `6m0s`, `1.5s`, `120ms`, `1h2m3s`; a bare number is seconds.
fn go_duration(text: &str) -> Option<Duration> {
    if let Ok(n) = text.parse::<f64>() {
        return seconds(n);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let n: f64 = rest[..split].parse().ok()?;
        let unit_end = rest[split..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |i| split + i);
        let scale = match &rest[split..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            "us" | "µs" => 1e-6,
            _ => return None,
        };
        total = total.checked_add(seconds(n * scale)?)?;
        rest = &rest[unit_end..];
    }
    Some(total.min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> ProviderError {
        ProviderError::from_response(status, &HeaderMap::new(), body.as_bytes(), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn the_usual_bodies_are_understood() {
        let e =
            read(400, r#"{"error":{"message":"no","type":"invalid_request_error","param":"n","code":null}}"#);
        assert_eq!((e.class, &*e.message, e.param.as_deref()), (ErrorClass::Rejected, "no", Some("n")));
        assert_eq!(read(422, r#"{"detail":[{"loc":["body"]}]}"#).message, r#"[{"loc":["body"]}]"#);
        assert_eq!(read(500, r#"{"object":"error","message":"boom","code":500}"#).message, "boom");
        assert_eq!(read(400, r#"[{"error":{"code":400,"message":"listed"}}]"#).message, "listed");
        assert_eq!(read(400, r#"{"error":"plain"}"#).message, "plain");
        assert_eq!(read(502, "<html><h1>Bad gateway</h1></html>").message, "a web page: Bad gateway");
    }

    #[test]
    fn classes_follow_what_is_said() {
        use ErrorClass::*;
        for (status, body, class) in [
            (401, "{}", Credential),
            (429, "{}", RateLimited),
            (429, r#"{"error":{"code":"insufficient_quota"}}"#, Credential),
            (404, "{}", ModelMissing),
            (400, r#"{"error":{"code":"context_length_exceeded"}}"#, ContextTooLong),
            (400, r#"{"error":{"type":"exceed_context_size_error"}}"#, ContextTooLong),
            (400, r#"{"error":{"code":"content_filter"}}"#, ContentFilter),
            (400, "{}", Rejected),
            (503, "", Overloaded),
            (529, "", Overloaded),
        ] {
            assert_eq!(read(status, body).class, class, "{status} {body}");
        }
    }

    #[test]
    fn a_success_without_an_answer_keeps_the_words() {
        let e = ProviderError::from_success(b"<!doctype html><title>Login</title>");
        assert_eq!((e.class, &*e.message), (ErrorClass::Protocol, "a web page: Login"));
        let e = ProviderError::from_success(br#"{"error":{"message":"slow down","code":429}}"#);
        assert_eq!(e.class, ErrorClass::RateLimited);
        let e = ProviderError::from_success(br#"{"error":{"message":"odd","type":"x"}}"#);
        assert_eq!((e.class, &*e.message), (ErrorClass::Protocol, "odd"));
        assert_eq!(ProviderError::from_success(b"").class, ErrorClass::Protocol);
    }

    #[test]
    fn waits_are_read_in_every_form() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let wait = |pairs: &[(&'static str, &str)]| {
            let headers = pairs
                .iter()
                .map(|(k, v)| (http::HeaderName::from_static(k), http::HeaderValue::from_str(v).unwrap()))
                .collect();
            retry_after(&headers, now)
        };
        assert_eq!(wait(&[("retry-after", "3")]), Some(Duration::from_secs(3)));
        assert_eq!(wait(&[("retry-after", "0.5")]), Some(Duration::from_millis(500)));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")]), Some(Duration::from_secs(10)));
        assert_eq!(
            wait(&[("retry-after", "1"), ("retry-after-ms", "250")]),
            Some(Duration::from_millis(250))
        );
        assert_eq!(wait(&[("retry-after", "1e300")]), Some(MAX_WAIT));
        assert_eq!(wait(&[("retry-after", "-1")]), None);
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        let reset = ("x-ratelimit-reset-tokens", "6m0.5s");
        assert_eq!(
            wait(&[reset, ("x-ratelimit-remaining-tokens", "0")]),
            Some(Duration::from_millis(360_500))
        );
        assert_eq!(wait(&[reset, ("x-ratelimit-remaining-tokens", "9")]), None);
    }
}
