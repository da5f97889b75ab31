//! A cache behind a local channel, and requests and answers to try it with.

use std::{path::Path, time::Duration};

use futures_util::stream;
use signalbox_config::{Live, Redis, Shared};
use signalbox_embed::{EmbedConfig, EmbedError, Embedder};
use signalbox_mesh::{Channel, Environment, ManualClock, Part, RequestContext};
use signalbox_proto::{
    cache::v1::{
        CachedEvents, FillAbort, FillCommit, FillOpen, FillRequest, FillResponse, InvalidateRequest,
        LookupRequest, LookupResult, StatsRequest, StatsResponse, cache_service_client::CacheServiceClient,
        fill_request, invalidate_request::By, lookup_response::Kind,
    },
    common::v1::{
        CacheState, ChatRequest, Delta, FinishReason, Finished, GenerateEvent, Message, Part as Piece, Role,
        Started, Text, Usage, UsageSource, delta, generate_event, part,
    },
};
use tonic::Status;

use crate::{Config, Embedding, build};

pub(super) const NOW: i64 = 1_700_000_000_000;

pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) part: Part,
    channel: Channel,
}

/// What a lookup gave: its result and all events.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) result: LookupResult,
    pub(super) events: Vec<GenerateEvent>,
    pub(super) messages: usize,
}

impl World {
    pub(super) async fn with(config: &str, embedding: Embedding) -> Self {
        Self::replica(config, embedding, None, 1).await
    }

    /// One of several replicas, by its seed, that share what they know over that Redis.
    pub(super) async fn replica(config: &str, embedding: Embedding, redis: Option<Redis>, seed: u64) -> Self {
        Self::at(Path::new(""), config, embedding, redis, seed).await
    }

    /// The same, with a data folder.
    pub(super) async fn at(
        folder: &Path,
        config: &str,
        embedding: Embedding,
        redis: Option<Redis>,
        seed: u64,
    ) -> Self {
        let config: Config = toml::from_str(config).unwrap();
        let clock = ManualClock::new(NOW);
        let environment = Environment::manual(clock.clone(), seed, folder);
        let shared = Live::new(Shared { redis, ..Shared::default() });
        let part = build(shared, config, embedding, environment.clone()).await.unwrap();
        let mut mesh = signalbox_mesh::Config::default();
        mesh.server.concurrency = 1 << 15;
        let channel = Channel::local(&part, &mesh, &environment);
        Self { clock, part, channel }
    }

    pub(super) fn over(part: Part, channel: Channel, clock: ManualClock) -> Self {
        Self { clock, part, channel }
    }

    /// Without an embedding model.
    pub(super) async fn exact(config: &str) -> Self {
        Self::with(config, no_model()).await
    }

    /// With an encoder to which all texts are the same.
    pub(super) async fn blind(config: &str) -> Self {
        Self::with(config, Embedding::constant()).await
    }

    /// Ends it as a process does.
    pub(super) async fn end(self) {
        self.part.drain().await;
    }

    pub(super) fn client(&self) -> CacheServiceClient<Channel> {
        signalbox_mesh::client!(CacheServiceClient, self.channel)
    }

    pub(super) async fn lookup(&self, tenant: &str, request: LookupRequest) -> Result<Looked, Status> {
        let mut stream = self.client().lookup(context(tenant).request(request)).await?.into_inner();
        let Some(Kind::Result(result)) = stream.message().await?.unwrap().kind else {
            panic!("no result first")
        };
        let mut looked = Looked { result, events: Vec::new(), messages: 0 };
        while let Some(message) = stream.message().await? {
            let Some(Kind::Events(events)) = message.kind else { panic!("no events") };
            assert!((1..=64).contains(&events.events.len()));
            looked.messages += 1;
            looked.events.extend(events.events);
        }
        Ok(looked)
    }

    pub(super) async fn fill(
        &self,
        tenant: &str,
        messages: Vec<FillRequest>,
    ) -> Result<FillResponse, Status> {
        let request = context(tenant).request(stream::iter(messages));
        Ok(self.client().fill(request).await?.into_inner())
    }

    /// Asks, and lets the model answer where the cache does not; gives the text.
    pub(super) async fn ask(
        &self,
        tenant: &str,
        request: &LookupRequest,
        answer: &str,
    ) -> (CacheState, String) {
        let looked = self.lookup(tenant, request.clone()).await.unwrap();
        let state = looked.state();
        if state == CacheState::Miss {
            let lease = looked.result.lease.expect("a lease");
            let filled = self.fill(tenant, filling(&lease.id, answer)).await.unwrap();
            assert!(filled.stored, "{}", filled.reason);
            assert_eq!(filled.entry_id, lease.entry_id);
            return (state, answer.to_owned());
        }
        (state, looked.text())
    }

