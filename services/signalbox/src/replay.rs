//! `signalbox replay`: recorded requests through another routing policy.

use std::path::{Path, PathBuf};

use serde_json::json;
use signalbox_config::{Document, Shared};
use signalbox_router::{
    Config, SECTION,
    replay::{Move, Replay, Replayed, Sums},
};

use crate::{Ended, client::Server, cost::dollars, ledger, print, when::When};

/// Arguments of `signalbox replay`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Only what the ledger keeps of a request is used: who asked for what, tokens, tools, tags; never what was said. No \
                        model is asked. The tokens of an answer are taken to be the same from any model, and a target's latency is the mean of \
                        what it did in that time. Policies by complexity need `router.record_complexity` at the time of recording."
)]
pub(crate) struct Args {
    /// The configuration with the policy to try: its [router] section; models and tenants too, where they stand in it.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// From when: 2026-01-31, or 7d ago.
    #[arg(long, value_name = "WHEN", default_value = "7d")]
    since: When,
    /// Up to when. Default: now.
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// The running mesh's configuration, for models and tenants that --policy does not name.
    #[arg(long, env = "SIGNALBOX_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only this tenant's requests.
    #[arg(long)]
    tenant: Option<String>,
    /// Print a JSON object instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Reads the ledger, plans again, prints.
pub(crate) async fn run(args: Args) -> Ended {
    let (shared, config) = read(&args.policy, args.config.as_deref())?;
    let mut replay =
        Replay::new(&shared, config).map_err(|error| format!("{}: {error}", args.policy.display()))?;
    let client = args.server.connect()?;
    let time = (args.since.back(), args.until.map_or(0, When::back));
    ledger::each_request(&client, args.tenant.unwrap_or_default(), time, |one| replay.add(one)).await?;
    let replayed = replay.end();
    if args.json {
        print::line(&object(&replayed).to_string());
    } else {
        print::line(&text(&replayed));
    }
    Ok(())
}

fn read(policy: &Path, config: Option<&Path>) -> Result<(Shared, Config), String> {
    let of = |path: &Path| {
        let document = Document::load(Some(path)).map_err(|error| error.to_string())?;
        let shared = document.shared().map_err(|error| error.to_string())?;
        Ok::<_, String>((document, shared))
    };
    let (document, mut shared) = of(policy)?;
    if shared.models.is_empty() {
        let Some(config) = config else {
            return Err(format!(
                "{} has no [models]; name the file that has them with --config or SIGNALBOX_CONFIG",
                policy.display()
            ));
        };
        let (_, present) = of(config)?;
        let tenants = std::mem::take(&mut shared.tenants);
        shared = present;
        if !tenants.is_empty() {
            shared.tenants = tenants;
        }
    }
    Ok((shared, document.section(SECTION).map_err(|error| error.to_string())?))
}

fn text(replayed: &Replayed) -> String {
    let Sums {
        requests,
        cached,
        unrouted,
        incomplete,
        replayed: planned,
        elsewhere,
        refused,
        without_complexity,
    } = replayed.sums;
    if requests == 0 {
        return "nothing was recorded in that time".to_owned();
    }
    let mut lines = vec![format!(
        "{requests} requests: {planned} planned again, {cached} answered by the cache, {unrouted} never routed{}",
        if incomplete > 0 { format!(", {incomplete} recorded in part") } else { String::new() }
    )];
    lines.push(format!("{elsewhere} would go to another model first, {refused} would be refused"));
    let changed: Vec<&Move> = replayed.moves.iter().filter(|one| one.from != one.to).collect();
    if !changed.is_empty() {
        let head = [
            "model",
            "from",
            "to",
            "requests",
            "cost",
            "would be",
            "first output",
            "would be",
            "total",
            "would be",
        ];
        let right = [false, false, false, true, true, true, true, true, true, true];
        let rows: Vec<Vec<String>> = changed.iter().map(|one| row(one)).collect();
        lines.push(print::table(&head, &right, &rows));
    }
    let (before, after) = costs(replayed);
    lines.push(format!(
        "cost of all: {}, would be {} ({})",
        dollars(before),
        dollars(after),
        share(after - before, before)
    ));
    let unpriced: u64 = replayed.moves.iter().map(|one| one.moved.unpriced).sum();
    if unpriced > 0 {
        lines.push(format!(
            "{unpriced} requests have a price that is unknown on either side, and are in neither sum"
        ));
    }
    if without_complexity > 0 {
        lines.push(format!(
            "{without_complexity} requests have no recorded complexity and count as in configured order; set \
             router.record_complexity = true to have it recorded from now on"
        ));
    }
    for (model, reason, count) in &replayed.refused {
        lines.push(format!("{count} requests for {model} would be refused: {reason}"));
    }
    lines.join("\n")
}

fn row(one: &Move) -> Vec<String> {
    let ms = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms"));
    vec![
        one.model.clone(),
        one.from.clone(),
        one.to.clone(),
        one.moved.requests.to_string(),
        dollars(one.moved.cost_before_nanousd),
        dollars(one.moved.cost_after_nanousd),
        ms(one.first_output_ms.0),
        ms(one.first_output_ms.1),
        ms(one.total_ms.0),
        ms(one.total_ms.1),
    ]
}

fn costs(replayed: &Replayed) -> (i64, i64) {
    let sum = |of: fn(&Move) -> i64| replayed.moves.iter().map(of).fold(0, i64::saturating_add);
    (sum(|one| one.moved.cost_before_nanousd), sum(|one| one.moved.cost_after_nanousd))
}

fn share(change: i64, of: i64) -> String {
    if of == 0 { "no cost before".to_owned() } else { format!("{:+.1}%", change as f64 * 100.0 / of as f64) }
}

fn object(replayed: &Replayed) -> serde_json::Value {
    let sums = replayed.sums;
    let (before, after) = costs(replayed);
    json!({
        "requests": sums.requests, "cached": sums.cached, "unrouted": sums.unrouted, "incomplete": sums.incomplete,
        "replayed": sums.replayed, "elsewhere": sums.elsewhere, "refused": sums.refused,
        "without_complexity": sums.without_complexity, "cost_before_nanousd": before, "cost_after_nanousd": after,
        "moves": replayed.moves.iter().map(|one| json!({
            "model": one.model, "from": one.from, "to": one.to, "requests": one.moved.requests,
            "cost_before_nanousd": one.moved.cost_before_nanousd, "cost_after_nanousd": one.moved.cost_after_nanousd,
            "unpriced": one.moved.unpriced,
            "first_output_ms_before": one.first_output_ms.0, "first_output_ms_after": one.first_output_ms.1,
            "total_ms_before": one.total_ms.0, "total_ms_after": one.total_ms.1,
        })).collect::<Vec<_>>(),
        "refusals": replayed.refused.iter().map(|(model, reason, count)| {
            json!({ "model": model, "reason": reason, "requests": count })
        }).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use signalbox_router::replay::Moved;

    use super::*;

    fn replayed() -> Replayed {
        let moved =
            Moved { requests: 3, cost_before_nanousd: 4_000_000, cost_after_nanousd: 1_000_000, unpriced: 0 };
        let one = Move {
            model: "fast".into(),
            from: "p/a".into(),
            to: "p/b".into(),
            moved,
            first_output_ms: (Some(120.4), None),
            total_ms: (Some(900.0), None),
        };
        let stays = Move { to: "p/a".into(), ..one.clone() };
        let sums = Sums { requests: 9, replayed: 7, elsewhere: 3, refused: 1, cached: 2, ..Sums::default() };
        Replayed { sums, moves: vec![one, stays], refused: vec![("fast".into(), "no_candidate", 1)] }
    }

    #[test]
    fn tells_what_would_change_and_what_it_would_cost() {
        let text = text(&replayed());
        for told in [
            "9 requests: 7 planned again, 2 answered by the cache",
            "3 would go to another model first, 1 would be refused",
            "cost of all: $0.008, would be $0.002 (-75.0%)",
            "1 requests for fast would be refused: no_candidate",
        ] {
            assert!(text.contains(told), "{told}: {text}");
        }
        let line = text.lines().find(|line| line.starts_with("fast")).unwrap();
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            cells,
            ["fast", "p/a", "p/b", "3", "$0.004", "$0.001", "120", "ms", "-", "900", "ms", "-"]
        );
        assert_eq!(object(&replayed())["cost_after_nanousd"], 2_000_000);
    }

    #[test]
    fn a_policy_without_models_needs_a_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new.toml");
        std::fs::write(&file, "[router]\nauto_policy = 'fixed'\n").unwrap();
        assert!(read(&file, None).unwrap_err().contains("--config"));
        let present = folder.path().join("present.toml");
        std::fs::write(&present, "[models.m]\ntargets = [{ base_url = 'http://h/v1', model = 'a' }]\n")
            .unwrap();
        let (shared, config) = read(&file, Some(&present)).unwrap();
        assert_eq!((shared.models.len(), config.auto_policy.as_str()), (1, "fixed"));
    }
}
