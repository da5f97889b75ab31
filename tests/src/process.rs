//! A service as a process of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// A running service; killed when dropped.
pub struct Process {
    name: &'static str,
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Process {
    /// Starts `signalbox-<name>` and waits until it says where it listens.
    pub async fn start(name: &'static str, listen: &str, config: &Path, data_dir: &Path, log: &Path) -> Self {
        let command = Command::new(binary(&format!("signalbox-{name}")));
        Self::run(name, command, listen, config, data_dir, log).await
    }

    /// Starts `signalbox up`, the whole mesh as one process.
    pub async fn up(listen: &str, config: &Path, data_dir: &Path, log: &Path) -> Self {
        let mut command = Command::new(binary("signalbox"));
        command.arg("up");
        Self::run("up", command, listen, config, data_dir, log).await
    }

    async fn run(
        name: &'static str,
        mut command: Command,
        listen: &str,
        config: &Path,
        data_dir: &Path,
        log: &Path,
    ) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut child = command
            .args(["--listen", listen, "--config"])
            .arg(config)
            .arg("--data-dir")
            .arg(data_dir)
            .env_remove("OPENAI_API_KEY")
            .env_remove("SIGNALBOX_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("signalbox-{name} ended before it listened"));
            let said = line.split_once("listening on ").and_then(|(_, url)| url.split_once("://"));
            if let Some((_, address)) = said {
                break address.trim().parse().unwrap();
            }
        };
        Self { name, child, address }
    }

    /// Kills it without a word, as a crash would.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to end by SIGTERM and waits; true when it ended with status 0.
    pub async fn terminate(mut self) -> bool {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        assert!(sent.success(), "SIGTERM reaches signalbox-{}", self.name);
        self.child.wait().await.unwrap().success()
    }
}

/// The path of a binary of this workspace; it lies beside the test's own.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    // target/<profile>/deps/<test>
    let folder = own.ancestors().nth(2).unwrap();
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not built; run `cargo build --workspace --bins`, or `make test`",
        path.display()
    );
    path
}
