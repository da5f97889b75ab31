//! `signalbox audit`: who changed keys, budgets and limits.

use signalbox_proto::metering::v1::{AuditEntry, ListAuditRequest};

use crate::{
    Ended,
    keys::{Out, metering},
    print,
    when::{self, When},
};

/// Arguments of `signalbox audit`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this tenant's.
    #[arg(long)]
    tenant: Option<String>,
    /// Only changes before this: 2026-12-31, 2026-12-31T12:00:00Z, or 7d ago. Default: from the newest.
    #[arg(long, value_name = "WHEN")]
    before: Option<When>,
    /// At most so many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    out: Out,
}

/// Prints changes, newest first; needs an admin key.
pub(crate) async fn run(args: Args) -> Ended {
    let client = args.out.server.connect()?;
    let request = client.request(ListAuditRequest {
        tenant: args.tenant.unwrap_or_default(),
        before_unix_ms: args.before.map_or(0, When::back),
        limit: args.limit,
    });
    let listed = metering(&client).list_audit(request).await.map_err(|s| client.explain(&s))?.into_inner();
    if args.out.json {
        listed.entries.iter().for_each(|entry| print::line(&json(entry).to_string()));
        return Ok(());
    }
    if listed.entries.is_empty() {
        print::line("nothing was changed");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = listed.entries.iter().map(row).collect();
    print::line(&print::table(&["when", "tenant", "who", "what", "id", "to"], &[false; 6], &rows));
    if listed.entries.len() >= usize::try_from(args.limit).unwrap_or(usize::MAX)
        && let Some(last) = listed.entries.last()
    {
        print::aside(&format!(
            "there may be more: signalbox audit --before {}",
            when::exact(last.at_unix_ms)
        ));
    }
    Ok(())
}

fn row(entry: &AuditEntry) -> Vec<String> {
    vec![
        when::show(entry.at_unix_ms),
        entry.tenant.clone(),
        entry.actor.clone(),
        entry.action.clone(),
        entry.subject.clone(),
        entry.detail.clone(),
    ]
}

fn json(entry: &AuditEntry) -> serde_json::Value {
    // The detail is JSON; text that is not stays text.
    let detail: serde_json::Value =
        serde_json::from_str(&entry.detail).unwrap_or_else(|_| entry.detail.clone().into());
    serde_json::json!({
        "at_unix_ms": entry.at_unix_ms, "tenant": entry.tenant, "actor": entry.actor, "action": entry.action,
        "subject": entry.subject, "detail": detail,
    })
}
