//! A real `redis-server` of its own for a test, on a socket in a temporary folder.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A running server. Dropping it kills it and removes its folder.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    folder: PathBuf,
    arguments: Vec<String>,
    ready: &'static str,
}

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
        Self::launch(folder, &["--port", "0"], "eady to accept connections")
    }

    /// The same as a cluster of one node: it refuses whatever touches more than one hash slot at a time.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_cluster(folder: &Path) -> Result<Self, RedisError> {
        // Its bus needs a port, though nobody will call.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(|error| RedisError::Failed(error.to_string()))?.port().to_string();
        std::fs::create_dir_all(folder).map_err(|error| RedisError::Failed(error.to_string()))?;
        // A node that owns all slots from its start.
        let id = "a".repeat(40);
        let node = format!(
            "{id} :0@{port} myself,master - 0 0 0 connected 0-16383\nvars currentEpoch 0 lastVoteEpoch 0\n"
        );
        std::fs::write(folder.join("nodes.conf"), node)
            .map_err(|error| RedisError::Failed(error.to_string()))?;
        let arguments =
            ["--port", "0", "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", &port];
        Self::launch(folder, &arguments, "Cluster state changed: ok")
    }

    fn launch(folder: &Path, arguments: &[&str], ready: &'static str) -> Result<Self, RedisError> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let child = spawn(folder, &arguments, ready)?;
        Ok(Self { child, folder: folder.to_owned(), arguments, ready })
    }

    /// Starts it again, empty, after [`kill`](Self::kill).
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<(), RedisError> {
        self.kill();
        self.child = spawn(&self.folder, &self.arguments, self.ready)?;
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

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.join("redis.sock").display())
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // One that is gone already is what was wanted.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _removed = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(folder: &Path, arguments: &[String], ready: &str) -> Result<Child, RedisError> {
    let failed = |error: std::io::Error| RedisError::Failed(error.to_string());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut child = Command::new(program().ok_or(RedisError::Missing)?)
        .args(["--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(folder.join("redis.sock"))
        .arg("--dir")
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let output = child.stdout.take();
    let mut said = String::new();
    for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
        let line = line.map_err(failed)?;
        if line.contains(ready) {
            return Ok(child);
        }
        said = line;
    }
    // It is ending by itself.
    let _status = child.wait();
    Err(RedisError::Failed(said))
}

/// Finds the program: on the path, or where `scripts/setup.sh` unpacks it.
fn program() -> Option<PathBuf> {
    let home = |rest: &str| std::env::var_os("HOME").map(|home| Path::new(&home).join(rest));
    let cache = std::env::var_os("SIGNALBOX_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| home(".cache/signalbox")).map(|cache| cache.join("apt/usr/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(cache);
    folders.map(|folder| folder.join("redis-server")).find(|program| program.is_file())
}
