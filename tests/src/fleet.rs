//! Several replicas of each service, as processes that find each other and share a Redis.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc};

use signalbox_mesh::Channel;
use signalbox_proto::gateway::v1::gateway_service_client::GatewayServiceClient;
use signalbox_testkit::{
    consul::{ConsulError, ConsulServer},
    provider::{self, Provider},
    redis::{RedisError, RedisServer},
};
use tempfile::TempDir;

use crate::{
    process::Process,
    sandbox::{Behind, SERVICES, channel, each, models},
};

/// How replicas are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// By a list in the gateways' configuration.
    List,
    /// In a Consul server.
    Consul,
}

/// So long that a machine which is busy with other tests does not decide what is gone on without.
const PATIENT: &str = "[gateway.steps]\nadmit_ms = 30000\ninspect_ms = 30000\nlookup_ms = 30000\nplan_ms = 30000\n\
                       [cache.shared]\ndeadline_ms = 30000\npatience_ms = 30000\n";

/// A part that is not installed here, in words.
pub struct Lacking(pub String);

/// Running replicas.
pub struct Fleet {
    /// The simulated provider.
    pub provider: Arc<Provider>,
    /// The registry, where there is one.
    pub consul: Option<ConsulServer>,
    replicas: BTreeMap<&'static str, Vec<Process>>,
    _redis: RedisServer,
    folder: TempDir,
}

