//! The listener, its connections, and the handle on both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::bench::Prepared;
use super::connection::{Socket, Wire};
use super::record::{Ledger, Recorded, Totals};
use super::service::Simulator;
use super::{Config, Error};

/// How long to hold back after a failed accept, which most often means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running simulator. Dropped, it closes its listener and all connections.
#[derive(Debug)]
pub struct Provider {
    address: SocketAddr,
    simulator: Arc<Simulator>,
    tasks: Tasks,
    _stop: DropGuard,
}

impl Provider {
    /// Binds the listener and starts serving.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] where the address cannot be listened on.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let address = config.listen;
        let listening = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = listening.await.map_err(|source| Error::Listen { address, source })?;
        let simulator = Arc::new(Simulator {
            ledger: Arc::new(Ledger::new(config.kept_records)),
            bench: Prepared::new(config.seed),
            config,
        });
        let tasks = Tasks { tracker: TaskTracker::new(), stop: CancellationToken::new() };
        tasks.execute(accept(listener, Arc::clone(&simulator), tasks.clone()));
        let stop = tasks.stop.clone().drop_guard();
        Ok(Self { address, simulator, tasks, _stop: stop })
    }

    /// Returns the address it listens on.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns what a client takes as base URL: `http://ADDRESS/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns its configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.simulator.config
    }

    /// Returns the remembered requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.simulator.ledger.requests()
    }

    /// Returns the counts over all requests, usage included.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.simulator.ledger.totals()
    }

    /// Returns the sum of the usage that callers were told.
    #[must_use]
    pub fn usage_total(&self) -> super::Usage {
        self.totals().reported
    }

    /// Returns how many requests have not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.totals().in_flight
    }

    /// Waits until `holds`, and returns the counts for which it does. Asks anew at each change, without polling.
    ///
    /// Cancel safe.
    pub async fn wait_for(&self, holds: impl FnMut(&Totals) -> bool) -> Totals {
        self.simulator.ledger.wait_for(holds).await
    }

    /// Forgets all records and counts, also those by which `fail-first` and `only-first` go.
    pub fn reset(&self) {
        self.simulator.ledger.reset();
    }

    /// Closes the listener and all connections, and waits until nothing of it runs. May be called twice.
    pub async fn shutdown(&self) {
        self.simulator.ledger.close();
        self.tasks.stop.cancel();
        self.tasks.tracker.close();
        self.tasks.tracker.wait().await;
    }
}

/// The simulator's tasks, HTTP/2 streams included: all end when it stops.
#[derive(Debug, Clone)]
struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.tracker.spawn(self.stop.clone().run_until_cancelled_owned(task));
    }
}

async fn accept(listener: TcpListener, simulator: Arc<Simulator>, tasks: Tasks) {
    let permits = Arc::new(Semaphore::new(simulator.config.max_connections));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Without it every answer in several writes waits 40 ms for the peer's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let connection = serve(stream, Arc::clone(&simulator), tasks.clone());
        tasks.execute(async move {
            connection.await;
            drop(permit);
        });
    }
}

async fn serve(stream: TcpStream, simulator: Arc<Simulator>, tasks: Tasks) {
    let _open = simulator.ledger.connection();
    let wire = Arc::new(Wire::default());
    let io = TokioIo::new(Socket::new(stream, Arc::clone(&wire)));
    let handler_wire = Arc::clone(&wire);
    let service = service_fn(move |request| {
        let (simulator, wire) = (Arc::clone(&simulator), Arc::clone(&handler_wire));
        simulator.answer(wire, request)
    });
    let builder = auto::Builder::new(tasks);
    wire.drive(builder.serve_connection(io, service)).await;
}
