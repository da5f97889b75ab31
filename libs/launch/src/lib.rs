//! What the binaries of the services share: arguments, configuration, logs, listening, ending.
//!
//! A service's `main.rs` is one call of [`main`] with a function that builds its part.

mod certificates;
mod configuration;
mod entry;
mod health;

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use serde::de::DeserializeOwned;
use signalbox_config::{Document, Live, Reloader, Shared};
use signalbox_mesh::{
    Channel, Connector, ContextTrust, Discovery, Environment, Part, Server,
    tls::{Acceptor, Credentials, DoorTls},
};

use self::certificates::{follow_certificates, plaintext_is_fine};
pub use self::{certificates::acceptor_for_clients, configuration::follow_configuration, entry::Entry};
use tonic::transport::server::TcpIncoming;

/// The allocator of every binary, the whole mesh in one process included.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Arguments of a service.
#[derive(Debug, Clone, Parser)]
#[command(
    version,
    about = "One service of Signalbox. Answers gRPC; for the gateway alone, unless it is the gateway."
)]
struct Args {
    /// The configuration file, the same for all services. Default: $SIGNALBOX_CONFIG, else built-in defaults.
    #[arg(long, env = "SIGNALBOX_CONFIG")]
    config: Option<PathBuf>,
    /// The folder for state. Default: the user's data folder.
    #[arg(long, env = "SIGNALBOX_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The address to listen on, host:port; port 0 takes a free one. Default: as configured.
    #[arg(long)]
    listen: Option<String>,
    /// Ask the service that runs with these arguments and this configuration whether it serves, and end: status 0 if it does. For
    /// supervisors.
    #[arg(long)]
    health: bool,
}

/// A failure in words for whoever starts the service.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a service is built from.
pub struct Context {
    /// The configuration file.
    pub document: Document,
    /// Models, tenants, telemetry; swappable.
    pub shared: Live<Shared>,
    /// How services talk to each other.
    pub mesh: signalbox_mesh::Config,
    /// Clock, randomness, data folder.
    pub environment: Environment,
    discovery: Discovery,
    credentials: Option<Credentials>,
    listen: Option<String>,
}

impl Context {
    /// Reads a section of the configuration.
    ///
    /// # Errors
    /// The line and key at fault.
    pub fn section<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, Failure> {
        Ok(self.document.section(name)?)
    }

    /// The address to listen on: the command line's, else the configured one.
    #[must_use]
    pub fn listen(&self, configured: &str) -> String {
        self.listen.clone().unwrap_or_else(|| configured.to_owned())
    }

    /// The channel to another service, at one or more addresses; with certificates where `[mesh.tls]` has them.
    ///
    /// # Errors
    /// A malformed address, or one to which plain text must not go.
    pub fn channel(&self, service: &str, peers: &[String]) -> Result<Channel, Failure> {
        let tcp = Connector::tcp();
        let connector = match &self.credentials {
            Some(credentials) => credentials.connector(service, tcp),
            None => {
                for peer in peers {
                    plaintext_is_fine(&self.mesh, peer, "mesh.tls")?;
                }
                tcp
            }
        };
        let (client, environment) = (&self.mesh.client, &self.environment);
        Ok(Channel::discovered(service, peers, client, environment, &connector, &self.discovery)?)
    }
}

/// Runs one service until SIGTERM or SIGINT; `build` makes it.
///
/// Prints `signalbox-<name> listening on http://ADDR` to standard output once it serves.
pub fn main<F, B>(name: &'static str, build: B) -> ExitCode
where
    B: FnOnce(Context) -> F,
    F: Future<Output = Result<Built, Failure>>,
{
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return explain(name, &error.into()),
    };
    let ended = runtime.block_on(run(name, args, build));
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => explain(name, &error),
    }
}

/// A service, ready to be served.
pub struct Built {
    part: Part,
    /// Where it listens.
    listen: String,
    /// Whom it believes about the context of a request.
    trust: ContextTrust,
    /// TLS for clients.
    door: Option<DoorTls>,
}

