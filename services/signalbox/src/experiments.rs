//! `signalbox experiments`: what experiments and shadow traffic showed.

use serde_json::{Value, json};
use signalbox_router::compare::{Above, ArmReport, Compare, Compared, Estimate, ShadowReport};

use crate::{Ended, client::Server, ledger, print, when::When};

/// Arguments of `signalbox experiments`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each figure has the interval that holds its true value with 95 % confidence. What was assigned as a whole (a user, a \
                        conversation) counts as one, because its requests are alike. A score is what `Feedback` said of an answer, from -1 to 1; it is shown where \
                        somebody said something. Who rates is not everybody: compare how many did, too. A difference whose interval holds 0 shows nothing; and who \
                        looks every day until one does not will find one by chance: fix the time before."
)]
pub(crate) struct Args {
    /// Only this experiment.
    experiment: Option<String>,
    /// From when: 2026-01-31, or 7d ago.
    #[arg(long, value_name = "WHEN", default_value = "7d")]
    since: When,
    /// Up to when. Default: now.
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// The arm that the others are compared with. Default: the one with the most requests.
    #[arg(long, value_name = "ARM")]
    control: Option<String>,
    /// Only this tenant's requests.
    #[arg(long)]
    tenant: Option<String>,
    /// Print a JSON object instead of tables.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Reads the ledger, compares, prints.
pub(crate) async fn run(args: Args) -> Ended {
    let client = args.server.connect()?;
    let mut compare = Compare::default();
    let time = (args.since.back(), args.until.map_or(0, When::back));
    ledger::each_request(&client, args.tenant.unwrap_or_default(), time, |one| compare.add(one)).await?;
    let mut compared = compare.end(args.control.as_deref());
    if let Some(name) = &args.experiment {
        compared.arms.retain(|arm| arm.experiment == *name);
        compared.shadows.clear();
    }
    print::line(&if args.json { object(&compared).to_string() } else { text(&compared) });
    if compared.left_out > 0 {
        print::aside(&format!(
            "{} requests were left out because there are too many users or conversations; narrow the time with --since and --until",
            compared.left_out
        ));
    }
    Ok(())
}

fn text(compared: &Compared) -> String {
    if compared.arms.is_empty() && compared.shadows.is_empty() {
        return "no request of that time was part of an experiment or copied; see [router.experiments] and [router.shadows]"
            .to_owned();
    }
    let mut parts = Vec::new();
    if !compared.arms.is_empty() {
        let head = [
            "experiment",
            "arm",
            "requests",
            "units",
            "complete",
            "cost",
            "first output",
            "total",
            "rated",
            "score",
        ];
        let right = [false, false, true, true, true, true, true, true, true, true];
        let mut rows: Vec<Vec<String>> = compared.arms.iter().flat_map(rows).collect();
        // Where nobody rated, nothing is said of it.
        let columns = if compared.arms.iter().any(|arm| arm.rated > 0) { head.len() } else { head.len() - 2 };
        rows.iter_mut().for_each(|row| row.truncate(columns));
        parts.push(print::table(&head[..columns], &right[..columns], &rows));
    }
    if !compared.shadows.is_empty() {
        let head = ["answered by", "copied to", "copies", "failed", "paid", "cost", "first output", "total"];
        let right = [false, false, true, true, true, true, true, true];
        let rows: Vec<Vec<String>> = compared.shadows.iter().map(shadow).collect();
        parts.push(print::table(&head, &right, &rows));
    }
    parts.join("\n\n")
}

/// An arm, and how it differs from the control.
fn rows(arm: &ArmReport) -> Vec<Vec<String>> {
    let own = vec![
        arm.experiment.clone(),
        if arm.control { format!("{} (control)", arm.arm) } else { arm.arm.clone() },
        arm.requests.to_string(),
        arm.units.to_string(),
        percent(arm.succeeded, false),
        usd(arm.cost_nanousd, false),
        known(arm.first_output_ms, |estimate| ms(estimate, false)),
        known(arm.total_ms, |estimate| ms(estimate, false)),
        arm.rated.to_string(),
        known(arm.score, |estimate| score(estimate, false)),
    ];
    if arm.control {
        return vec![own];
    }
    let Above { succeeded, cost_nanousd, first_output_ms, total_ms, score: rated } = arm.above;
    let blank = || " ".to_owned();
    let above = vec![
        blank(),
        "  above control".to_owned(),
        blank(),
        blank(),
        known(succeeded, |estimate| percent(estimate, true)),
        known(cost_nanousd, |estimate| usd(estimate, true)),
        known(first_output_ms, |estimate| ms(estimate, true)),
        known(total_ms, |estimate| ms(estimate, true)),
        blank(),
        known(rated, |estimate| score(estimate, true)),
    ];
    vec![own, above]
}

fn shadow(one: &ShadowReport) -> Vec<String> {
    vec![
        one.beside.clone(),
        one.target.clone(),
        one.copies.to_string(),
        one.failed.to_string(),
        crate::cost::dollars(one.paid_nanousd),
        known(one.cost_nanousd, |estimate| usd(estimate, true)),
        known(one.first_output_ms, |estimate| ms(estimate, true)),
        known(one.total_ms, |estimate| ms(estimate, true)),
    ]
}

fn known(estimate: Option<Estimate>, show: impl FnOnce(Estimate) -> String) -> String {
    estimate.map_or_else(|| "-".to_owned(), show)
}

/// An estimate with its interval; a difference has a sign.
fn shown(estimate: Estimate, number: impl Fn(f64) -> String) -> String {
    let interval = estimate.interval.map(|(low, high)| format!(" [{}, {}]", number(low), number(high)));
    number(estimate.value) + &interval.unwrap_or_default()
}

fn percent(estimate: Estimate, signed: bool) -> String {
    shown(
        estimate,
        |share| {
            if signed { format!("{:+.1}%", share * 100.0) } else { format!("{:.1}%", share * 100.0) }
        },
    )
}

fn usd(estimate: Estimate, signed: bool) -> String {
    shown(estimate, |nanousd| {
        let sign = if nanousd < 0.0 {
            "-"
        } else if signed {
            "+"
        } else {
            ""
        };
        format!("{sign}${:.6}", nanousd.abs() / 1e9)
    })
}

fn ms(estimate: Estimate, signed: bool) -> String {
    // Rounded to nothing it has no sign.
    let whole = |ms: f64| ms.round() + 0.0;
    let unit =
        shown(estimate, |ms| if signed { format!("{:+.0}", whole(ms)) } else { format!("{:.0}", whole(ms)) });
    format!("{unit} ms")
}

fn score(estimate: Estimate, signed: bool) -> String {
    // Rounded to nothing it has no sign.
    let round = |score: f64| (score * 100.0).round() / 100.0 + 0.0;
    shown(
        estimate,
        |score| {
            if signed { format!("{:+.2}", round(score)) } else { format!("{:.2}", round(score)) }
        },
    )
}

fn object(compared: &Compared) -> Value {
    let estimate = |one: Estimate| {
        let (low, high) = one.interval.unzip();
        json!({ "value": one.value, "low": low, "high": high })
    };
    let maybe = |one: Option<Estimate>| one.map(estimate);
    json!({
        "arms": compared.arms.iter().map(|arm| json!({
            "experiment": arm.experiment, "arm": arm.arm, "control": arm.control, "requests": arm.requests, "units": arm.units,
            "succeeded": estimate(arm.succeeded), "cost_nanousd": estimate(arm.cost_nanousd),
            "first_output_ms": maybe(arm.first_output_ms), "total_ms": maybe(arm.total_ms),
            "rated": arm.rated, "score": maybe(arm.score),
            "above_control": {
                "succeeded": maybe(arm.above.succeeded), "cost_nanousd": maybe(arm.above.cost_nanousd),
                "first_output_ms": maybe(arm.above.first_output_ms), "total_ms": maybe(arm.above.total_ms),
                "score": maybe(arm.above.score),
            },
        })).collect::<Vec<_>>(),
        "shadows": compared.shadows.iter().map(|one| json!({
            "beside": one.beside, "target": one.target, "copies": one.copies, "failed": one.failed,
            "paid_nanousd": one.paid_nanousd, "cost_above_nanousd": maybe(one.cost_nanousd),
            "first_output_above_ms": maybe(one.first_output_ms), "total_above_ms": maybe(one.total_ms),
        })).collect::<Vec<_>>(),
        "left_out": compared.left_out,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_arms_with_intervals_and_differences_with_signs() {
        let sure = |value: f64| Estimate { value, interval: Some((value - 0.05, value + 0.05)) };
        let arm = |name: &str, control| ArmReport {
            experiment: "x".into(),
            arm: name.into(),
            control,
            requests: 10,
            units: 5,
            succeeded: sure(0.9),
            cost_nanousd: Estimate { value: 2_000_000.0, interval: None },
            first_output_ms: None,
            total_ms: Some(Estimate { value: 120.0, interval: Some((100.0, 140.0)) }),
            rated: if control { 7 } else { 0 },
            score: control.then(|| Estimate { value: -0.5, interval: Some((-0.75, -0.001)) }),
            above: if control {
                Above::default()
            } else {
                Above { succeeded: Some(sure(-0.05)), ..Above::default() }
            },
        };
        let shadow = ShadowReport {
            beside: "p/a".into(),
            target: "p/b".into(),
            copies: 4,
            failed: 1,
            paid_nanousd: 7_000,
            cost_nanousd: Some(Estimate { value: -1_000.0, interval: None }),
            first_output_ms: None,
            total_ms: None,
        };
        let mut compared =
            Compared { arms: vec![arm("a", true), arm("b", false)], shadows: vec![shadow], left_out: 0 };
        let table = text(&compared);
        for told in [
            "a (control)",
            "90.0% [85.0%, 95.0%]",
            "$0.002000",
            "120 [100, 140] ms",
            "-5.0% [-10.0%, +0.0%]",
            "-$0.000001",
            "7  -0.50 [-0.75, 0.00]",
        ] {
            assert!(table.contains(told), "{told}: {table}");
        }
        let object = object(&compared);
        assert_eq!(
            (&object["arms"][1]["above_control"]["succeeded"]["value"], &object["shadows"][0]["failed"]),
            (&json!(-0.05), &json!(1))
        );
        assert_eq!(object["arms"][0]["cost_nanousd"]["low"], Value::Null);
        assert_eq!(
            (&object["arms"][0]["score"]["value"], &object["arms"][0]["rated"], &object["arms"][1]["score"]),
            (&json!(-0.5), &json!(7), &Value::Null)
        );
        (compared.arms[0].rated, compared.arms[0].score) = (0, None);
        assert!(!text(&compared).contains("rated"), "nobody did");
    }
}
