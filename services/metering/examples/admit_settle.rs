//! Measures pairs of `Admit` and `Settle` in process: keys, two budgets, token counts, prices, reservation, ledger row.
//!
//! `cargo run -p signalbox-metering --example admit_settle -- [PAIRS] [CONCURRENT]`. A benchmark, not a test: it asserts only
//! that nothing was lost.

use std::{error::Error, io::Write as _, time::Duration};

use signalbox_config::{Document, Live};
use signalbox_mesh::{Channel, Environment};
use signalbox_metering::{Config, open};
use signalbox_proto::common::v1::{
    Attempt, AttemptOutcome, ChatRequest, Message, Part, Role, Sampling, Text, Usage, UsageSource, part,
};
use signalbox_proto::metering::v1::{
    AdmitRequest, CreateKeyRequest, Key, ListBudgetsRequest, RequestOutcome, SettleRequest, Settlement,
    metering_service_client::MeteringServiceClient,
};
use tokio::time::Instant;

const SETUP: &str = "
    [models.fast]
    targets = [{ base_url = 'http://127.0.0.1:1/v1', model = 'gpt-4o', provider = 'lab',
                 price = { input_usd_per_mtok = '1', output_usd_per_mtok = '2' } }]
    [tenants.acme]
    budgets = [{ limit_usd = '100000', period = 'day' }, { limit_usd = '1000000', period = 'month' }]
";

type Client = MeteringServiceClient<Channel>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (pairs, concurrent) = (number(20_000)?, number(64)?.max(1));
    let folder = tempfile::tempdir()?;
    let environment = Environment::system(folder.path());
    let shared = Live::new(Document::parse(SETUP, "benchmark")?.shared()?);
    let metering = open(shared, Config::default(), environment.clone()).await?;
    let channel = Channel::local(&metering.part, &signalbox_mesh::Config::default(), &environment);
    let mut client = signalbox_mesh::client!(MeteringServiceClient, channel);
    let key = Key { tenant: "acme".to_owned(), name: "benchmark".to_owned(), ..Key::default() };
    let credential = client.create_key(CreateKeyRequest { key: Some(key) }).await?.into_inner().credential;

    let (began, used) = (Instant::now(), cpu()?);
    let workers: Vec<_> = (0..concurrent)
        .map(|worker| {
            tokio::spawn(work(
                client.clone(),
                credential.clone(),
                environment.clone(),
                share(pairs, concurrent, worker),
            ))
        })
        .collect();
    let mut latencies = Vec::with_capacity(pairs);
    for worker in workers {
        latencies.extend(worker.await??);
    }
    let (took, used) = (began.elapsed(), cpu()?.saturating_sub(used));
    latencies.sort_unstable();

    let budgets = client.list_budgets(ListBudgetsRequest::default()).await?.into_inner().budgets;
    let spent = i64::try_from(pairs)? * 34_000;
    if budgets.iter().any(|budget| budget.spent != spent) || metering.violations.b1() > 0 {
        return Err(format!("pairs were lost: {budgets:?}").into());
    }
    let each = |whole: Duration| whole.as_secs_f64() * 1e6 / pairs as f64;
    let admit =
        |share: usize| latencies.get(latencies.len() * share / 1_000).map_or(0.0, |d| d.as_secs_f64() * 1e6);
    writeln!(
        std::io::stdout(),
        "{pairs} pairs, {concurrent} at a time: {:.1} µs each ({:.0} per second), {:.1} µs CPU; admission p50 {:.0} µs, p99 {:.0} µs",
        each(took),
        1e6 / each(took),
        each(used),
        admit(500),
        admit(990),
    )?;
    drop(client);
    metering.part.drain().await;
    Ok(())
}

/// The part of `whole` that falls to one of several workers.
fn share(whole: usize, workers: usize, worker: usize) -> usize {
    whole / workers + usize::from(worker < whole % workers)
}

/// Admits and settles; returns how long each admission took.
async fn work(
    mut client: Client,
    credential: String,
    environment: Environment,
    pairs: usize,
) -> Result<Vec<Duration>, tonic::Status> {
    let mut latencies = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let id = environment.request_id();
        let began = Instant::now();
        let admitted = client.admit(ask(&id, &credential)).await?.into_inner();
        latencies.push(began.elapsed());
        let settlement = Settlement {
            request_id: id,
            reservation_id: admitted.reservation.map(|reservation| reservation.id).unwrap_or_default(),
            principal: admitted.principal,
            requested_model: "fast".to_owned(),
            attempts: vec![attempt(environment.clock.unix_ms())],
            outcome: RequestOutcome::Ok.into(),
            started_unix_ms: environment.clock.unix_ms(),
            r#final: true,
            ..Settlement::default()
        };
        client.settle(SettleRequest { settlements: vec![settlement] }).await?;
    }
    Ok(latencies)
}

fn ask(id: &str, credential: &str) -> AdmitRequest {
    let text = Text { text: "What is the capital of France?".to_owned() };
    let part = Part { kind: Some(part::Kind::Text(text)), ..Part::default() };
    let message = Message { role: Role::User.into(), parts: vec![part], ..Message::default() };
    AdmitRequest {
        credential: credential.to_owned(),
        chat: Some(ChatRequest {
            model: "fast".to_owned(),
            messages: vec![message],
            sampling: Some(Sampling { max_output_tokens: Some(10), ..Sampling::default() }),
            ..ChatRequest::default()
        }),
        request_id: id.to_owned(),
        gateway_id: "benchmark".to_owned(),
        ..AdmitRequest::default()
    }
}

fn attempt(started_unix_ms: i64) -> Attempt {
    let source = UsageSource::Reported.into();
    Attempt {
        number: 1,
        target_id: "lab/gpt-4o".to_owned(),
        outcome: AttemptOutcome::Ok.into(),
        usage: Some(Usage { input_tokens: 14, output_tokens: 10, source, ..Usage::default() }),
        started_unix_ms,
        ..Attempt::default()
    }
}

/// CPU time of this process so far, all threads; zero where the system does not tell.
fn cpu() -> Result<Duration, Box<dyn Error>> {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return Ok(Duration::ZERO) };
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in ticks of a hundredth of a second.
    let ticks: u64 = [11, 12]
        .iter()
        .filter_map(|at| fields.get(*at))
        .map(|ticks| ticks.parse::<u64>())
        .sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}
