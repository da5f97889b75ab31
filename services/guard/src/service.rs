//! The gRPC face: decode, check, encode.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use prost::Message as _;
use signalbox_embed::Embedder;
use signalbox_mesh::{Clock, RequestContext, error};
use signalbox_proto::{
    common::v1::{BlockedBy, ChatRequest, ErrorReason, Source},
    guard::v1::{
        Action, Detector, InspectRequest, InspectResponse, ListDetectorsRequest, ListDetectorsResponse,
        ScreenOpen, ScreenRequest, ScreenResponse, ScreenedEvents, Verdict,
        guard_service_server::GuardService, screen_request, screen_response,
    },
};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{
    detect::DETECTORS,
    injection::{self, FAMILIES},
    policy::{Policies, Policy},
    redact::{self, Inspection, Suspect},
    screen::Screen,
    seal::Sealer,
};

/// Prompts above this many bytes are checked off the asynchronous threads.
const LONG: usize = 64 << 10;
/// How long the learned tier may take for a prompt: some forty windows on an idle core.
const LEARNED_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Events taken in one message; the contract's bound.
const BATCH: usize = 256;

/// What the calls share.
pub(crate) struct Core {
    pub(crate) policies: Policies,
    pub(crate) sealer: Sealer,
    pub(crate) seal_ttl_ms: i64,
    pub(crate) clock: Arc<dyn Clock>,
    /// The embedding model of the learned tier. Absent: the tier is off.
    pub(crate) embedder: Option<Embedder>,
}

/// The service.
pub(crate) struct Guard(pub(crate) Arc<Core>);

impl Core {
    fn policy(&self, name: &str) -> Result<Policy, Status> {
        self.policies.get(name).cloned().ok_or_else(|| {
            let known = self.policies.names().join(", ");
            let message = format!("the guard policy `{name}` does not exist; known: {known}");
            error::status(Code::FailedPrecondition, ErrorReason::PolicyInvalid, message).into()
        })
    }

    /// Asks the learned tier, within [`LEARNED_TIMEOUT`] for all texts; what it cannot judge passes, for the patterns did judge it.
    async fn learn(&self, suspects: &[Suspect], policy: &Policy, found: &mut Inspection) {
        let Some(embedder) = &self.embedder else { return };
        let judge = async {
            for suspect in suspects {
                if let Some(score) = injection::learned_attack(&suspect.text, suspect.channel, embedder).await
                {
                    found.learned(suspect, score, policy);
                }
            }
        };
        if tokio::time::timeout(LEARNED_TIMEOUT, judge).await.is_err() {
            tracing::warn!("the learned tier was too slow: a prompt passed on its patterns alone");
        }
    }

    fn answer(
        &self,
        context: &RequestContext,
        policy: &Policy,
        chat: ChatRequest,
        found: Inspection,
    ) -> Result<InspectResponse, Status> {
        let verdict = match (&found.blocked, found.values.is_empty()) {
            (Some(_), _) => Verdict::Block,
            (None, false) => Verdict::Redact,
            (None, true) => Verdict::Allow,
        };
        let seal = if verdict == Verdict::Redact {
            let expires = self.clock.unix_ms().saturating_add(self.seal_ttl_ms);
            let sealed = self.sealer.seal(context.tenant(), context.request_id(), expires, &found.values);
            sealed.map_err(|_| error::internal("the values cannot be sealed"))?
        } else {
            Vec::new()
        };
        let blocked_by =
            found.blocked.map(|d| BlockedBy { policy: policy.name.clone(), detector: d.to_owned() });
        Ok(InspectResponse {
            verdict: verdict.into(),
            redacted: (verdict == Verdict::Redact).then_some(chat),
            seal: seal.into(),
            findings: found.findings,
            findings_dropped: found.dropped,
            blocked_by,
            policy_digest: policy.digest().into(),
            ..InspectResponse::default()
        })
    }

    fn open(&self, context: &RequestContext, open: &ScreenOpen) -> Result<Screen, Status> {
        let policy = self.policy(&open.policy)?;
        let values = if open.seal.is_empty() {
            Ok(Default::default())
        } else {
            self.sealer.open(context.tenant(), context.request_id(), self.clock.unix_ms(), &open.seal)
        };
        let values = values.map_err(|_| {
            let message = "the seal is not for this tenant and request, was altered, or expired";
            Status::from(error::status(Code::PermissionDenied, ErrorReason::SealInvalid, message))
        })?;
        Ok(Screen::new(policy, values))
    }
}

fn identified<T>(request: &Request<T>) -> Result<RequestContext, Status> {
    let context = RequestContext::from_request(request);
    if context.tenant().is_empty() {
        return Err(error::invalid("tenant", "is missing in the context; only the gateway calls the guard"));
    }
    Ok(context)
}

#[tonic::async_trait]
impl GuardService for Guard {
    type ScreenStream = Screening<Streaming<ScreenRequest>>;

