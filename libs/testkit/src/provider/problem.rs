//! Error answers, in the provider's own words.

use std::fmt::Write as _;

use bytes::Bytes;
use http::StatusCode;

use super::render::push_json;

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) kind: &'static str,
    pub(super) param: Option<String>,
    pub(super) code: Option<&'static str>,
    pub(super) retry_after_s: Option<u32>,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), kind, param: None, code: None, retry_after_s: None }
    }

    /// Builds a 400 about a request.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// Builds a 400 about the type of a parameter.
    pub(super) fn wrong_type(param: impl Into<String>, expected: &str) -> Self {
        let param = param.into();
        Self::invalid(format!("Invalid type for '{param}': expected {expected}."))
            .about(param)
            .coded("invalid_type")
    }

    /// Builds a 400 about the value of a parameter.
    pub(super) fn wrong_value(param: impl Into<String>, wanted: &str) -> Self {
        let param = param.into();
        Self::invalid(format!("Invalid value for '{param}': {wanted}.")).about(param).coded("invalid_value")
    }

    /// Builds the 400 of a model that has whole answers only.
    pub(super) fn whole_only() -> Self {
        Self::invalid("Unsupported value: 'stream' does not support true with this model.")
            .about("stream")
            .coded("unsupported_value")
    }

    /// Builds a 400 about a parameter that is not there.
    pub(super) fn missing(param: impl Into<String>) -> Self {
        let param = param.into();
        Self::invalid(format!("Missing required parameter: '{param}'."))
            .about(param)
            .coded("missing_required_parameter")
    }

    /// Builds the 400 for a body that is no JSON.
    pub(super) fn unreadable() -> Self {
        Self::invalid(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your \
             HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid \
             JSON. If you have trouble figuring out how to fix this, please contact us through our help center \
             at help.openai.com.)",
        )
    }

    /// Builds the 413 for a body beyond the limit.
    pub(super) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            format!("Request body is larger than {limit} bytes."),
        )
    }

    /// Builds the 404 for a path.
    pub(super) fn no_such_url(method: &http::Method, path: &str) -> Self {
        let message = format!("Invalid URL ({method} {path})");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
    }

    /// Builds the 405 for a method.
    pub(super) fn wrong_method(wanted: &str) -> Self {
        let message = format!("Only {wanted} requests are accepted.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
            .coded("method_not_supported")
    }

    /// Builds the 404 for a model's name; `why` says which part of it is not understood.
    pub(super) fn no_such_model(name: &str, why: &str) -> Self {
        let message = format!("The model `{name}` does not exist or you do not have access to it.{why}");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message).coded("model_not_found")
    }

    /// Builds the 401 for a request without a key, or with a wrong one. Never repeats the key.
    pub(super) fn unauthorized(key_given: bool) -> Self {
        let (message, code) = if key_given {
            let message = "Incorrect API key provided: sk-***. You can find your API key at \
                           https://platform.openai.com/account/api-keys.";
            (message, Some("invalid_api_key"))
        } else {
            let message = "You didn't provide an API key. You need to provide your API key in an \
                           Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as \
                           the password field (with blank username) if you're accessing the API from your \
                           browser and are prompted for a username and password. You can obtain an API key \
                           from https://platform.openai.com/account/api-keys.";
            (message, None)
        };
        Self { code, ..Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message) }
    }

    /// Builds the 429 of a reached rate limit.
    pub(super) fn rate_limited(model: &str, retry_after_s: Option<u32>) -> Self {
        let message = format!(
            "Rate limit reached for {model} in organization org-simulated on requests per min (RPM): Limit \
             10000, Used 10000, Requested 1. Please try again in {}s. Visit \
             https://platform.openai.com/account/rate-limits to learn more.",
            retry_after_s.unwrap_or(1)
        );
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "requests", message);
        Self { retry_after_s, ..problem.coded("rate_limit_exceeded") }
    }

    /// Builds an error of any status.
    pub(super) fn of_status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match status.as_u16() {
            429 => Self::rate_limited("simulated", None),
            503 => Self::new(
                status,
                "server_error",
                "The engine is currently overloaded, please try again later.",
            ),
            500..=599 => Self::new(
                status,
                "server_error",
                "The server had an error while processing your request. Sorry about that!",
            ),
            _ => Self::new(status, "invalid_request_error", format!("Simulated error {status}.")),
        }
    }

    fn coded(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Names the parameter at fault.
    pub(super) fn about(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// Renders the body: validation errors (400) are indented by two and end at the brace, all others, which
    /// come from the edge in front of the models, by four and end with a newline.
    pub(super) fn body(&self) -> Bytes {
        let (indent, end) = if self.status == StatusCode::BAD_REQUEST { ("  ", "") } else { ("    ", "\n") };
        let mut out = format!("{{\n{indent}\"error\": {{\n");
        for (name, value, comma) in [
            ("message", Some(self.message.as_str()), ","),
            ("type", Some(self.kind), ","),
            ("param", self.param.as_deref(), ","),
            ("code", self.code, ""),
        ] {
            let _ = write!(out, "{indent}{indent}\"{name}\": ");
            push_optional(&mut out, value);
            let _ = writeln!(out, "{comma}");
        }
        let _ = write!(out, "{indent}}}\n}}{end}");
        out.into()
    }

    /// Renders the error as one event of a stream.
    pub(super) fn event(&self) -> Bytes {
        let mut out = "data: {\"error\":{\"message\":".to_owned();
        push_json(&mut out, &self.message);
        let _ = write!(out, ",\"type\":\"{}\",\"param\":", self.kind);
        push_optional(&mut out, self.param.as_deref());
        out.push_str(",\"code\":");
        push_optional(&mut out, self.code);
        out.push_str("}}\n\n");
        out.into()
    }
}

fn push_optional(out: &mut String, value: Option<&str>) {
    match value {
        Some(text) => push_json(out, text),
        None => out.push_str("null"),
    }
}
