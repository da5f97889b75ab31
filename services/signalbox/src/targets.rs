//! `signalbox targets`: the targets behind a running mesh, and how they are.

use signalbox_proto::executor::v1::{
    BreakerState, ListTargetsRequest, Target, executor_service_client::ExecutorServiceClient,
};

use crate::{Ended, client::Server, print};

/// Arguments of `signalbox targets`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one JSON object per target instead of columns.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Lists the targets; needs an admin key where there are keys.
pub(crate) async fn run(args: Args) -> Ended {
    let client = args.server.connect()?;
    let mut executor = signalbox_mesh::client!(ExecutorServiceClient, client.channel);
    let listed = executor.list_targets(client.request(ListTargetsRequest {})).await;
    let targets = listed.map_err(|status| client.explain(&status))?.into_inner().targets;
    if args.json {
        targets.iter().for_each(|target| print::line(&json(target).to_string()));
        return Ok(());
    }
    if targets.is_empty() {
        print::aside("no target is configured; see `signalbox up --help`");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = targets.iter().map(row).collect();
    let head = ["target", "host", "breaker", "in flight", "attempts", "failed", "first output", "credential"];
    let right = [false, false, false, true, true, true, true, false];
    print::line(&print::table(&head, &right, &rows));
    Ok(())
}

fn breaker(target: &Target) -> &'static str {
    match target.breaker() {
        BreakerState::Open => "open",
        BreakerState::HalfOpen => "half open",
        BreakerState::Closed | BreakerState::Unspecified => "closed",
    }
}

fn row(target: &Target) -> Vec<String> {
    let state = match target.breaker_reason.as_str() {
        "" => breaker(target).to_owned(),
        reason => format!("{} ({reason})", breaker(target)),
    };
    let first = target.first_output_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let credential = match (target.credential_source.as_str(), target.has_credential) {
        ("", _) => "none needed".to_owned(),
        (source, true) => source.to_owned(),
        (source, false) => format!("{source} is not set"),
    };
    vec![
        target.target_id.clone(),
        target.host.clone(),
        state,
        target.in_flight.to_string(),
        target.attempts.to_string(),
        target.failures.to_string(),
        first,
        credential,
    ]
}

fn json(target: &Target) -> serde_json::Value {
    serde_json::json!({
        "target": target.target_id, "provider": target.provider, "model": target.model, "host": target.host,
        "breaker": breaker(target), "breaker_reason": target.breaker_reason, "in_flight": target.in_flight,
        "attempts": target.attempts, "failures": target.failures, "first_output_ms": target.first_output_ms,
        "remaining_requests": target.remaining_requests, "remaining_tokens": target.remaining_tokens,
        "has_credential": target.has_credential, "credential_source": target.credential_source, "weight": target.weight,
    })
}
