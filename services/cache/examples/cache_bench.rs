//! Measures the cache: exact hits, memory per entry, search, and lookups by meaning beside the bare model.
//!
//! `cargo run --release -p signalbox-cache --example cache_bench [REDIS_URL]`. With an address (`redis://…`, or `redis+unix:///…`) exact
//! hits are measured over that Redis too; with `--features qdrant-edge` the embedded engine beside the scan.

use std::time::{Duration, Instant};

use futures_util::{future::join_all, stream};
use signalbox_cache::{Config, bench::Search, build, embedder};
use signalbox_config::{Live, Redis, Shared};
use signalbox_embed::EmbedConfig;
use signalbox_mesh::{Channel, Environment, Part, RequestContext};
use signalbox_proto::{
    cache::v1::{
        CachedEvents, FillCommit, FillOpen, FillRequest, LookupRequest,
        cache_service_client::CacheServiceClient, fill_request::Kind, lookup_response,
    },
    common::v1::{
        ChatRequest, Delta, FinishReason, Finished, GenerateEvent, Message, Part as Piece, Role, Text, delta,
        generate_event, part,
    },
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ENTRIES: usize = 100_000;
const HITS: usize = 20_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // First, so that no memory that others gave back is taken for its own.
    search(ENTRIES).await;
    search(ENTRIES / 10).await;
    exact("in process", None, ENTRIES).await?;
    if let Some(url) = std::env::args().nth(1) {
        let redis = Redis { url: Some(url), prefix: "signalbox-bench".into(), ..Redis::default() };
        exact("over redis", Some(redis), ENTRIES / 10).await?;
    }
    #[cfg(feature = "qdrant-edge")]
    indexed(ENTRIES).await?;
    meaning().await
}

/// Fills the cache with short answers, and finds them again one by one.
async fn exact(name: &str, redis: Option<Redis>, entries: usize) -> Result<(), Failure> {
    let config = Config::default();
    let environment = Environment::system("");
    let embedding = embedder(false, EmbedConfig::default()).await;
    let shared = Live::new(Shared { redis, ..Shared::default() });
    let part: Part = build(shared, config, embedding, environment.clone()).await?;
    let channel = Channel::local(&part, &signalbox_mesh::Config::default(), &environment);
    let mut client = signalbox_mesh::client!(CacheServiceClient, channel);
    let context = RequestContext::background().with_principal("bench", "key");
    let before = resident();
    for number in 0..entries {
        let mut answer = client.lookup(context.request(question(number))).await?.into_inner();
        let first = answer.message().await?.and_then(|message| message.kind);
        if let Some(lookup_response::Kind::Result(result)) = first
            && let Some(lease) = result.lease
        {
            client.fill(context.request(stream::iter(filling(lease.id)))).await?;
        }
    }
    let grown = resident().saturating_sub(before);
    let mut times = Vec::with_capacity(HITS);
    for hit in 0..HITS {
        let request = context.request(question(hit * 7 % entries));
        let begun = Instant::now();
        let mut answer = client.lookup(request).await?.into_inner();
        while answer.message().await?.is_some() {}
        times.push(begun.elapsed());
    }
    let (half, most) = percentiles(&mut times);
    say(&format!(
        "exact hits {name}: {entries} entries, p50 {half:?}, p99 {most:?} by gRPC, the whole answer read; {} bytes of memory per entry",
        grown / entries
    ));
    part.drain().await;
    Ok(())
}

async fn search(points: usize) {
    let before = resident();
    let search = Search::scanned(points, 384).await;
    searched("scan", &search, points, before).await;
}

/// The same in the embedded engine.
#[cfg(feature = "qdrant-edge")]
async fn indexed(points: usize) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let before = resident();
    let begun = Instant::now();
    let (search, took) =
        Search::indexed(&folder.path().join("edge"), points, 384).await.ok_or("no engine")?;
    say(&format!(
        "qdrant-edge: {points} points came in {:?}, and were indexed in {took:?}",
        begun.elapsed() - took
    ));
    searched("qdrant-edge", &search, points, before).await;
    Ok(())
}

async fn searched(name: &str, search: &Search, points: usize, before: usize) {
    let grown = resident().saturating_sub(before);
    let (mut times, mut found) = (Vec::new(), 0);
    for _ in 0..2_000 {
        let (took, hits) = search.once().await;
        times.push(took);
        found += hits;
    }
    let (half, most) = percentiles(&mut times);
    say(&format!(
        "{name}: {points} points of one partition, p50 {half:?}, p99 {most:?}, {:.1} found; {} bytes of memory per point",
        found as f64 / 2_000.0,
        grown / points
    ));
}

