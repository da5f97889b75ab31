//! Budgets while answers flow: a first slice is reserved, and more before more passes.

use futures_util::future::join_all;
use signalbox_proto::{
    common::v1::{Attribution, ErrorReason, FinishReason, Finished, notice},
    gateway::v1::{CompleteRequest, GenerateRequest},
    metering::v1::{
        Budget, ListBudgetsRequest, QueryUsageRequest, metering_service_client::MeteringServiceClient,
    },
};
use signalbox_tests::{
    ask::{Seen, question},
    sandbox::{Sandbox, Topology},
};
use tonic_types::StatusExt as _;

use crate::{complete, finish, uncached};

both!(
    reserves_a_slice_and_extends_it_ahead_of_the_output,
    ends_streams_where_the_budget_does,
    ends_at_the_providers_limit_where_the_budget_set_it,
    does_not_cut_a_follower_by_the_budget_of_its_leader,
);

/// Answers after which the length of a feature's answers is known.
const LEARNED: usize = 20;
/// In pieces of four words, some milliseconds apart.
const MODEL: &str = "sim-echo+drip=4+chunks=75";

/// The same, slow enough for something to happen meanwhile.
const SLOW: &str = "sim-echo+drip=20+chunks=75";

/// Words of one token and four bytes each, to the simulator, to the gateway and to a client.
fn words(count: usize) -> String {
    let some = ["one", "two", "six", "ten", "red", "sky", "sun", "sea"];
    some.iter().copied().cycle().take(count).collect::<Vec<_>>().join(" ")
}

/// Words of which none comes twice: what does may be left out where two answers are joined.
fn unlike(count: usize) -> String {
    let (outer, inner) = ("bdfgklmnprstvz", "aeiou");
    let all = outer.chars().flat_map(|a| {
        inner.chars().flat_map(move |b| outer.chars().map(move |c| [a, b, c].iter().collect::<String>()))
    });
    all.take(count).collect::<Vec<_>>().join(" ")
}

fn by(user: &str, mut request: GenerateRequest) -> GenerateRequest {
    let feature = Some("brief".to_owned());
    request.attribution =
        Some(Attribution { user: Some(user.to_owned()), feature, ..Attribution::default() });
    request
}

/// A mesh with a budget whose feature's answers are short so far. No allowance, which would stay reserved for its whole life.
async fn learned(topology: Topology, budget: &str) -> Sandbox {
    learned_with(topology, budget, false).await
}

async fn learned_with(topology: Topology, budget: &str, allowance: bool) -> Sandbox {
    let config = format!(
        "[tenants.local]\nbudgets = [{budget}]\n[metering.allowance]\nenabled = {allowance}\n\
         [metering.grants]\nmin_output_tokens = 8\n"
    );
    let sandbox = Sandbox::with(topology, &[MODEL, SLOW], &config).await;
    for asked in 1..=LEARNED {
        complete(sandbox.ask(by("wide", uncached("sim-echo", "one two six"))).await);
        // Until something is known all of the output is reserved, and so it is until it is settled.
        while settled(&sandbox).await < asked as u64 {
            tokio::task::yield_now().await;
        }
    }
    sandbox
}

/// Requests in the ledger; 0 while metering is away.
async fn settled(sandbox: &Sandbox) -> u64 {
    let mut metering = signalbox_mesh::client!(MeteringServiceClient, sandbox.channel);
    let Ok(usage) = metering.query_usage(QueryUsageRequest::default()).await else { return 0 };
    usage.into_inner().rows.first().map_or(0, |row| row.requests)
}

async fn budget(sandbox: &Sandbox) -> Budget {
    let mut metering = signalbox_mesh::client!(MeteringServiceClient, sandbox.channel);
    let budgets = metering.list_budgets(ListBudgetsRequest::default()).await.unwrap().into_inner().budgets;
    budgets.into_iter().next().unwrap()
}

async fn reserves_a_slice_and_extends_it_ahead_of_the_output(topology: Topology) {
    // 10,000,000 nano-dollars: room for one whole reservation of 4,096 output tokens, or for eight answers of 300.
    let sandbox = learned(topology, "{ limit_usd = \"0.01\", period = \"total\" }").await;
    let text = words(300);
    let seen = join_all((0..6).map(|_| sandbox.ask(by("wide", uncached(MODEL, &text))))).await;
    for seen in seen {
        let seen = complete(seen);
        assert_eq!(seen.text, text, "extended before it was needed, nothing is lost");
        assert_eq!(seen.finished.unwrap().finish_reason(), FinishReason::Stop);
    }
    let asked = sandbox.provider.requests();
    let limit = asked.last().unwrap().body["max_tokens"].as_u64().unwrap_or(u64::MAX);
    assert!(limit > 300, "the provider is not told of the slice: {limit}");
    finish(sandbox, LEARNED as u64 + 6).await;
}

#[track_caller]
fn ended_by_budget(seen: &Seen, text: &str) {
    assert_eq!(seen.reason(), Some(ErrorReason::BudgetExhausted), "{:?}", seen.error);
    let quota = seen.error.as_ref().unwrap().get_details_quota_failure().unwrap();
    assert!(quota.violations[0].subject.starts_with("tenant:local/"), "{quota:?}");
    assert!(
        !seen.text.is_empty() && text.starts_with(&seen.text) && seen.text != text,
        "{}",
        seen.text.len()
    );
    let finished = seen.finished.as_ref().expect("a last event tells that it ended");
    assert_eq!(finished.finish_reason(), FinishReason::Budget);
    assert!(finished.cost_nanousd > 0 && finished.usage.unwrap().output_tokens > 0, "{finished:?}");
}

