//! Requests to others' servers: webhooks and key sets. Bounded in time and size.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// The largest answer that is read, in bytes.
const MOST_BYTES: usize = 1 << 20;
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client. Clones are the same.
#[derive(Clone)]
pub(crate) struct Http(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("it does not answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("it cannot be reached, or breaks off")]
    Broken,
    #[error("it answers with status {0}")]
    Status(u16),
    #[error("the address is malformed")]
    Address,
    #[error("the system's certificates cannot be used")]
    Certificates,
}

impl Http {
    /// Makes a client that trusts what the system trusts.
    pub(crate) fn new() -> Result<Self, NoAnswer> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| NoAnswer::Certificates)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self(Client::builder(TokioExecutor::new()).build(https)))
    }

    /// Sends a request and reads the answer whole. Redirects are not followed.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Bytes, NoAnswer> {
        let answer = async {
            let answer = self.0.request(request).await.map_err(|_| NoAnswer::Broken)?;
            let status = answer.status();
            let body =
                Limited::new(answer.into_body(), MOST_BYTES).collect().await.map_err(|_| NoAnswer::Broken)?;
            if status.is_success() { Ok(body.to_bytes()) } else { Err(NoAnswer::Status(status.as_u16())) }
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Err(NoAnswer::Late))
    }
}