impl Built {
    /// A service for the gateway alone.
    #[must_use]
    pub fn service(part: Part, listen: String) -> Self {
        Self { part, listen, trust: ContextTrust::Mesh, door: None }
    }

    /// The public door.
    #[must_use]
    pub fn door(part: Part, listen: String, tls: Option<DoorTls>) -> Self {
        Self { part, listen, trust: ContextTrust::Public, door: tls }
    }
}

async fn run<F, B>(name: &'static str, args: Args, build: B) -> Result<(), Failure>
where
    B: FnOnce(Context) -> F,
    F: Future<Output = Result<Built, Failure>>,
{
    let document = Document::load(args.config.as_deref())?;
    if args.health {
        return health::ask(name, &document, args.listen).await;
    }
    let shared = document.shared()?;
    let mesh: signalbox_mesh::Config = document.section(signalbox_mesh::SECTION)?;
    mesh.validate()?;
    let telemetry = signalbox_telemetry::start(name, &shared.telemetry).await?;
    let environment = Environment::system(signalbox_config::data_dir(args.data_dir)?);
    let discovery = Discovery::new(&mesh, &environment.random)?;
    let entry = Entry::new(&mesh, discovery.clone());
    let server = Server::new(&entry.server(), &environment);
    let credentials = mesh.tls.as_ref().map(|tls| Credentials::of_service(tls, name)).transpose()?;
    let _certificates = credentials.clone().map(follow_certificates);
    let shared = Live::new(shared);
    let reloader = Reloader::new(args.config, document.clone(), shared.clone(), Some(name));
    let mesh_tls = mesh.tls.clone();
    let context = Context {
        document,
        shared,
        mesh: mesh.clone(),
        discovery,
        environment,
        credentials: credentials.clone(),
        listen: args.listen,
    };
    let Built { part, listen, trust, door } = build(context).await?;
    let _followed = follow_configuration(reloader);
    let (acceptor, _door) = match trust {
        ContextTrust::Public => acceptor_for_clients(&mesh, door.as_ref(), &listen)?,
        ContextTrust::Mesh => {
            let acceptor = credentials.zip(mesh_tls).map(|(own, tls)| Acceptor::service(own, &tls));
            if acceptor.is_none() {
                plaintext_is_fine(&mesh, &listen, "mesh.tls")?;
            }
            (acceptor, None)
        }
    };
    let listener = bind(&listen).await?;
    let server = server.trust(trust).tls(acceptor).part(part);
    let served = entry.serve(&format!("signalbox-{name}"), server, listener).await;
    telemetry.end().await;
    served
}

/// How often files that may change are looked at.
const FILES_TICK: Duration = Duration::from_secs(2);

/// Binds an address, `host:port`.
///
/// # Errors
/// Names the address and what to change.
pub async fn bind(address: &str) -> Result<TcpIncoming, Failure> {
    Ok(signalbox_mesh::listen(resolve(address).await?)?)
}

async fn resolve(address: &str) -> Result<SocketAddr, Failure> {
    let malformed = || {
        format!("{address} is not an address to listen on; give it as host:port, for example 127.0.0.1:8080")
    };
    let resolved = tokio::net::lookup_host(address).await.ok().and_then(|mut found| found.next());
    Ok(resolved.ok_or_else(malformed)?)
}

/// Says where the service listens, for people and for programs that start it on a free port.
pub fn announce(name: &str, address: SocketAddr, tls: bool) {
    let scheme = if tls { "https" } else { "http" };
    let mut stdout = std::io::stdout().lock();
    // A reader that closed the pipe is no reason not to serve.
    let _closed = writeln!(stdout, "{name} listening on {scheme}://{address}").and_then(|()| stdout.flush());
}

fn explain(name: &str, error: &Failure) -> ExitCode {
    let _closed = writeln!(std::io::stderr().lock(), "{name}: {error}");
    ExitCode::FAILURE
}
