//! `signalbox route explain`: the plan that an earlier request was given.

use signalbox_proto::router::v1::{ExplainRequest, router_service_client::RouterServiceClient};

use super::table;
use crate::{Ended, client::Server, cost::dollars, print, when};

/// Arguments of `signalbox route explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The request's id, as the first event of its answer says.
    request_id: String,
    /// Whose request it was. Default: the key's own tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// Print a JSON object instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Asks and prints.
pub(super) async fn run(args: Args) -> Ended {
    let client = args.server.connect()?;
    let mut router = signalbox_mesh::client!(RouterServiceClient, client.channel);
    let request = ExplainRequest { request_id: args.request_id };
    let answer = router.explain(client.request_for(args.tenant.as_deref(), request)?).await;
    let receipt = answer.map_err(|status| client.explain(&status))?.into_inner();
    let (plan, report) = (receipt.plan.unwrap_or_default(), receipt.report.unwrap_or_default());
    if args.json {
        let mut object = table::object(&plan, &receipt.requested_model, receipt.input_tokens);
        object["planned_unix_ms"] = receipt.planned_unix_ms.into();
        object["quality"] = report.quality.into();
        let attempts = report.attempts.iter().map(|attempt| {
            serde_json::json!({
                "target": attempt.target_id, "outcome": attempt.outcome().as_str_name(), "kind": attempt.kind().as_str_name(),
                "cost_nanousd": attempt.cost_nanousd, "first_output_ms": attempt.first_output_ms, "duration_ms": attempt.duration_ms,
            })
        });
        object["attempts"] = attempts.collect();
        print::line(&object.to_string());
        return Ok(());
    }
    let decided = table::decided(&plan, &receipt.requested_model, receipt.input_tokens);
    print::line(&format!("{decided} · planned {}", when::show(receipt.planned_unix_ms)));
    print::line(&table::table(&plan));
    for attempt in &report.attempts {
        let short = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_lowercase();
        print::line(&format!(
            "{} attempt at {}: {}, {} ms, {}",
            short(attempt.kind().as_str_name(), "ATTEMPT_KIND_"),
            attempt.target_id,
            short(attempt.outcome().as_str_name(), "ATTEMPT_OUTCOME_"),
            attempt.duration_ms,
            dollars(attempt.cost_nanousd)
        ));
    }
    if let Some(quality) = report.quality {
        print::line(&format!("scored {quality:.2}"));
    }
    Ok(())
}
