//! `signalbox bench`: what the mesh adds over a provider, and what it takes for that.
//!
//! [`generator`] sends [`workload`]'s requests to a mesh ([`gateway`]) and, in the same way, to the provider ([`provider`]);
//! [`process`] reads what the mesh's processes use meanwhile; [`world`] starts mesh and simulator where none runs; [`measure`]
//! is the way through all of it.

mod gateway;
mod generator;
mod hostile;
mod latency;
mod measure;
mod process;
mod provider;
mod render;
mod report;
mod streams;
mod workload;
mod world;

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use serde::Serialize;

use crate::{Ended, print};

/// What the figures mean, for `--help`.
const EXPLANATION: &str = "\
What is measured:
  Without --server, a provider simulator whose answers take no time and a mesh are started, each in processes of its own, and
  ended afterwards. The mesh has its defaults, with keys, budgets, ledger, guard and exact cache on; the semantic tier is off in
  a first round and on in a second (an embedding takes about 2 ms of processor time by itself).

  Closed loop: each connection sends its next request when it has the answer to the one before. This gives requests per second
  and processor time. Open loop: requests are due at a constant rate, and latencies count from when a request was due, so that
  waiting shows. Half of what the machine can do is the default rate: this gives the latency that users see.

  What one more chunk costs: answers of 256 pieces against answers of 16, both streamed, in the closed loop.

  Added latency: quantiles of the mesh minus the same quantiles of the provider, measured in the same run by the same load
  generator. Processor time: of the mesh's processes alone, what they do after the answer included, from /proc (Linux).

Examples:
  signalbox bench                                      all of it, in about a minute and a half
  signalbox bench --semantic off --load closed         processor time, compared with the goals
  signalbox bench --streams 10000                      memory of ten thousand slow streams at once, in two minutes
  signalbox bench --hostile 10000                      ten thousand connections that are silent or slow, in two minutes
  signalbox bench --topology six --json > six.json     six processes instead of one
  signalbox bench --server http://127.0.0.1:8080 --model my-alias --pid $(pgrep -x signalbox)";

/// Arguments of `signalbox bench`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXPLANATION)]
pub(crate) struct Args {
    /// Drive this running mesh instead of starting one; its provider is asked for real, and paid. Form: http://host:port
    #[arg(long, value_name = "URL", help_heading = "A mesh that runs")]
    server: Option<String>,
    /// The file that holds the key (`sb_<id>_<secret>`). Default: the variable SIGNALBOX_KEY, else none
    #[arg(long, value_name = "FILE", env = "SIGNALBOX_KEY_FILE", help_heading = "A mesh that runs")]
    key_file: Option<PathBuf>,
    /// What to ask there: an alias, `provider/model`, or `auto`
    #[arg(
        long,
        value_name = "NAME",
        default_value = "auto",
        requires = "server",
        help_heading = "A mesh that runs"
    )]
    model: String,
    /// A process of the mesh to account for, with its descendants; may be repeated
    #[arg(long = "pid", value_name = "PID", requires = "server", help_heading = "A mesh that runs")]
    pids: Vec<u32>,
    /// The provider behind the mesh, to compare with; form: http://host:port/v1. Default: latencies are shown, not what is added
    #[arg(long, value_name = "URL", requires_all = ["server", "provider_model"], help_heading = "A mesh that runs")]
    provider_url: Option<String>,
    /// The model as that provider calls it
    #[arg(long, value_name = "NAME", requires = "provider_url", help_heading = "A mesh that runs")]
    provider_model: Option<String>,

    /// Start the mesh in one process, or as six
    #[arg(
        long,
        value_enum,
        default_value = "one",
        conflicts_with = "server",
        help_heading = "A mesh to start"
    )]
    topology: Topology,
    /// The cache's semantic tier: off, on, or one round of each where the embedding model is there
    #[arg(
        long,
        value_enum,
        default_value = "both",
        conflicts_with = "server",
        help_heading = "A mesh to start"
    )]
    semantic: Semantic,

    /// Closed loop, open loop, or both
    #[arg(long = "load", value_name = "LOOP", value_enum, default_value = "both")]
    loops: Loops,
    /// Requests per second in the open loop. Default: half of what the closed loop reaches
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<f64>,
    /// Connections, each with one request at a time in the closed loop
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    connections: u16,
    /// Requests under way at most in the open loop; further ones wait, and their wait counts
    #[arg(long, value_name = "COUNT", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    in_flight: u16,
    /// Seconds of each measurement
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds, conflicts_with = "requests")]
    seconds: Duration,
    /// Requests of each measurement, instead of seconds
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    requests: Option<u64>,
    /// Requests before each measurement that are not counted
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    warm_up: u64,
    /// Instead of all that: hold so many slow streams open at once, and measure what each takes
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=100_000),
        conflicts_with_all = ["server", "loops", "rate", "seconds", "requests"]
    )]
    streams: Option<u32>,
    /// Instead of all that: hold so many connections of slow and silent clients, and measure what they take and what others get
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(3..=100_000),
        conflicts_with_all = ["server", "loops", "rate", "seconds", "requests", "streams"]
    )]
    hostile: Option<u32>,
    /// Prompts follow from it. Default: from the clock, so that no earlier run's answers are in the mesh's cache
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// How a mesh is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Topology {
    /// All six services in one process
    One,
    /// Each service in a process of its own
    Six,
}

