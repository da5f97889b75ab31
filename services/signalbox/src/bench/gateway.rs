//! Asks the mesh, as its clients do.

use std::time::{Duration, Instant};

use signalbox_proto::{
    common::v1::{
        CacheState, ChatRequest, Message, Notice, Part, Role, Started, Text, generate_event::Kind, notice,
        part,
    },
    gateway::v1::{CompleteRequest, GenerateRequest, gateway_service_client::GatewayServiceClient},
};
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    transport::{Channel, Endpoint},
};

use super::{
    generator::{Answered, Ask},
    workload::Answer,
};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// A mesh's public door, what to ask there, and as whom.
#[derive(Clone)]
pub(super) struct Gateway {
    pub(super) server: String,
    pub(super) credential: Option<AsciiMetadataValue>,
    pub(super) model: String,
}

impl Gateway {
    /// Opens a connection of its own. tonic's bare transport: what our own channel costs is not the mesh's.
    ///
    /// # Errors
    /// An address that is malformed, or where nobody listens.
    pub(super) async fn connect(&self) -> Result<Channel, String> {
        let endpoint = Endpoint::from_shared(self.server.clone()).map_err(|error| {
            format!("{} is no address: {error}; give it as http://host:port", self.server)
        })?;
        let connected = endpoint.tcp_nodelay(true).connect_timeout(CONNECT).connect().await;
        connected.map_err(|error| format!("no mesh answers at {}: {}", self.server, root(&error)))
    }

    /// Makes so many askers that share the connections in turn.
    pub(super) fn askers(&self, answer: Answer, connections: &[Channel], count: usize) -> Vec<Client> {
        let shared = connections.iter().cycle().take(count);
        shared.map(|channel| Client { gateway: self.clone(), answer, channel: channel.clone() }).collect()
    }

    /// Adds the credential.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(credential) = &self.credential {
            request.metadata_mut().insert("authorization", credential.clone());
        }
        request
    }
}

/// The cause of all causes: what the system said.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// Reads a key for the `authorization` header.
///
/// # Errors
/// A key that cannot stand in a header.
pub(super) fn credential(key: &str) -> Result<AsciiMetadataValue, String> {
    let mut credential: AsciiMetadataValue = format!("Bearer {}", key.trim())
        .parse()
        .map_err(|_| "the key is more than one line; it has the form sb_<id>_<secret>".to_owned())?;
    credential.set_sensitive(true);
    Ok(credential)
}

/// One asker.
pub(super) struct Client {
    gateway: Gateway,
    answer: Answer,
    channel: Channel,
}

impl Ask for Client {
    async fn ask(&mut self, prompt: String) -> Result<Answered, String> {
        let request = self.gateway.chat(prompt);
        let asked = match self.answer {
            Answer::Whole => self.whole(request).await,
            Answer::Stream | Answer::Long => self.stream(request).await,
        };
        asked.map_err(|status| explain(&status))
    }
}

impl Client {
    async fn whole(&self, request: GenerateRequest) -> Result<Answered, Status> {
        let request = self.gateway.request(CompleteRequest { request: Some(request) });
        let mut gateway = GatewayServiceClient::new(self.channel.clone());
        let complete = gateway.complete(request).await?.into_inner();
        if complete.finished.is_none() {
            return Err(Status::data_loss("an answer that is not finished"));
        }
        let cached = complete.started.as_deref().is_some_and(cached);
        Ok(Answered { first: None, chunks: 0, cached, degraded: complete.notices.iter().any(degraded) })
    }

    async fn stream(&self, request: GenerateRequest) -> Result<Answered, Status> {
        let mut gateway = GatewayServiceClient::new(self.channel.clone());
        let mut events = gateway.generate(self.gateway.request(request)).await?.into_inner();
        let (mut answered, mut finished) = (Answered::default(), false);
        while let Some(response) = events.message().await? {
            match response.event.and_then(|event| event.kind) {
                Some(Kind::Started(started)) => answered.cached = cached(&started),
                Some(Kind::Delta(_)) => {
                    answered.first.get_or_insert_with(Instant::now);
                    answered.chunks += 1;
                }
                Some(Kind::Notice(notice)) => answered.degraded |= degraded(&notice),
                Some(Kind::Finished(_)) => finished = true,
                Some(Kind::Seam(_)) | None => {}
            }
        }
        if finished { Ok(answered) } else { Err(Status::data_loss("an answer that is not finished")) }
    }
}

impl Gateway {
    pub(super) fn chat(&self, prompt: String) -> GenerateRequest {
        let text = Part { kind: Some(part::Kind::Text(Text { text: prompt })), ..Part::default() };
        let message = Message { role: Role::User.into(), parts: vec![text], ..Message::default() };
        let chat =
            ChatRequest { model: self.model.clone(), messages: vec![message], ..ChatRequest::default() };
        GenerateRequest { chat: Some(chat), ..GenerateRequest::default() }
    }
}

fn cached(started: &Started) -> bool {
    let state = started.cache.as_ref().map(signalbox_proto::common::v1::CacheInfo::state);
    matches!(state, Some(CacheState::Exact | CacheState::Semantic | CacheState::Follow))
}

fn degraded(notice: &Notice) -> bool {
    notice.kind() == notice::Kind::Degraded
}

/// A status by its reason and its message, which the mesh keeps free of prompts and answers.
pub(super) fn explain(status: &Status) -> String {
    let reason = signalbox_mesh::error::reason_of(status);
    let name = reason.map(|reason| reason.as_str_name().trim_start_matches("ERROR_REASON_").to_owned());
    format!("{}: {}", name.unwrap_or_else(|| format!("{:?}", status.code())), status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sent_as_a_bearer_credential_and_not_shown() {
        let credential = credential(" sb_a_b\n").unwrap();
        assert_eq!(credential.to_str().unwrap(), "Bearer sb_a_b");
        assert!(!format!("{credential:?}").contains("sb_a_b"));
        assert!(super::credential("sb_a_b\nsb_c_d").is_err());
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_is_named() {
        let gateway =
            |server: &str| Gateway { server: server.into(), credential: None, model: "auto".into() };
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = gateway(&format!("http://{closed}")).connect().await.unwrap_err();
        assert!(error.contains(&closed.to_string()) && error.contains("refused"), "{error}");
        assert!(gateway("not an address").connect().await.unwrap_err().contains("http://host:port"));
    }
}
