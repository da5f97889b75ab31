//! A log of requests, asked again of a cache of its own.

use std::collections::{HashMap, HashSet};

use signalbox_mesh::{Environment, ManualClock};
use signalbox_proto::common::v1::{
    ChatRequest, Delta, FinishReason, Finished, GenerateEvent, Message, Part, Role, Text, delta,
    generate_event, part,
};

use super::rows::Request;
use crate::{
    cache::{Asked, Cache, Found},
    config::Config,
    embedding::Embedding,
    entry::EntryId,
    error::Failure,
    policy::Terms,
    recording::Recording,
};

/// What became of a log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Replayed {
    pub(super) requests: usize,
    /// Requests whose answer was given to an earlier request of the same tenant: the most that could hit.
    pub(super) repeated: usize,
    pub(super) exact: usize,
    pub(super) semantic: usize,
    pub(super) wrong_exact: usize,
    pub(super) wrong_semantic: usize,
    /// What all requests cost without a cache.
    pub(super) cost_nanousd: i64,
    pub(super) saved_nanousd: i64,
}

/// The tenant of a request that names none.
const NOBODY: &str = "local";
/// The alias of a request that names none.
const MODEL: &str = "model";
/// Stands for the digest of one guard policy.
const GUARD: &[u8] = b"replay";

/// Asks in the order of the file, at the log's own times.
pub(super) async fn run(log: &[Request], embedding: Embedding) -> Result<Replayed, Failure> {
    let clock = ManualClock::new(0);
    let environment = Environment::manual(clock.clone(), 1, "");
    let cache = Cache::embedded(Config::default(), embedding, &environment);
    let mut known: HashMap<EntryId, &str> = HashMap::new();
    let mut given: HashSet<(&str, &str)> = HashSet::new();
    let mut replayed = Replayed::default();
    for request in log {
        clock.set(request.unix_ms().unwrap_or_default());
        let tenant = if request.tenant.is_empty() { NOBODY } else { &request.tenant };
        replayed.requests += 1;
        replayed.cost_nanousd = replayed.cost_nanousd.saturating_add(request.cost_nanousd);
        replayed.repeated += usize::from(!given.insert((tenant, &request.answer_id)));
        let found = cache.lookup(asked(&cache, tenant, request)?).await?;
        let right = |id: EntryId| known.get(&id).is_some_and(|answer| **answer == *request.answer_id);
        match found {
            Found::Exact { entry, .. } => {
                replayed.exact += 1;
                replayed.wrong_exact += usize::from(!right(entry.id));
            }
            Found::Semantic { close, .. } => {
                replayed.semantic += 1;
                replayed.wrong_semantic += usize::from(!right(close.entry.id));
            }
            Found::Miss { lease: Some(lease), .. } => {
                if let Some(id) = fill(&cache, tenant, &lease.id, request).await {
                    known.insert(id, &request.answer_id);
                }
                continue;
            }
            _ => continue,
        }
        replayed.saved_nanousd = replayed.saved_nanousd.saturating_add(request.cost_nanousd);
    }
    Ok(replayed)
}

fn asked(cache: &Cache, tenant: &str, request: &Request) -> Result<Asked, Failure> {
    let messages = request.messages.iter().map(|said| {
        let kind = Some(part::Kind::Text(Text { text: said.content.text() }));
        let role = match &*said.role {
            "system" | "developer" => Role::System,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            _ => Role::User,
        };
        Message { role: role.into(), parts: vec![Part { kind, ..Part::default() }], ..Message::default() }
    });
    let model = if request.model.is_empty() { MODEL } else { &request.model };
    Ok(Asked {
        tenant: cache.tenants.get(tenant)?,
        chat: ChatRequest { model: model.into(), messages: messages.collect(), ..ChatRequest::default() },
        terms: Terms::of(&cache.config, "", None)?,
        user: None,
        guard_digest: GUARD.to_vec(),
        redacted: false,
        vector: None,
        request_id: String::new(),
        opinion: None,
    })
}

/// Keeps an answer that says its own id.
async fn fill(cache: &Cache, tenant: &str, lease: &str, request: &Request) -> Option<EntryId> {
    let held = cache.claim(&*cache.tenants.get(tenant).ok()?, lease).await.ok()?;
    let mut recording = Recording::new(cache.config.exact.max_entry_bytes, None);
    let text = delta::Content::Text(format!("answer {}", request.answer_id));
    let delta = Delta { content: Some(text), ..Delta::default() };
    let finished = Finished { finish_reason: FinishReason::Stop.into(), ..Finished::default() };
    for kind in [generate_event::Kind::Delta(delta), generate_event::Kind::Finished(finished.into())] {
        recording.push(GenerateEvent { sequence: 0, kind: Some(kind) }).ok()?;
    }
    let answer = recording.complete(request.cost_nanousd).ok()?;
    cache.keep(&held, answer, request.cost_nanousd).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(ts: i64, tenant: &str, text: &str, answer: &str) -> Request {
        let messages = serde_json::json!([{ "role": "user", "content": text }]);
        let line = serde_json::json!({
            "ts": ts, "tenant": tenant, "messages": messages, "answer_id": answer, "cost_nanousd": 10
        });
        serde_json::from_value(line).unwrap()
    }

    #[tokio::test]
    async fn hits_wrong_hits_and_savings_are_counted() {
        // To the constant encoder all questions are the same: the second look alone decides.
        let log = [
            request(1_700_000_000, "a", "Why is the sky blue?", "1"),
            request(1_700_000_001, "a", "Why is the sky blue?", "1"),
            request(1_700_000_002, "a", "What makes the sky blue?", "1"),
            request(1_700_000_003, "b", "Why is the sky blue?", "1"),
            request(1_700_000_004, "a", "Why is the sky not blue?", "2"),
            request(1_700_000_005, "a", "why is the sky blue", "3"),
            request(1_700_200_000, "a", "Why is the sky blue?", "1"),
        ];
        let replayed = run(&log, Embedding::constant()).await.unwrap();
        assert_eq!(
            replayed,
            Replayed {
                requests: 7,
                repeated: 3,
                exact: 1,
                semantic: 2,
                wrong_exact: 0,
                wrong_semantic: 1,
                cost_nanousd: 70,
                saved_nanousd: 30
            },
            "the last came when all had expired"
        );
    }
}