async fn ends_streams_where_the_budget_does(topology: Topology) {
    // Four answers of 300 words cost some 3,700,000 nano-dollars.
    let tight =
        "{ name = \"tight\", limit_usd = \"0.0025\", period = \"total\", only = { user = \"tight\" } }";
    let sandbox = learned(topology, tight).await;
    let text = words(300);
    let seen = join_all((0..4).map(|_| sandbox.ask(by("tight", uncached(MODEL, &text))))).await;
    seen.iter().for_each(|seen| ended_by_budget(seen, &text));
    sandbox.provider.wait_for(|totals| totals.client_gone == 4).await;
    let refused = sandbox.ask(by("tight", uncached(MODEL, &text))).await;
    assert_eq!(refused.reason(), Some(ErrorReason::BudgetExhausted), "{:?}", refused.error);
    assert!(refused.finished.is_none(), "it never began");
    while budget(&sandbox).await.reserved > 0 {
        tokio::task::yield_now().await;
    }
    let spent = budget(&sandbox).await.spent;
    assert!((2_000_000..=2_500_000).contains(&spent), "B1, and the budget is used: {spent}");
    finish(sandbox, LEARNED as u64 + 4).await;
}

async fn ends_at_the_providers_limit_where_the_budget_set_it(topology: Topology) {
    // One answer of 300 words costs some 900,000 nano-dollars; each of these may have some 100 words.
    let tight =
        "{ name = \"tight\", limit_usd = \"0.00055\", period = \"total\", only = { user = \"tight\" } }";
    let sandbox = learned(topology, tight).await;
    let text = words(300);
    let seen = sandbox.ask(by("tight", uncached("sim-echo", &text))).await;
    ended_by_budget(&seen, &text);
    finish(sandbox, LEARNED as u64 + 1).await;

    let sandbox = learned(topology, tight).await;
    let request = Some(by("tight", uncached("sim-echo", &text)));
    let whole = sandbox.gateway().complete(CompleteRequest { request }).await.unwrap().into_inner();
    assert_eq!(whole.finished.unwrap().finish_reason(), FinishReason::Budget);
    assert!(whole.message.is_some_and(|message| !message.parts.is_empty()), "what was paid for is given");
    assert!(whole.notices.iter().any(|n| n.kind() == notice::Kind::Budget && !n.message.is_empty()));
    finish(sandbox, LEARNED as u64 + 1).await;
}

async fn does_not_cut_a_follower_by_the_budget_of_its_leader(topology: Topology) {
    let tight =
        "{ name = \"tight\", limit_usd = \"0.00055\", period = \"total\", only = { user = \"tight\" } }";
    let sandbox = learned(topology, tight).await;
    let text = unlike(300);
    let lead = sandbox.gateway().generate(by("tight", question(MODEL, &text))).await.unwrap();
    let (mut leader, mut stream) = (Seen::default(), lead.into_inner());
    while leader.deltas == 0 {
        assert!(leader.next(&mut stream).await, "{:?}", leader.error);
    }
    let rest = async { while leader.next(&mut stream).await {} };
    let (follower, ()) = tokio::join!(sandbox.ask(by("wide", question(MODEL, &text))), rest);
    ended_by_budget(&leader, &text);
    assert_eq!(complete(follower).text, text);
    let again = complete(sandbox.ask(by("wide", question(MODEL, &text))).await);
    assert_eq!(again.text, text, "what is kept is whole");
    finish(sandbox, LEARNED as u64 + 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_within_the_allowance_while_metering_is_away() {
    // One part in a hundred is 10,000,000 nano-dollars; the answer costs less than a tenth of that.
    let limit = "{ limit_usd = \"1\", period = \"total\" }";
    for allowance in [true, false] {
        let mut sandbox = learned_with(Topology::SixProcesses, limit, allowance).await;
        let text = words(300);
        let asked = sandbox.gateway().generate(by("wide", uncached(SLOW, &text))).await.unwrap();
        let (mut seen, mut stream) = (Seen::default(), asked.into_inner());
        while seen.deltas == 0 {
            assert!(seen.next(&mut stream).await, "{:?}", seen.error);
        }
        sandbox.kill("metering").await;
        while seen.next(&mut stream).await {}
        if allowance {
            assert_eq!(complete(seen).text, text, "output past the grant is drawn from the allowance");
        } else {
            assert_eq!(seen.reason(), Some(ErrorReason::AllowanceExhausted), "{:?}", seen.error);
            assert_eq!(seen.finished.as_ref().map(Finished::finish_reason), Some(FinishReason::Budget));
            assert!(text.starts_with(&seen.text) && seen.text != text, "{}", seen.text.len());
        }
        sandbox.revive("metering").await;
        while settled(&sandbox).await <= LEARNED as u64 {
            tokio::task::yield_now().await;
        }
        let spent = budget(&sandbox).await.spent;
        assert!((1..1_000_000_000).contains(&spent), "what was used is paid, once: {spent}");
        sandbox.finish(async |_| {}).await;
    }
}
