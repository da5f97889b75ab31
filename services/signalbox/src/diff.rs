//! `signalbox config diff`: what a changed file would change, before it does.

use std::path::PathBuf;

use serde_json::json;
use signalbox_config::{Change, Document};

use crate::{Ended, check, print};

/// Arguments of `signalbox config diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration in use.
    before: PathBuf,
    /// The changed one.
    after: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Compares and prints; a changed file that is at fault is not compared.
pub(crate) fn run(args: &Args) -> Ended {
    let name = args.after.display().to_string();
    let text = std::fs::read_to_string(&args.after).map_err(|error| format!("{name}: {error}"))?;
    let problems = check::problems(&text, &name);
    if let Some(first) = problems.first() {
        return Err(format!("{first}; `signalbox config check {name}` tells all"));
    }
    let read = |path: &PathBuf| Document::load(Some(path)).map_err(|error| error.to_string());
    let changes = read(&args.before)?.changes(&read(&args.after)?).map_err(|error| error.to_string())?;
    let (live, waiting): (Vec<Change>, Vec<Change>) = changes.into_iter().partition(Change::is_live);
    if args.json {
        let list = |changes: &[Change]| -> Vec<_> {
            let of = |c: &Change| json!({ "key": c.key, "before": c.before, "after": c.after });
            changes.iter().map(of).collect()
        };
        print::line(&json!({ "schema": 1, "live": list(&live), "restart": list(&waiting) }).to_string());
        return Ok(());
    }
    if live.is_empty() && waiting.is_empty() {
        print::line("nothing differs");
    }
    for (head, changes) in [("takes over while the mesh runs:", live), ("waits for a restart:", waiting)] {
        if !changes.is_empty() {
            print::line(head);
            changes.iter().for_each(|change| print::line(&format!("  {change}")));
        }
    }
    Ok(())
}
