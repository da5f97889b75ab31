//! A mesh for one test: in one process or as six, on free ports, with a temporary data folder and a simulated provider.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use signalbox_app::up;
use signalbox_config::Document;
use signalbox_gateway::Parts;
use signalbox_mesh::{
    Channel, ClientConfig, Connector, ContextTrust, Environment, Limits, MeshTls, Part, RequestContext,
    Server,
    tls::{self, Credentials},
};
use signalbox_proto::{
    cache::v1::{StatsRequest, cache_service_client::CacheServiceClient},
    gateway::v1::{GenerateRequest, gateway_service_client::GatewayServiceClient},
    paths,
};
use signalbox_testkit::provider::{self, Provider};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{ask::Seen, comes_true, process::Process};

/// How the mesh runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// All services in this process, local channels.
    OneProcess,
    /// Each service a process of its own, channels over loopback.
    SixProcesses,
}

/// The five services behind the gateway, in the order in which they end.
pub const SERVICES: [&str; 5] = ["guard", "cache", "router", "executor", "metering"];

/// A running mesh.
pub struct Sandbox {
    /// The simulated provider.
    pub provider: Arc<Provider>,
    /// Where the gateway listens.
    pub address: std::net::SocketAddr,
    /// The way to the gateway.
    pub channel: Channel,
    tls: Option<MeshTls>,
    runs: Runs,
    folder: TempDir,
}

enum Runs {
    One { server: JoinHandle<()>, shutdown: CancellationToken, parts: Vec<Part> },
    Six { gateway: Box<Process>, services: BTreeMap<&'static str, Process> },
    Up(Box<Process>),
}

/// Models that every sandbox has: their simulated namesakes, priced so that costs are easy to compute.
pub(crate) fn models(base_url: &str, extra: &[&str]) -> String {
    let target = |model: &str| {
        format!(
            "{{ base_url = \"{base_url}\", model = \"{model}\", provider = \"sim\", context_window_tokens = 128000, \
             max_output_tokens = 4096, capabilities = [\"tools\", \"json_schema\", \"vision\"], price = {{ input_usd_per_mtok = \"1\", output_usd_per_mtok = \"2\" }} }}"
        )
    };
    let mut text = String::new();
    for name in ["sim-small", "sim-echo"].iter().chain(extra) {
        // `alias=first|second`: an alias with several targets; else the model's name is its alias.
        let (alias, targets) = name.split_once('>').unwrap_or((name, name));
        let targets: Vec<String> = targets.split('|').map(target).collect();
        text.push_str(&format!("[models.\"{alias}\"]\ntargets = [{}]\n", targets.join(", ")));
    }
    text
}

impl Sandbox {
    /// Starts a mesh with the usual models.
    pub async fn start(topology: Topology) -> Self {
        Self::with(topology, &[], "").await
    }

    /// Starts a mesh with further models (`name`, or `alias>model|model`) and further configuration.
    pub async fn with(topology: Topology, extra_models: &[&str], config: &str) -> Self {
        let provider = Arc::new(Provider::start(provider::Config::default()).await.unwrap());
        Self::before(provider, topology, extra_models, config).await
    }

    /// The same before a provider that others may stand before, too.
    pub async fn before(
        provider: Arc<Provider>,
        topology: Topology,
        extra_models: &[&str],
        config: &str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{}\n{config}\n", models(&provider.base_url(), extra_models));
        let (runs, address) = match topology {
            Topology::OneProcess => one_process(&text, &folder).await,
            Topology::SixProcesses => six_processes(&text, &folder).await,
        };
        let document = Document::parse(&text, "sandbox").unwrap();
        let tls = document.section::<signalbox_mesh::Config>(signalbox_mesh::SECTION).unwrap().tls;
        let channel = remote("gateway", address, tls.as_ref());
        Self { provider, address, channel, tls, runs, folder }
    }

