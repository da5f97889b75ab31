//! `signalbox cache`: what a running mesh's cache holds and saves, what to forget; and its hits, measured on data.

use std::path::PathBuf;

use signalbox_cache::eval;
use signalbox_embed::{EmbedConfig, Embedder};
use signalbox_proto::cache::v1::{
    InvalidateRequest, LikeText, StatsRequest, StatsResponse, cache_service_client::CacheServiceClient,
    invalidate_request::By,
};

use crate::{Ended, client::Server, cost::dollars, patience::Patience, print};

/// What to do with the cache.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Command {
    /// Judges labelled pairs of questions as the cache would, asks logged requests again, and prints how often it hit and how
    /// often wrongly.
    Eval(Args),
    /// Prints what a running mesh's cache holds, how often it answered, and what that saved.
    Stats(StatsArgs),
    /// Removes entries of a running mesh's cache: one, or those with something in common.
    Invalidate(InvalidateArgs),
}

/// Arguments of `signalbox cache stats`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StatsArgs {
    /// The tenant. Default: the key's own.
    #[arg(long)]
    tenant: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `signalbox cache invalidate`.
#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("by").required(true))]
pub(crate) struct InvalidateArgs {
    /// One entry; its id is in the answer that came from it.
    #[arg(long, group = "by")]
    entry: Option<String>,
    /// All entries with this label.
    #[arg(long, group = "by")]
    tag: Option<String>,
    /// All entries that this target wrote, as `provider/model`.
    #[arg(long, group = "by")]
    model: Option<String>,
    /// All entries whose question is close in meaning to this text.
    #[arg(long, group = "by")]
    like: Option<String>,
    /// All entries of the tenant.
    #[arg(long, group = "by")]
    all: bool,
    /// With --like: the least similarity, 0 to 1. Default 0.9.
    #[arg(long, requires = "like")]
    min_similarity: Option<f64>,
    /// The tenant. Default: the key's own.
    #[arg(long)]
    tenant: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
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
    match command {
        Command::Eval(args) => eval(args).await,
        Command::Stats(args) => stats(args).await,
        Command::Invalidate(args) => invalidate(args).await,
    }
}

async fn stats(args: StatsArgs) -> Ended {
    let client = args.server.connect()?;
    let mut cache = signalbox_mesh::client!(CacheServiceClient, client.channel);
    let request = client.request_for(args.tenant.as_deref(), StatsRequest {})?;
    let stats = cache.stats(request).await.map_err(|status| client.explain(&status))?.into_inner();
    print::line(&if args.json { json(&stats).to_string() } else { told(&stats) });
    Ok(())
}

fn json(stats: &StatsResponse) -> serde_json::Value {
    let model_hash: String = stats.model_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    serde_json::json!({
        "entries": stats.entries, "bytes": stats.bytes, "lookups": stats.lookups, "exact_hits": stats.exact_hits,
        "semantic_hits": stats.semantic_hits, "follows": stats.follows, "leases": stats.leases, "stored": stats.stored,
        "refused": stats.refused, "saved_nanousd": stats.saved_nanousd, "wrong_hits": stats.wrong_hits,
        "verified_hits": stats.verified_hits, "estimated_error": stats.estimated_error,
        "estimated_error_low": stats.estimated_error_low, "estimated_error_high": stats.estimated_error_high,
        "shadow_checks": stats.shadow_checks, "shadow_agreed": stats.shadow_agreed, "shadow_differed": stats.shadow_differed,
        "judged_candidates": stats.judged_candidates, "stale_hits": stats.stale_hits, "hit_rate": stats.hit_rate,
        "semantic_state": stats.semantic_state, "model_hash": model_hash,
    })
}

fn told(stats: &StatsResponse) -> String {
    let share = |hits: u64| {
        let tenths = (hits * 1_000).checked_div(stats.lookups).unwrap_or(0);
        format!("{hits} ({}.{} %)", tenths / 10, tenths % 10)
    };
    let percent =
        |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{:.2} %", share * 100.0));
    let between = match (stats.estimated_error_low, stats.estimated_error_high) {
        (low @ Some(_), high @ Some(_)) => {
            format!(" ({} to {} in 95 of 100 cases)", percent(low), percent(high))
        }
        _ => String::new(),
    };
    let error = format!("{}{between}", percent(stats.estimated_error));
    let rows = [
        ("entries", format!("{} in {} KiB", stats.entries, stats.bytes / 1_024)),
        ("lookups", stats.lookups.to_string()),
        ("exact hits", share(stats.exact_hits)),
        ("semantic hits", share(stats.semantic_hits)),
        ("follows", share(stats.follows)),
        ("saved", dollars(stats.saved_nanousd)),
        ("wrong semantic hits, estimated", error),
        ("judged, and wrong", format!("{}, {}", stats.verified_hits, stats.wrong_hits)),
        (
            "asked again beside a hit",
            format!(
                "{}, {} agreed, {} differed",
                stats.shadow_checks, stats.shadow_agreed, stats.shadow_differed
            ),
        ),
        ("judge asked", stats.judged_candidates.to_string()),
        ("stale answers", stats.stale_hits.to_string()),
        ("semantic tier", stats.semantic_state.clone()),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    print::table(&["", ""], &[false, false], &rows).trim_start().to_owned()
}

async fn invalidate(args: InvalidateArgs) -> Ended {
    let client = args.server.connect()?;
    let min_similarity = args.min_similarity;
    let like = args.like.is_some();
    let by = args.entry.map(By::EntryId).or(args.tag.map(By::Tag)).or(args.model.map(By::Model));
    let by =
        by.or(args.like.map(|text| By::Like(LikeText { text, min_similarity }))).unwrap_or(By::All(args.all));
    let mut cache = signalbox_mesh::client!(CacheServiceClient, client.channel);
    let request = client.request_for(args.tenant.as_deref(), InvalidateRequest { by: Some(by) })?;
    let removed =
        cache.invalidate(request).await.map_err(|status| client.explain(&status))?.into_inner().removed;
    print::line(&if args.json {
        serde_json::json!({ "removed": removed }).to_string()
    } else {
        format!("{removed} entr{} removed", if removed == 1 { "y" } else { "ies" })
    });
    if removed == 0 && like && !args.json {
        print::aside("no question is that close; --min-similarity says how close it must be (default 0.9)");
    }
    Ok(())
}

async fn eval(args: Args) -> Ended {
    let shown = Patience::begin("measuring the cache");
    let loaded = tokio::task::spawn_blocking(|| Embedder::load(EmbedConfig::default()));
    let embedder = loaded.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let options = eval::Options { data: args.data, predictions: args.predictions };
    let report = eval::run(&options, &embedder).await.map_err(|error| error.to_string())?;
    drop(shown);
    print::report(&report, args.json);
    Ok(())
}
