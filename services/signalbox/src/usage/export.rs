//! `signalbox usage export`: the ledger's records.

use signalbox_proto::metering::v1::{ExportFormat, ExportUsageRequest};

use crate::{Ended, client::Server, keys::metering, print, when::When};

/// Arguments of `signalbox usage export`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this tenant's.
    #[arg(long)]
    tenant: Option<String>,
    /// From when: 2026-01-31, or 7d ago. Default: all.
    #[arg(long, value_name = "WHEN")]
    from: Option<When>,
    /// Up to when. Default: now.
    #[arg(long, value_name = "WHEN")]
    to: Option<When>,
    /// Print comma-separated values instead of a JSON object per line.
    #[arg(long)]
    csv: bool,
    /// Print a JSON object per line, as is usual.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Asks and prints.
pub(super) async fn run(args: Args) -> Ended {
    let client = args.server.connect()?;
    let format = if args.csv { ExportFormat::Csv } else { ExportFormat::Ndjson };
    let request = client.request(ExportUsageRequest {
        tenant: args.tenant.unwrap_or_default(),
        from_unix_ms: args.from.map_or(0, When::back),
        to_unix_ms: args.to.map_or(0, When::back),
        format: format.into(),
    });
    let answer = metering(&client).export_usage(request).await.map_err(|s| client.explain(&s))?;
    let mut lines = answer.into_inner();
    while let Some(page) = lines.message().await.map_err(|s| client.explain(&s))? {
        print::out(&String::from_utf8_lossy(&page.lines));
    }
    Ok(())
}
