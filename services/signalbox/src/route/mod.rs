//! `signalbox route`: which models a prompt would go to and why, what was decided earlier, and how good the router's judgement is.

mod ask;
mod eval;
mod explain;
mod table;

use crate::Ended;

/// Arguments of `signalbox route`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "No model is asked and nothing is recorded. Without --config the running mesh plans, by what its router knows of prices and \
                  latencies; where there are keys that needs an admin key.\n\nExamples:\n  signalbox route \"Why is the sky blue?\"\n  \
                  signalbox route --model fast --tools search --tag plan=free \"Find a hotel\"\n  signalbox route --config new.toml \
                  --policy frugal \"Prove that there are infinitely many primes\""
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    ask: ask::Prompt,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Shows the plan that an earlier request was given, and what became of it.
    Explain(explain::Args),
    /// Puts prompts that a small and a large model answered in the router's order, and prints what it would have saved.
    Eval(eval::Args),
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Ended {
    match args.command {
        Some(Command::Explain(args)) => explain::run(args).await,
        Some(Command::Eval(args)) => eval::run(args).await,
        None => ask::run(args.ask).await,
    }
}
