//! `signalbox usage reconcile`: the ledger beside a provider's usage export.

use std::{collections::BTreeMap, path::PathBuf};

use signalbox_metering::reconcile::{Drift, Place, Statement, Sum, add_line, compare};

use crate::{
    Ended,
    client::{Client, Server},
    ledger, print, when,
};

const DAY_MS: i64 = 86_400_000;

/// Arguments of `signalbox usage reconcile`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The provider's export.
    file: PathBuf,
    /// Only this tenant's records, where the export is of an account of its own.
    #[arg(long)]
    tenant: Option<String>,
    /// Only targets of this provider, such as openai. Default: all models.
    #[arg(long)]
    provider: Option<String>,
    /// Print a JSON object per day and model.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Compares and prints.
pub(super) async fn run(args: Args) -> Ended {
    let at_fault = |what: String| format!("{}: {what}", args.file.display());
    let text = std::fs::read_to_string(&args.file).map_err(|error| at_fault(error.to_string()))?;
    let theirs = Statement::read(&text).map_err(|error| at_fault(error.to_string()))?;
    let days = || theirs.sums.keys().map(|(day, _)| *day);
    let (from, to) = (days().min().unwrap_or(0), days().max().unwrap_or(0) + DAY_MS);
    let client = args.server.connect()?;
    let tenant = args.tenant.clone().unwrap_or_default();
    let ours = read(&client, tenant, args.provider.as_deref(), (from, to)).await?;
    let drift = compare(&ours, &theirs);
    if args.json {
        drift.iter().for_each(|drift| print::line(&json(drift)));
    } else {
        print::line(&table(&drift));
    }
    if theirs.left_out > 0 {
        print::aside(&format!(
            "{} lines of the export without a day, a model or tokens were left out",
            theirs.left_out
        ));
    }
    Ok(())
}

/// The ledger's sums. Requests that began shortly before the first day may have attempts in it.
async fn read(
    client: &Client,
    tenant: String,
    provider: Option<&str>,
    (from, to): (i64, i64),
) -> Result<BTreeMap<Place, Sum>, String> {
    let mut sums = BTreeMap::new();
    let from = from.saturating_sub(DAY_MS / 24).max(0);
    ledger::each_line(client, tenant, (from, to), |line| add_line(&mut sums, line, provider)).await?;
    Ok(sums)
}

fn table(drift: &[Drift]) -> String {
    let head = ["day", "model", "ours in", "theirs in", "ours out", "theirs out", "drift", "share"];
    let right = [false, false, true, true, true, true, true, true];
    let mut rows: Vec<Vec<String>> = drift
        .iter()
        .map(|drift| row(&when::show(drift.place.0), &drift.place.1, drift.ours, drift.theirs))
        .collect();
    if drift.len() > 1 {
        let sum = |of: fn(&Drift) -> Sum| {
            drift.iter().map(of).fold(Sum::default(), |a, b| Sum {
                requests: a.requests + b.requests,
                input: a.input + b.input,
                output: a.output + b.output,
            })
        };
        rows.push(row("total", "", sum(|d| d.ours), sum(|d| d.theirs)));
    }
    print::table(&head, &right, &rows)
}

fn row(day: &str, model: &str, ours: Sum, theirs: Sum) -> Vec<String> {
    let drift = theirs.input + theirs.output - ours.input - ours.output;
    vec![
        day.to_owned(),
        model.to_owned(),
        ours.input.to_string(),
        theirs.input.to_string(),
        ours.output.to_string(),
        theirs.output.to_string(),
        format!("{drift:+}"),
        share(drift, theirs.input + theirs.output),
    ]
}

/// The drift as a share of what the provider counts.
#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(drift: i64, of: i64) -> String {
    if of == 0 { "-".to_owned() } else { format!("{:+.2}%", drift as f64 * 100.0 / of as f64) }
}

fn json(drift: &Drift) -> String {
    let sum = |sum: Sum| serde_json::json!({ "requests": sum.requests, "input_tokens": sum.input, "output_tokens": sum.output });
    serde_json::json!({
        "day": when::show(drift.place.0), "model": drift.place.1, "ours": sum(drift.ours),
        "theirs": sum(drift.theirs), "drift_tokens": drift.tokens(),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_drift_with_its_sign_and_share() {
        let of = |input, output| Sum { requests: 1, input, output };
        let drift = [
            Drift { place: (0, "gpt-4.1".into()), ours: of(100, 50), theirs: of(110, 50) },
            Drift { place: (DAY_MS, "o3".into()), ours: of(40, 0), theirs: Sum::default() },
        ];
        let table = table(&drift);
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["1970-01-01", "gpt-4.1", "100", "110", "50", "50", "+10", "+6.25%"]);
        assert_eq!(lines[2][6..], ["-40", "-"], "the provider knows nothing of it");
        assert_eq!(lines[3], ["total", "140", "110", "50", "50", "-30", "-18.75%"]);
        let json: serde_json::Value = serde_json::from_str(&json(&drift[0])).unwrap();
        assert_eq!((json["drift_tokens"].as_i64(), json["day"].as_str()), (Some(10), Some("1970-01-01")));
    }
}