impl Fleet {
    /// Starts so many gateways, and of the five services as many as `counts` says, else one.
    ///
    /// # Errors
    /// Redis or Consul is not installed.
    pub async fn start(
        registry: Registry,
        gateways: usize,
        counts: &[(&'static str, usize)],
        extra_models: &[&str],
        config: &str,
    ) -> Result<Self, Lacking> {
        let folder = tempfile::tempdir().unwrap();
        let redis = match RedisServer::start(&folder.path().join("redis")) {
            Err(RedisError::Missing) => return Err(Lacking(RedisError::Missing.to_string())),
            started => started.unwrap(),
        };
        let consul = match registry {
            Registry::List => None,
            Registry::Consul => Some(consul(folder.path().join("consul")).await?),
        };
        let provider = Arc::new(Provider::start(provider::Config::default()).await.unwrap());
        let text = text(&provider, &redis, consul.as_ref(), &folder, extra_models, config);
        std::fs::write(folder.path().join("services.toml"), &text).unwrap();
        let mut fleet = Self { provider, consul, replicas: BTreeMap::new(), _redis: redis, folder };
        for name in SERVICES {
            let count = counts.iter().find(|(service, _)| *service == name).map_or(1, |(_, count)| *count);
            fleet.add(name, count).await;
        }
        let peers = fleet.peers();
        std::fs::write(fleet.folder.path().join("gateway.toml"), format!("{text}\n{peers}")).unwrap();
        fleet.add("gateway", gateways).await;
        Ok(fleet)
    }

    fn peers(&self) -> String {
        let mut peers = String::from("[gateway.peers]\n");
        for (name, replicas) in &self.replicas {
            let list = match &self.consul {
                Some(_) => format!("\"consul://signalbox-{name}\""),
                None => {
                    let all = replicas.iter().map(|replica| format!("\"http://{}\"", replica.address));
                    all.collect::<Vec<_>>().join(", ")
                }
            };
            peers.push_str(&format!("{name} = [{list}]\n"));
        }
        peers
    }

    /// Starts more replicas of a service.
    pub async fn add(&mut self, name: &'static str, count: usize) {
        for _ in 0..count {
            let n = self.replicas.get(name).map_or(0, Vec::len);
            let process = self.launch(name, n, "127.0.0.1:0").await;
            self.replicas.entry(name).or_default().push(process);
        }
    }

    async fn launch(&self, name: &'static str, n: usize, listen: &str) -> Process {
        let folder = self.folder.path();
        let config = if name == "gateway" { "gateway.toml" } else { "services.toml" };
        let own = folder.join(format!("{name}-{n}"));
        let log = folder.join(format!("{name}-{n}.log"));
        Process::start(name, listen, &folder.join(config), &own, &log).await
    }

    /// Ends a replica by SIGTERM, waits for it, and starts it again at the same address.
    pub async fn restart(&mut self, name: &'static str, n: usize) {
        let old = self.replicas.get_mut(name).unwrap().remove(n);
        let listen = old.address.to_string();
        assert!(old.terminate().await, "{name} {n} ends well");
        let new = self.launch(name, n, &listen).await;
        self.replicas.get_mut(name).unwrap().insert(n, new);
    }

    /// Kills a replica without a word, as a crash would.
    pub async fn kill(&mut self, name: &'static str, n: usize) {
        self.replicas.get_mut(name).unwrap()[n].kill().await;
    }

    /// Starts a killed replica again where it was.
    pub async fn revive(&mut self, name: &'static str, n: usize) {
        let listen = self.replicas[name][n].address.to_string();
        let new = self.launch(name, n, &listen).await;
        self.replicas.get_mut(name).unwrap()[n] = new;
    }

    /// Where the replicas of a service listen.
    pub fn addresses(&self, name: &str) -> Vec<SocketAddr> {
        self.replicas[name].iter().map(|replica| replica.address).collect()
    }

    /// A channel to one replica.
    pub fn channel(&self, name: &str, n: usize) -> Channel {
        channel(name, &[self.replicas[name][n].address])
    }

    /// A client's own choice of a gateway for each call.
    pub fn gateways(&self) -> GatewayServiceClient<Channel> {
        signalbox_mesh::client!(GatewayServiceClient, channel("gateway", &self.addresses("gateway")))
    }

    /// Waits until every live replica is known as healthy in the registry.
    pub async fn registered(&self) {
        let Some(consul) = &self.consul else { return };
        for (name, replicas) in &self.replicas {
            for replica in replicas {
                let port = format!("\"Port\":{},", replica.address.port());
                let path = format!("/v1/health/service/signalbox-{name}?passing=true");
                crate::reached(|| consul.get(&path).is_some_and(|listed| listed.contains(&port))).await;
            }
        }
    }

    /// What each process logged so far, by its name.
    pub fn logs(&self) -> BTreeMap<String, String> {
        crate::sandbox::logs(self.folder.path())
    }

    /// Ends the gateways, so that everything is settled; `check` then looks at the others; they must all end well.
    pub async fn finish<F: AsyncFnOnce(Behind)>(mut self, check: F) {
        self.provider.wait_for(|totals| totals.in_flight == 0).await;
        for gateway in self.replicas.remove("gateway").unwrap() {
            assert!(gateway.terminate().await, "the gateway ends well");
        }
        let logs = self.logs();
        let parts = each(|name| channel(name, &self.addresses(name)));
        check(Behind { parts, provider: &self.provider, logs }).await;
        for (name, replicas) in self.replicas {
            for replica in replicas {
                assert!(replica.terminate().await, "{name} ends well");
            }
        }
        self.provider.shutdown().await;
    }
}

async fn consul(folder: std::path::PathBuf) -> Result<ConsulServer, Lacking> {
    match tokio::task::spawn_blocking(move || ConsulServer::start(&folder)).await.unwrap() {
        Err(ConsulError::Missing) => Err(Lacking(ConsulError::Missing.to_string())),
        started => Ok(started.unwrap()),
    }
}

fn text(
    provider: &Provider,
    redis: &RedisServer,
    consul: Option<&ConsulServer>,
    folder: &TempDir,
    extra_models: &[&str],
    config: &str,
) -> String {
    let seal = folder.path().join("seal.key");
    write_key(&seal);
    let mut text = models(&provider.base_url(), extra_models);
    text.push_str(&format!("[redis]\nurl = \"{}\"\n", redis.url()));
    text.push_str(&format!("[guard]\nseal_key_file = \"{}\"\n", seal.display()));
    if let Some(consul) = consul {
        // Whatever Consul knows is on this machine.
        text.push_str("[mesh]\nplaintext = true\n");
        text.push_str(&format!("[mesh.consul]\naddress = \"{}\"\ncheck_ms = 200\n", consul.url()));
    }
    text.push_str(PATIENT);
    text.push_str(config);
    text
}

/// A key that all replicas of the guard share.
fn write_key(path: &Path) {
    use base64::Engine as _;
    let key = base64::engine::general_purpose::STANDARD.encode([7; 32]);
    std::fs::write(path, format!("{key}\n")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}
