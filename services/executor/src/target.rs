//! A model at a provider with a credential, ready to be asked.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use signalbox_catalog::{Cost, Price, tokens};
use signalbox_proto::common::v1::Usage;
use signalbox_proto::executor::v1::BreakerState;
use signalbox_wire::bedrock::sign::{Keys, sign};
use signalbox_wire::{Dialect, Encoded, redact};
use tokio::time::Instant;

use crate::breaker::Breaker;
use crate::stats::Stats;

/// Added to what deployments take, in milliseconds: one that was never asked is no wonder of speed, and small differences do
/// not matter.
const UNKNOWN_MS: f64 = 100.0;

/// The user agent that providers see.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("signalbox/", env!("CARGO_PKG_VERSION")));

/// Is what requests need to know of a target, and what is remembered of it from one request to the next.
#[derive(Debug)]
pub(crate) struct Target {
    /// `provider/model`.
    pub(crate) id: String,
    pub(crate) provider: String,
    /// The model as the provider calls it.
    pub(crate) model: String,
    pub(crate) base: Base,
    pub(crate) dialect: Dialect,
    pub(crate) credential: Credential,
    /// The context window in tokens, if it is known.
    pub(crate) window: Option<u64>,
    /// Whether it reasons before it speaks, and so may take long.
    pub(crate) reasoning: bool,
    /// Whether its answers are streamed.
    pub(crate) streams: bool,
    pub(crate) limits: Limits,
    /// Requests under way at most; `None`: as configured for all.
    pub(crate) max_in_flight: Option<usize>,
    /// The share of requests among deployments of the same id.
    pub(crate) weight: u32,
    /// Together with `credential_source` what tells deployments apart.
    pub(crate) base_url: String,
    /// The name of a variable or a file. Empty: no credential.
    pub(crate) credential_source: String,
    /// `None`: unknown.
    pub(crate) price: Option<Price>,
    pub(crate) memory: Arc<Memory>,
}

/// Is what outlives a change of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) stats: Arc<Stats>,
    pub(crate) breaker: Arc<Breaker>,
}

/// Is a target's own limits on time; absent ones are the configuration's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) first_output: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) total: Option<Duration>,
}

/// Is a target's credential. Its debug form shows nothing of it.
#[derive(Clone, Default)]
pub(crate) enum Credential {
    /// None is needed.
    #[default]
    None,
    /// One is configured but not there: why.
    Missing(String),
    /// The header that carries it, marked as sensitive, and the secret itself, to mask it in a provider's words.
    Header(HeaderName, HeaderValue, Arc<str>),
    /// Keys of AWS to sign each request with, their region, and the secret of them.
    Aws(Box<Keys>, Arc<str>, Arc<str>),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Missing(_) => "Missing",
            Self::Header(..) => "Header(…)",
            Self::Aws(..) => "Aws(…)",
        })
    }
}

impl Credential {
    pub(crate) fn secret(&self) -> Option<&str> {
        match self {
            Self::Header(_, _, secret) | Self::Aws(_, _, secret) => Some(secret),
            Self::None | Self::Missing(_) => None,
        }
    }
}

/// Is a base URL, taken apart once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// `scheme://authority`: what counts as one provider for the retry budget.
    pub(crate) origin: String,
    /// Host and port, for people.
    pub(crate) host: String,
    path: String,
    query: Option<String>,
}