    pub(super) async fn invalidate(&self, tenant: &str, by: By) -> Result<u64, Status> {
        let request = context(tenant).request(InvalidateRequest { by: Some(by) });
        Ok(self.client().invalidate(request).await?.into_inner().removed)
    }

    pub(super) async fn stats(&self, tenant: &str) -> StatsResponse {
        self.client().stats(context(tenant).request(StatsRequest {})).await.unwrap().into_inner()
    }
}

impl Looked {
    pub(super) fn state(&self) -> CacheState {
        self.result.cache.as_ref().unwrap().state()
    }

    pub(super) fn text(&self) -> String {
        self.events.iter().map(words).collect()
    }
}

/// The text of an event.
pub(super) fn words(event: &GenerateEvent) -> String {
    match &event.kind {
        Some(generate_event::Kind::Delta(Delta { content: Some(delta::Content::Text(text)), .. })) => {
            text.clone()
        }
        _ => String::new(),
    }
}

pub(super) fn context(tenant: &str) -> RequestContext {
    let mut context = RequestContext::background().with_principal(tenant, "key");
    context.set_request_id("request-1");
    context
}

pub(super) fn said(role: Role, text: &str) -> Message {
    let kind = Some(part::Kind::Text(Text { text: text.into() }));
    Message { role: role.into(), parts: vec![Piece { kind, ..Piece::default() }], ..Message::default() }
}

/// A question, with the digest of a guard.
pub(super) fn question(text: &str) -> LookupRequest {
    let messages = vec![said(Role::System, "be brief"), said(Role::User, text)];
    LookupRequest {
        chat: Some(ChatRequest { model: "fast".into(), messages, ..ChatRequest::default() }),
        guard_digest: b"guard"[..].into(),
        ..LookupRequest::default()
    }
}

pub(super) fn event(kind: generate_event::Kind) -> GenerateEvent {
    GenerateEvent { sequence: 0, kind: Some(kind) }
}

pub(super) fn started() -> GenerateEvent {
    event(generate_event::Kind::Started(Box::new(Started {
        request_id: "first".into(),
        model: "p/m".into(),
        ..Started::default()
    })))
}

pub(super) fn text(text: &str) -> GenerateEvent {
    let content = Some(delta::Content::Text(text.into()));
    event(generate_event::Kind::Delta(Delta { content, ..Delta::default() }))
}

pub(super) fn finished(reason: FinishReason) -> GenerateEvent {
    let usage = Usage { output_tokens: 3, source: UsageSource::Reported.into(), ..Usage::default() };
    event(generate_event::Kind::Finished(Box::new(Finished {
        finish_reason: reason.into(),
        usage: Some(usage),
        cost_nanousd: 1_000,
        model: "p/m".into(),
        ..Finished::default()
    })))
}

pub(super) fn open(lease: &str) -> FillRequest {
    let open = FillOpen { lease_id: lease.into(), tags: Vec::new() };
    FillRequest { kind: Some(fill_request::Kind::Open(open)) }
}

pub(super) fn events(events: Vec<GenerateEvent>) -> FillRequest {
    FillRequest { kind: Some(fill_request::Kind::Events(CachedEvents { events, ..CachedEvents::default() })) }
}

pub(super) fn commit() -> FillRequest {
    FillRequest { kind: Some(fill_request::Kind::Commit(FillCommit { cost_nanousd: 1_000 })) }
}

pub(super) fn abort(reason: &str) -> FillRequest {
    FillRequest { kind: Some(fill_request::Kind::Abort(FillAbort { reason: reason.into() })) }
}

/// A whole fill.
pub(super) fn filling(lease: &str, answer: &str) -> Vec<FillRequest> {
    let pieces: Vec<GenerateEvent> = answer.split_inclusive(' ').map(text).collect();
    vec![
        open(lease),
        events(vec![started()]),
        events(pieces),
        events(vec![finished(FinishReason::Stop)]),
        commit(),
    ]
}

pub(super) fn no_model() -> Embedding {
    let error = EmbedError::Unavailable { what: "no model at /secret/path".into(), remedy: "get one".into() };
    Err(error).into()
}

/// The real model, or a visible line and nothing.
pub(super) fn real_model(test: &str) -> Option<Embedding> {
    match Embedder::load(EmbedConfig::default()) {
        Ok(embedder) => Some(Ok(embedder).into()),
        Err(error) => {
            println!("SKIPPED: {test}: {error}");
            None
        }
    }
}

pub(super) async fn pass(clock: &ManualClock, time: Duration) {
    clock.advance(time);
    tokio::time::advance(time).await;
}
