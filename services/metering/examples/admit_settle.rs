//! Measures pairs of admission and settlement, called as a library: a key, two budgets, two rate limits, token counts, prices,
//! reservation, ledger row.
//!
//! `cargo run --release -p signalbox-metering --example admit_settle -- [PAIRS] [CONCURRENT] [redis | REDIS_URL]`. Without the last
//! the embedded backend is measured; `redis` starts a server of its own (append-only file on), and its CPU is told too. A
//! benchmark, not a test: it asserts only that nothing was lost.

use std::{error::Error, io::Write as _, time::Duration};

use redis::Commands as _;
use signalbox_config::{Document, Live};
use signalbox_mesh::{Channel, Environment};
use signalbox_metering::{Config, Library, open};
use signalbox_proto::common::v1::{
    Attempt, AttemptOutcome, ChatRequest, Message, Part, Role, Sampling, Text, Usage, UsageSource, part,
};
use signalbox_proto::metering::v1::{
    AdmitRequest, CreateKeyRequest, Key, ListBudgetsRequest, RequestOutcome, SettleRequest, Settlement,
    metering_service_client::MeteringServiceClient,
};
use signalbox_testkit::redis::RedisServer;
use tokio::time::Instant;

const SETUP: &str = "
    [models.fast]
    targets = [{ base_url = 'http://127.0.0.1:1/v1', model = 'gpt-4o', provider = 'lab',
                 price = { input_usd_per_mtok = '1', output_usd_per_mtok = '2' } }]
    [tenants.acme]
    budgets = [{ limit_usd = '100000', period = 'day' }, { limit_usd = '1000000', period = 'month' }]
    limits = [{ requests = 1000000000, per = 'minute' }, { tokens = 10000000000, per = 'minute' }]
";
/// What a pair costs, in nano-dollars.
const COST: i64 = 34_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (pairs, concurrent) = (number(0, 200_000)?, number(1, 128)?.max(1));
    let folder = tempfile::tempdir()?;
    let own = match arguments.get(2).map(String::as_str) {
        Some("redis") => Some(RedisServer::durable(&folder.path().join("redis"))?),
        _ => None,
    };
    let redis = own.as_ref().map(RedisServer::url).or_else(|| arguments.get(2).cloned());
    let setup = match &redis {
        Some(url) => {
            format!("{SETUP}\n[redis]\nurl = '{url}'\nprefix = 'benchmark-{}'\n", std::process::id())
        }
        None => SETUP.to_owned(),
    };
    let environment = Environment::system(folder.path());
    let shared = Live::new(Document::parse(&setup, "benchmark")?.shared()?);
    let metering = open(shared, Config::default(), environment.clone()).await?;
    let channel = Channel::local(&metering.part, &signalbox_mesh::Config::default(), &environment);
    let mut client = signalbox_mesh::client!(MeteringServiceClient, channel);
    let key = Key { tenant: "acme".to_owned(), name: "benchmark".to_owned(), ..Key::default() };
    let credential = client.create_key(CreateKeyRequest { key: Some(key) }).await?.into_inner().credential;

    let (began, used, redis_used) = (Instant::now(), cpu()?, redis_cpu(redis.as_deref())?);
    let workers: Vec<_> = (0..concurrent)
        .map(|worker| {
            let (library, credential) = (metering.library.clone(), credential.clone());
            tokio::spawn(work(library, credential, environment.clone(), share(pairs, concurrent, worker)))
        })
        .collect();
    let (mut admissions, mut whole) = (Vec::with_capacity(pairs), Vec::with_capacity(pairs));
    for worker in workers {
        for (admission, pair) in worker.await?? {
            admissions.push(admission);
            whole.push(pair);
        }
    }
    let (took, used) = (began.elapsed(), cpu()?.saturating_sub(used));
    let redis_used = redis_cpu(redis.as_deref())?.saturating_sub(redis_used);

    let budgets = client.list_budgets(ListBudgetsRequest::default()).await?.into_inner().budgets;
    let spent = i64::try_from(pairs)? * COST;
    if budgets.iter().any(|budget| budget.spent != spent) || metering.violations.b1() > 0 {
        return Err(format!("pairs were lost: {budgets:?}").into());
    }
    let each = |whole: Duration| whole.as_secs_f64() * 1e6 / pairs as f64;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{pairs} pairs, {concurrent} at a time: {:.0} per second, {:.1} µs CPU each; admission p50 {:.2} ms, p99 {:.2} ms; pair p99 {:.2} ms",
        1e6 / each(took),
        each(used),
        quantile(&mut admissions, 500),
        quantile(&mut admissions, 990),
        quantile(&mut whole, 990),
    )?;
    if redis.is_some() {
        let busy = redis_used.as_secs_f64() / took.as_secs_f64() * 100.0;
        writeln!(out, "redis: {:.1} µs CPU each, {busy:.0} % of a core", each(redis_used))?;
    }
    drop(client);
    metering.part.drain().await;
    Ok(())
}

/// A quantile in milliseconds; `share` in thousandths.
fn quantile(durations: &mut [Duration], share: usize) -> f64 {
    durations.sort_unstable();
    durations.get(durations.len() * share / 1_000).map_or(0.0, |d| d.as_secs_f64() * 1e3)
}

/// The part of `whole` that falls to one of several workers.
fn share(whole: usize, workers: usize, worker: usize) -> usize {
    whole / workers + usize::from(worker < whole % workers)
}

/// Admits and settles; returns how long each admission and each pair took.
async fn work(
    library: Library,
    credential: String,
    environment: Environment,
    pairs: usize,
) -> Result<Vec<(Duration, Duration)>, tonic::Status> {
    let mut latencies = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let id = environment.request_id();
        let began = Instant::now();
        let admitted = library.admit(ask(&id, &credential)).await?;
        let admission = began.elapsed();
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
        library.settle(SettleRequest { settlements: vec![settlement] }).await?;
        latencies.push((admission, began.elapsed()));
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

/// CPU time of Redis so far, as it says itself.
fn redis_cpu(url: Option<&str>) -> Result<Duration, Box<dyn Error>> {
    let Some(url) = url else { return Ok(Duration::ZERO) };
    let mut connection = redis::Client::open(url)?.get_connection()?;
    let _pong: String = connection.ping()?;
    let info: String = redis::cmd("INFO").arg("cpu").query(&mut connection)?;
    let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    let seconds = of("used_cpu_user:").unwrap_or(0.0) + of("used_cpu_sys:").unwrap_or(0.0);
    Ok(Duration::from_secs_f64(seconds))
}
