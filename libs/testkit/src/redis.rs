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
        let failed = |error: std::io::Error| RedisError::Failed(error.to_string());
        std::fs::create_dir_all(folder).map_err(failed)?;
        let program = program().ok_or(RedisError::Missing)?;
        let mut child = Command::new(program)
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(folder.join("redis.sock"))
            .arg("--dir")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let output = child.stdout.take();
        let server = Self { child, folder: folder.to_owned() };
        let mut said = String::new();
        for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
            let line = line.map_err(failed)?;
            if line.contains("eady to accept connections") {
                return Ok(server);
            }
            said = line;
        }
        Err(RedisError::Failed(said))
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

/// Finds the program: on the path, or where `scripts/setup.sh` unpacks it.
fn program() -> Option<PathBuf> {
    let home = |rest: &str| std::env::var_os("HOME").map(|home| Path::new(&home).join(rest));
    let cache = std::env::var_os("SIGNALBOX_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| home(".cache/signalbox")).map(|cache| cache.join("apt/usr/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(cache);
    folders.map(|folder| folder.join("redis-server")).find(|program| program.is_file())
}