    async fn inspect(&self, request: Request<InspectRequest>) -> Result<Response<InspectResponse>, Status> {
        let context = identified(&request)?;
        let InspectRequest { chat, policy, .. } = request.into_inner();
        let Some(mut chat) = chat else {
            return Err(error::invalid("chat", "is missing; say what is checked"));
        };
        let policy = self.0.policy(&policy)?;
        let suspects = match &self.0.embedder {
            Some(_) if policy.learns() => redact::suspects(&chat),
            _ => Vec::new(),
        };
        let (chat, policy, mut found) = if chat.encoded_len() > LONG {
            let work = move || {
                let found = redact::inspect(&mut chat, &policy);
                (chat, policy, found)
            };
            tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| error::internal("the check of a prompt failed"))?
        } else {
            let found = redact::inspect(&mut chat, &policy);
            (chat, policy, found)
        };
        // Patterns that block have settled it.
        if found.blocked.is_none() {
            self.0.learn(&suspects, &policy, &mut found).await;
        }
        self.0.answer(&context, &policy, chat, found).map(Response::new)
    }

    async fn screen(
        &self,
        request: Request<Streaming<ScreenRequest>>,
    ) -> Result<Response<Self::ScreenStream>, Status> {
        let context = identified(&request)?;
        Ok(Response::new(Screening::new(Arc::clone(&self.0), context, request.into_inner())))
    }

    async fn list_detectors(
        &self,
        _: Request<ListDetectorsRequest>,
    ) -> Result<Response<ListDetectorsResponse>, Status> {
        let policy = self.0.policy("")?;
        let detector = |id: &str, description: &str, sources: &[Source], action: Action| Detector {
            id: id.to_owned(),
            description: description.to_owned(),
            sources: sources.iter().map(|s| i32::from(*s)).collect(),
            default_action: action.into(),
        };
        let everywhere = [Source::User, Source::System, Source::Tool, Source::Retrieval, Source::Output];
        let asked = [Source::User, Source::Tool, Source::Retrieval];
        let values =
            DETECTORS.iter().zip(&policy.prompt).map(|(d, a)| detector(d.id, d.description, &everywhere, *a));
        let attacks =
            FAMILIES.iter().zip(&policy.injection).map(|(f, a)| detector(f.id, f.description, &asked, *a));
        let mut detectors: Vec<Detector> = values.chain(attacks).collect();
        detectors.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Response::new(ListDetectorsResponse { detectors, policies: self.0.policies.names() }))
    }
}

/// The way out of a screen. It reads on only when it is polled, and dropping it drops the way in.
pub(crate) struct Screening<S> {
    core: Arc<Core>,
    context: RequestContext,
    input: Option<S>,
    screen: Option<Screen>,
    ready: VecDeque<ScreenResponse>,
}

impl<S> Screening<S> {
    fn new(core: Arc<Core>, context: RequestContext, input: S) -> Self {
        Self { core, context, input: Some(input), screen: None, ready: VecDeque::new() }
    }

    /// Takes one message; after a block the way in is dropped, which cancels whoever writes the answer.
    fn accept(&mut self, message: ScreenRequest) -> Result<(), Status> {
        match (message.kind, &mut self.screen) {
            (Some(screen_request::Kind::Open(open)), None) => {
                self.screen = Some(self.core.open(&self.context, &open)?);
            }
            (Some(screen_request::Kind::Open(_)), Some(_)) => {
                return Err(error::invalid("open", "came twice"));
            }
            (Some(screen_request::Kind::Events(_)), None) => {
                return Err(error::invalid("open", "must come first"));
            }
            (Some(screen_request::Kind::Events(events)), Some(screen)) => {
                if events.events.len() > BATCH {
                    return Err(error::invalid(
                        "events",
                        format!("has {}; at most {BATCH} fit", events.events.len()),
                    ));
                }
                let mut out = Vec::with_capacity(events.events.len() + 1);
                events.events.into_iter().for_each(|event| screen.take(event, &mut out));
                let blocked = screen.is_blocked();
                self.release(out);
                if blocked {
                    self.end();
                }
            }
            (None, _) => return Err(error::invalid("kind", "is missing")),
        }
        Ok(())
    }

    fn release(&mut self, events: Vec<signalbox_proto::guard::v1::ScreenedEvent>) {
        if !events.is_empty() {
            let kind = screen_response::Kind::Events(ScreenedEvents { events });
            self.ready.push_back(ScreenResponse { kind: Some(kind) });
        }
    }

    fn end(&mut self) {
        self.input = None;
        if let Some(mut screen) = self.screen.take() {
            let mut out = Vec::new();
            if !screen.is_blocked() {
                screen.flush(&mut out);
            }
            self.release(out);
            let kind = screen_response::Kind::Closed(screen.close());
            self.ready.push_back(ScreenResponse { kind: Some(kind) });
        }
    }
}

impl<S: Stream<Item = Result<ScreenRequest, Status>> + Unpin> Stream for Screening<S> {
    type Item = Result<ScreenResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(response)));
            }
            let Some(input) = &mut self.input else { return Poll::Ready(None) };
            let taken = match input.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => self.accept(message),
                Poll::Ready(Some(Err(status))) => Err(status),
                Poll::Ready(None) => {
                    self.end();
                    Ok(())
                }
            };
            if let Err(status) = taken {
                (self.input, self.screen) = (None, None);
                return Poll::Ready(Some(Err(status)));
            }
        }
    }
}
