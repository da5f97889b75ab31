//! `signalbox cache`: the cache's hits, measured on data.

use std::path::PathBuf;

use signalbox_cache::eval;
use signalbox_embed::{EmbedConfig, Embedder};

use crate::{Ended, print};

/// What to do with the cache.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Command {
    /// Judges labelled pairs of questions as the cache would, asks logged requests again, and prints how often it hit and how
    /// often wrongly.
    Eval(Args),
}

/// Arguments of `signalbox cache eval`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The folder with cache/*.jsonl: pairs (a, b, label) or logs (ts, tenant, messages, answer_id).
    #[arg(long, env = "SIGNALBOX_DATA")]
    data: PathBuf,
    /// Print a line of JSON for each file instead of columns: {schema, file, metrics: {name: {value, n}}}.
    #[arg(long)]
    json: bool,
    /// Write a line of JSON for each pair to this file: id, score, decision, similarity.
    #[arg(long)]
    predictions: Option<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Ended {
    let Command::Eval(args) = command;
    let loaded = tokio::task::spawn_blocking(|| Embedder::load(EmbedConfig::default()));
    let embedder = loaded.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let options = eval::Options { data: args.data, predictions: args.predictions };
    let report = eval::run(&options, &embedder).await.map_err(|error| error.to_string())?;
    if args.json {
        report.notices().for_each(print::aside);
    }
    print::out(&if args.json { report.json() + "\n" } else { report.text() });
    Ok(())
}
