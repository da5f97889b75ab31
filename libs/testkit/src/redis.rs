//! A real `redis-server` of its own for a test, on a socket in a temporary folder.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::program::{free_port, program};

/// A running server. Dropping it kills it and removes its folder.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    folder: PathBuf,
    url: String,
    arguments: Vec<OsString>,
    ready: &'static [&'static str],
}

/// What a server says when it can be asked.
const READY: &[&str] = &["eady to accept connections", "Sentinel ID is"];
/// What a server says that knows all slots of its cluster.
const CLUSTER_READY: &[&str] = &["Cluster state changed: ok"];

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// It is not installed.
    #[error("no redis-server; run scripts/setup.sh redis")]
    Missing,
    /// It does not start.
    #[error("redis-server does not start: {0}")]
    Failed(String),
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk, and waits until it answers. `folder` is made, and becomes its own.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(folder: &Path) -> Result<Self, RedisError> {
        Self::on_socket(folder, &["--port", "0", "--appendonly", "no"], READY)
    }

    /// The same as a cluster of one node: it refuses whatever touches more than one hash slot at a time.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub fn start_cluster(folder: &Path) -> Result<Self, RedisError> {
        // Its bus needs a port, though nobody will call.
        let port = free_port().ok_or_else(|| RedisError::Failed("no free port".to_owned()))?.to_string();
        let failed = |error: std::io::Error| RedisError::Failed(error.to_string());
        std::fs::create_dir_all(folder).map_err(failed)?;
        // A node that owns all slots from its start.
        let id = "a".repeat(40);
        let node = format!(
            "{id} :0@{port} myself,master - 0 0 0 connected 0-16383\nvars currentEpoch 0 lastVoteEpoch 0\n"
        );
        std::fs::write(folder.join("nodes.conf"), node).map_err(failed)?;
        let arguments =
            ["--port", "0", "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", &port];
        Self::on_socket(folder, &arguments, CLUSTER_READY)
    }

    /// Starts a server that writes everything down before it answers, so that [`RedisServer::restart`] finds it again.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub fn durable(folder: &Path) -> Result<Self, RedisError> {
        Self::on_socket(folder, &["--port", "0", "--appendonly", "yes", "--appendfsync", "always"], READY)
    }

    /// Starts a server on a port of the loopback address, with more arguments.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub fn on_port(folder: &Path, port: u16, more: &[&str]) -> Result<Self, RedisError> {
        let port_text = port.to_string();
        let mut arguments: Vec<OsString> = more.iter().map(OsString::from).collect();
        arguments.extend(["--port", &port_text, "--bind", "127.0.0.1", "--save", ""].map(OsString::from));
        arguments.extend([OsString::from("--dir"), folder.into()]);
        Self::run(folder, format!("redis://127.0.0.1:{port}"), arguments, READY)
    }

    /// Starts a server that speaks TLS alone, with that certificate and its key (PEM), and asks nobody for one.
    ///
    /// # Errors
    /// As [`RedisServer::start`]; also where it was built without TLS.
    pub fn with_tls(folder: &Path, certificate: &Path, key: &Path) -> Result<Self, RedisError> {
        let port = free_port().ok_or_else(|| RedisError::Failed("no free port".to_owned()))?.to_string();
        let mut arguments: Vec<OsString> =
            ["--port", "0", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
                .map(OsString::from)
                .into();
        arguments.extend(["--tls-port", &port, "--tls-auth-clients", "no"].map(OsString::from));
        for (name, path) in [
            ("--tls-cert-file", certificate),
            ("--tls-key-file", key),
            ("--tls-ca-cert-file", certificate),
            ("--dir", folder),
        ] {
            arguments.extend([OsString::from(name), path.into()]);
        }
        Self::run(folder, format!("rediss://localhost:{port}"), arguments, READY)
    }

    fn on_socket(folder: &Path, more: &[&str], ready: &'static [&'static str]) -> Result<Self, RedisError> {
        let socket = folder.join("redis.sock");
        let mut arguments: Vec<OsString> = more.iter().map(OsString::from).collect();
        arguments.extend(["--save", ""].map(OsString::from));
        arguments.extend([
            OsString::from("--unixsocket"),
            socket.clone().into(),
            OsString::from("--dir"),
            folder.into(),
        ]);
        Self::run(folder, format!("redis+unix://{}", socket.display()), arguments, ready)
    }

    fn run(
        folder: &Path,
        url: String,
        arguments: Vec<OsString>,
        ready: &'static [&'static str],
    ) -> Result<Self, RedisError> {
        std::fs::create_dir_all(folder).map_err(|error| RedisError::Failed(error.to_string()))?;
        let child = launch(&arguments, ready)?;
        Ok(Self { child, folder: folder.to_owned(), url, arguments, ready })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // One that is gone already is what was wanted.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }

    /// Starts it again over what it left, and waits until it answers.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<(), RedisError> {
        self.kill();
        self.child = launch(&self.arguments, self.ready)?;
        Ok(())
    }

    /// Makes it stop answering, its connections open, until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        // One that is gone has nothing to stop.
        let _sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
    }
}

/// Starts the program and waits until it says that it is ready.
fn launch(arguments: &[OsString], ready: &[&str]) -> Result<Child, RedisError> {
    let program = program("redis-server").ok_or(RedisError::Missing)?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| RedisError::Failed(error.to_string()))?;
    let mut said = String::new();
    for line in child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines()) {
        said = line.map_err(|error| RedisError::Failed(error.to_string()))?;
        if ready.iter().any(|words| said.contains(words)) {
            return Ok(child);
        }
    }
    let _killed = child.kill();
    let _status = child.wait();
    Err(RedisError::Failed(said))
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _removed = std::fs::remove_dir_all(&self.folder);
    }
}

/// Several servers that share the slots.
#[derive(Debug)]
pub struct RedisCluster(Vec<RedisServer>);

impl RedisCluster {
    /// Starts three servers in folders within `folder` and joins them.
    ///
    /// # Errors
    /// Redis is not installed, or does not start.
    pub fn start(folder: &Path) -> Result<Self, RedisError> {
        let mut servers = Vec::new();
        let mut addresses = Vec::new();
        for n in 0..3 {
            let port = port_with_bus().ok_or_else(|| RedisError::Failed("no free port".to_owned()))?;
            let more = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
            servers.push(RedisServer::on_port(&folder.join(n.to_string()), port, &more)?);
            addresses.push(format!("127.0.0.1:{port}"));
        }
        let client = program("redis-cli").ok_or(RedisError::Missing)?;
        let joined = Command::new(client)
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match joined {
            Ok(status) if status.success() => Ok(Self(servers)),
            Ok(status) => Err(RedisError::Failed(format!("redis-cli ended with {status}"))),
            Err(error) => Err(RedisError::Failed(error.to_string())),
        }
    }

    /// The servers.
    pub fn servers(&mut self) -> &mut [RedisServer] {
        &mut self.0
    }

    /// The addresses of all servers, as metering takes them.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.0.iter().map(|server| server.url.trim_start_matches("redis://")).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }
}

/// A free port whose cluster bus, 10,000 further, is free too.
fn port_with_bus() -> Option<u16> {
    (0..100).find_map(|_| {
        let port = free_port()?;
        TcpListener::bind(("127.0.0.1", port.checked_add(10_000)?)).ok().map(|_| port)
    })
}
