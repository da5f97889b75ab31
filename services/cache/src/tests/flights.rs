//! Those who ask the same at the same time.

use futures_util::StreamExt as _;
use signalbox_proto::{
    cache::v1::{
        FillRequest, FollowCountRequest, Handover, LookupRequest, LookupResponse, LookupResult,
        lookup_response::Kind,
    },
    common::v1::{CacheState, FinishReason, GenerateEvent, generate_event},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::world::*;

pub(super) const ASKED: &str = "Why is the sky blue?";

/// A fill whose messages are sent one by one.
pub(super) struct Leader {
    pub(super) to: mpsc::Sender<FillRequest>,
    pub(super) filled: JoinHandle<Result<String, Status>>,
}

impl Leader {
    pub(super) async fn begin(world: &World, lease: &str) -> Self {
        let (to, messages) = mpsc::channel(8);
        let mut client = world.client();
        let request = context("a").request(ReceiverStream::new(messages));
        let filled = tokio::spawn(async move { Ok(client.fill(request).await?.into_inner().reason) });
        to.send(open(lease)).await.unwrap();
        Self { to, filled }
    }

    pub(super) async fn says(&self, words: &str) {
        self.to.send(events(vec![text(words)])).await.unwrap();
    }

    pub(super) async fn ends(self) -> String {
        self.to.send(events(vec![finished(FinishReason::Stop)])).await.unwrap();
        self.to.send(commit()).await.unwrap();
        drop(self.to);
        self.filled.await.unwrap().unwrap()
    }

    pub(super) async fn fails(self) {
        drop(self.to);
        self.filled.await.unwrap().unwrap();
    }
}

/// One who asks while the answer flows.
pub(super) struct Reader {
    pub(super) result: LookupResult,
    stream: Streaming<LookupResponse>,
    pub(super) text: String,
    events: Vec<GenerateEvent>,
}

impl Reader {
    pub(super) async fn ask(world: &World, tenant: &str) -> Self {
        Self::ask_with(world, tenant, question(ASKED)).await
    }

    pub(super) async fn ask_with(world: &World, tenant: &str, request: LookupRequest) -> Self {
        let request = context(tenant).request(request);
        let mut stream = world.client().lookup(request).await.unwrap().into_inner();
        let Some(Kind::Result(result)) = stream.message().await.unwrap().unwrap().kind else {
            panic!("no result")
        };
        Self { result, stream, text: String::new(), events: Vec::new() }
    }

    pub(super) fn state(&self) -> CacheState {
        self.result.cache.as_ref().unwrap().state()
    }

    pub(super) fn lease(&self) -> String {
        self.result.lease.as_ref().unwrap().id.clone()
    }

    /// Reads until it has that text.
    pub(super) async fn reads(&mut self, expected: &str) {
        while self.text != expected {
            assert!(expected.starts_with(&self.text), "{} is no part of {expected}", self.text);
            assert!(self.step().await.is_none(), "a handover");
        }
    }

    pub(super) async fn step(&mut self) -> Option<Handover> {
        match self.stream.message().await.unwrap().expect("more").kind {
            Some(Kind::Events(events)) => {
                for event in events.events {
                    if let Some(generate_event::Kind::Delta(_)) = &event.kind {
                        self.text.push_str(&words(&event));
                    }
                    self.events.push(event);
                }
                None
            }
            Some(Kind::Handover(handover)) => Some(handover),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn handed(&mut self) -> Handover {
        loop {
            if let Some(handover) = self.step().await {
                return handover;
            }
        }
    }

    /// To the end; the sequence has no gap.
    pub(super) async fn rest(mut self) -> String {
        while let Some(message) = self.stream.next().await {
            let Some(Kind::Events(events)) = message.unwrap().kind else { panic!("no events") };
            self.text.extend(events.events.iter().map(words));
            self.events.extend(events.events);
        }
        let sequence: Vec<u64> = self.events.iter().map(|event| event.sequence).collect();
        assert_eq!(sequence, (1..=sequence.len() as u64).collect::<Vec<_>>());
        assert!(matches!(self.events.last().unwrap().kind, Some(generate_event::Kind::Finished(_))));
        self.text
    }
}

pub(super) async fn begun(world: &World) -> (Leader, Reader) {
    begun_with(world, ASKED).await
}

pub(super) async fn begun_with(world: &World, asked: &str) -> (Leader, Reader) {
    let first = Reader::ask_with(world, "a", question(asked)).await;
    assert_eq!(first.state(), CacheState::Miss);
    let leader = Leader::begin(world, &first.lease()).await;
    leader.to.send(events(vec![started()])).await.unwrap();
    (leader, first)
}

#[tokio::test(start_paused = true)]
async fn followers_read_along_from_the_first_event() {
    let world = World::exact("").await;
    let (leader, _first) = begun(&world).await;
    let mut early = Reader::ask(&world, "a").await;
    assert_eq!(early.state(), CacheState::Follow);
    leader.says("Because ").await;
    early.reads("Because ").await;
    let mut late = Reader::ask(&world, "a").await;
    late.reads("Because ").await;
    // More pieces than a stored batch has.
    for n in 0..200 {
        leader.says(&format!("{n} ")).await;
    }
    let other = Reader::ask(&world, "b").await;
    assert_eq!(other.state(), CacheState::Miss, "another tenant follows nobody");
    assert_eq!(leader.ends().await, "");
    let whole: String =
        std::iter::once("Because ".to_owned()).chain((0..200).map(|n| format!("{n} "))).collect();
    assert_eq!((early.rest().await, late.rest().await), (whole.clone(), whole));
    assert_eq!(Reader::ask(&world, "a").await.state(), CacheState::Exact);
    assert_eq!(world.stats("a").await.follows, 2);
}

#[tokio::test(start_paused = true)]
async fn when_the_leader_fails_one_follower_goes_on_and_the_others_follow_it() {
    let world = World::exact("").await;
    let (leader, _first) = begun(&world).await;
    let mut one = Reader::ask(&world, "a").await;
    let mut two = Reader::ask(&world, "a").await;
    leader.says("Because of ").await;
    one.reads("Because of ").await;
    two.reads("Because of ").await;
    leader.fails().await;
    let handover = one.handed().await;
    assert_eq!((handover.delivered_bytes, &*handover.reason), (11, "incomplete"));
    let leader = Leader::begin(&world, &handover.lease.unwrap().id).await;
    let late = Reader::ask(&world, "a").await;
    assert_eq!(late.state(), CacheState::Follow, "nobody else gets a lease");
    // It has a `started` of its own.
    leader.to.send(events(vec![started()])).await.unwrap();
    leader.says("scattering.").await;
    assert_eq!(leader.ends().await, "");
    assert_eq!(two.rest().await, "Because of scattering.");
    assert_eq!(late.rest().await, "Because of scattering.");
    let again = world.lookup("a", question(ASKED)).await.unwrap();
    assert_eq!((again.state(), &*again.text()), (CacheState::Exact, "Because of scattering."));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_never_begins_is_given_up() {
    let world = World::exact("").await;
    let first = Reader::ask(&world, "a").await;
    let mut follower = Reader::ask(&world, "a").await;
    let handover = follower.handed().await;
    assert_eq!((handover.delivered_bytes, &*handover.reason), (0, "expired"));
    assert_ne!(handover.lease.unwrap().id, first.lease());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_kept_leaves_each_follower_to_itself() {
    let world = World::exact("[exact]\nmax_entry_bytes = 200").await;
    let (leader, _first) = begun(&world).await;
    let mut readers = [Reader::ask(&world, "a").await, Reader::ask(&world, "a").await];
    leader.says("short ").await;
    leader.says(&"long ".repeat(100)).await;
    for reader in &mut readers {
        let handover = reader.handed().await;
        assert!(handover.lease.is_none());
        assert_eq!((handover.delivered_bytes, &*handover.reason), (6, "too_large"));
    }
}

#[tokio::test(start_paused = true)]
async fn followers_are_counted_while_they_are_there() {
    let world = World::exact("").await;
    let (leader, first) = begun(&world).await;
    let count = async |tenant: &str| {
        let request = context(tenant).request(FollowCountRequest { lease_id: first.lease() });
        world.client().follow_count(request).await.unwrap().into_inner().followers
    };
    assert_eq!(count("a").await, 0);
    let mut follower = Reader::ask(&world, "a").await;
    assert_eq!((count("a").await, count("b").await), (1, 0));
    drop(leader);
    // Left alone, the lease is free again at once.
    follower.handed().await;
    drop(follower);
    assert_eq!(count("a").await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_invalidated_meanwhile_is_theirs_who_asked_before() {
    let world = World::exact("").await;
    let (leader, _first) = begun(&world).await;
    let follower = Reader::ask(&world, "a").await;
    leader.says("Rayleigh.").await;
    world.invalidate("a", signalbox_proto::cache::v1::invalidate_request::By::All(true)).await.unwrap();
    assert_eq!(leader.ends().await, "invalidated");
    assert_eq!(follower.rest().await, "Rayleigh.");
    assert_eq!(Reader::ask(&world, "a").await.state(), CacheState::Miss);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_who_ask_the_same_at_once_have_one_leader() {
    let world = World::exact("").await;
    let (leader, _first) = begun(&world).await;
    let mut readers = Vec::new();
    for _ in 0..10_000 {
        readers.push(Reader::ask(&world, "a").await);
    }
    assert!(readers.iter().all(|reader| reader.state() == CacheState::Follow));
    leader.says("Rayleigh.").await;
    assert_eq!(leader.ends().await, "");
    for reader in readers {
        assert_eq!(reader.rest().await, "Rayleigh.");
    }
    let stats = world.stats("a").await;
    assert_eq!((stats.follows, stats.stored, stats.leases), (10_000, 1, 0));
}
