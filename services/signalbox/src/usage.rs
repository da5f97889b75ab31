//! `signalbox usage`: what was used and what it cost.

use signalbox_proto::metering::v1::{
    QueryUsageRequest, UsageDimension, UsageRow, metering_service_client::MeteringServiceClient,
};

use crate::{Ended, client::Server, cost::dollars, print};

/// Arguments of `signalbox usage`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to group by; may be given up to four times.
    #[arg(long, value_enum, default_values_t = [Group::Target, Group::Cache])]
    by: Vec<Group>,
    /// Only the last so many hours. Default: all.
    #[arg(long)]
    hours: Option<u32>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Group {
    /// The organisation.
    Tenant,
    /// The key.
    Key,
    /// The alias asked for.
    Model,
    /// The target that answered.
    Target,
    /// The feature.
    Feature,
    /// The end user.
    User,
    /// The cache's part.
    Cache,
    /// How requests ended.
    Outcome,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Columns for people.
    Table,
    /// Comma-separated values.
    Csv,
    /// One JSON object per row.
    Json,
}

impl Group {
    const fn dimension(self) -> UsageDimension {
        match self {
            Self::Tenant => UsageDimension::Tenant,
            Self::Key => UsageDimension::Principal,
            Self::Model => UsageDimension::RequestedModel,
            Self::Target => UsageDimension::Target,
            Self::Feature => UsageDimension::Feature,
            Self::User => UsageDimension::User,
            Self::Cache => UsageDimension::Cache,
            Self::Outcome => UsageDimension::Outcome,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Key => "key",
            Self::Model => "model",
            Self::Target => "target",
            Self::Feature => "feature",
            Self::User => "user",
            Self::Cache => "cache",
            Self::Outcome => "outcome",
        }
    }
}

const FIGURES: [&str; 9] =
    ["requests", "ok", "cached", "tokens in", "tokens out", "cost", "saved", "p50 ms", "p95 ms"];

/// Asks and prints.
pub(crate) async fn run(args: Args) -> Ended {
    let client = args.server.connect()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let from = args
        .hours
        .map_or(0, |hours| i64::try_from(now.as_millis()).unwrap_or(i64::MAX) - i64::from(hours) * 3_600_000);
    let request = client.request(QueryUsageRequest {
        from_unix_ms: from,
        group_by: args.by.iter().map(|group| group.dimension().into()).collect(),
        ..QueryUsageRequest::default()
    });
    let mut metering = signalbox_mesh::client!(MeteringServiceClient, client.channel);
    let answer = metering.query_usage(request).await.map_err(|s| client.explain(&s))?.into_inner();
    match args.format {
        Format::Json => answer.rows.iter().for_each(|row| print::line(&json(&args.by, row))),
        Format::Csv => csv(&args.by, &answer.rows),
        Format::Table => table(&args.by, &answer.rows),
    }
    if answer.truncated {
        print::aside("more rows were left out; narrow the question with --hours or fewer --by");
    }
    Ok(())
}

fn cells(row: &UsageRow) -> Vec<String> {
    let usage = row.usage.unwrap_or_default();
    let known = |value: &String| if value.is_empty() { "-".into() } else { value.clone() };
    let mut cells: Vec<String> = row.group.iter().map(known).collect();
    cells.extend([
        row.requests.to_string(),
        row.succeeded.to_string(),
        row.cached.to_string(),
        usage.input_tokens.to_string(),
        usage.output_tokens.to_string(),
        dollars(row.cost_nanousd),
        dollars(row.saved_nanousd),
        row.p50_ms.to_string(),
        row.p95_ms.to_string(),
    ]);
    cells
}

fn table(by: &[Group], rows: &[UsageRow]) {
    if rows.is_empty() {
        return print::line("nothing was used in that time");
    }
    let head: Vec<&str> = by.iter().map(|g| g.name()).chain(FIGURES).collect();
    let right: Vec<bool> = by.iter().map(|_| false).chain(FIGURES.map(|_| true)).collect();
    let mut lines: Vec<Vec<String>> = rows.iter().map(cells).collect();
    if rows.len() > 1 {
        lines.push(total(by.len(), rows));
    }
    print::line(&print::table(&head, &right, &lines));
}

/// Sums what can be summed; percentiles cannot.
fn total(groups: usize, rows: &[UsageRow]) -> Vec<String> {
    let sum = |of: fn(&UsageRow) -> u64| rows.iter().map(of).sum::<u64>().to_string();
    let money = |of: fn(&UsageRow) -> i64| dollars(rows.iter().map(of).sum());
    let mut cells = vec![String::new(); groups];
    if let Some(first) = cells.first_mut() {
        *first = "total".into();
    }
    cells.extend([
        sum(|r| r.requests),
        sum(|r| r.succeeded),
        sum(|r| r.cached),
        sum(|r| r.usage.unwrap_or_default().input_tokens),
        sum(|r| r.usage.unwrap_or_default().output_tokens),
        money(|r| r.cost_nanousd),
        money(|r| r.saved_nanousd),
        String::new(),
        String::new(),
    ]);
    cells
}

fn csv(by: &[Group], rows: &[UsageRow]) {
    let quote = |cell: String| {
        if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
    };
    let head: Vec<&str> = by.iter().map(|g| g.name()).chain(FIGURES).collect();
    print::line(&head.join(","));
    for row in rows {
        print::line(&cells(row).into_iter().map(quote).collect::<Vec<_>>().join(","));
    }
}

fn json(by: &[Group], row: &UsageRow) -> String {
    let usage = row.usage.unwrap_or_default();
    let mut object = serde_json::Map::new();
    for (group, value) in by.iter().zip(&row.group) {
        object.insert(group.name().into(), value.clone().into());
    }
    let figures = serde_json::json!({
        "requests": row.requests, "succeeded": row.succeeded, "cached": row.cached,
        "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
        "cost_nanousd": row.cost_nanousd, "saved_nanousd": row.saved_nanousd,
        "mean_ms": row.mean_ms, "p50_ms": row.p50_ms, "p95_ms": row.p95_ms, "p99_ms": row.p99_ms,
        "attempts": row.attempts, "estimated_attempts": row.estimated_attempts,
        "unpriced_attempts": row.unpriced_attempts,
    });
    if let serde_json::Value::Object(figures) = figures {
        object.extend(figures);
    }
    serde_json::Value::Object(object).to_string()
}
