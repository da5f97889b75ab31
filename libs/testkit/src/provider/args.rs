//! The simulator as a command.

use std::io::Write as _;
use std::net::SocketAddr;

use super::{Config, Error, GRAMMAR, Key, Provider};

/// Arguments of `signalbox provider-sim`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = GRAMMAR)]
pub struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Seed: the same seed and the same request give the same answer
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
    /// Require `Authorization: Bearer KEY`, else 401; a made-up key, not a secret
    #[arg(long, value_name = "KEY", env = "SIGNALBOX_SIM_KEY", hide_env_values = true)]
    pub require_key: Option<Key>,
    /// Serve this name, too, with the answers of sim-small and the same options; may be repeated
    #[arg(long = "model", value_name = "NAME")]
    pub models: Vec<String>,
    /// How many requests to remember for GET /sim/requests
    #[arg(long, value_name = "COUNT", default_value_t = Config::default().kept_records)]
    pub keep: usize,
}

impl From<Args> for Config {
    fn from(args: Args) -> Self {
        Self {
            listen: args.listen,
            seed: args.seed,
            require_key: args.require_key,
            models: args.models,
            kept_records: args.keep,
            ..Self::default()
        }
    }
}

/// Runs the simulator until `shutdown` is done, then closes all connections.
///
/// Prints one line with its address once it listens, and one with its models.
///
/// # Errors
///
/// [`Error::Listen`] where the address cannot be listened on.
pub async fn run(args: Args, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let provider = Provider::start(Config::from(args)).await?;
    announce(&provider);
    shutdown.await;
    provider.shutdown().await;
    Ok(())
}

fn announce(provider: &Provider) {
    let names = provider.config().names().collect::<Vec<_>>().join(", ");
    let mut out = std::io::stdout().lock();
    // Nobody may be reading.
    let _ = writeln!(out, "provider simulator listening on {}", provider.base_url());
    let _ = writeln!(out, "models: {names}; faults by name, as sim-small+cut=3 (see --help)");
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    #[test]
    fn the_help_documents_every_option() {
        let mut command = Args::augment_args(Command::new("provider-sim"));
        let help = command.render_long_help().to_string();
        for option in super::super::option_names() {
            let name = option.split('=').next().unwrap();
            assert!(help.contains(&format!("`{name}")), "{option} is missing in:\n{help}");
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        let command = Args::augment_args(Command::new("provider-sim"));
        let matches =
            command.get_matches_from(["provider-sim", "--require-key", "hunter2", "--model", "gpt-x"]);
        let args = Args::from_arg_matches(&matches).unwrap();
        assert!(!format!("{args:?}").contains("hunter2"));
        assert_eq!(Config::from(args).models, ["gpt-x"]);
    }
}
