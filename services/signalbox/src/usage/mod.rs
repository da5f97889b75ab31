//! `signalbox usage`: what was used and what it cost.

mod columns;
mod export;
mod reconcile;

use signalbox_proto::metering::v1::{QueryUsageRequest, UsageRow};

use self::columns::Column;
use crate::{
    Ended,
    client::Server,
    dimension::{Dimension, Only},
    keys::metering,
    print,
    when::{self, Span, When},
};

/// Arguments of `signalbox usage`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    query: Query,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Compares the ledger with a provider's usage export, day by day and model by model, and shows the drift.
    ///
    /// FILE is the JSON of OpenAI's or Anthropic's usage interface, or the CSV of their consoles.
    Reconcile(reconcile::Args),
    /// Prints the ledger's records, one for each attempt at a provider.
    Export(export::Args),
}

/// A question about usage.
#[derive(Debug, clap::Args)]
struct Query {
    /// What to group by: tenant, key, team, user, feature, model, target, cache, outcome or tag:KEY; up to four, with commas or
    /// repeated.
    #[arg(long, value_delimiter = ',', default_values = ["target", "cache"])]
    by: Vec<Dimension>,
    /// Only what has this value, such as team=search or tag:env=prod; may be repeated, and all must hold.
    #[arg(long = "only", value_name = "NAME=VALUE")]
    only: Vec<Only>,
    /// From when: 2026-01-31, or 7d ago. Default: all.
    #[arg(long, value_name = "WHEN")]
    from: Option<When>,
    /// Up to when. Default: now.
    #[arg(long, value_name = "WHEN")]
    to: Option<When>,
    /// Only the last so many hours; short for --from.
    #[arg(long, conflicts_with = "from")]
    hours: Option<u32>,
    /// A row for each step of time, such as 1h or 1d.
    #[arg(long, value_name = "TIME")]
    step: Option<Span>,
    /// At most so many rows, dearest first.
    #[arg(long, value_name = "ROWS", default_value_t = 1_000)]
    limit: u32,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Print a JSON object for each row; short for --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The main columns, for people.
    Table,
    /// All columns as comma-separated values.
    Csv,
    /// All columns, one JSON object per row.
    Json,
}

/// Asks and prints.
pub(crate) async fn run(args: Args) -> Ended {
    match args.command {
        Some(Command::Reconcile(args)) => reconcile::run(args).await,
        Some(Command::Export(args)) => export::run(args).await,
        None => query(args.query).await,
    }
}

async fn query(args: Query) -> Ended {
    let mut tags = args.by.iter().filter_map(|dimension| dimension.tag.clone());
    let tag_key = tags.next();
    if tags.next().is_some() {
        return Err("usage is grouped by one tag at a time; keep one of the --by tag:KEY".to_owned());
    }
    let hours = args.hours.map(|hours| When::Apart(Span { ms: i64::from(hours) * 3_600_000 }));
    let client = args.server.connect()?;
    let request = client.request(QueryUsageRequest {
        from_unix_ms: args.from.or(hours).map_or(0, When::back),
        to_unix_ms: args.to.map_or(0, When::back),
        group_by: args.by.iter().map(|dimension| dimension.of.into()).collect(),
        filters: args.only.iter().map(Only::filter).collect(),
        step_ms: args.step.map_or(0, |step| step.ms),
        tag_key,
        limit: args.limit,
    });
    let answer = metering(&client).query_usage(request).await.map_err(|s| client.explain(&s))?.into_inner();
    let mut rows = answer.rows;
    if args.step.is_some() {
        rows.sort_by(|a, b| (a.step_unix_ms, &a.group).cmp(&(b.step_unix_ms, &b.group)));
    }
    let shown = Shown { by: &args.by, stepped: args.step.is_some(), rows: &rows };
    match if args.json { Format::Json } else { args.format } {
        Format::Json => shown.json().iter().for_each(|row| print::line(row)),
        Format::Csv => shown.csv().iter().for_each(|row| print::line(row)),
        Format::Table => print::line(&shown.table()),
    }
    if answer.truncated {
        print::aside(
            "more rows were left out; raise --limit, or narrow the question with --from, --only or fewer --by",
        );
    }
    Ok(())
}

/// Rows to be printed.
struct Shown<'a> {
    by: &'a [Dimension],
    stepped: bool,
    rows: &'a [UsageRow],
}