impl Topology {
    /// As reports call it.
    const fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Six => "six",
        }
    }
}

/// Which rounds are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Semantic {
    /// Without the tier
    Off,
    /// With it; fails where the embedding model is missing
    On,
    /// First without, then with
    Both,
}

/// Which loops are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Loops {
    /// The next request follows the last answer
    Closed,
    /// Requests are due at a constant rate
    Open,
    /// First closed, then open
    Both,
}

/// Measures and prints; fails when more than one request in a hundred failed.
pub(crate) async fn run(args: Args) -> Ended {
    if args.loops == Loops::Open && args.rate.is_none() {
        return Err("an open loop alone needs a rate: give --rate, or --load both for half of what a closed loop reaches".into());
    }
    let interrupted = signalbox_mesh::shutdown_signal();
    let seed = measure::seed(&args);
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let measured = async {
        match (args.streams.map(count), args.hostile.map(count)) {
            (Some(streams), _) => {
                let report = streams::measure(streams, args.topology, seed).await?;
                told(&args, &report, streams::render)
            }
            (None, Some(connections)) => {
                let report = hostile::measure(connections, args.topology, seed).await?;
                told(&args, &report, hostile::render)
            }
            (None, None) => {
                let report = measure::all(&args).await?;
                told(&args, &report, render::render)?;
                report.verdict()
            }
        }
    };
    tokio::select! {
        ended = measured => ended,
        () = interrupted.cancelled() => Err("interrupted; what was started is ended".into()),
    }
}

/// Prints a report, for people or for programs.
fn told<R: Serialize>(args: &Args, report: &R, render: impl Fn(&R) -> String) -> Ended {
    let text = match args.json {
        true => serde_json::to_string(report).map_err(|e| format!("the report cannot be written: {e}"))?,
        false => render(report),
    };
    print::line(&text);
    Ok(())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| (0.01..=1e6).contains(rate));
    rate.ok_or_else(|| "give requests per second, from 0.01 to 1000000".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give seconds, from 0.1 to 86400".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, String> {
        let command = Args::augment_args(Command::new("bench"));
        let matches = command.try_get_matches_from(std::iter::once("bench").chain(arguments.iter().copied()));
        Args::from_arg_matches(&matches.map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_that_do_not_go_together_are_refused() {
        assert!(parse(&[]).is_ok());
        assert!(parse(&["--server", "http://h:1", "--pid", "1", "--pid", "2"]).is_ok());
        for (wrong, named) in [
            (["--pid", "1"], "--server"),
            (["--provider-url", "http://h/v1"], "--provider-model"),
            (["--connections", "0"], "--connections"),
            (["--rate", "0"], "0.01"),
            (["--seconds", "NaN"], "86400"),
            (["--requests", "0"], "--requests"),
        ] {
            let error = parse(&wrong).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        assert!(parse(&["--server", "http://h:1", "--topology", "six"]).unwrap_err().contains("--topology"));
        assert!(parse(&["--seconds", "1", "--requests", "9"]).unwrap_err().contains("--requests"));
    }
}
