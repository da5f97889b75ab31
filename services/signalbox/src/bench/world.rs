//! What the benchmark starts for itself: a simulated provider and a mesh, each in processes of its own, so that their
//! processor time can be told apart. All end with it.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use signalbox_proto::{
    cache::v1::{StatsRequest, cache_service_client::CacheServiceClient},
    metering::v1::{CreateKeyRequest, Key, metering_service_client::MeteringServiceClient},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::{
    Topology,
    gateway::{Gateway, credential, explain},
    process::Tree,
};

/// The simulator's model: sixteen pieces, rendered beforehand.
pub(super) const MODEL: &str = "sim-bench";
/// The same with many more pieces.
pub(super) const LONG_MODEL: &str = "sim-bench+chunks=256";
/// How the benchmark's own mesh calls them.
const ALIAS: &str = "bench";
pub(super) const LONG_ALIAS: &str = "bench-long";
const TENANT: &str = "bench";
/// The services in the order in which they are started; the gateway is told where the others listen.
const PARTS: [&str; 5] = ["guard", "cache", "router", "executor", "metering"];
/// How long a process may take until it listens: the embedding model is loaded before.
const START: Duration = Duration::from_secs(60);
/// How much of a process's log is shown when it fails.
const LOG_TAIL: u64 = 2_000;

/// A process that is killed when this is dropped.
pub(super) struct Process {
    name: String,
    pid: u32,
    /// Where it listens, as it announced.
    url: String,
    child: Child,
    /// Kept open: who writes to a closed pipe fails.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a program and waits until it announces where it listens; its log goes to a file in the folder.
    async fn start(
        name: &str,
        program: &Path,
        folder: &Path,
        arrange: impl FnOnce(&mut Command),
    ) -> Result<Self, String> {
        let failed = |what: &str, error: std::io::Error| format!("{name}: {what}: {error}");
        let log =
            File::create_new(folder.join(format!("{name}.log"))).map_err(|e| failed("no log file", e))?;
        let reader = File::open(folder.join(format!("{name}.log"))).map_err(|e| failed("no log file", e))?;
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        for other in
            ["RUST_LOG", "SIGNALBOX_CONFIG", "SIGNALBOX_DATA_DIR", "SIGNALBOX_ADMIN_KEY", "OPENAI_API_KEY"]
        {
            command.env_remove(other);
        }
        arrange(&mut command);
        let mut child = command.spawn().map_err(|e| failed(&program.display().to_string(), e))?;
        let (Some(pid), Some(stdout)) = (child.id(), child.stdout.take()) else {
            return Err(format!("{name} ended at once"));
        };
        let mut lines = BufReader::new(stdout).lines();
        let announced = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, url)) = line.split_once(" listening on ") {
                    return Some(url.trim().to_owned());
                }
            }
            None
        };
        match tokio::time::timeout(START, announced).await {
            Ok(Some(url)) => Ok(Self { name: name.to_owned(), pid, url, child, _stdout: lines }),
            Ok(None) => Err(format!("{name} ended before it listened:\n{}", tail(reader))),
            Err(_) => Err(format!("{name} does not listen after {} s:\n{}", START.as_secs(), tail(reader))),
        }
    }

    /// Kills it and waits until it is gone, so that nothing is written any more.
    async fn end(mut self) {
        // One that cannot be killed has ended by itself.
        let _gone = self.child.kill().await;
    }

    fn tree(&self) -> Tree {
        Tree { name: self.name.clone(), pid: self.pid }
    }
}

fn tail(mut log: File) -> String {
    let length = log.metadata().map_or(0, |metadata| metadata.len());
    let mut end = Vec::new();
    let read =
        log.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL))).and_then(|_| log.read_to_end(&mut end));
    read.map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&end).trim().to_owned())
}

/// A provider whose answers take no time.
pub(super) struct Simulator {
    process: Process,
    _folder: TempDir,
}

impl Simulator {
    /// # Errors
    /// A process that does not start, with the end of its log.
    pub(super) async fn start() -> Result<Self, String> {
        let folder = folder()?;
        let process = Process::start("provider-sim", &own_program()?, folder.path(), |command| {
            command.args(["provider-sim", "--listen", "127.0.0.1:0", "--keep", "1"]);
        })
        .await?;
        Ok(Self { process, _folder: folder })
    }