impl Base {
    /// Reads a base URL such as `https://api.example.com/v1`.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|e| format!("{}: {e}", redact::bounded(url, 200)))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!(
                "{}: give scheme and host, as in https://api.example.com/v1",
                redact::bounded(url, 200)
            ));
        };
        if !matches!(scheme, "http" | "https") {
            return Err(format!("{scheme}: use http or https"));
        }
        if authority.as_str().contains('@') {
            return Err("a base_url must not hold a user or password; use api_key_env".to_owned());
        }
        Ok(Self {
            origin: format!("{scheme}://{authority}"),
            host: authority.to_string(),
            path: uri.path().trim_end_matches('/').to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    fn join(&self, path: &str) -> Result<Uri, http::uri::InvalidUri> {
        // Some providers' addresses are written with the version, some without.
        let path = match path.strip_prefix("/v1/") {
            Some(rest) if self.path.ends_with("/v1") => &path[path.len() - rest.len() - 1..],
            _ => path,
        };
        let query = self.query.as_deref().map_or_else(String::new, |query| format!("?{query}"));
        format!("{}{}{path}{query}", self.origin, self.path).parse()
    }
}

impl Target {
    /// Returns whom a request is written for.
    pub(crate) fn wire(&self) -> signalbox_wire::Target<'_> {
        signalbox_wire::Target { provider: &self.provider, model: &self.model, streams: self.streams }
    }

    /// Returns how burdened this deployment is: the work under way times the time that it takes, by weight. One that has
    /// no credential, no headroom, or a breaker that is open comes last.
    pub(crate) fn burden(&self, now: Instant) -> f64 {
        let counts = self.memory.stats.read();
        let unavailable = matches!(self.credential, Credential::Missing(_))
            || self.memory.breaker.read(now).0 == BreakerState::Open
            || self.memory.stats.exhausted(now);
        if unavailable {
            return f64::MAX;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let (under_way, took) = (counts.in_flight as f64, counts.first_output_ms.unwrap_or(0) as f64);
        (under_way + 1.0) * (took + UNKNOWN_MS) / f64::from(self.weight)
    }

    /// Returns what a usage costs here: what is counted but not billed costs nothing.
    pub(crate) fn cost(&self, usage: &Usage) -> Cost {
        let usage = signalbox_catalog::Usage {
            input_tokens: usage.input_tokens.saturating_sub(usage.unbilled_input_tokens),
            output_tokens: usage.output_tokens.saturating_sub(usage.unbilled_output_tokens),
            cached_input_tokens: usage.cached_input_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            cache_write_1h_tokens: usage.cache_write_1h_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            audio_input_tokens: usage.audio_input_tokens,
            audio_output_tokens: usage.audio_output_tokens,
            ..signalbox_catalog::Usage::default()
        };
        Price::cost_or_unknown(self.price.as_ref(), &usage)
    }

    /// Counts the tokens of a text. Bounded by the bounds on what is kept: about 1 µs for ten bytes.
    pub(crate) fn tokens(&self, text: &str) -> u64 {
        if text.is_empty() { 0 } else { tokens::count_text(&self.model, text).tokens }
    }

    /// Makes the HTTP request, credential included. Nothing of the mesh's own context goes along.
    pub(crate) fn request(&self, encoded: Encoded, now: SystemTime) -> Result<Request<Full<Bytes>>, String> {
        let uri = self.base.join(&encoded.path).map_err(|e| format!("base_url: {e}"))?;
        let body = encoded.body;
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = encoded.headers;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, USER_AGENT);
        match &self.credential {
            Credential::Header(name, value, _) => {
                headers.insert(name.clone(), value.clone());
            }
            Credential::Aws(keys, region, _) => {
                sign(&mut request, &body, keys, region, now).map_err(|e| e.to_string())?;
            }
            Credential::None | Credential::Missing(_) => {}
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_join_with_paths() {
        let join = |base: &str| Base::parse(base).unwrap().join("/chat/completions").unwrap().to_string();
        assert_eq!(join("https://api.example.com/v1"), "https://api.example.com/v1/chat/completions");
        assert_eq!(join("http://127.0.0.1:8000/"), "http://127.0.0.1:8000/chat/completions");
        let azure = "https://x.example.com/openai/deployments/d?api-version=1";
        assert_eq!(join(azure), "https://x.example.com/openai/deployments/d/chat/completions?api-version=1");
        let anthropic = |base: &str| Base::parse(base).unwrap().join("/v1/messages").unwrap().to_string();
        assert_eq!(anthropic("https://api.anthropic.com"), "https://api.anthropic.com/v1/messages");
        assert_eq!(anthropic("https://api.anthropic.com/v1/"), "https://api.anthropic.com/v1/messages");
        for bad in ["example.com", "ftp://example.com", "https://key@example.com", "not a url"] {
            assert!(Base::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_credential_does_not_show() {
        let (name, value) = Dialect::OpenAi.credential("sk-secret-value").unwrap();
        let credential = Credential::Header(name.clone(), value.clone(), "sk-secret-value".into());
        assert!(!format!("{credential:?}").contains("secret"));
        let headers = http::HeaderMap::from_iter([(name, value)]);
        assert!(!format!("{headers:?}").contains("secret"));
    }
}
