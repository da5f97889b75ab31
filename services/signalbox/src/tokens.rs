//! `signalbox tokens`: counts of tokens, measured on data.

use std::path::PathBuf;

use signalbox_metering::eval::{self, Sent};
use signalbox_proto::common::v1::ChatRequest;
use signalbox_wire::{anthropic, bedrock, cohere, google, openai, responses};

use crate::{Ended, patience::Patience, print};

/// What to do with token counts.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Command {
    /// Counts the tokens of recorded prompts and published vectors as metering would, and prints how many counts are exact,
    /// within 1 % and within 5 % of what the provider billed, by family of models.
    ///
    /// Every JSON-lines file in DIR/tokens is read. A row with `encoding`, `text` and `tokens` is a vector; one with `provider`,
    /// `model`, `messages` and `prompt_tokens` is a recorded prompt. Where `wire_id` names a recording in DIR/wire, the request
    /// as it was sent is counted too, tools and images included. Rows of another form are counted and told.
    Eval(Args),
}

/// Arguments of `signalbox tokens eval`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The folder with tokens/*.jsonl, and perhaps wire/*.jsonl.
    #[arg(long, env = "SIGNALBOX_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Print a line of JSON for each file instead of columns: {schema, file, metrics: {name: {value, n}}}.
    #[arg(long)]
    json: bool,
    /// Write a line of JSON for each row to this file: id, predicted, actual.
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Ended {
    let Command::Eval(args) = command;
    let options = eval::Options { data: args.data, predictions: args.predictions };
    let shown = Patience::begin("counting");
    let measured = tokio::task::spawn_blocking(move || eval::run(&options, &chat));
    let report = measured.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    drop(shown);
    print::report(&report, args.json);
    Ok(())
}

/// Reads a recorded request in the dialect that its path tells.
fn chat(sent: &Sent<'_>) -> Option<ChatRequest> {
    // Google's count of tokens takes a whole request inside.
    let body = sent.body.get("generateContentRequest").unwrap_or(sent.body).to_string();
    let body = body.as_bytes();
    let path = sent.path;
    match () {
        () if path.contains(":generateContent")
            || path.contains(":streamGenerateContent")
            || path.contains(":countTokens") =>
        {
            google::parse(body, sent.model, None).ok().map(|parsed| parsed.chat)
        }
        () if path.ends_with("/responses") => responses::parse(body, None).ok().map(|parsed| parsed.chat),
        () if path.contains("/converse") => {
            bedrock::parse(body, sent.model, None).ok().map(|parsed| parsed.chat)
        }
        () if path.contains("/messages") => anthropic::parse(body, None).ok().map(|parsed| parsed.chat),
        () if path.ends_with("/chat/completions") => openai::parse(body, None).ok().map(|parsed| parsed.chat),
        () if path.ends_with("/v2/chat") => cohere::parse(body, None).ok().map(|parsed| parsed.chat),
        () => None,
    }
}
