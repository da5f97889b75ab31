//! Experiments, copies beside answers, and what the command line makes of them.

use serde_json::{Value, json as object};
use signalbox_mesh::RequestContext;
use signalbox_proto::{
    common::v1::{Attribution, ErrorReason},
    gateway::v1::{FeedbackRequest, GenerateRequest},
    metering::v1::{QueryUsageRequest, metering_service_client::MeteringServiceClient},
    router::v1::{ExplainRequest, PlanRequest, router_service_client::RouterServiceClient},
};
use signalbox_tests::{
    ask::Seen,
    comes_true,
    fleet::{Fleet, Lacking, Registry},
    plain::post,
    sandbox::{Sandbox, Topology},
};

use crate::{
    PROMPT,
    cli::{json, signalbox},
    complete, finish,
    rolling::skipped,
    uncached,
};

both!(
    splits_users_among_arms_and_copies_requests,
    settles_a_request_when_its_copy_has_ended,
    ends_a_copy_when_its_client_leaves,
    copies_nothing_that_is_not_paid_for,
    replays_what_was_recorded_through_another_policy,
    compares_how_good_the_answers_of_arms_were,
);

const PAIR: &str = "pair>sim-small|sim-echo";

fn by(user: &str, mut request: GenerateRequest) -> GenerateRequest {
    request.attribution = Some(Attribution { user: Some(user.to_owned()), ..Attribution::default() });
    request
}

