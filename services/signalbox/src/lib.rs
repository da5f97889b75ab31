//! Signalbox in one process, and its command line.
//!
//! [`up`] is the composition root of the all-in-one: it builds the five services, puts each behind a local channel, and
//! serves the gateway over them. The other modules are commands that talk to a running mesh.

mod alerts;
mod audit;
mod bench;
mod budgets;
mod cache;
pub mod certs;
mod chat;
mod check;
mod client;
mod cost;
mod diff;
mod dimension;
mod experiments;
mod guard;
mod import;
mod keys;
mod ledger;
mod limits;
mod named;
mod patience;
mod print;
mod providers;
mod replay;
mod route;
mod targets;
mod tokens;
pub mod up;
mod usage;
mod when;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Carries an organisation's traffic to language models: guarded, cached, routed, streamed, accounted for.
#[derive(Debug, Parser)]
#[command(
    name = "signalbox",
    version,
    after_help = "Start with `signalbox up`, then ask in another terminal: signalbox chat \"Why is the sky blue?\""
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs all six services in this process, on embedded backends.
    Up(up::Args),
    /// Asks a running mesh and streams the answer to the terminal; without a question, a conversation.
    Chat(chat::Args),
    /// Prints what was used and what it cost.
    Usage(usage::Args),
    /// Makes, lists, changes and ends the keys of callers.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Makes, lists and changes budgets.
    #[command(subcommand)]
    Budgets(budgets::Command),
    /// Makes, lists and changes rate limits.
    #[command(subcommand)]
    Limits(limits::Command),
    /// Lists who changed keys, budgets and limits.
    Audit(audit::Args),
    /// Prints alerts as they come: budgets, errors, slow calls, sudden changes.
    Alerts(alerts::Args),
    /// Lists the targets behind a running mesh, and how they are.
    Targets(targets::Args),
    /// Looks at configuration files.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Makes certificates for development.
    #[command(subcommand)]
    Certs(certs::Command),
    /// Converts another gateway's configuration.
    #[command(subcommand)]
    Import(import::Command),
    /// Asks or measures the guard.
    #[command(subcommand)]
    Guard(guard::Command),
    /// Looks into a running mesh's cache, empties it, or measures it.
    #[command(subcommand)]
    Cache(cache::Command),
    /// Shows which models a prompt would go to, and why, without asking any; or measures the router.
    Route(Box<route::Args>),
    /// Puts recorded requests through another routing policy, and prints what would have changed.
    Replay(replay::Args),
    /// Prints what experiments and shadow traffic showed, with confidence intervals.
    Experiments(experiments::Args),
    /// Measures how tokens are counted.
    #[command(subcommand)]
    Tokens(tokens::Command),
    /// Simulates a provider that speaks the OpenAI wire format, with faults on demand.
    ProviderSim(signalbox_testkit::provider::Args),
    /// Measures a running mesh, or one that it starts.
    Bench(bench::Args),
    /// Writes completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Checks a file as all services will read it; names each line and key at fault.
    Check(check::Args),
    /// Shows what a changed file would change, and what of it waits for a restart.
    Diff(diff::Args),
}

/// Runs the command line; status 0 on success, 1 on a failure that was explained, 2 on a usage error.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return print::failure(&format!("the runtime cannot start: {error}")),
    };
    let ended = runtime.block_on(run(cli.command));
    // Blocking work that nobody waits for any more must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => print::failure(&message),
    }
}

/// A command's failure, in words for the person at the terminal.
type Ended = Result<(), String>;

async fn run(command: Command) -> Ended {
    match command {
        Command::Up(args) => up::run(args).await,
        Command::Chat(args) => chat::run(args).await,
        Command::Usage(args) => usage::run(args).await,
        Command::Keys(command) => keys::run(command).await,
        Command::Budgets(command) => budgets::run(command).await,
        Command::Limits(command) => limits::run(command).await,
        Command::Audit(args) => audit::run(args).await,
        Command::Alerts(args) => alerts::run(args).await,
        Command::Targets(args) => targets::run(args).await,
        Command::Config(ConfigCommand::Check(args)) => check::run(&args),
        Command::Config(ConfigCommand::Diff(args)) => diff::run(&args),
        Command::ProviderSim(args) => {
            let shutdown = signalbox_mesh::shutdown_signal();
            signalbox_testkit::provider::run(args, shutdown.cancelled_owned())
                .await
                .map_err(|error| error.to_string())
        }
        Command::Certs(command) => certs::run(&command),
        Command::Import(command) => import::run(command),
        Command::Guard(command) => guard::run(command).await,
        Command::Cache(command) => cache::run(command).await,
        Command::Route(args) => route::run(*args).await,
        Command::Replay(args) => replay::run(args).await,
        Command::Experiments(args) => experiments::run(args).await,
        Command::Tokens(command) => tokens::run(command).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Completions { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "signalbox", &mut std::io::stdout());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