    pub(super) fn base_url(&self) -> &str {
        &self.process.url
    }

    /// Ends it and removes its folder.
    pub(super) async fn end(self) {
        self.process.end().await;
    }
}

/// A mesh with a temporary data folder.
pub(super) struct Mesh {
    processes: Vec<Process>,
    pub(super) gateway: Gateway,
    _folder: TempDir,
}

/// What the mesh is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) topology: Topology,
    pub(super) semantic: bool,
    /// The simulator's address, version included.
    pub(super) provider: &'a str,
    /// The simulator's model.
    pub(super) model: &'a str,
    /// Streams or connections that are to be open at once, beyond what is usual.
    pub(super) at_once: usize,
}

impl Mesh {
    /// Starts a mesh with keys, budgets, ledger, guard and exact cache, and makes a key of its own.
    ///
    /// # Errors
    /// A process that does not start, with the end of its log; a key that is not made.
    pub(super) async fn start(plan: Plan<'_>) -> Result<Self, String> {
        let folder = folder()?;
        let admin = format!("sb_admin_{}", uuid::Uuid::new_v4().simple());
        let processes = match plan.topology {
            Topology::One => {
                let config = write(folder.path(), "signalbox.toml", &configuration(plan, &[]))?;
                vec![service("signalbox", &own_program()?, Some("up"), &config, folder.path(), &admin).await?]
            }
            Topology::Six => six(plan, folder.path(), &admin).await?,
        };
        let server = processes.last().map(|gateway| gateway.url.clone()).unwrap_or_default();
        let administrator =
            Gateway { server, credential: Some(credential(&admin)?), model: ALIAS.to_owned() };
        let key = make_key(&administrator).await?;
        let gateway = Gateway { credential: Some(credential(&key)?), ..administrator.clone() };
        let mesh = Self { processes, gateway, _folder: folder };
        match plan.semantic {
            true => mesh.require_semantic(&administrator).await.map(|()| mesh),
            false => Ok(mesh),
        }
    }

    /// The processes to account for.
    pub(super) fn trees(&self) -> Vec<Tree> {
        self.processes.iter().map(Process::tree).collect()
    }

    /// Ends it and removes its data.
    pub(super) async fn end(self) {
        for process in self.processes {
            process.end().await;
        }
    }

    async fn require_semantic(&self, administrator: &Gateway) -> Result<(), String> {
        let mut cache = CacheServiceClient::new(administrator.connect().await?);
        let stats = cache.stats(administrator.request(StatsRequest {})).await;
        let stats = stats.map_err(|status| explain(&status))?.into_inner();
        if stats.model_hash.is_empty() { Err(format!("{NO_MODEL}{}", stats.semantic_state)) } else { Ok(()) }
    }
}

/// Begins the error of [`Mesh::start`] when only the embedding model is missing.
pub(super) const NO_MODEL: &str = "the semantic tier does not work: ";

async fn six(plan: Plan<'_>, folder: &Path, admin: &str) -> Result<Vec<Process>, String> {
    let own = own_program()?;
    let program = |name: &str| -> Result<PathBuf, String> {
        let program = own.with_file_name(format!("signalbox-{name}{}", std::env::consts::EXE_SUFFIX));
        let missing = || {
            format!(
                "{} is missing; the six services are built with `cargo build --workspace --bins`, with --release if this \
                 program was",
                program.display()
            )
        };
        program.is_file().then(|| program.clone()).ok_or_else(missing)
    };
    let programs = PARTS.iter().map(|part| program(part)).collect::<Result<Vec<_>, _>>()?;
    let gateway = program("gateway")?;
    let config = write(folder, "signalbox.toml", &configuration(plan, &[]))?;
    let mut processes = Vec::with_capacity(PARTS.len() + 1);
    for (part, program) in PARTS.iter().zip(programs) {
        processes.push(service(part, &program, None, &config, folder, admin).await?);
    }
    let peers: Vec<(&str, &str)> = processes.iter().map(|p| (p.name.as_str(), p.url.as_str())).collect();
    let config = write(folder, "gateway.toml", &configuration(plan, &peers))?;
    processes.push(service("gateway", &gateway, None, &config, folder, admin).await?);
    Ok(processes)
}

