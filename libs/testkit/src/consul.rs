//! Real Consul servers for a test: one, or three that choose a leader, on the loopback addresses.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::program::{free_ports, program};

/// A running server. Dropping it kills it and removes its folder.
#[derive(Debug)]
pub struct ConsulServer {
    child: Child,
    folder: PathBuf,
    program: PathBuf,
    http: SocketAddr,
    https: SocketAddr,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum ConsulError {
    /// It is not installed.
    #[error("no consul; run scripts/setup.sh consul")]
    Missing,
    /// It does not start.
    #[error("consul does not start: {0}")]
    Failed(String),
}

/// How long servers may take until they have a leader. A bound on a hang: it takes a quarter of a second, three of them three.
const PATIENCE: Duration = Duration::from_secs(60);

/// The token that may do all, where there are access lists.
const ROOT: &str = "00000000-0000-0000-0000-000000000001";

/// The ports of one server.
#[derive(Debug, Clone, Copy)]
struct Ports {
    http: u16,
    https: u16,
    server: u16,
    serf: u16,
}

impl Ports {
    fn free() -> Option<Self> {
        let [http, https, server, serf] = free_ports()?;
        Some(Self { http, https, server, serf })
    }
}

impl ConsulServer {
    /// Starts one server, and waits until it can be asked. `folder` is made, and becomes its own.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(folder: &Path) -> Result<Self, ConsulError> {
        Self::alone(folder, "")
    }

    /// The same with access lists that deny everything to who has no token; the server is asked with the token that may do all.
    ///
    /// # Errors
    /// As [`ConsulServer::start`].
    pub fn closed(folder: &Path) -> Result<Self, ConsulError> {
        let tokens = format!("{{\"master\": \"{ROOT}\", \"agent\": \"{ROOT}\"}}");
        let acl = format!("{{\"enabled\": true, \"default_policy\": \"deny\", \"tokens\": {tokens}}}");
        Self::alone(folder, &format!("\"primary_datacenter\": \"dc1\", \"acl\": {acl}"))
    }

    /// The same with TLS beside plain text, with a certificate for `localhost` and its key.
    ///
    /// # Errors
    /// As [`ConsulServer::start`].
    pub fn secured(folder: &Path, certificate: &Path, key: &Path) -> Result<Self, ConsulError> {
        let files =
            format!("\"cert_file\": \"{}\", \"key_file\": \"{}\"", certificate.display(), key.display());
        Self::alone(folder, &files)
    }

    fn alone(folder: &Path, more: &str) -> Result<Self, ConsulError> {
        let ports = Ports::free().ok_or_else(|| ConsulError::Failed("no free port".to_owned()))?;
        let ip = Ipv4Addr::LOCALHOST;
        let server = Self::launch(folder, ip, ports, 1, &[ip], more)?;
        server.has_leader()?;
        Ok(server)
    }

    fn launch(
        folder: &Path,
        ip: Ipv4Addr,
        ports: Ports,
        servers: usize,
        join: &[Ipv4Addr],
        more: &str,
    ) -> Result<Self, ConsulError> {
        let program = program("consul").ok_or(ConsulError::Missing)?;
        let failed = |error: std::io::Error| ConsulError::Failed(error.to_string());
        std::fs::create_dir_all(folder).map_err(failed)?;
        let Ports { http, https, server, serf } = ports;
        let tls = if more.contains("cert_file") { i32::from(https) } else { -1 };
        let join: Vec<_> = join.iter().map(|ip| format!("\"{ip}:{serf}\"")).collect();
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        // Without WAN gossip and DNS; a raft that decides as fast as it can, and keeps its word over a kill.
        let config = format!(
            "{{\"server\": true, \"bootstrap_expect\": {servers}, \"node_name\": \"node-{}\", \"data_dir\": \"{}\",
              \"bind_addr\": \"{ip}\", \"client_addr\": \"{ip}\", \"retry_join\": [{}], \"retry_interval\": \"1s\",
              \"ports\": {{\"http\": {http}, \"https\": {tls}, \"server\": {server}, \"serf_lan\": {serf}, \"serf_wan\": -1, \"dns\": -1, \"grpc\": -1}},
              \"performance\": {{\"raft_multiplier\": 1}}, \"disable_update_check\": true, \"log_level\": \"warn\"{more}}}",
            ip.octets()[3],
            folder.join("data").display(),
            join.join(", ")
        );
        let file = folder.join("consul.json");
        File::create(&file).and_then(|mut file| file.write_all(config.as_bytes())).map_err(failed)?;
        let child = run(&program, &file, folder)?;
        let at = |port: u16| SocketAddr::from((ip, port));
        Ok(Self { child, folder: folder.to_owned(), program, http: at(http), https: at(https) })
    }