/// Lookups of questions that nobody asked before, in turn with the bare model on as many others: one by one, then many at a time.
async fn meaning() -> Result<(), Failure> {
    const EACH: usize = 400;
    const AT_ONCE: usize = 16;
    let embedding = embedder(true, EmbedConfig::default()).await;
    let Some(model) = embedding.embedder().cloned() else {
        say("by meaning: there is no embedding model");
        return Ok(());
    };
    let environment = Environment::system("");
    let mut config = Config::default();
    config.semantic.embed_timeout_ms = 60_000;
    let part: Part = build(Live::new(Shared::default()), config, embedding, environment.clone()).await?;
    let channel = Channel::local(&part, &signalbox_mesh::Config::default(), &environment);
    let client = signalbox_mesh::client!(CacheServiceClient, channel);
    let context = RequestContext::background().with_principal("bench", "key");
    let looked = async |number: usize| -> Result<bool, Failure> {
        let mut answer = client.clone().lookup(context.request(question(number))).await?.into_inner();
        let first = answer.message().await?.and_then(|message| message.kind);
        Ok(matches!(first, Some(lookup_response::Kind::Result(result)) if result.vector.is_some()))
    };
    let text = |number: usize| asked(ENTRIES + number);
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    for number in 0..EACH {
        let begun = Instant::now();
        model.embed(&text(number)).await?;
        bare.push(begun.elapsed());
        let begun = Instant::now();
        if !looked(number).await? {
            return Err("a lookup came without a vector".into());
        }
        whole.push(begun.elapsed());
    }
    let ((bare, _), (whole, most)) = (percentiles(&mut bare), percentiles(&mut whole));
    say(&format!(
        "by meaning: p50 {whole:?}, p99 {most:?}, the bare model {bare:?}: {:.2} times",
        whole.as_secs_f64() / bare.as_secs_f64()
    ));
    let mut without = Vec::new();
    for number in 0..EACH {
        let mine = format!("Where is my order number {number} today?");
        let begun = Instant::now();
        client.clone().lookup(context.request(asking(&mine))).await?.into_inner().message().await?;
        without.push(begun.elapsed());
    }
    let (half, most) = percentiles(&mut without);
    say(&format!("what nothing can answer by meaning, without its vector: p50 {half:?}, p99 {most:?}"));
    let (mut bare, mut whole) = (Duration::ZERO, Duration::ZERO);
    for round in 0..EACH / AT_ONCE {
        let some = || (round * AT_ONCE..).take(AT_ONCE).map(|number| EACH + number);
        let begun = Instant::now();
        join_all(some().map(|number| model.embed(text(number))))
            .await
            .into_iter()
            .try_for_each(|one| one.map(drop))?;
        bare += begun.elapsed();
        let begun = Instant::now();
        join_all(some().map(&looked)).await.into_iter().try_for_each(|one| one.map(drop))?;
        whole += begun.elapsed();
    }
    say(&format!(
        "by meaning, {AT_ONCE} at a time: {:.0}/s, the bare model {:.0}/s: {:.2} times",
        EACH as f64 / whole.as_secs_f64(),
        EACH as f64 / bare.as_secs_f64(),
        bare.as_secs_f64() / whole.as_secs_f64()
    ));
    part.drain().await;
    Ok(())
}

fn asked(number: usize) -> String {
    format!("What is the answer to question number {number}, in one short sentence?")
}

fn question(number: usize) -> LookupRequest {
    asking(&asked(number))
}

fn asking(text: &str) -> LookupRequest {
    let kind = Some(part::Kind::Text(Text { text: text.to_owned() }));
    let parts = vec![Piece { kind, ..Piece::default() }];
    let messages = vec![Message { role: Role::User.into(), parts, ..Message::default() }];
    let chat = ChatRequest { model: "fast".into(), messages, ..ChatRequest::default() };
    LookupRequest { chat: Some(chat), guard_digest: b"guard"[..].into(), ..LookupRequest::default() }
}

/// An answer of 16 pieces.
fn filling(lease_id: String) -> Vec<FillRequest> {
    let event = |kind| GenerateEvent { sequence: 0, kind: Some(kind) };
    let mut events: Vec<GenerateEvent> = (0..16)
        .map(|piece| {
            let content = Some(delta::Content::Text(format!("piece {piece} of it, ")));
            event(generate_event::Kind::Delta(Delta { content, ..Delta::default() }))
        })
        .collect();
    let finish_reason = FinishReason::Stop.into();
    events.push(event(generate_event::Kind::Finished(Box::new(Finished {
        finish_reason,
        ..Finished::default()
    }))));
    let message = |kind| FillRequest { kind: Some(kind) };
    vec![
        message(Kind::Open(FillOpen { lease_id, ..FillOpen::default() })),
        message(Kind::Events(CachedEvents { events, ..CachedEvents::default() })),
        message(Kind::Commit(FillCommit { cost_nanousd: 1_000 })),
    ]
}

fn percentiles(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    (at(50), at(99))
}

/// Bytes of memory that the process holds; 0 where that cannot be read.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|line| line.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * 4_096
}

#[expect(clippy::print_stdout, reason = "figures are what it is for")]
fn say(line: &str) {
    println!("{line}");
}
