//! The healthy instances of a service, by blocking queries: an answer comes when there is a change, or after the wait.
//!
//! Queries may be answered by any server (`stale`), so that they are while the servers choose a leader. The rules for the index are Consul's
//! (<https://developer.hashicorp.com/consul/api-docs/features/blocking>): one that goes back begins anew, and zero is never sent.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method};
use serde::Deserialize;

use super::agent::{Agent, AgentError};
use crate::{
    Random,
    discovery::{
        Found, REPLICAS_MOST,
        address::ConsulName,
        follow::{Backoff, Follow},
    },
};

const INDEX: &str = "x-consul-index";
/// The least time between two queries: an index that moves all the time must not make us ask all the time.
const PACE: Duration = Duration::from_millis(50);
/// Pauses while the agent does not answer.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// What an answer may take beyond the wait and the sixteenth of it that the agent adds for itself.
const SLACK: Duration = Duration::from_secs(10);

/// Asks until nobody listens any more. Cancel safe.
pub(in crate::discovery) async fn watch(
    agent: Arc<Agent>,
    name: ConsulName,
    mut follow: Follow,
    random: Random,
) {
    let mut backoff = Backoff::new(random, AGAIN.0, AGAIN.1);
    let mut index = 0;
    loop {
        let pause = match healthy(&agent, &name, index).await {
            Ok((found, next)) => {
                backoff.reset();
                index = if next < index { 0 } else { next };
                if follow.found(found).is_break() {
                    return;
                }
                PACE
            }
            Err(error) => {
                follow.failed(error.to_string());
                // What happened meanwhile is not known: the next answer comes at once.
                index = 0;
                backoff.next()
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn healthy(agent: &Agent, name: &ConsulName, index: u64) -> Result<(Vec<Found>, u64), AgentError> {
    let path = query(agent, name, index);
    let limit = agent.wait + agent.wait / 16 + SLACK;
    let (headers, body) = agent.ask(Method::GET, &path, Vec::new(), limit).await?;
    let entries: Vec<Entry> = serde_json::from_slice(&body).map_err(|error| agent.unreadable(&error))?;
    if entries.len() > REPLICAS_MOST {
        tracing::warn!(
            service = name.service,
            most = REPLICAS_MOST,
            "Consul knows more replicas than are kept"
        );
    }
    let found = entries.into_iter().take(REPLICAS_MOST).map(Entry::found).collect();
    Ok((found, read_index(&headers)))
}

fn query(agent: &Agent, name: &ConsulName, index: u64) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("passing", "true").append_pair("stale", "");
    for tag in &name.tags {
        query.append_pair("tag", tag);
    }
    let datacenter = name.datacenter.as_deref().unwrap_or(&agent.datacenter);
    if !datacenter.is_empty() {
        query.append_pair("dc", datacenter);
    }
    if index > 0 {
        query.append_pair("index", &index.to_string());
        query.append_pair("wait", &format!("{}ms", agent.wait.as_millis()));
    }
    // The name was checked when it was read: it needs no escape.
    format!("/v1/health/service/{}?{}", name.service, query.finish())
}

fn read_index(headers: &HeaderMap) -> u64 {
    let index = headers.get(INDEX).and_then(|value| value.to_str().ok()?.parse().ok());
    // An answer without one cannot be waited on: zero asks again, at the pace.
    index.unwrap_or(0)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(default)]
    address: String,
    #[serde(default)]
    meta: Option<Meta>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(default)]
    address: String,
    port: u16,
    #[serde(default)]
    meta: Option<Meta>,
    #[serde(default)]
    weights: Option<Weights>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
}

#[derive(Deserialize)]
struct Meta {
    zone: Option<String>,
}

impl Entry {
    fn found(self) -> Found {
        let Self { node, service } = self;
        let host = if service.address.is_empty() { node.address } else { service.address };
        let zone = service.meta.and_then(|meta| meta.zone).or_else(|| node.meta.and_then(|meta| meta.zone));
        let weight = service.weights.map_or(1, |weights| weights.passing.max(1));
        Found { zone: zone.filter(|zone| !zone.is_empty()), weight, ..Found::at(&host, service.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::ConsulConfig;

    #[test]
    fn an_instance_stands_at_its_own_address_else_at_its_nodes() {
        let read = |text: &str| serde_json::from_str::<Entry>(text).unwrap().found();
        let own = read(
            r#"{"Node": {"Node": "n", "Address": "10.0.0.1", "Meta": {"zone": "b", "consul-version": "1"}},
                "Service": {"ID": "i", "Address": "10.0.0.2", "Port": 8081, "Tags": ["x"], "Meta": {"zone": "a"},
                            "Weights": {"Passing": 3, "Warning": 1}}, "Checks": []}"#,
        );
        assert_eq!(own, Found { zone: Some("a".into()), weight: 3, ..Found::at("10.0.0.2", 8081) });
        let nodes = read(
            r#"{"Node": {"Address": "fe80::1", "Meta": null}, "Service": {"Address": "", "Port": 1, "Meta": {}}}"#,
        );
        assert_eq!(nodes, Found::at("fe80::1", 1));
    }

    #[test]
    fn queries_wait_from_the_second_on() {
        let agent =
            Agent::new(&ConsulConfig { datacenter: "west".into(), ..ConsulConfig::default() }).unwrap();
        let name = ConsulName {
            service: "signalbox-guard".into(),
            tags: vec!["blue & green".into()],
            datacenter: None,
        };
        let first = "/v1/health/service/signalbox-guard?passing=true&stale=&tag=blue+%26+green&dc=west";
        assert_eq!(query(&agent, &name, 0), first);
        assert_eq!(query(&agent, &name, 7), format!("{first}&index=7&wait=30000ms"));
    }
}
