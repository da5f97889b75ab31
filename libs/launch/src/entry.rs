//! A process that serves and, where there is a registry, is entered in it for just as long as it should be called.

use signalbox_mesh::{Advertised, Config, Discovery, Registration, Server, ServerConfig, shutdown_signal};
use tonic::transport::server::TcpIncoming;

use crate::{Failure, announce};

/// How long calls are still taken after the entry was taken out, in milliseconds, where the configuration does not say. Consul tells callers
/// within milliseconds; the rest is for a busy machine.
const GRACE_MS: u64 = 1_000;

/// The entry of a process in the registry, in the making.
#[derive(Debug)]
pub struct Entry {
    config: Config,
    discovery: Discovery,
}

impl Entry {
    /// Takes the `[mesh]` section, and what was made of it to find others.
    #[must_use]
    pub fn new(config: &Config, discovery: Discovery) -> Self {
        Self { config: config.clone(), discovery }
    }

    /// The serving side's configuration, with the grace that the entry needs.
    #[must_use]
    pub fn server(&self) -> ServerConfig {
        let grace = if self.is_wanted() { Some(GRACE_MS) } else { None };
        let config = self.config.server.clone();
        ServerConfig { drain_grace_ms: config.drain_grace_ms.or(grace), ..config }
    }

    /// Says where the process listens, enters it, and serves until SIGTERM or SIGINT. Then the entry is taken out, those who hear of it late are
    /// still answered, and open calls may finish.
    ///
    /// # Errors
    /// The address cannot be called by others, or serving fails at its start.
    pub async fn serve(&self, name: &str, server: Server, listener: TcpIncoming) -> Result<(), Failure> {
        let address = listener.local_addr()?;
        let at = if self.is_wanted() {
            Some(Advertised::new(self.config.advertise.as_deref(), address)?)
        } else {
            None
        };
        announce(name, address, server.speaks_tls());
        let shutdown = shutdown_signal();
        let registration = at.and_then(|at| Registration::start(&self.discovery, name, &at));
        let leaving = async {
            shutdown.cancelled().await;
            if let Some(registration) = registration {
                registration.leave().await;
            }
        };
        let serving = async {
            let served = server.serve(listener, shutdown.clone()).await;
            // One that could not even start must not stay entered.
            shutdown.cancel();
            served
        };
        let (served, ()) = tokio::join!(serving, leaving);
        Ok(served?)
    }

    fn is_wanted(&self) -> bool {
        self.config.consul.as_ref().is_some_and(|consul| consul.register)
    }
}
