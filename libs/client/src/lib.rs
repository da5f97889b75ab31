//! Asks a running Signalbox over gRPC.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = signalbox_client::Client::new("http://127.0.0.1:8080", None)?;
//! let mut answer = client.ask("auto", "Why is the sky blue?").await?;
//! while let Some(text) = answer.next_text().await? {
//!     print!("{text}");
//! }
//! println!("{:?}", answer.finished());
//! # Ok(()) }
//! ```
//!
//! Where the mesh says when to ask again (`RetryInfo`) and nothing was received yet, the client does so by itself, a few
//! times. Everything of the contracts can be said: [`proto`] has the messages.

use std::time::Duration;

pub use signalbox_proto as proto;
use signalbox_proto::{
    common::v1::{
        ChatRequest, Finished, Message, Part, Role, Started, Text, delta::Content, generate_event::Kind, part,
    },
    gateway::v1::{
        CompleteRequest, CompleteResponse, FeedbackRequest, GenerateRequest, GenerateResponse,
        gateway_service_client::GatewayServiceClient,
    },
};
use tonic::{
    Request, Response, Status, Streaming,
    metadata::AsciiMetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_types::StatusExt as _;

/// How often a request is sent at most.
const ATTEMPTS: u32 = 4;
/// The longest wait that is taken on; a longer one is the caller's affair.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is no URL.
    #[error("{0} is no address; give it as http://host:port, or https://host:port")]
    Address(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] tonic::transport::Error),
    /// The key cannot stand in a header.
    #[error("the key is not ASCII text; it has the form sb_<id>_<secret>")]
    Key,
}

/// A connection to a mesh, made with the first call. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    gateway: GatewayServiceClient<Channel>,
    credential: Option<AsciiMetadataValue>,
}

impl Client {
    /// Prepares a connection to `address` (`http://host:port`, or `https` where the gateway speaks TLS; the system's authorities are
    /// believed), with a key (`sb_<id>_<secret>`) where the mesh wants one.
    ///
    /// # Errors
    /// An address or a key of another form.
    pub fn new(address: &str, key: Option<&str>) -> Result<Self, Error> {
        Self::over(address, key, ClientTlsConfig::new().with_native_roots())
    }

    /// The same for a gateway whose certificate an authority of your own has signed: the authority's certificate, PEM.
    ///
    /// # Errors
    /// An address or a key of another form, or a certificate that cannot be read.
    pub fn trusting(authority_pem: &str, address: &str, key: Option<&str>) -> Result<Self, Error> {
        let authority = Certificate::from_pem(authority_pem);
        Self::over(address, key, ClientTlsConfig::new().ca_certificate(authority))
    }

    fn over(address: &str, key: Option<&str>, tls: ClientTlsConfig) -> Result<Self, Error> {
        let mut endpoint =
            Endpoint::from_shared(address.to_owned()).map_err(|_| Error::Address(address.to_owned()))?;
        if endpoint.uri().scheme_str() == Some("https") {
            endpoint = endpoint.tls_config(tls)?;
        }
        let bearer = |key: &str| match format!("Bearer {key}").parse() {
            Ok(value) if key.is_ascii() => Ok(value),
            _ => Err(Error::Key),
        };
        let credential = key.map(bearer).transpose()?;
        let channel = endpoint.tcp_nodelay(true).connect_lazy();
        // The mesh's own limit on messages holds.
        let gateway = GatewayServiceClient::new(channel).max_decoding_message_size(usize::MAX);
        Ok(Self { gateway, credential })
    }

    /// Asks a model (an alias, `provider/model`, or `auto`) a question, and streams the answer.
    ///
    /// # Errors
    /// The mesh's refusal.
    pub async fn ask(&self, model: &str, question: &str) -> Result<Answer, Status> {
        self.generate(self::question(model, question)).await
    }

    /// Sends any request, and streams the answer. Dropping that cancels everything upstream.
    ///
    /// # Errors
    /// The mesh's refusal.
    pub async fn generate(&self, request: GenerateRequest) -> Result<Answer, Status> {
        again(|| {
            let (mut gateway, request) = (self.gateway(), self.request(request.clone()));
            async move {
                let stream = gateway.generate(request).await?.into_inner();
                let mut answer = Answer { stream, first: None, started: None, finished: None };
                // What fails before the first event has delivered nothing.
                answer.first = answer.stream.message().await?;
                Ok(answer)
            }
        })
        .await
    }

    /// Sends any request, and returns the answer as a whole.
    ///
    /// # Errors
    /// The mesh's refusal.
    pub async fn complete(&self, request: GenerateRequest) -> Result<CompleteResponse, Status> {
        let whole = CompleteRequest { request: Some(request) };
        again(|| {
            let (mut gateway, request) = (self.gateway(), self.request(whole.clone()));
            async move { gateway.complete(request).await.map(Response::into_inner) }
        })
        .await
    }

