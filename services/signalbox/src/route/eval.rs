//! `signalbox route eval`: how good the router's judgement is.

use std::path::PathBuf;

use signalbox_embed::{EmbedConfig, Embedder};
use signalbox_router::eval;

use crate::{Ended, patience::Patience, print};

/// Arguments of `signalbox route eval`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// The folder with router/*.jsonl: text, task, and small_correct and large_correct, or scores by model.
    #[arg(long, env = "SIGNALBOX_DATA")]
    data: PathBuf,
    /// Print a line of JSON for each file instead of columns: {schema, file, metrics: {name: {value, n}}}.
    #[arg(long)]
    json: bool,
    /// Write a line of JSON for each row to this file: id, score (probability that the large model is better), decision.
    #[arg(long)]
    predictions: Option<PathBuf>,
    /// The share of the large model's quality to keep, 0 to 1.
    #[arg(long, default_value_t = 0.95)]
    quality: f64,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> Ended {
    let shown = Patience::begin("measuring the router");
    let loaded = tokio::task::spawn_blocking(|| Embedder::load(EmbedConfig::default()));
    let embedder = loaded.await.map_err(|error| error.to_string())?;
    if let Err(error) = &embedder {
        print::aside(&format!("no embedding model, the features decide alone: {error}"));
    }
    let options = eval::Options { data: args.data, predictions: args.predictions, quality: args.quality };
    let report = eval::run(&options, embedder.ok().as_ref()).await.map_err(|error| error.to_string())?;
    drop(shown);
    print::report(&report, args.json);
    Ok(())
}
