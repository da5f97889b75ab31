//! A second reading of what providers say when they refuse.

use std::time::SystemTime;

use http::HeaderMap;
use serde_json::Value;
use signalbox_wire::{Dialect, ErrorClass};

use super::recordings::{Verdict, body, status};

/// Where providers put their words, the likeliest first.
const WORDS: [&str; 9] = [
    "/error/message",
    "/0/error/message",
    "/message",
    "/Message",
    "/error",
    "/detail",
    "/error/error",
    "/errors/0",
    "/msg",
];

/// What must stand in a body that is classified by more than its status.
fn witnesses(class: ErrorClass) -> &'static [&'static str] {
    match class {
        ErrorClass::ContextTooLong => &["long", "length", "token", "large", "context"],
        ErrorClass::ContentFilter => {
            &["filter", "policy", "moderation", "safety", "sensitive", "inspection", "guardrail"]
        }
        ErrorClass::Credential => &[
            "key",
            "quota",
            "auth",
            "permission",
            "billing",
            "credit",
            "token",
            "access",
            "balance",
            "account",
        ],
        ErrorClass::ModelMissing => &["model", "deployment", "not found"],
        ErrorClass::RateLimited => &["rate", "limit", "quota", "throttl", "capacity"],
        ErrorClass::Overloaded => &["overload", "unavailable", "capacity", "internal", "server", "model"],
        ErrorClass::Timeout => &["time"],
        ErrorClass::Rejected | ErrorClass::Protocol | ErrorClass::Transport => &[],
    }
}

/// Checks an answer whose status says that it failed.
pub(crate) fn check(dialect: Dialect, row: &Value) -> Result<Verdict, String> {
    let body = body(row);
    let status = status(row);
    let mut headers = HeaderMap::new();
    for name in ["x-amzn-errortype", "retry-after"] {
        if let Some(value) = row["response_headers"][name].as_str() {
            headers.insert(name, value.parse().unwrap());
        }
    }
    let got = dialect.error(status, &headers, body.as_bytes(), SystemTime::UNIX_EPOCH);
    let by_status = match status {
        401..=403 | 498 => ErrorClass::Credential,
        404 => ErrorClass::ModelMissing,
        408 => ErrorClass::Timeout,
        413 => ErrorClass::ContextTooLong,
        429 => ErrorClass::RateLimited,
        409 | 424 | 425 | 499 | 500.. => ErrorClass::Overloaded,
        _ => ErrorClass::Rejected,
    };
    let said = format!("{body}{headers:?}").to_lowercase();
    if got.class != by_status && !witnesses(got.class).iter().any(|word| said.contains(word)) {
        return Err(format!("{got:?} for {status}"));
    }
    let Ok(parsed) = serde_json::from_str::<Value>(&body) else {
        let silent = got.message.is_empty() && !body.trim().is_empty();
        return if silent {
            Err("says nothing of a body that is no JSON".into())
        } else {
            Ok(Verdict::Passed)
        };
    };
    if let Some(words) =
        WORDS.iter().find_map(|at| parsed.pointer(at)?.as_str()).filter(|words| !words.is_empty())
    {
        // What looks like a credential is masked; the words differ from there on.
        let clear = got.message.split("[redacted]").next().unwrap_or_default();
        // Some hide the upstream's own words in another place: those are appended.
        let clear: String = clear.chars().take(words.chars().count().min(200)).collect();
        let plain: String =
            words.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
        if !plain.starts_with(clear.as_str()) || got.message.is_empty() {
            return Err(format!("{:?} instead of {words:?}", got.message));
        }
    }
    let inner = parsed.get(0).unwrap_or(&parsed)["error"].clone();
    let text = |value: &Value| {
        value
            .as_str()
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .or_else(|| value.as_i64().map(|n| n.to_string()))
    };
    let differs = |got: &Option<String>, want: Option<String>| {
        want.is_some_and(|want| {
            got.as_deref() != Some(&want) && !got.as_deref().is_some_and(|got| got.contains("[redacted]"))
        })
    };
    if inner.is_object()
        && dialect != Dialect::Gemini
        && (differs(&got.kind, text(&inner["type"]))
            || differs(&got.code, text(&inner["code"]))
            || differs(&got.param, text(&inner["param"])))
    {
        return Err(format!("{got:?} instead of {inner}"));
    }
    Ok(Verdict::Passed)
}