    /// Scores an answer ([`Started::request_id`] names it), from -1 (wrong) to 1 (right): for the ledger, the cache and the router. The
    /// last score counts. `kind` is a word for the signal, such as `thumbs`.
    ///
    /// # Errors
    /// The mesh's refusal.
    pub async fn score(&self, started: &Started, score: f64, kind: Option<&str>) -> Result<(), Status> {
        let request = FeedbackRequest {
            request_id: started.request_id.clone(),
            score,
            kind: kind.map(str::to_owned),
            entry_id: started.cache.as_ref().and_then(|cache| cache.entry_id.clone()),
        };
        again(|| {
            let (mut gateway, request) = (self.gateway(), self.request(request.clone()));
            async move { gateway.feedback(request).await.map(drop) }
        })
        .await
    }

    /// The generated client, for the other calls; [`Client::request`] adds the key.
    #[must_use]
    pub fn gateway(&self) -> GatewayServiceClient<Channel> {
        self.gateway.clone()
    }

    /// A message as a request that carries the key.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(credential) = &self.credential {
            request.metadata_mut().insert("authorization", credential.clone());
        }
        request
    }
}

/// A user's question as a request.
#[must_use]
pub fn question(model: &str, text: &str) -> GenerateRequest {
    let part = Part { kind: Some(part::Kind::Text(Text { text: text.to_owned() })), ..Part::default() };
    let message = Message { role: Role::User.into(), parts: vec![part], ..Message::default() };
    let chat = ChatRequest { model: model.to_owned(), messages: vec![message], ..ChatRequest::default() };
    GenerateRequest { chat: Some(chat), ..GenerateRequest::default() }
}

/// Asks, and comes again as often and as late as the mesh asks to.
async fn again<T, F: Future<Output = Result<T, Status>>>(mut ask: impl FnMut() -> F) -> Result<T, Status> {
    let mut attempt = 1;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(status) => wait(&status, &mut attempt).await?,
        }
    }
}

/// Waits as the mesh asks to; the status itself where there is nothing to wait for.
async fn wait(status: &Status, attempt: &mut u32) -> Result<(), Status> {
    let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
    match delay.filter(|delay| *attempt < ATTEMPTS && *delay <= LONGEST_WAIT) {
        Some(delay) => {
            *attempt += 1;
            tokio::time::sleep(delay).await;
            Ok(())
        }
        None => Err(status.clone()),
    }
}

/// An answer as it comes into being.
#[derive(Debug)]
pub struct Answer {
    stream: Streaming<GenerateResponse>,
    first: Option<GenerateResponse>,
    started: Option<Started>,
    finished: Option<Finished>,
}

impl Answer {
    /// The next event; `None` at the end of a complete answer.
    ///
    /// # Errors
    /// The answer broke off: what came is not complete.
    pub async fn next(&mut self) -> Result<Option<Kind>, Status> {
        loop {
            let response = match self.first.take() {
                Some(first) => Some(first),
                None => self.stream.message().await?,
            };
            let Some(response) = response else { return Ok(None) };
            // A kind that a newer mesh sends is skipped.
            let Some(kind) = response.event.and_then(|event| event.kind) else { continue };
            match &kind {
                Kind::Started(started) => self.started = Some(Started::clone(started)),
                Kind::Finished(finished) => self.finished = Some(Finished::clone(finished)),
                Kind::Delta(_) | Kind::Notice(_) | Kind::Seam(_) => {}
            }
            return Ok(Some(kind));
        }
    }

    /// The next piece of text, past everything else; `None` at the end.
    ///
    /// # Errors
    /// As [`Answer::next`].
    pub async fn next_text(&mut self) -> Result<Option<String>, Status> {
        while let Some(kind) = self.next().await? {
            if let Kind::Delta(delta) = kind
                && let Some(Content::Text(text)) = delta.content
            {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// All text to the end.
    ///
    /// # Errors
    /// As [`Answer::next`].
    pub async fn text(&mut self) -> Result<String, Status> {
        let mut all = String::new();
        while let Some(text) = self.next_text().await? {
            all.push_str(&text);
        }
        Ok(all)
    }

    /// How the answer began: request id, model, cache; after the first event.
    #[must_use]
    pub fn started(&self) -> Option<&Started> {
        self.started.as_ref()
    }

    /// How it ended: finish reason, usage, cost; after the last event.
    #[must_use]
    pub fn finished(&self) -> Option<&Finished> {
        self.finished.as_ref()
    }
}