/// Waits until so many requests are in the ledger.
pub(crate) async fn settled(sandbox: &Sandbox, requests: u64) {
    let mut metering = signalbox_mesh::client!(MeteringServiceClient, sandbox.channel);
    loop {
        let usage = metering.query_usage(QueryUsageRequest::default()).await.unwrap().into_inner();
        if usage.rows.first().is_some_and(|row| row.requests >= requests) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn command(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    json(&signalbox(sandbox, arguments, "").await).remove(0)
}

const BUDGET: &str = "[tenants.local]\nbudgets = [{ limit_usd = \"1\", period = \"total\" }]\n[metering.allowance]\nenabled = false\n";

async fn splits_users_among_arms_and_copies_requests(topology: Topology) {
    let config = format!(
        "{BUDGET}[router.experiments.x]\nmodels = [\"pair\"]\nkey = \"user\"\narms = [{{ name = \"a\", weight = 1 }}, \
         {{ name = \"b\", weight = 1, targets = [\"sim/sim-echo\"] }}]\n[router.shadows.s]\nmodels = [\"pair\"]\ntarget = \"sim/sim-large\"\n\
         share = 1\n"
    );
    let sandbox = Sandbox::with(topology, &[PAIR, "sim-large"], &config).await;
    for user in 0..8 {
        let seen = async || {
            let request = by(&user.to_string(), uncached("pair", "What is the time in Rome?"));
            complete(sandbox.ask(request).await)
        };
        let (one, two) = (seen().await, seen().await);
        assert_eq!(one.started.unwrap().model, two.started.unwrap().model, "a user stays in an arm");
        assert_eq!(one.finished.unwrap().attempts, 1, "the copy is not the client's");
    }
    settled(&sandbox, 16).await;
    let found = command(&sandbox, &["experiments", "--json", "--control", "a"]).await;
    let arms = found["arms"].as_array().unwrap();
    assert_eq!((arms.len(), &arms[0]["arm"], &arms[0]["control"]), (2, &"a".into(), &true.into()), "{found}");
    let of = |field: &str| arms.iter().map(|arm| arm[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((of("requests"), of("units")), (16, 8), "{found}");
    let shadows = found["shadows"].as_array().unwrap();
    let copies: u64 = shadows.iter().map(|shadow| shadow["copies"].as_u64().unwrap()).sum();
    assert!(
        copies == 16 && shadows.iter().all(|s| s["target"] == "sim/sim-large" && s["failed"] == 0),
        "{found}"
    );
    // The usage by target is of what answered, not of the copies.
    let usage = json(&signalbox(&sandbox, &["usage", "--by", "target", "--json"], "").await);
    assert!(usage.iter().all(|row| row["target"] != "sim/sim-large"), "{usage:?}");
    finish(sandbox, 16).await;
}

async fn compares_how_good_the_answers_of_arms_were(topology: Topology) {
    let config = format!(
        "{BUDGET}[router.experiments.x]\nmodels = [\"pair\"]\nkey = \"user\"\narms = [{{ name = \"a\", weight = 1 }}, \
         {{ name = \"b\", weight = 1, targets = [\"sim/sim-echo\"] }}]\n"
    );
    let sandbox = Sandbox::with(topology, &[PAIR], &config).await;
    let score = async |id: &str, score: f64| {
        let kind = Some("thumbs".to_owned());
        let request = FeedbackRequest { request_id: id.to_owned(), score, kind, entry_id: None };
        sandbox.gateway().feedback(request).await
    };
    let mut ids = std::collections::BTreeMap::new();
    for user in 0..12 {
        let request = by(&user.to_string(), uncached("pair", "What is the time in Rome?"));
        let started = complete(sandbox.ask(request).await).started.unwrap();
        let is_b = started.model == "sim/sim-echo";
        // Its settlement may still be on its way. The last word counts.
        score(&started.request_id, 0.0).await.unwrap();
        score(&started.request_id, if is_b { -1.0 } else { 1.0 }).await.unwrap();
        ids.insert(started.request_id, is_b);
    }
    // Nobody says anything of this one.
    let silent = by("0", uncached("pair", "What is the time in Oslo?"));
    let silent = complete(sandbox.ask(silent).await).started.unwrap();
    let unknown = score("0190a0a0-0000-7000-8000-000000000000", 1.0).await.unwrap_err();
    assert_eq!(signalbox_mesh::error::reason_of(&unknown), Some(ErrorReason::NotFound), "{unknown}");
    settled(&sandbox, 13).await;

    let arguments = ["experiments", "x", "--control", "a"];
    let found = command(&sandbox, &[&arguments[..], &["--json"]].concat()).await;
    let arms = found["arms"].as_array().unwrap();
    let rated = |is_b: bool| ids.values().filter(|b| **b == is_b).count();
    let of = |arm: &Value| (arm["rated"].clone(), arm["score"]["value"].clone());
    assert_eq!(
        (of(&arms[0]), of(&arms[1])),
        ((rated(false).into(), 1.0.into()), (rated(true).into(), (-1.0).into())),
        "{found}"
    );
    let above = &arms[1]["above_control"]["score"];
    assert!(
        above["value"] == -2.0
            && above["low"].as_f64().unwrap() < -1.99
            && above["high"].as_f64().unwrap() < 0.0,
        "{found}"
    );
    let told = signalbox(&sandbox, &arguments, "").await;
    assert!(told.contains("rated") && told.contains("-1.00 ["), "{told}");

    let exported = json(&signalbox(&sandbox, &["usage", "export", "--from", "1d"], "").await);
    let scores: Vec<_> =
        exported.iter().map(|row| (row["request_id"].as_str().unwrap(), row["score"].as_f64())).collect();
    let expected = |id: &str| ids.get(id).map(|is_b| if *is_b { -1.0 } else { 1.0 });
    assert!(scores.len() == 13 && scores.iter().all(|(id, score)| *score == expected(id)), "{exported:?}");
    assert!(scores.contains(&(&silent.request_id, None)));
    finish(sandbox, 13).await;
}

async fn settles_a_request_when_its_copy_has_ended(topology: Topology) {
    let slow = "sim-large+drip=50+chunks=20";
    let config =
        format!("{BUDGET}[router.shadows.s]\nmodels = [\"sim-small\"]\ntarget = \"sim/{slow}\"\nshare = 1\n");
    let sandbox = Sandbox::with(topology, &[&format!("slow>{slow}")], &config).await;
    complete(sandbox.ask(uncached("sim-small", "What is the time in Rome?")).await);
    // The client has its answer, and the copy goes on.
    sandbox.provider.wait_for(|totals| totals.received == 2 && totals.in_flight == 1).await;
    settled(&sandbox, 1).await;
    assert_eq!(sandbox.provider.in_flight(), 0);
    finish(sandbox, 1).await;
}

async fn ends_a_copy_when_its_client_leaves(topology: Topology) {
    let slow = "sim-echo+drip=50+chunks=1000";
    let config = format!(
        "{BUDGET}[router.shadows.s]\nmodels = [\"slow\"]\ntarget = \"sim/sim-echo+drip=50+chunks=999\"\nshare = 1\n"
    );
    let sandbox =
        Sandbox::with(topology, &[&format!("slow>{slow}"), "copied>sim-echo+drip=50+chunks=999"], &config)
            .await;
    let stream = sandbox.gateway().generate(uncached("slow", &"one two ".repeat(400))).await.unwrap();
    let mut stream = stream.into_inner();
    stream.message().await.unwrap();
    sandbox.provider.wait_for(|totals| totals.in_flight == 2).await;
    drop(stream);
    sandbox.provider.wait_for(|totals| totals.in_flight == 0).await;
    settled(&sandbox, 1).await;
    finish(sandbox, 1).await;
}

async fn copies_nothing_that_is_not_paid_for(topology: Topology) {
    // Room for an answer of sim-small, and none for the copy beside it.
    let config = "[tenants.local]\nbudgets = [{ limit_usd = \"0.0001\", period = \"total\" }]\n[metering.allowance]\nenabled = false\n\
                  [router.shadows.s]\nmodels = [\"sim-small\"]\ntarget = \"sim/sim-echo\"\nshare = 1\n";
    let sandbox = Sandbox::with(topology, &[], config).await;
    let mut request = uncached("sim-small", "Hello");
    let limit = signalbox_proto::common::v1::Sampling { max_output_tokens: Some(40), ..Default::default() };
    request.chat.as_mut().unwrap().sampling = Some(limit);
    complete(sandbox.ask(request).await);
    settled(&sandbox, 1).await;
    assert_eq!(sandbox.provider.totals().received, 1, "no copy was sent");
    finish(sandbox, 1).await;
}

async fn replays_what_was_recorded_through_another_policy(topology: Topology) {
    let sandbox = Sandbox::with(topology, &[PAIR], "").await;
    for n in 0..4 {
        let mut request = by("ann", uncached("pair", "What is the time in Rome?"));
        if n == 0 {
            request.attribution.as_mut().unwrap().tags.insert("plan".into(), "free".into());
        }
        complete(sandbox.ask(request).await);
    }
    settled(&sandbox, 4).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let target = |model: &str, price: &str| {
        format!(
            "{{ base_url = \"http://127.0.0.1:1/v1\", model = \"{model}\", provider = \"sim\", price = {{ input_usd_per_mtok = \"{price}\", \
             output_usd_per_mtok = \"{price}\" }} }}"
        )
    };
    let models =
        format!("[models.pair]\ntargets = [{}, {}]\n", target("sim-small", "10"), target("sim-echo", "5"));
    let present = file("present.toml", &models);
    let rule = "[router.aliases]\npair = \"x\"\n[router.policies.x]\nway = \"fixed\"\n[[router.policies.x.rules]]\n\
                when = \"tags.plan == 'free' && user == 'ann'\"\ntargets = [\"sim/sim-echo\"]\n";
    let policy = file("new.toml", rule);
    let replay = ["replay", "--policy", &policy, "--config", &present, "--since", "1h"];
    let found = command(&sandbox, &[&replay[..], &["--json"]].concat()).await;
    assert_eq!((&found["replayed"], &found["elsewhere"]), (&4.into(), &1.into()), "{found}");
    let moved = &found["moves"][0];
    assert_eq!((&moved["from"], &moved["to"]), (&"sim/sim-small".into(), &"sim/sim-echo".into()), "{found}");
    assert_eq!(
        moved["cost_before_nanousd"].as_i64(),
        moved["cost_after_nanousd"].as_i64().map(|cost| cost * 2)
    );
    let told = signalbox(&sandbox, &replay, "").await;
    assert!(told.contains("1 would go to another model first"), "{told}");

    // The same plan is shown without asking anyone.
    let asked = sandbox.provider.totals().received;
    let shown = command(&sandbox, &["route", "--model", "pair", "--json", "What is the time in Rome?"]).await;
    assert_eq!(
        (&shown["candidates"][0]["target"], &shown["policy"]),
        (&"sim/sim-small".into(), &"fixed".into()),
        "{shown}"
    );
    assert!(
        shown["candidates"][0]["predicted_first_output_ms"].is_u64(),
        "by what the router was told: {shown}"
    );
    let file = file("whole.toml", &(models + rule));
    let by_file = [
        "route",
        "--config",
        &file,
        "--model",
        "pair",
        "--tag",
        "plan=free",
        "--user",
        "ann",
        "--needs",
        "vision",
        "Hi",
    ];
    let refused = tokio::process::Command::new(signalbox_tests::process::binary("signalbox"))
        .args(by_file)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("not known to have `vision`"), "{told}");
    let told = signalbox(&sandbox, &[&by_file[..9], &["Hi"]].concat(), "").await;
    assert!(told.contains("rule 1 names it at place 1"), "{told}");
    assert_eq!(sandbox.provider.totals().received, asked);
    finish(sandbox, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_routers_know_what_one_of_them_was_told_and_find_its_receipts() {
    let fleet = match Fleet::start(Registry::List, 1, &[("router", 2)], &[], "").await {
        Ok(fleet) => fleet,
        Err(Lacking(what)) => return skipped("two routers", &what),
    };
    let answer = fleet.gateways().generate(uncached("sim-small", "What is the time in Rome?")).await.unwrap();
    let seen = complete(Seen::read(answer.into_inner()).await);
    let request_id = seen.started.unwrap().request_id;
    let as_caller = || RequestContext::background().with_principal("local", "test");
    for n in 0..2 {
        let mut router = signalbox_mesh::client!(RouterServiceClient, fleet.channel("router", n));
        let chat = uncached("sim-small", "And in Oslo?").chat;
        let dry = PlanRequest { chat, dry_run: true, ..PlanRequest::default() };
        // One of them planned, and was told how long the answer took; the other hears of it with a beat.
        let knows = async {
            loop {
                let of = ExplainRequest { request_id: request_id.clone() };
                let receipt = router.explain(as_caller().request(of)).await;
                let plan = router.plan(as_caller().request(dry.clone())).await.unwrap().into_inner();
                if let Ok(receipt) = receipt
                    && plan.candidates[0].predicted_first_output_ms.is_some()
                {
                    return receipt.into_inner();
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let receipt = tokio::time::timeout(std::time::Duration::from_secs(60), knows).await;
        assert_eq!(receipt.expect("it hears of it").requested_model, "sim-small", "router {n}");
    }
    fleet.finish(async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_score_is_taken_by_any_gateway_and_finds_the_router_that_planned() {
    let fleet = match Fleet::start(Registry::List, 2, &[("router", 2)], &[], "").await {
        Ok(fleet) => fleet,
        Err(Lacking(what)) => return skipped("two gateways and two routers", &what),
    };
    let doors = fleet.addresses("gateway");
    let chat = object!({ "model": "sim-small", "messages": [{ "role": "user", "content": PROMPT }] });
    let mut ids = Vec::new();
    for _ in 0..4 {
        let answer = post(doors[0], "/v1/chat/completions", &[("x-signalbox-cache", "off")], &chat).await;
        ids.push(answer.header("x-request-id").to_owned());
    }
    for id in &ids {
        let score = object!({ "request_id": id, "score": -0.5, "kind": "thumbs" });
        // Who did not answer knows of the request when it is on record.
        let taken =
            comes_true(async || post(doors[1], "/v1/feedback", &[], &score).await.status == 200).await;
        assert!(taken, "{id}");
    }
    let mut router = signalbox_mesh::client!(RouterServiceClient, fleet.channel("router", 0));
    for id in ids {
        let of = ExplainRequest { request_id: id };
        let as_caller = RequestContext::background().with_principal("local", "test");
        let known = comes_true(async || {
            let receipt = router.explain(as_caller.request(of.clone())).await;
            receipt.ok().and_then(|receipt| receipt.into_inner().report?.quality) == Some(-0.5)
        });
        assert!(known.await, "its receipt has the score");
    }
    fleet.finish(async |_| {}).await;
}
