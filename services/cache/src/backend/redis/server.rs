//! Where Redis is: one server, a master that sentinels name, or a cluster.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, RedisResult,
    aio::{MultiplexedConnection, PubSub},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};

/// How long a connection may take to be made, beside those who wait for it.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// How often a cluster's client follows a redirection or tries another node.
const RETRIES: u32 = 3;

/// What is wrong with an address. Never shows it: it may hold a password.
pub(super) const FORMS: &str = "is none of redis://[USER:PASSWORD@]HOST:PORT/DB, redis-cluster://[USER:PASSWORD@]HOST:PORT,HOST:PORT and \
    redis-sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/MASTER, the first two also as rediss://… and rediss-cluster://… for TLS";

/// The way to a connection.
pub(super) enum Server {
    Single(redis::Client),
    Sentinel(tokio::sync::Mutex<SentinelClient>),
    Cluster {
        client: ClusterClient,
        /// Each of the nodes that are known from the start; any of them tells what is published anywhere.
        nodes: Vec<redis::Client>,
        next: AtomicUsize,
    },
}

/// A connection; clones are the same.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::One(one) => command.query_async(one).await,
            Self::Cluster(cluster) => command.query_async(cluster).await,
        }
    }
}

impl Server {
    /// Reads an address; `None`: it is none.
    pub(super) fn of(url: &str, patience: Duration) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        match scheme {
            "redis" | "rediss" | "redis+unix" | "unix" => Some(Self::Single(redis::Client::open(url).ok()?)),
            "redis-cluster" | "rediss-cluster" => {
                let (login, hosts) = split_login(rest);
                let scheme = scheme.trim_end_matches("-cluster");
                let nodes: Vec<String> =
                    hosts.split(',').map(|host| format!("{scheme}://{login}{host}")).collect();
                let client = ClusterClient::builder(nodes.clone())
                    .connection_timeout(CONNECT)
                    .response_timeout(patience)
                    .retries(RETRIES);
                let nodes = nodes.into_iter().map(redis::Client::open).collect::<RedisResult<_>>().ok()?;
                Some(Self::Cluster { client: client.build().ok()?, nodes, next: AtomicUsize::new(0) })
            }
            "redis-sentinel" => {
                let (login, rest) = split_login(rest);
                let (hosts, master) = rest.split_once('/')?;
                let nodes = hosts.split(',').map(|host| format!("redis://{host}")).collect();
                Some(Self::Sentinel(tokio::sync::Mutex::new(sentinel(nodes, master, &login)?)))
            }
            _ => None,
        }
    }

    /// Makes a connection.
    pub(super) async fn connect(&self, patience: Duration) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(patience));
        Ok(match self {
            Self::Single(client) => {
                Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Self::Sentinel(client) => {
                Connection::One(client.lock().await.get_async_connection_with_config(&config).await?)
            }
            Self::Cluster { client, .. } => Connection::Cluster(client.get_async_connection().await?),
        })
    }

    /// Makes a connection for listening.
    pub(super) async fn listen(&self) -> RedisResult<PubSub> {
        match self {
            Self::Single(client) => client.get_async_pubsub().await,
            Self::Sentinel(client) => {
                let master = client.lock().await.async_get_client().await?;
                master.get_async_pubsub().await
            }
            Self::Cluster { nodes, next, .. } => {
                // Another one each time: one that is away is none to listen to.
                let at = next.fetch_add(1, Ordering::Relaxed) % nodes.len().max(1);
                nodes[at].get_async_pubsub().await
            }
        }
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
        let read = |url: &str| Server::of(url, CONNECT).is_some();
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
