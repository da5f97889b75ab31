//! `signalbox import`: configurations of other gateways as ours.

mod deployment;
mod litellm;
mod provider;

use std::{fmt::Write as _, path::PathBuf};

pub(crate) use self::{litellm::quoted, provider::Provider};
use crate::{Ended, check, print};

/// What to import from.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Command {
    /// Converts LiteLLM's config.yaml; says what has no counterpart and what to do about it.
    Litellm(Args),
}

/// Arguments of `signalbox import litellm`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The file, config.yaml. `-` reads standard input.
    file: PathBuf,
    /// Write the configuration here instead of to standard output. A file that is there stays.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Print one JSON object, {config, report: [{key, what}]}, instead of both as text.
    #[arg(long)]
    json: bool,
}

/// A configuration of ours, and what it does not say.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// The file's text.
    pub(crate) text: String,
    /// Where something had no counterpart, or is said in another way, and what to do about it.
    pub(crate) report: Vec<(String, String)>,
}

impl Imported {
    pub(crate) fn note(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.report.push((key.into(), what.into()));
    }
}

/// Runs the command.
pub(crate) fn run(command: Command) -> Ended {
    let Command::Litellm(args) = command;
    let name = args.file.display().to_string();
    let text = if name == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(&args.file)
    };
    let text = text.map_err(|error| format!("{name}: {error}"))?;
    let mut imported =
        litellm::convert(&text, &|name| std::env::var(name).ok()).map_err(|e| format!("{name}: {e}"))?;
    for problem in check::problems(&imported.text, "the result") {
        imported.note("result", problem.to_string());
    }
    if let Some(path) = &args.output {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
        let written =
            file.and_then(|mut file| std::io::Write::write_all(&mut file, imported.text.as_bytes()));
        written
            .map_err(|error| format!("{}: {error}; name a file that does not exist yet", path.display()))?;
    }
    if args.json {
        let report: Vec<_> = imported
            .report
            .iter()
            .map(|(key, what)| serde_json::json!({ "key": key, "what": what }))
            .collect();
        print::line(&serde_json::json!({ "config": imported.text, "report": report }).to_string());
        return Ok(());
    }
    if args.output.is_none() {
        print::out(&imported.text);
    }
    let mut told = String::new();
    for (key, what) in &imported.report {
        let _ = write!(told, "\n  {key}: {what}");
    }
    if told.is_empty() {
        print::aside("everything was converted");
    } else {
        print::aside(&format!("{} thing(s) to look at:{told}", imported.report.len()));
    }
    Ok(())
}
