//! Log lines.

use std::io::IsTerminal as _;

use signalbox_config::{LogFormat, Telemetry};
use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process; a second call changes nothing.
///
/// `RUST_LOG` goes before the configured filter. A filter that cannot be read falls back on `info`, and says so.
pub fn init(service: &'static str, config: &Telemetry) {
    let wanted =
        std::env::var("RUST_LOG").ok().or_else(|| config.log_level.clone()).unwrap_or_else(|| "info".into());
    let (filter, refused) = match EnvFilter::try_new(&wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error.to_string())),
    };
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let first = match config.log_format {
        LogFormat::Human => logs.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    if first.is_ok()
        && let Some(error) = refused
    {
        tracing::warn!(service, error, "the log filter cannot be read; logging at info");
    }
}