async fn service(
    name: &str,
    program: &Path,
    subcommand: Option<&str>,
    config: &Path,
    folder: &Path,
    admin: &str,
) -> Result<Process, String> {
    Process::start(name, program, folder, |command| {
        command.args(subcommand).args(["--listen", "127.0.0.1:0"]);
        command.arg("--config").arg(config).arg("--data-dir").arg(folder.join("data"));
        command.env("SIGNALBOX_ADMIN_KEY", admin);
    })
    .await
}

/// The configuration: defaults, except for the model, a tenant who can pay, whether anything is
/// embedded (the cache's semantic tier, the guard's learned one), and where the others listen.
fn configuration(plan: Plan<'_>, peers: &[(&str, &str)]) -> String {
    let Plan { semantic, provider, model, at_once, .. } = plan;
    let of = |alias: &str, model: &str| {
        format!(
            "[models.{alias}]\n\
             targets = [{{ base_url = \"{provider}\", model = \"{model}\", provider = \"simulated\", \
             price = {{ input_usd_per_mtok = \"0.15\", output_usd_per_mtok = \"0.60\" }} }}]\n\n"
        )
    };
    let mut text = [of(ALIAS, model), of(LONG_ALIAS, LONG_MODEL)].concat();
    text.push_str(&format!(
        "[tenants.{TENANT}]\n\
         budgets = [{{ limit_usd = \"1000000\", period = \"total\" }}]\n\n\
         [cache.semantic]\n\
         enabled = {semantic}\n\
         [guard]\n\
         learned = {semantic}\n"
    ));
    if at_once > 0 {
        text.push_str(&format!(
            "[mesh.server]\nconcurrency = {most}\nmax_connections = {most}\n\
             [executor.bounds]\nin_flight_per_target = {most}\n",
            most = at_once + 1_000
        ));
    }
    if !peers.is_empty() {
        text.push_str("\n[gateway.peers]\n");
        peers.iter().for_each(|(part, url)| text.push_str(&format!("{part} = [\"{url}\"]\n")));
    }
    text
}

async fn make_key(administrator: &Gateway) -> Result<String, String> {
    let mut metering = MeteringServiceClient::new(administrator.connect().await?);
    let key = Key { tenant: TENANT.to_owned(), name: "signalbox bench".to_owned(), ..Key::default() };
    let made = metering.create_key(administrator.request(CreateKeyRequest { key: Some(key) })).await;
    let made = made.map_err(|status| format!("the mesh makes no key: {}", explain(&status)))?;
    Ok(made.into_inner().credential)
}

fn own_program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("this program's own file cannot be found: {error}"))
}

fn folder() -> Result<TempDir, String> {
    let made = tempfile::Builder::new().prefix("signalbox-bench-").tempdir();
    made.map_err(|error| format!("no temporary folder can be made: {error}"))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, String> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use signalbox_config::Document;

    use super::*;

    #[test]
    fn the_configuration_is_read_as_meant() {
        let plan = Plan {
            topology: Topology::Six,
            semantic: true,
            provider: "http://127.0.0.1:9/v1",
            model: MODEL,
            at_once: 10_000,
        };
        let peers = PARTS.map(|part| (part, "http://127.0.0.1:1"));
        let document = Document::parse(&configuration(plan, &peers), "test").unwrap();
        let shared = document.shared().unwrap();
        assert_eq!(shared.models[ALIAS].targets[0].model, MODEL);
        assert_eq!(shared.models[LONG_ALIAS].targets[0].model, LONG_MODEL);
        assert_eq!(shared.tenants[TENANT].budgets.len(), 1);
        let gateway: signalbox_gateway::Config = document.section(signalbox_gateway::SECTION).unwrap();
        assert_eq!(gateway.peers.metering, ["http://127.0.0.1:1"]);
        let cache: signalbox_cache::Config = document.section(signalbox_cache::SECTION).unwrap();
        assert!(cache.semantic.enabled);
    }

    #[test]
    fn the_end_of_a_log_is_shown() {
        let folder = folder().unwrap();
        let path = write(folder.path(), "log", &format!("{}the end\n", "x".repeat(5_000))).unwrap();
        let tail = tail(File::open(path).unwrap());
        assert!(tail.ends_with("xthe end") && tail.len() < 2_001);
    }
}
