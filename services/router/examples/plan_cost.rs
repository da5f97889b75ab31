//! What a plan for a short prompt costs: CPU time of a call in process, beside that of a call that finds nothing, which is the channel's.
//!
//! `cargo run --release -p signalbox-router --example plan_cost`

#![expect(clippy::print_stdout, reason = "it is what it prints")]

use std::time::Duration;

use signalbox_config::{Document, Live};
use signalbox_mesh::{Channel, Environment, RequestContext};
use signalbox_proto::{
    common::v1::{Attribution, ChatRequest, Message, Part, Role, Text, part::Kind},
    router::v1::{ExplainRequest, PlanRequest, router_service_client::RouterServiceClient},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const CONFIG: &str = "
    [models.fast]
    targets = [
      { base_url = 'https://api.openai.com/v1', model = 'gpt-4.1', provider = 'openai' },
      { base_url = 'https://api.openai.com/v1', model = 'gpt-4.1-mini', provider = 'openai' },
      { base_url = 'http://127.0.0.1:1/v1', model = 'local', provider = 'lab', price = { input_usd_per_mtok = '1', output_usd_per_mtok = '1' } },
    ]
    [router.policies.ruled]
    way = 'lowest_cost'
    rules = [{ when = \"tags.plan == 'enterprise' && tokens > 2000\", targets = ['openai/gpt-4.1'] }]
    [router.policies.learned]
    way = 'learned'
    [router.experiments.x]
    models = ['fast']
    key = 'user'
    arms = [{ name = 'a', weight = 1 }, { name = 'b', weight = 1 }]
";
const CALLS: u32 = 20_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let document = Document::parse(CONFIG, "example")?;
    let environment = Environment::system("");
    let shared = Live::new(document.shared()?);
    let router =
        signalbox_router::build(shared, document.section("router")?, None, environment.clone()).await?;
    let channel = Channel::local(&router, &signalbox_mesh::Config::default(), &environment);
    let client = signalbox_mesh::client!(RouterServiceClient, channel);
    let context = || {
        let mut context = RequestContext::background().with_principal("acme", "key");
        context.set_request_id(signalbox_mesh::request_id(environment.clock.as_ref(), &environment.random));
        context
    };
    let call = async || {
        let request = context().request(ExplainRequest { request_id: "nobody's".into() });
        drop(client.clone().explain(request).await);
    };
    let nothing = measured(call).await?;
    println!("a call that finds nothing  {:>6.1} µs", nothing.as_secs_f64() * 1e6);
    for policy in ["fixed", "lowest_cost", "lowest_latency", "balanced", "sticky", "ruled", "learned"] {
        let plan = async || drop(client.clone().plan(context().request(ask(policy))).await);
        let whole = measured(plan).await?;
        println!(
            "plan, {policy:<20} {:>6.1} µs, of them the plan {:>6.1} µs",
            whole.as_secs_f64() * 1e6,
            whole.saturating_sub(nothing).as_secs_f64() * 1e6
        );
    }
    Ok(())
}

fn ask(policy: &str) -> PlanRequest {
    let text = Text { text: "What is the capital of France, and how many people live there?".into() };
    let part = Part { kind: Some(Kind::Text(text)), ..Part::default() };
    let message = Message { role: Role::User.into(), parts: vec![part], ..Message::default() };
    let chat = ChatRequest { model: "fast".into(), messages: vec![message], ..ChatRequest::default() };
    let attribution = Attribution {
        user: Some("ann".into()),
        feature: Some("search".into()),
        conversation_id: Some("c-17".into()),
        tags: [("plan".to_owned(), "free".to_owned())].into_iter().collect(),
    };
    PlanRequest {
        chat: Some(chat),
        input_tokens: 18,
        policy_name: policy.to_owned(),
        attribution: Some(attribution),
        ..PlanRequest::default()
    }
}

/// CPU time of this thread per call, the first calls left out.
async fn measured(mut call: impl AsyncFnMut()) -> Result<Duration, Failure> {
    for _ in 0..CALLS / 10 {
        call().await;
    }
    let before = cpu()?;
    for _ in 0..CALLS {
        call().await;
    }
    Ok((cpu()? - before) / CALLS)
}

/// CPU time of this thread so far, as Linux tells it.
fn cpu() -> Result<Duration, Failure> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = told.split_whitespace().next().ok_or("schedstat is empty")?.parse()?;
    Ok(Duration::from_nanos(nanos))
}
