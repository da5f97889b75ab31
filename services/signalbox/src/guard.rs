//! `signalbox guard`: what a running mesh's guard says to a text, and its detection, measured on data.

use std::path::PathBuf;

use signalbox_embed::{EmbedConfig, Embedder};
use signalbox_guard::eval;
use signalbox_proto::{
    common::v1::{ChatRequest, Message, Part, Role, Text, part},
    guard::v1::{InspectRequest, InspectResponse, Verdict, guard_service_client::GuardServiceClient},
};

use crate::{Ended, client::Server, patience::Patience, print};

/// What to do with the guard.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Command {
    /// Judges every row of labelled data as the guard would, and prints how often it was right.
    Eval(Args),
    /// Asks a running mesh's guard what it would do with a text; no model is asked. Status 0 whatever the verdict.
    Test(TestArgs),
}

/// Arguments of `signalbox guard test`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TestArgs {
    /// The text, as a user's message. `-` reads standard input.
    text: String,
    /// The guard's policy. Default: the tenant's.
    #[arg(long, default_value = "")]
    policy: String,
    /// The tenant. Default: the key's own.
    #[arg(long)]
    tenant: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
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
    match command {
        Command::Eval(args) => eval(args).await,
        Command::Test(args) => test(args).await,
    }
}

async fn test(args: TestArgs) -> Ended {
    let text = if args.text == "-" {
        std::io::read_to_string(std::io::stdin())
            .map_err(|error| format!("standard input cannot be read: {error}"))?
    } else {
        args.text
    };
    let client = args.server.connect()?;
    let part = Part { kind: Some(part::Kind::Text(Text { text: text.clone() })), ..Part::default() };
    let message = Message { role: Role::User.into(), parts: vec![part], ..Message::default() };
    let chat = ChatRequest { model: "auto".into(), messages: vec![message], ..ChatRequest::default() };
    let request = InspectRequest { chat: Some(chat), policy: args.policy, ..InspectRequest::default() };
    let request = client.request_for(args.tenant.as_deref(), request)?;
    let mut guard = signalbox_mesh::client!(GuardServiceClient, client.channel);
    let found = guard.inspect(request).await.map_err(|status| client.explain(&status))?.into_inner();
    if args.json {
        print::line(&json(&found).to_string());
    } else {
        print::line(&told(&found, &text));
    }
    Ok(())
}

fn verdict(found: &InspectResponse) -> &'static str {
    match found.verdict() {
        _ if found.judge_needed.is_some() => "a judge model decides",
        Verdict::Block => "block",
        Verdict::Redact => "redact",
        Verdict::Allow => "allow",
        Verdict::Unspecified => "unknown",
    }
}

/// What would go on, where values are replaced.
fn redacted(found: &InspectResponse) -> Option<&str> {
    let message = found.redacted.as_ref()?.messages.first()?;
    match message.parts.first()?.kind.as_ref()? {
        part::Kind::Text(text) => Some(&text.text),
        _ => None,
    }
}

fn json(found: &InspectResponse) -> serde_json::Value {
    let findings: Vec<_> = found
        .findings
        .iter()
        .map(|one| {
            serde_json::json!({
                "detector": one.detector, "score": one.score, "action": one.action().as_str_name(),
                "start_byte": one.start_byte, "end_byte": one.end_byte,
            })
        })
        .collect();
    serde_json::json!({
        "verdict": verdict(found), "findings": findings, "redacted": redacted(found),
        "blocked_by": found.blocked_by.as_ref().map(|by| &by.detector),
    })
}

fn told(found: &InspectResponse, text: &str) -> String {
    let mut out = format!("verdict: {}", verdict(found));
    if let Some(by) = &found.blocked_by {
        out += &format!(", by the policy `{}` ({})", by.policy, by.detector);
    }
    let rows: Vec<Vec<String>> = found
        .findings
        .iter()
        .map(|one| {
            let place = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX);
            let words = text.get(place(one.start_byte)..place(one.end_byte)).unwrap_or_default();
            let words: String = words.chars().take(60).collect();
            vec![one.detector.clone(), format!("{:.2}", one.score), words.replace('\n', " ")]
        })
        .collect();
    if !rows.is_empty() {
        out += "\n";
        out += &print::table(&["detector", "score", "where"], &[false, true, false], &rows);
    }
    if let Some(redacted) = redacted(found) {
        out += &format!("\ngoes on as: {redacted}");
    }
    out
}

async fn eval(args: Args) -> Ended {
    let shown = Patience::begin("measuring the guard");
    let loaded = tokio::task::spawn_blocking(|| Embedder::load(EmbedConfig::default()));
    let embedder = loaded.await.map_err(|error| error.to_string())?;
    if let Err(error) = &embedder {
        print::aside(&format!("the learned tier is off: {error}"));
    }
    let options = eval::Options { data: args.data, predictions: args.predictions };
    let report = eval::run(&options, embedder.ok().as_ref()).await.map_err(|error| error.to_string())?;
    drop(shown);
    print::report(&report, args.json);
    Ok(())
}
