//! Requests of a test's client, and what it saw.

use signalbox_proto::{
    common::v1::{
        ChatRequest, Finished, Message, Notice, Part, Policies, Role, Seam, Started, Text, delta::Content,
        generate_event::Kind, part,
    },
    gateway::v1::{GenerateRequest, GenerateResponse},
};
use tonic::{Status, Streaming};

/// A question by a user.
pub fn question(model: &str, text: &str) -> GenerateRequest {
    let chat = ChatRequest {
        model: model.into(),
        messages: vec![message(Role::User, text)],
        ..ChatRequest::default()
    };
    GenerateRequest { chat: Some(chat), ..GenerateRequest::default() }
}

/// A message of plain text.
pub fn message(role: Role, text: &str) -> Message {
    let text = Part { kind: Some(part::Kind::Text(Text { text: text.into() })), ..Part::default() };
    Message { role: role.into(), parts: vec![text], ..Message::default() }
}

/// The same request with policies.
pub fn with_policies(mut request: GenerateRequest, policies: Policies) -> GenerateRequest {
    request.policies = Some(policies);
    request
}

/// What a client saw of one stream.
#[derive(Debug, Default)]
pub struct Seen {
    /// The first event.
    pub started: Option<Started>,
    /// All text.
    pub text: String,
    /// Notices.
    pub notices: Vec<Notice>,
    /// Seams.
    pub seams: Vec<Seam>,
    /// The last event.
    pub finished: Option<Finished>,
    /// The error in which it ended.
    pub error: Option<Status>,
    /// Pieces of output.
    pub deltas: usize,
    last: u64,
}

impl Seen {
    /// A stream that ended before it began.
    pub fn refused(status: Status) -> Self {
        Self { error: Some(status), ..Self::default() }
    }

    /// Reads a stream to its end and checks the order and the numbers of its events (S1).
    pub async fn read(mut stream: Streaming<GenerateResponse>) -> Self {
        let mut seen = Self::default();
        while seen.next(&mut stream).await {}
        seen
    }

    /// Reads one event; false at the end.
    pub async fn next(&mut self, stream: &mut Streaming<GenerateResponse>) -> bool {
        match stream.message().await {
            Ok(Some(response)) => self.take(response),
            Ok(None) => {
                assert!(self.finished.is_some(), "a stream that ends well has said `finished`");
                return false;
            }
            Err(status) => {
                self.error = Some(status);
                return false;
            }
        }
        true
    }

    fn take(&mut self, response: GenerateResponse) {
        let event = response.event.expect("a response carries an event");
        assert_eq!(event.sequence, self.last + 1, "events are numbered without a gap");
        self.last = event.sequence;
        assert!(self.finished.is_none(), "nothing follows `finished`");
        let kind = event.kind.expect("an event has a kind");
        assert_eq!(self.last == 1, matches!(kind, Kind::Started(_)), "`started` is first, and once");
        match kind {
            Kind::Started(started) => self.started = Some(*started),
            Kind::Delta(delta) => {
                self.deltas += 1;
                if let Some(Content::Text(text)) = delta.content {
                    self.text.push_str(&text);
                }
            }
            Kind::Notice(notice) => self.notices.push(notice),
            Kind::Seam(seam) => self.seams.push(seam),
            Kind::Finished(finished) => self.finished = Some(*finished),
        }
    }

    /// The cache's part.
    pub fn cache(&self) -> signalbox_proto::common::v1::CacheState {
        self.started
            .as_ref()
            .and_then(|s| s.cache.as_ref())
            .map(signalbox_proto::common::v1::CacheInfo::state)
            .unwrap_or_default()
    }

    /// The error's reason.
    pub fn reason(&self) -> Option<signalbox_proto::common::v1::ErrorReason> {
        self.error.as_ref().and_then(signalbox_mesh::error::reason_of)
    }
}
