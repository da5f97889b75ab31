//! `signalbox guard`: the guard's detection, measured on data.

use std::path::PathBuf;

use signalbox_embed::{EmbedConfig, Embedder};
use signalbox_guard::eval;

use crate::{Ended, print};

/// What to do with the guard.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Command {
    /// Judges every row of labelled data as the guard would, and prints how often it was right.
    Eval(Args),
}

/// Arguments of `signalbox guard eval`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The folder with guard/*.jsonl and pii/*.jsonl.
    #[arg(long, env = "SIGNALBOX_DATA")]
    data: PathBuf,
    /// Print a line of JSON for each file instead of columns: {schema, file, metrics: {name: {value, n}}}.
    #[arg(long)]
    json: bool,
    /// Write a line of JSON for each row to this file: id, score, decision, spans.
    #[arg(long)]
    predictions: Option<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Ended {
    let Command::Eval(args) = command;
    let loaded = tokio::task::spawn_blocking(|| Embedder::load(EmbedConfig::default()));
    let embedder = loaded.await.map_err(|error| error.to_string())?;
    if let Err(error) = &embedder {
        print::aside(&format!("the learned tier is off: {error}"));
    }
    let options = eval::Options { data: args.data, predictions: args.predictions };
    let report = eval::run(&options, embedder.ok().as_ref()).await.map_err(|error| error.to_string())?;
    if args.json {
        report.notices().for_each(print::aside);
    }
    print::out(&if args.json { report.json() + "\n" } else { report.text() });
    Ok(())
}