    /// Its address, `http://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Its address over TLS, by the name of its certificate; of one that was started with [`ConsulServer::secured`].
    #[must_use]
    pub fn secure_url(&self) -> String {
        format!("https://localhost:{}", self.https.port())
    }

    /// Asks its HTTP interface; the body of an answer of success.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<String> {
        self.ask("GET", path, "")
    }

    /// Sends it something; the body of an answer of success.
    #[must_use]
    pub fn put(&self, path: &str, body: &str) -> Option<String> {
        self.ask("PUT", path, body)
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.http).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let length = body.len();
        // HTTP/1.0: the answer ends with the connection, and is not chunked.
        let head =
            format!("{method} {path} HTTP/1.0\r\nX-Consul-Token: {ROOT}\r\nContent-Length: {length}\r\n\r\n");
        write!(stream, "{head}{body}").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split_whitespace().nth(1).filter(|status| status.starts_with('2'))?;
        Some(body.to_owned())
    }

    /// Whether it leads the others.
    #[must_use]
    pub fn leads(&self) -> bool {
        let own = format!("\"{}:", self.http.ip());
        self.get("/v1/status/leader").is_some_and(|leader| leader.starts_with(&own))
    }

    /// Waits until it knows a leader.
    ///
    /// # Errors
    /// It ended, or there is none in time.
    pub fn has_leader(&self) -> Result<(), ConsulError> {
        let knows = || self.get("/v1/status/leader").is_some_and(|leader| leader.trim().len() > 2);
        // Where a leader is known, the catalogue may still be without one.
        let answers = || self.get("/v1/catalog/nodes").is_some_and(|nodes| nodes.contains("\"Node\""));
        self.until(|| knows() && answers(), "it has no leader")
    }

    fn until(&self, mut done: impl FnMut() -> bool, why: &str) -> Result<(), ConsulError> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if done() {
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let last: Vec<_> = log.lines().rev().take(5).collect();
        Err(ConsulError::Failed(format!("{why}: {last:?}")))
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // One that is gone already is what was wanted.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }

    /// Starts it again over what it left; see [`ConsulServer::has_leader`].
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<(), ConsulError> {
        self.kill();
        self.child = run(&self.program, &self.folder.join("consul.json"), &self.folder)?;
        Ok(())
    }

    /// Forgets what it knows, while it is not running.
    pub fn forget(&self) {
        let _removed = std::fs::remove_dir_all(self.folder.join("data"));
    }
}

fn run(program: &Path, config: &Path, folder: &Path) -> Result<Child, ConsulError> {
    let failed = |error: std::io::Error| ConsulError::Failed(error.to_string());
    let log = File::options().create(true).append(true).open(folder.join("log")).map_err(failed)?;
    let file = format!("-config-file={}", config.display());
    let mut command = Command::new(program);
    command.args(["agent", &file]).stdin(Stdio::null());
    command.stderr(log.try_clone().map_err(failed)?).stdout(log).spawn().map_err(failed)
}

impl Drop for ConsulServer {
    fn drop(&mut self) {
        self.kill();
        let _removed = std::fs::remove_dir_all(&self.folder);
    }
}

/// Three servers, on 127.0.0.1 to 127.0.0.3.
#[derive(Debug)]
pub struct ConsulCluster(Vec<ConsulServer>);

impl ConsulCluster {
    /// Starts three servers in folders within `folder`, and waits until all of them know their leader.
    ///
    /// # Errors
    /// Consul is not installed, or does not start.
    pub fn start(folder: &Path) -> Result<Self, ConsulError> {
        let ports = Ports::free().ok_or_else(|| ConsulError::Failed("no free port".to_owned()))?;
        let ips: Vec<_> = (1..=3).map(|n| Ipv4Addr::new(127, 0, 0, n)).collect();
        let launch = |ip: &Ipv4Addr| {
            ConsulServer::launch(&folder.join(ip.to_string()), *ip, ports, ips.len(), &ips, "")
        };
        let servers: Vec<_> = ips.iter().map(launch).collect::<Result<_, _>>()?;
        servers.iter().try_for_each(ConsulServer::has_leader)?;
        Ok(Self(servers))
    }

    /// The servers.
    pub fn servers(&mut self) -> &mut [ConsulServer] {
        &mut self.0
    }

    /// The one that leads; the first where nobody says so.
    #[must_use]
    pub fn leader(&self) -> usize {
        self.0.iter().position(ConsulServer::leads).unwrap_or(0)
    }
}
