//! What the cache asks of the gateway beside an answer, and what two replicas share.

use std::sync::Arc;

use signalbox_proto::{
    cache::v1::{StatsRequest, StatsResponse, cache_service_client::CacheServiceClient},
    common::v1::CacheState,
    gateway::v1::GenerateRequest,
};
use signalbox_testkit::{
    provider::{self, Provider},
    redis::{RedisError, RedisServer},
};
use signalbox_tests::{
    ask::{Seen, question},
    invariants::{self, Expected},
    sandbox::{Behind, Sandbox, Topology},
};

use crate::{PROMPT, cache_folder, complete, finish, reused};

both!(
    asks_again_behind_a_stale_answer,
    checks_a_hit_in_the_shadow,
    asks_a_judge_about_a_candidate,
    followers_at_another_replica_read_along_live,
    a_follower_at_another_replica_goes_on_when_the_leader_fails,
);

const OTHER: &str = "Who was quetzalcoatl, the feathered serpent, please?";

async fn stats(behind: &Behind<'_>) -> StatsResponse {
    let mut cache = signalbox_mesh::client!(CacheServiceClient, behind.parts.cache);
    cache.stats(behind.request("local", StatsRequest {})).await.unwrap().into_inner()
}

async fn asks_again_behind_a_stale_answer(topology: Topology) {
    // Stale as soon as the clock has moved.
    let config = "[cache.policies.default]\nttl_ms = 1\nstale_ms = 600000\n";
    let sandbox = Sandbox::with(topology, &[], config).await;
    let first = complete(sandbox.ask(question("sim-small", PROMPT)).await);
    let seen = complete(sandbox.ask(question("sim-small", PROMPT)).await);
    assert_eq!((seen.cache(), &seen.text), (CacheState::Exact, &first.text));
    let finished = seen.finished.unwrap();
    assert_eq!((finished.cost_nanousd, finished.attempts), (0, 0), "the answer itself cost nothing");
    sandbox.provider.wait_for(|totals| totals.received == 2 && totals.in_flight == 0).await;
    sandbox
        .finish(async |behind| {
            let expected = Expected { requests: 3, tenants: &["local"] };
            invariants::check(&behind, expected).await;
            let stats = stats(&behind).await;
            assert_eq!((stats.stale_hits, stats.stored), (1, 2), "the model's new answer took its place");
        })
        .await;
}

/// Whether there is an embedding model; else a visible line.
#[expect(clippy::print_stdout, reason = "tests say what they leave out")]
fn has_model(test: &str) -> bool {
    let there = cache_folder().join("models/all-MiniLM-L6-v2/model.onnx").is_file();
    if !there {
        println!("SKIPPED: {test}: there is no embedding model; run `make setup`");
    }
    there
}

async fn checks_a_hit_in_the_shadow(topology: Topology) {
    if !has_model("checks a hit in the shadow") {
        return;
    }
    let sandbox = Sandbox::with(topology, &[], "[cache.policies.default]\nshadow_share = 1.0\n").await;
    let first = complete(sandbox.ask(question("sim-small", PROMPT)).await);
    let seen = complete(sandbox.ask(question("sim-small", OTHER)).await);
    assert_eq!((seen.cache(), &seen.text), (CacheState::Semantic, &first.text));
    sandbox.provider.wait_for(|totals| totals.received == 2 && totals.in_flight == 0).await;
    sandbox
        .finish(async |behind| {
            let expected = Expected { requests: 3, tenants: &["local"] };
            invariants::check(&behind, expected).await;
            let stats = stats(&behind).await;
            assert_eq!((stats.semantic_hits, stats.shadow_checks, stats.stored), (1, 1, 2));
            assert!(stats.shadow_agreed + stats.shadow_differed <= 1);
        })
        .await;
}

async fn asks_a_judge_about_a_candidate(topology: Topology) {
    use base64::Engine as _;
    if !has_model("asks a judge about a candidate") {
        return;
    }
    let encoded = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    for (answer, state) in [("Yes.", CacheState::Semantic), ("No.", CacheState::Miss)] {
        let judge = format!("judge>sim-small+answer64={}", encoded(answer));
        // Below what the calibrated model alone can give.
        let config = "[cache.policies.default]\nmax_error = 0.0019\njudge = 'judge'\n";
        let sandbox = Sandbox::with(topology, &[&judge], config).await;
        complete(sandbox.ask(question("sim-small", PROMPT)).await);
        let seen = complete(sandbox.ask(question("sim-small", OTHER)).await);
        assert_eq!(seen.cache(), state, "{answer}");
        let asked = sandbox.provider.requests()[1].body.to_string();
        assert!(asked.contains("yes or no") && asked.contains("please"), "{asked}");
        let (attempts, received) = if state == CacheState::Miss { (2, 3) } else { (1, 2) };
        let finished = seen.finished.unwrap();
        assert_eq!(finished.attempts, attempts, "the judge is an attempt of the request");
        assert!(finished.cost_nanousd > 0, "and costs what it costs");
        assert_eq!(sandbox.provider.totals().received, received);
        finish(sandbox, 2).await;
    }
}