    /// Starts `signalbox up`: one process of its own, for what a process has but once.
    pub async fn up(extra_models: &[&str], config: &str) -> Self {
        let provider = Arc::new(Provider::start(provider::Config::default()).await.unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let text = format!("{}\n{config}\n", models(&provider.base_url(), extra_models));
        std::fs::write(path.join("up.toml"), text).unwrap();
        let (config, data, log) = (path.join("up.toml"), path.join("up"), path.join("up.log"));
        let process = Process::up("127.0.0.1:0", &config, &data, &log).await;
        let address = process.address;
        let channel = remote("gateway", address, None);
        Self { provider, address, channel, tls: None, runs: Runs::Up(Box::new(process)), folder }
    }

    /// Ends the mesh without a look behind the gateway.
    pub async fn end(self) {
        match self.runs {
            Runs::Up(process) => {
                assert!(process.terminate().await, "the mesh ends well");
                self.provider.shutdown().await;
            }
            _ => self.finish(async |_| {}).await,
        }
    }

    /// A client of the gateway.
    pub fn gateway(&self) -> GatewayServiceClient<Channel> {
        signalbox_mesh::client!(GatewayServiceClient, self.channel)
    }

    /// Asks and reads the whole stream; an error before the stream counts as its end.
    pub async fn ask(&self, request: GenerateRequest) -> Seen {
        self.ask_as("", request).await
    }

    /// Asks when the answers so far are kept.
    pub async fn ask_again(&self, request: GenerateRequest) -> Seen {
        self.kept().await;
        self.ask(request).await
    }

    /// Waits until the cache has kept the answers so far: each is a moment after its last event went out, and until then it is followed.
    pub async fn kept(&self) {
        let channel = match &self.runs {
            Runs::One { parts, .. } => local(&parts[1]),
            Runs::Six { services, .. } => remote("cache", services["cache"].address, self.tls.as_ref()),
            Runs::Up(_) => panic!("nobody can look behind its gateway"),
        };
        let as_caller = RequestContext::background().with_principal("local", "test");
        let mut cache = signalbox_mesh::client!(CacheServiceClient, channel);
        let kept = comes_true(async || {
            let stats = cache.stats(as_caller.request(StatsRequest {})).await;
            stats.is_ok_and(|stats| stats.into_inner().leases == 0)
        });
        assert!(kept.await, "the cache keeps what was answered");
    }

    /// Asks with a credential.
    pub async fn ask_as(&self, credential: &str, request: GenerateRequest) -> Seen {
        let mut request = tonic::Request::new(request);
        if !credential.is_empty() {
            let value = format!("Bearer {credential}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        match self.gateway().generate(request).await {
            Ok(stream) => Seen::read(stream.into_inner()).await,
            Err(status) => Seen::refused(status),
        }
    }

    /// Where a service listens; the others' callers are the gateway alone.
    pub fn address_of(&self, name: &str) -> std::net::SocketAddr {
        match &self.runs {
            Runs::Six { services, .. } => services[name].address,
            Runs::One { .. } | Runs::Up(_) => panic!("in one process only the gateway listens"),
        }
    }

    /// Changes the configuration files of six processes, and waits for nothing.
    pub fn rewrite(&self, change: impl Fn(&str) -> String) {
        for file in ["services.toml", "gateway.toml"] {
            let path = self.folder.path().join(file);
            let text = change(&std::fs::read_to_string(&path).unwrap());
            // As editors and Kubernetes do: nobody reads half of it.
            let beside = path.with_extension("new");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(beside, path).unwrap();
        }
    }

    /// Waits until each of the six has logged some words.
    pub async fn logged_by_all(&self, words: &str) {
        self.logged(words, |logs| logs.values().all(|log| log.contains(words))).await;
    }

    /// Waits until one of the six has logged some words.
    pub async fn logged_by(&self, name: &str, words: &str) {
        self.logged(words, |logs| logs[name].contains(words)).await;
    }

    async fn logged(&self, words: &str, so: impl Fn(&BTreeMap<String, String>) -> bool) {
        assert!(comes_true(async || so(&self.logs())).await, "{words:?} in {:#?}", self.logs());
    }

    /// Kills one of six processes.
    pub async fn kill(&mut self, name: &'static str) {
        let Runs::Six { gateway, services } = &mut self.runs else { panic!("only processes can be killed") };
        match name {
            "gateway" => gateway.kill().await,
            _ => services.get_mut(name).unwrap().kill().await,
        }
    }

    /// Starts a killed process again where it was.
    pub async fn revive(&mut self, name: &'static str) {
        let folder = self.folder.path().to_owned();
        let Runs::Six { gateway, services } = &mut self.runs else { panic!("only processes can be revived") };
        if name == "gateway" {
            let listen = self.address.to_string();
            **gateway = start(name, &listen, &folder, "gateway.toml").await;
        } else {
            let listen = services[name].address.to_string();
            services.insert(name, start(name, &listen, &folder, "services.toml").await);
        }
    }

    /// What each process logged so far, by its name; empty in one process.
    pub fn logs(&self) -> BTreeMap<String, String> {
        logs(self.folder.path())
    }

    /// Ends the mesh as an operator would: the gateway drains first, so that everything is settled; `check` then looks at the
    /// other services by channels of its own; they must all end well.
    pub async fn finish<F: AsyncFnOnce(Behind)>(self, check: F) {
        let logs = self.logs();
        self.provider.wait_for(|totals| totals.in_flight == 0).await;
        match self.runs {
            Runs::Up(_) => panic!("nobody can look behind its gateway"),
            Runs::One { server, shutdown, parts } => {
                shutdown.cancel();
                server.await.unwrap();
                let [guard, cache, router, executor, metering] = parts.as_slice() else {
                    panic!("five parts")
                };
                let parts_of = Parts {
                    guard: local(guard),
                    cache: local(cache),
                    router: local(router),
                    executor: local(executor),
                    metering: local(metering),
                };
                let channels = [
                    &parts_of.guard,
                    &parts_of.cache,
                    &parts_of.router,
                    &parts_of.executor,
                    &parts_of.metering,
                ];
                for path in paths::ALL {
                    assert!(channels.iter().any(|channel| channel.is_direct(path)), "{path} goes over gRPC");
                }
                check(Behind { parts: parts_of, provider: &self.provider, logs }).await;
                for part in parts {
                    part.drain().await;
                }
            }
            Runs::Six { gateway, mut services } => {
                assert!(gateway.terminate().await, "the gateway ends well");
                let channel = |name: &'static str| remote(name, services[name].address, self.tls.as_ref());
                let parts = each(channel);
                check(Behind { parts, provider: &self.provider, logs }).await;
                for name in SERVICES {
                    let ended = services.remove(name).unwrap().terminate().await;
                    assert!(ended, "{name} ends well");
                }
            }
        }
        self.provider.shutdown().await;
    }
}

/// What a check sees behind the gateway.
pub struct Behind<'a> {
    /// Channels to the five services.
    pub parts: Parts,
    /// The provider.
    pub provider: &'a Provider,
    /// What was logged, by process.
    pub logs: BTreeMap<String, String>,
}

impl Behind<'_> {
    /// A request in a tenant's name.
    pub fn request<T>(&self, tenant: &str, message: T) -> tonic::Request<T> {
        RequestContext::background().with_principal(tenant, "test").request(message)
    }
}

/// The way to each of the five.
pub(crate) fn each(channel: impl Fn(&'static str) -> Channel) -> Parts {
    Parts {
        guard: channel("guard"),
        cache: channel("cache"),
        router: channel("router"),
        executor: channel("executor"),
        metering: channel("metering"),
    }
}

/// The way to a part of this process.
fn local(part: &Part) -> Channel {
    Channel::local(part, &signalbox_mesh::Config::default(), &Environment::system(""))
}

/// As a client calls the gateway, and the gateway the others.
fn remote(name: &str, address: std::net::SocketAddr, tls: Option<&MeshTls>) -> Channel {
    let tcp = Connector::tcp();
    let connector = match tls {
        None => tcp,
        Some(tls) if name == "gateway" => tls::public(Some(&tls.ca_file), tcp).unwrap(),
        Some(tls) => Credentials::of_service(tls, "gateway").unwrap().connector(name, tcp),
    };
    channel_by(name, &[address], &connector)
}

pub(crate) fn logs(folder: &std::path::Path) -> BTreeMap<String, String> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// A channel to replicas at fixed addresses, in plain text.
pub(crate) fn channel(name: &str, addresses: &[std::net::SocketAddr]) -> Channel {
    channel_by(name, addresses, &Connector::tcp())
}

fn channel_by(name: &str, addresses: &[std::net::SocketAddr], connector: &Connector) -> Channel {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    // A busy machine answers late, pings too.
    let limits = Limits { first_message_ms: 600_000, idle_ms: 600_000, ..Limits::default() };
    let config = ClientConfig { keepalive_timeout_ms: 600_000, limits, ..ClientConfig::default() };
    Channel::remote(name, &addresses, &config, &Environment::system(""), connector).unwrap()
}

async fn one_process(text: &str, folder: &TempDir) -> (Runs, std::net::SocketAddr) {
    let document = Document::parse(text, "sandbox").unwrap();
    let shared = document.shared().unwrap();
    let mesh: signalbox_mesh::Config = document.section(signalbox_mesh::SECTION).unwrap();
    let gateway = document.section(signalbox_gateway::SECTION).unwrap();
    let environment = Environment::system(folder.path());
    let running = up::build(&document, shared, gateway, &mesh, environment.clone(), false).await.unwrap();
    let listener = signalbox_mesh::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = Server::new(&mesh.server, &environment).trust(ContextTrust::Public).part(running.gateway);
    let ended = shutdown.clone();
    let server = tokio::spawn(async move { server.serve(listener, ended).await.unwrap() });
    (Runs::One { server, shutdown, parts: running.behind }, address)
}

async fn six_processes(text: &str, folder: &TempDir) -> (Runs, std::net::SocketAddr) {
    std::fs::write(folder.path().join("services.toml"), text).unwrap();
    let mut services = BTreeMap::new();
    for name in SERVICES {
        services.insert(name, start(name, "127.0.0.1:0", folder.path(), "services.toml").await);
    }
    let mut peers = String::from("[gateway.peers]\n");
    for (name, process) in &services {
        peers.push_str(&format!("{name} = [\"{}\"]\n", process.address));
    }
    std::fs::write(folder.path().join("gateway.toml"), format!("{text}\n{peers}")).unwrap();
    let gateway = start("gateway", "127.0.0.1:0", folder.path(), "gateway.toml").await;
    let address = gateway.address;
    (Runs::Six { gateway: Box::new(gateway), services }, address)
}

async fn start(name: &'static str, listen: &str, folder: &std::path::Path, config: &str) -> Process {
    let data_dir: PathBuf = folder.join(name);
    Process::start(name, listen, &folder.join(config), &data_dir, &folder.join(format!("{name}.log"))).await
}
