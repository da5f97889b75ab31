//! `/sim/…`: what tests in other processes and languages ask the simulator.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::record::Ledger;

/// How long `/sim/wait` waits where the request does not say.
const WAIT_MS: u64 = 10_000;
/// How long it waits at most.
const MAX_WAIT_MS: u64 = 600_000;

/// Answers a control request.
///
/// - `GET /sim/health`: 200 as soon as the simulator listens.
/// - `GET /sim/requests`: `{"requests": [Recorded…]}`, oldest first.
/// - `GET /sim/usage`: `Totals`.
/// - `GET /sim/wait?completed=2&in_flight=0&timeout_ms=5000`: `Totals` as soon as they hold, else 408.
///   `in_flight` and `open_connections` wait for at most that many, all others for at least.
/// - `POST /sim/reset`: forgets records, counts, and what was seen per model name.
pub(super) async fn answer(ledger: &Ledger, method: &Method, path: &str, query: &str) -> (StatusCode, Bytes) {
    let totals = |totals| serde_json::to_value(totals).unwrap_or_default();
    let (status, body) = match (method.as_str(), path) {
        ("GET", "/sim/health") => (StatusCode::OK, json!({"status": "ok"})),
        ("GET", "/sim/requests") => (StatusCode::OK, json!({"requests": ledger.requests()})),
        ("GET", "/sim/usage") => (StatusCode::OK, totals(ledger.totals())),
        ("GET", "/sim/wait") => wait(ledger, query).await,
        ("POST", "/sim/reset") => {
            ledger.reset();
            (StatusCode::OK, json!({"status": "reset"}))
        }
        _ => {
            let known = "GET /sim/health, /sim/requests, /sim/usage, /sim/wait; POST /sim/reset";
            (StatusCode::NOT_FOUND, json!({"error": {"message": format!("there is only {known}")}}))
        }
    };
    (status, Bytes::from(format!("{body}\n")))
}

async fn wait(ledger: &Ledger, query: &str) -> (StatusCode, Value) {
    let mut wanted: Vec<(&str, u64)> = Vec::new();
    let mut timeout_ms = WAIT_MS;
    let fields = serde_json::to_value(ledger.totals()).unwrap_or_default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = fields.get(name).is_some_and(Value::is_u64);
        match value.parse::<u64>() {
            Ok(number) if name == "timeout_ms" => timeout_ms = number.min(MAX_WAIT_MS),
            Ok(number) if known => wanted.push((name, number)),
            _ => {
                let message = format!(
                    "`{pair}` is no condition; write NAME=NUMBER with a name of the totals that is a number, or \
                     timeout_ms"
                );
                return (StatusCode::BAD_REQUEST, json!({"error": {"message": message}}));
            }
        }
    }
    let holds = |fields: &Value| {
        wanted.iter().all(|(name, number)| {
            let value = fields.get(name).and_then(Value::as_u64).unwrap_or_default();
            let at_most = matches!(*name, "in_flight" | "open_connections");
            if at_most { value <= *number } else { value >= *number }
        })
    };
    let waiting = ledger.wait_for(|totals| holds(&serde_json::to_value(totals).unwrap_or_default()));
    match tokio::time::timeout(Duration::from_millis(timeout_ms), waiting).await {
        Ok(totals) => (StatusCode::OK, serde_json::to_value(totals).unwrap_or_default()),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, serde_json::to_value(ledger.totals()).unwrap_or_default()),
    }
}
