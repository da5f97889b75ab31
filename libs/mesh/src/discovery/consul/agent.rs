//! One request to the agent, over a connection of its own: there is about one in half a minute.

use std::{fmt, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header::HOST};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Connector,
    discovery::ConsulConfig,
    tls::{HTTP1, TlsError, trusting},
};

/// Longest answer that is read, in bytes: about 2,000 instances.
const ANSWER_MOST: usize = 4 << 20;
/// How much of an error's text is shown.
const SHOWN: usize = 200;

const TOKEN: &str = "x-consul-token";
const HTTPS: &str = "https";

/// The agent.
pub(in crate::discovery) struct Agent {
    peer: Uri,
    /// `host:port`.
    at: String,
    connector: Connector,
    token_file: Option<PathBuf>,
    pub(super) datacenter: String,
    pub(super) wait: Duration,
    pub(super) check: Duration,
    pub(super) tags: Vec<String>,
}

/// Why the agent gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgentError {
    #[error("mesh.consul.token_file {path}: {why}")]
    Token { path: PathBuf, why: String },
    #[error("the Consul agent at {at} cannot be reached: {why}")]
    Away { at: String, why: String },
    #[error("the Consul agent at {at} did not answer in time")]
    Late { at: String },
    #[error("the Consul agent at {at} says {status}: {text}")]
    Refused { at: String, status: StatusCode, text: String },
    #[error("the Consul agent at {at} says what cannot be read: {why}")]
    Unreadable { at: String, why: String },
}

impl Agent {
    /// # Errors
    /// The authorities that are to be believed cannot be read.
    pub(in crate::discovery) fn new(config: &ConsulConfig) -> Result<Self, TlsError> {
        let peer = address(&config.address).unwrap_or_default();
        let connector = if peer.scheme_str() == Some(HTTPS) {
            trusting(config.ca_file.as_deref(), &[HTTP1], Connector::tcp())?
        } else {
            Connector::tcp()
        };
        Ok(Self {
            at: peer.authority().map_or_else(|| config.address.clone(), ToString::to_string),
            peer,
            connector,
            token_file: config.token_file.clone(),
            datacenter: config.datacenter.clone(),
            wait: Duration::from_millis(config.wait_ms),
            check: Duration::from_millis(config.check_ms),
            tags: config.tags.clone(),
        })
    }

    /// Asks, within a time.
    ///
    /// # Errors
    /// Whatever is not an answer of success; see [`AgentError`].
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<(HeaderMap, Bytes), AgentError> {
        let asked = tokio::time::timeout(limit, self.exchange(method, path, body));
        asked.await.map_err(|_| AgentError::Late { at: self.at.clone() })?
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(HeaderMap, Bytes), AgentError> {
        let away =
            |error: &dyn std::error::Error| AgentError::Away { at: self.at.clone(), why: error.to_string() };
        let unreadable = |why: String| AgentError::Unreadable { at: self.at.clone(), why };
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() =
            path.parse().map_err(|error: http::uri::InvalidUri| unreadable(error.to_string()))?;
        if let Ok(host) = HeaderValue::from_str(&self.at) {
            request.headers_mut().insert(HOST, host);
        }
        if let Some(token) = self.token().await? {
            request.headers_mut().insert(TOKEN, token);
        }

        let stream = self.connector.connect(self.peer.clone()).await.map_err(|error| away(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| away(&error))?;
        // Ends with this request, whether it is answered or given up.
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let response = sender.send_request(request).await.map_err(|error| away(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_MOST).collect().await;
        let body = body.map_err(|error| unreadable(error.to_string()))?.to_bytes();
        if !head.status.is_success() {
            let text: String =
                String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(SHOWN).collect();
            return Err(AgentError::Refused { at: self.at.clone(), status: head.status, text });
        }
        Ok((head.headers, body))
    }

    pub(super) fn unreadable(&self, error: &serde_json::Error) -> AgentError {
        AgentError::Unreadable { at: self.at.clone(), why: error.to_string() }
    }

    async fn token(&self) -> Result<Option<HeaderValue>, AgentError> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let failed = |why: String| AgentError::Token { path: path.clone(), why };
        let text = tokio::fs::read_to_string(path).await.map_err(|error| failed(error.to_string()))?;
        let mut token = HeaderValue::from_str(text.trim())
            .ok()
            .filter(|token| !token.is_empty())
            .ok_or_else(|| failed("it does not hold a token on one line".to_owned()))?;
        token.set_sensitive(true);
        Ok(Some(token))
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Reads an address, `http://host:port` or `https://host:port`.
pub(in crate::discovery) fn address(address: &str) -> Option<Uri> {
    let uri: Uri = address.parse().ok()?;
    let fits = matches!(uri.scheme_str(), Some("http" | HTTPS)) && uri.path() == "/" && uri.query().is_none();
    let at = uri.authority().filter(|at| fits && at.port_u16().is_some())?;
    (!at.as_str().contains('@')).then(|| uri.clone())
}
