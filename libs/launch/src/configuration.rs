//! A configuration file that changes while the process runs.

use signalbox_config::{Ready, Reloaded, Reloader, TookOver};
use signalbox_telemetry::metrics;
use tokio_util::task::AbortOnDropHandle;

use crate::FILES_TICK;

/// Takes over what was changed in the configuration file, every few seconds and on SIGHUP; ends when it is dropped.
pub fn follow_configuration(mut reloader: Reloader) -> AbortOnDropHandle<()> {
    reloader.live().join(async |next| signalbox_telemetry::relevel(&next.shared.telemetry).map(Ready::with));
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut hangup = Hangup::new();
        metrics::configured(reloader.version(), None);
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(FILES_TICK) => false,
                () = hangup.heard() => true,
            };
            tell(reloader.look(asked).await, asked, reloader.version());
        }
    }))
}

fn tell(reloaded: Reloaded, asked: bool, version: u64) {
    match reloaded {
        Reloaded::Unchanged if asked => tracing::info!(version, "the configuration is as it was"),
        Reloaded::Unchanged => {}
        Reloaded::Prices => tracing::info!("prices were read again"),
        Reloaded::TookOver(TookOver { version, changes, waiting, warnings }) => {
            for change in &changes {
                tracing::info!(version, "configuration: {change}");
            }
            for change in &waiting {
                tracing::warn!(version, "configuration: {change}; it waits for a restart");
            }
            for warning in &warnings {
                tracing::warn!(version, "configuration: {warning}");
            }
            let (changed, waiting) = (changes.len(), waiting.len());
            tracing::info!(version, changed, waiting, "a new configuration took over");
            metrics::configured(version, Some("took_over"));
        }
        Reloaded::Refused(why) => {
            tracing::error!(version, why, "the new configuration is at fault; what runs stays as it is");
            metrics::configured(version, Some("refused"));
        }
    }
}

/// SIGHUP, where there is one.
struct Hangup(#[cfg(unix)] Option<tokio::signal::unix::Signal>);

impl Hangup {
    #[cfg(unix)]
    fn new() -> Self {
        Self(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok())
    }

    #[cfg(not(unix))]
    fn new() -> Self {
        Self()
    }

    async fn heard(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}