/// Two meshes, each with its own gateway and cache, that share a Redis and a provider.
#[expect(clippy::print_stdout, reason = "tests say what they leave out")]
async fn replicas(topology: Topology, test: &str, models: &[&str]) -> Option<([Sandbox; 2], RedisServer)> {
    let folder = tempfile::tempdir().unwrap().keep();
    let redis = match RedisServer::start(&folder) {
        Err(RedisError::Missing) => {
            println!("SKIPPED: {test}: {}", RedisError::Missing);
            return None;
        }
        started => started.unwrap(),
    };
    let provider = Arc::new(Provider::start(provider::Config::default()).await.unwrap());
    let config = format!(
        "[redis]\nurl = \"{}\"\n[cache.shared]\ndeadline_ms = 60000\npatience_ms = 60000\n\
         [gateway.steps]\nlookup_ms = 60000\n",
        redis.url()
    );
    let begin = || Sandbox::before(Arc::clone(&provider), topology, models, &config);
    Some(([begin().await, begin().await], redis))
}

async fn followers_at_another_replica_read_along_live(topology: Topology) {
    let (model, text) = ("sim-echo+drip=40", [PROMPT; 12].join(" "));
    let Some(([one, two], _redis)) = replicas(topology, "followers at another replica", &[model]).await
    else {
        return;
    };
    let asked = || question(model, &text);
    let mut leader = (Seen::default(), one.gateway().generate(asked()).await.unwrap().into_inner());
    while leader.0.deltas == 0 {
        assert!(leader.0.next(&mut leader.1).await, "{:?}", leader.0.error);
    }
    let mut follower = (Seen::default(), two.gateway().generate(asked()).await.unwrap().into_inner());
    while follower.0.deltas == 0 {
        assert!(follower.0.next(&mut follower.1).await, "{:?}", follower.0.error);
    }
    assert_eq!((leader.0.cache(), follower.0.cache()), (CacheState::Miss, CacheState::Follow));
    assert!(leader.0.finished.is_none(), "it is still being answered");
    // The leader's client leaves: it runs on for the one elsewhere.
    drop(leader);
    while follower.0.next(&mut follower.1).await {}
    let seen = complete(follower.0);
    assert_eq!((seen.text.as_str(), seen.seams.len()), (text.as_str(), 0));
    one.kept().await;
    for sandbox in [&one, &two] {
        assert_eq!(reused(sandbox.ask(asked()).await).text, text);
    }
    assert_eq!(one.provider.totals().received, 1, "of four requests at two replicas");
    end(one, two, 4).await;
}

async fn a_follower_at_another_replica_goes_on_when_the_leader_fails(topology: Topology) {
    let model = "sim-echo+stall=4+only-first=1";
    let Some(([one, two], _redis)) = replicas(topology, "a follower elsewhere goes on", &[model]).await
    else {
        return;
    };
    for sandbox in [&one, &two] {
        // Connections and tokenizers are made on first use.
        complete(sandbox.ask(question("sim-small", PROMPT)).await);
    }
    let asked = || -> GenerateRequest { question(model, PROMPT) };
    let mut first = tonic::Request::new(asked());
    first.set_timeout(std::time::Duration::from_secs(2));
    let mut leader = (Seen::default(), one.gateway().generate(first).await.unwrap().into_inner());
    while leader.0.deltas == 0 {
        assert!(leader.0.next(&mut leader.1).await, "{:?}", leader.0.error);
    }
    let mut follower = (Seen::default(), two.gateway().generate(asked()).await.unwrap().into_inner());
    while follower.0.next(&mut follower.1).await {}
    while leader.0.next(&mut leader.1).await {}
    assert!(leader.0.error.is_some(), "the leader's deadline came first");
    let seen = complete(follower.0);
    assert_eq!((seen.text.as_str(), seen.seams.len()), (PROMPT, 1), "no gap and no repetition");
    two.kept().await;
    assert_eq!(reused(one.ask(asked()).await).text, PROMPT);
    end(one, two, 5).await;
}

/// Both share one ledger, so each sees all requests.
async fn end(one: Sandbox, two: Sandbox, requests: u64) {
    // What the other one has not written yet would be missing.
    one.finish(async |_| {}).await;
    let expected = Expected { requests, tenants: &["local"] };
    two.finish(async |behind| invariants::check(&behind, expected).await).await;
}
