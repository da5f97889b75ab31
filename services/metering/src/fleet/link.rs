//! The way to Redis: one server, a master that sentinels name, or a cluster.
//!
//! Everything that is sent over it may be sent twice: scripts recognise what they did already. So a connection that breaks is
//! made anew and the call repeated once.

use std::time::Duration;

use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Cmd, RedisError, RedisResult, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};
use signalbox_config::Secret;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
const SINGLE: [&str; 4] = ["redis://", "rediss://", "redis+unix://", "unix://"];
const CLUSTER: &str = "redis-cluster://";
const SENTINEL: &str = "redis-sentinel://";

/// What is wrong with an address. Never shows it: it may hold a password.
pub(super) const FORMS: &str = "is none of redis://[USER:PASSWORD@]HOST:PORT/DB, \
    redis-cluster://[USER:PASSWORD@]HOST:PORT,HOST:PORT and redis-sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/MASTER";

enum Server {
    Single(redis::Client),
    Sentinel(tokio::sync::Mutex<SentinelClient>),
    Cluster(ClusterClient),
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// The way to Redis.
pub(super) struct Link {
    server: Server,
    /// The present connection, and how many there were before it.
    present: Mutex<(u64, Option<Connection>)>,
    /// Held by whoever connects.
    connecting: tokio::sync::Mutex<()>,
}

/// Redis does not answer, or not what was expected. What it said is in the log, without addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Away;

impl Link {
    /// Reads an address; connects when it is first used. `None`: it is no address.
    pub(super) fn new(url: &Secret) -> Option<Self> {
        let url = url.expose();
        let server = if let Some(rest) = url.strip_prefix(CLUSTER) {
            let (login, hosts) = split_login(rest);
            let nodes: Vec<String> = hosts.split(',').map(|host| format!("redis://{login}{host}")).collect();
            let client = ClusterClient::builder(nodes).connection_timeout(CONNECT).response_timeout(ANSWER);
            Server::Cluster(client.build().ok()?)
        } else if let Some(rest) = url.strip_prefix(SENTINEL) {
            let (login, rest) = split_login(rest);
            let (hosts, master) = rest.split_once('/')?;
            let nodes: Vec<String> = hosts.split(',').map(|host| format!("redis://{host}")).collect();
            Server::Sentinel(tokio::sync::Mutex::new(sentinel(nodes, master, &login)?))
        } else {
            SINGLE.iter().find(|form| url.starts_with(**form))?;
            Server::Single(redis::Client::open(url).ok()?)
        };
        Some(Self { server, present: Mutex::default(), connecting: tokio::sync::Mutex::default() })
    }

    /// Sends a command.
    ///
    /// Cancel safe, but for what Redis may do after the caller went away.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, Away> {
        match self.try_ask(command).await {
            Ok(value) => Ok(value),
            Err(error) if is_no_script(&error) => Err(Away),
            Err(error) => {
                tracing::warn!(kind = ?error.kind(), code = error.code(), "redis does not answer as it should");
                Err(Away)
            }
        }
    }

    /// As [`Link::ask`], with Redis' own error.
    pub(super) async fn try_ask(&self, command: &Cmd) -> RedisResult<Value> {
        let mut again = true;
        loop {
            let (age, connection) = self.connection().await?;
            let answer = match connection {
                Connection::One(mut one) => command.query_async(&mut one).await,
                Connection::Cluster(mut cluster) => command.query_async(&mut cluster).await,
            };
            match answer {
                // A server that was the master until a moment ago, or one that still reads its files.
                Err(error)
                    if error.is_unrecoverable_error()
                        || error.is_io_error()
                        || error.code() == Some("READONLY") =>
                {
                    self.forget(age);
                    if !std::mem::take(&mut again) {
                        return Err(error);
                    }
                }
                answer => return answer,
            }
        }
    }

    fn forget(&self, age: u64) {
        let mut present = self.present.lock();
        if present.0 == age {
            *present = (age + 1, None);
        }
    }

    async fn connection(&self) -> RedisResult<(u64, Connection)> {
        if let (age, Some(connection)) = &*self.present.lock() {
            return Ok((*age, connection.clone()));
        }
        let _only_one = self.connecting.lock().await;
        if let (age, Some(connection)) = &*self.present.lock() {
            return Ok((*age, connection.clone()));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let made = match &self.server {
            Server::Single(client) => {
                Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Server::Sentinel(client) => {
                Connection::One(client.lock().await.get_async_connection_with_config(&config).await?)
            }
            Server::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        };
        let mut present = self.present.lock();
        present.1 = Some(made.clone());
        Ok((present.0, made))
    }
}

/// Whether a script must be sent whole.
pub(super) fn is_no_script(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
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
    fn addresses_of_all_three_kinds_are_read() {
        let read = |url: &str| Link::new(&Secret::new(url)).is_some();
        assert!(read("redis://localhost:6379/0") && read("redis+unix:///tmp/redis.sock"));
        assert!(
            read("redis-cluster://u:p@a:7000,b:7001") && read("redis-sentinel://:p@a:26379,b:26379/main")
        );
        assert!(!read("http://localhost") && !read("redis-sentinel://a:26379") && !read(""));
    }
}