impl Shown<'_> {
    fn names(&self) -> Vec<&str> {
        self.stepped.then_some("from").into_iter().chain(self.by.iter().map(|d| d.name.as_str())).collect()
    }

    fn group(&self, row: &UsageRow) -> Vec<String> {
        let step = self.stepped.then(|| when::show(row.step_unix_ms));
        step.into_iter().chain(row.group.iter().cloned()).collect()
    }

    fn table(&self) -> String {
        if self.rows.is_empty() {
            return "nothing was used in that time".to_owned();
        }
        let columns: Vec<&Column> = columns::ALL.iter().filter(|column| column.title.is_some()).collect();
        let names = self.names();
        let head: Vec<&str> = names.iter().copied().chain(columns.iter().filter_map(|c| c.title)).collect();
        let right: Vec<bool> = (0..head.len()).map(|place| place >= names.len()).collect();
        let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let line = |group: Vec<String>, row: &UsageRow| -> Vec<String> {
            let figures = columns.iter().map(|column| column.text(row));
            group.into_iter().chain(figures).map(dash).collect()
        };
        let mut lines: Vec<Vec<String>> = self.rows.iter().map(|row| line(self.group(row), row)).collect();
        if self.rows.len() > 1 && !names.is_empty() {
            let mut group = vec![" ".to_owned(); names.len()];
            group[0] = "total".to_owned();
            lines.push(line(group, &columns::total(self.rows)));
        }
        print::table(&head, &right, &lines)
    }

    fn csv(&self) -> Vec<String> {
        let quote = |cell: String| {
            if cell.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell
            }
        };
        let head: Vec<&str> = self.names().into_iter().chain(columns::ALL.map(|column| column.key)).collect();
        let mut lines = vec![head.join(",")];
        lines.extend(self.rows.iter().map(|row| {
            let figures = columns::ALL.iter().map(|column| match (column.value)(row) {
                serde_json::Value::Null => String::new(),
                value => value.to_string(),
            });
            self.group(row).into_iter().chain(figures).map(quote).collect::<Vec<_>>().join(",")
        }));
        lines
    }

    fn json(&self) -> Vec<String> {
        let object = |row: &UsageRow| {
            let mut object = serde_json::Map::new();
            if self.stepped {
                object.insert("step_unix_ms".into(), row.step_unix_ms.into());
            }
            for (dimension, value) in self.by.iter().zip(&row.group) {
                object.insert(dimension.name.clone(), value.clone().into());
            }
            for column in &columns::ALL {
                object.insert(column.key.into(), (column.value)(row));
            }
            serde_json::Value::Object(object).to_string()
        };
        self.rows.iter().map(object).collect()
    }
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::Usage;

    use super::*;

    fn row(target: &str, requests: u64, step_unix_ms: i64) -> UsageRow {
        UsageRow {
            group: vec![target.to_owned(), String::new()],
            step_unix_ms,
            requests,
            succeeded: requests / 2,
            usage: Some(Usage {
                input_tokens: 10,
                cached_input_tokens: 4,
                output_tokens: 3,
                ..Usage::default()
            }),
            cost_nanousd: 1_500_000,
            p50_ms: 7,
            first_output_p50_ms: Some(5),
            ..UsageRow::default()
        }
    }

    fn by() -> Vec<Dimension> {
        vec!["target".parse().unwrap(), "tag:env".parse().unwrap()]
    }

    #[test]
    fn a_table_sums_what_can_be_summed() {
        let (by, rows) = (by(), [row("a/b", 4, 0), row("c/d", 2, 0)]);
        let table = Shown { by: &by, stepped: false, rows: &rows }.table();
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..4], ["target", "tag:env", "requests", "ok"]);
        assert_eq!(lines[1][..4], ["a/b", "-", "4", "50.0%"]);
        assert_eq!(lines[3][..3], ["total", "6", "50.0%"]);
        assert!(lines[3].contains(&"$0.003") && lines[3].contains(&"20"), "{table}");
        assert_eq!(Shown { by: &by, stepped: false, rows: &[] }.table(), "nothing was used in that time");
    }

    #[test]
    fn csv_and_json_have_every_column_under_the_same_name() {
        let (by, rows) = (by(), [row("a,b", 4, 86_400_000)]);
        let shown = Shown { by: &by, stepped: true, rows: &rows };
        let csv = shown.csv();
        assert!(csv[0].starts_with("from,target,tag:env,requests,succeeded,"), "{}", csv[0]);
        assert!(csv[1].starts_with("1970-01-02,\"a,b\",,4,2,"), "{}", csv[1]);
        let json: serde_json::Value = serde_json::from_str(&shown.json()[0]).unwrap();
        for name in csv[0].split(',').skip(1) {
            assert!(json.get(name).is_some(), "{name}");
        }
        assert_eq!(
            (json["cached_input_tokens"].as_u64(), json["first_output_p50_ms"].as_u64()),
            (Some(4), Some(5))
        );
        assert!(json["first_output_p95_ms"].is_null(), "there was none");
    }
}
