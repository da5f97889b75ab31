//! Fills the embedded ledger with a month of requests and measures questions about it.
//!
//! `cargo run --release -p signalbox-metering --example usage_month -- [REQUESTS] [FOLDER]`. Default 1,000,000; a month of
//! 10,000,000 takes some minutes to fill. A FOLDER that an earlier run filled is only asked. Each question is asked twice: the first
//! time may wait for the disk. How long an answer takes depends on how many cells the sums have, not on
//! how many requests fell into them: 40 keys, 5 features, 4 models, 2 outcomes, 8 values of a tag, 10,000 users.

use std::{error::Error, io::Write as _, path::PathBuf};

use signalbox_config::{Document, Live};
use signalbox_mesh::{Channel, Environment, ManualClock, Random};
use signalbox_metering::{Config, open};
use signalbox_proto::common::v1::{Attempt, AttemptOutcome, Attribution, Timings, Usage, UsageSource};
use signalbox_proto::metering::v1::{
    Principal, QueryUsageRequest, RequestOutcome, SettleRequest, Settlement, UsageDimension,
    metering_service_client::MeteringServiceClient,
};
use tokio::time::Instant;

const DAY_MS: i64 = 86_400_000;
/// The first of a month.
const START: i64 = 20_605 * DAY_MS;
const BATCH: usize = 1_000;
const SETUP: &str = "
    [models.fast]
    targets = [{ base_url = 'http://127.0.0.1:1/v1', model = 'gpt-4o', provider = 'lab',
                 price = { input_usd_per_mtok = '1', output_usd_per_mtok = '2' } }]
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let requests = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse::<usize>())?;
    let temporary = tempfile::tempdir()?;
    let folder = std::env::args_os().nth(2).map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let filled = folder.join("filled");
    let environment = Environment::manual(ManualClock::new(START + 30 * DAY_MS), 1, &folder);
    let shared = Live::new(Document::parse(SETUP, "benchmark")?.shared()?);
    let metering = open(shared, Config::default(), environment.clone()).await?;
    let (random, began) = (Random::seeded(7), Instant::now());
    let batches = if filled.exists() { 0 } else { requests.div_ceil(BATCH) };
    for batch in 0..batches {
        let settlements = (0..BATCH).map(|n| settlement(batch * BATCH + n, requests, &random)).collect();
        metering.library.settle(SettleRequest { settlements }).await?;
    }
    std::fs::write(filled, "")?;
    let mut out = std::io::stdout();
    writeln!(out, "{} requests settled in {:.0} s", batches * BATCH, began.elapsed().as_secs_f64())?;

    let channel = Channel::local(&metering.part, &signalbox_mesh::Config::default(), &environment);
    let mut client = signalbox_mesh::client!(MeteringServiceClient, channel);
    let questions: [(&str, &[UsageDimension], i64); 9] = [
        ("all", &[], 0),
        ("by key and model", &[UsageDimension::Principal, UsageDimension::RequestedModel], 0),
        ("by feature, each day", &[UsageDimension::Feature], DAY_MS),
        ("by outcome, each hour", &[UsageDimension::Outcome], DAY_MS / 24),
        ("by key, each hour", &[UsageDimension::Principal], DAY_MS / 24),
        ("by user", &[UsageDimension::User], 0),
        ("by tag", &[UsageDimension::Tag], 0),
        ("by tag and model, each day", &[UsageDimension::Tag, UsageDimension::RequestedModel], DAY_MS),
        // Who asked for what stands only in the finest sums, here nearly as many as requests.
        ("by user and model", &[UsageDimension::User, UsageDimension::RequestedModel], 0),
    ];
    for (name, group_by, step_ms) in questions {
        let request = QueryUsageRequest {
            from_unix_ms: START,
            to_unix_ms: START + 30 * DAY_MS,
            group_by: group_by.iter().map(|dimension| (*dimension).into()).collect(),
            tag_key: Some("env".to_owned()),
            step_ms,
            limit: 100_000,
            ..QueryUsageRequest::default()
        };
        let mut took = Vec::new();
        let mut found = 0;
        for _ in 0..2 {
            let began = Instant::now();
            let rows = client.query_usage(request.clone()).await?.into_inner().rows;
            took.push(format!("{:.3} s", began.elapsed().as_secs_f64()));
            let counted: u64 = rows.iter().map(|row| row.requests).sum();
            if counted < requests as u64 {
                return Err(format!("{counted} of {requests} requests were found").into());
            }
            found = rows.len();
        }
        writeln!(out, "{name}: {found} rows in {}", took.join(", then "))?;
    }
    drop(client);
    metering.part.drain().await;
    Ok(())
}

fn settlement(n: usize, of: usize, random: &Random) -> Settlement {
    let at = START + (i64::try_from(n).unwrap_or(0) * 30 * DAY_MS) / i64::try_from(of).unwrap_or(1).max(1);
    let at = at.min(START + 30 * DAY_MS - 1);
    let pick = |names: &str, count: usize| format!("{names}{}", random.below(count));
    let took = 200 + random.below(4_000) as u64;
    let outcome = if random.below(20) == 0 { RequestOutcome::Failed } else { RequestOutcome::Ok };
    Settlement {
        request_id: format!("r{n}"),
        principal: Some(Principal { tenant: "acme".to_owned(), id: pick("key", 40), ..Principal::default() }),
        attribution: Some(Attribution {
            user: Some(pick("user", 10_000)),
            feature: Some(pick("feature", 5)),
            tags: [("env".to_owned(), pick("env", 8))].into(),
            ..Attribution::default()
        }),
        requested_model: pick("model", 4),
        attempts: vec![Attempt {
            number: 1,
            target_id: "lab/gpt-4o".to_owned(),
            outcome: AttemptOutcome::Ok.into(),
            usage: Some(Usage {
                input_tokens: 14,
                output_tokens: took / 10,
                source: UsageSource::Reported.into(),
                ..Usage::default()
            }),
            started_unix_ms: at,
            ..Attempt::default()
        }],
        outcome: outcome.into(),
        timings: Some(Timings { total_ms: took, first_output_ms: Some(took / 4), ..Timings::default() }),
        started_unix_ms: at,
        r#final: true,
        ..Settlement::default()
    }
}
