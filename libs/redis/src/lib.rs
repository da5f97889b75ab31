//! The way to Redis: one server, a master that sentinels name, or a cluster; over TCP, TLS or a socket.
//!
//! Reads addresses and makes connections. When to make them anew, and what to do while there is none, is each service's own affair.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, RedisError, RedisResult,
    aio::{MultiplexedConnection, PubSub},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};
use signalbox_config::Secret;

/// How long is waited for Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection to be made.
    pub connect: Duration,
    /// For an answer.
    pub answer: Duration,
    /// How often a cluster's client follows a redirection or tries another node.
    pub retries: u32,
}

/// What is wrong with an address. Never shows it: it may hold a password.
pub const FORMS: &str = "is none of redis://[USER:PASSWORD@]HOST:PORT/DB, redis-cluster://[USER:PASSWORD@]HOST:PORT,HOST:PORT and \
    redis-sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/MASTER, the first two also as rediss://… and rediss-cluster://… for TLS";

/// The way to a connection. Connects when it is asked to.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    patience: Patience,
}

enum Kind {
    Single(redis::Client),
    Sentinel(tokio::sync::Mutex<SentinelClient>),
    Cluster {
        client: ClusterClient,
        /// Each of the nodes that are known from the start; any of them tells what is published anywhere.
        nodes: Vec<redis::Client>,
        next: AtomicUsize,
    },
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // An address may hold a password.
        f.write_str(match self {
            Self::Single(_) => "Single",
            Self::Sentinel(_) => "Sentinel",
            Self::Cluster { .. } => "Cluster",
        })
    }
}

/// A connection; clones are the same.
#[derive(Clone)]
pub struct Connection(Made);

#[derive(Clone)]
enum Made {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    /// Sends a command. Cancel safe, but for what Redis may do after the caller went away.
    ///
    /// # Errors
    /// Redis' own; it may hold the address, and that a password.
    pub async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match &mut self.0 {
            Made::One(one) => command.query_async(one).await,
            Made::Cluster(cluster) => command.query_async(cluster).await,
        }
    }
}

impl Server {
    /// Reads an address. `None`: it is of none of the [`FORMS`].
    #[must_use]
    pub fn of(url: &Secret, patience: Patience) -> Option<Self> {
        let (scheme, rest) = url.expose().split_once("://")?;
        let kind = match scheme {
            "redis" | "rediss" | "redis+unix" | "unix" => {
                Kind::Single(redis::Client::open(url.expose()).ok()?)
            }
            "redis-cluster" | "rediss-cluster" => {
                let (login, hosts) = split_login(rest);
                let scheme = scheme.trim_end_matches("-cluster");
                let nodes: Vec<String> =
                    hosts.split(',').map(|host| format!("{scheme}://{login}{host}")).collect();
                let client = ClusterClient::builder(nodes.clone())
                    .connection_timeout(patience.connect)
                    .response_timeout(patience.answer)
                    .retries(patience.retries);
                let nodes = nodes.into_iter().map(redis::Client::open).collect::<RedisResult<_>>().ok()?;
                Kind::Cluster { client: client.build().ok()?, nodes, next: AtomicUsize::new(0) }
            }
            "redis-sentinel" => {
                let (login, rest) = split_login(rest);
                let (hosts, master) = rest.split_once('/')?;
                let nodes = hosts.split(',').map(|host| format!("redis://{host}")).collect();
                Kind::Sentinel(tokio::sync::Mutex::new(sentinel(nodes, master, &login)?))
            }
            _ => return None,
        };
        Some(Self { kind, patience })
    }

    /// Makes a connection. Cancel safe.
    ///
    /// # Errors
    /// Redis' own; [`why`] tells it in words that can be shown.
    pub async fn connect(&self) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience.connect))
            .set_response_timeout(Some(self.patience.answer));
        Ok(Connection(match &self.kind {
            Kind::Single(client) => {
                Made::One(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Kind::Sentinel(client) => {
                Made::One(client.lock().await.get_async_connection_with_config(&config).await?)
            }
            Kind::Cluster { client, .. } => Made::Cluster(client.get_async_connection().await?),
        }))
    }

    /// Makes a connection for listening to what is published. Cancel safe.
    ///
    /// # Errors
    /// As [`Server::connect`].
    pub async fn listen(&self) -> RedisResult<PubSub> {
        match &self.kind {
            Kind::Single(client) => client.get_async_pubsub().await,
            Kind::Sentinel(client) => {
                let master = client.lock().await.async_get_client().await?;
                master.get_async_pubsub().await
            }
            Kind::Cluster { nodes, next, .. } => {
                // Another one each time: one that is away is none to listen to.
                let at = next.fetch_add(1, Ordering::Relaxed) % nodes.len().max(1);
                nodes[at].get_async_pubsub().await
            }
        }
    }
}

/// Why there is no connection, in words of ours: the error's own may hold an address with a password.
#[must_use]
pub fn why(error: &RedisError) -> &'static str {
    if error.to_string().contains("certificate") {
        "its certificate is not trusted; name the file of whoever signed it in SSL_CERT_FILE"
    } else if error.is_connection_refusal() {
        "nobody listens at its address"
    } else if error.kind() == redis::ErrorKind::AuthenticationFailed {
        "it refuses the user and password of its address"
    } else {
        "the connection fails"
    }
}

fn split_login(rest: &str) -> (String, &str) {
    match rest.rsplit_once('@') {
        Some((login, hosts)) => (format!("{login}@"), hosts),
        None => (String::new(), rest),
    }
}

fn sentinel(nodes: Vec<String>, master: &str, login: &str) -> Option<SentinelClient> {
    let mut node = SentinelNodeConnectionInfo::default();
    if !login.is_empty() {
        let info =
            redis::IntoConnectionInfo::into_connection_info(format!("redis://{login}host:6379")).ok()?;
        node = node.set_redis_connection_info(info.redis_settings().clone());
    }
    SentinelClient::build(nodes, master, Some(node), SentinelServerType::Master).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_all_kinds_are_read() {
        let patience = Patience { connect: Duration::ZERO, answer: Duration::ZERO, retries: 0 };
        let read = |url: &str| Server::of(&Secret::new(url), patience).is_some();
        for url in [
            "redis://localhost:6379/0",
            "rediss://:password@redis.example:6380/0",
            "redis+unix:///tmp/redis.sock",
            "redis-cluster://u:p@a:7000,b:7001",
            "rediss-cluster://a:7000",
            "redis-sentinel://:p@a:26379,b:26379/main",
        ] {
            assert!(read(url), "{url}");
        }
        for url in ["", "localhost:6379", "http://localhost", "redis-sentinel://a:26379", "redis-cluster://"]
        {
            assert!(!read(url), "{url}");
        }
    }
}
