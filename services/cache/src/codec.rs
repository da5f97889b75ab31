//! Entries and what a fill needs to know as bytes, for stores outside this process, sealed where keys are configured. Fields are only
//! added.

use std::sync::{Arc, atomic::AtomicBool};

use prost::{Message, bytes::Bytes};
use signalbox_embed::Vector;
use signalbox_proto::common::v1::RouteInfo;

use crate::{
    backend::{Pending, Shadow},
    canonical::Digest,
    entry::{Entry, EntryId, Question, Usage},
    recording::Answer,
    standing::{Standing, Verdict},
    vault::{Kind, Vault},
};

#[derive(Clone, PartialEq, Message)]
struct StoredEntry {
    #[prost(bytes = "bytes", tag = "1")]
    id: Bytes,
    #[prost(string, tag = "2")]
    tenant: String,
    #[prost(bytes = "bytes", tag = "3")]
    key: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "4")]
    batches: Vec<Bytes>,
    #[prost(string, repeated, tag = "5")]
    models: Vec<String>,
    #[prost(bool, tag = "6")]
    cut_by_request: bool,
    #[prost(int64, tag = "7")]
    cost_nanousd: i64,
    #[prost(int64, tag = "8")]
    created_unix_ms: i64,
    #[prost(uint64, tag = "9")]
    ttl_ms: u64,
    #[prost(string, repeated, tag = "10")]
    tags: Vec<String>,
    #[prost(message, optional, tag = "11")]
    question: Option<StoredQuestion>,
    #[prost(string, tag = "12")]
    writer: String,
    #[prost(uint64, tag = "13")]
    stale_ms: u64,
    #[prost(message, optional, tag = "14")]
    route: Option<RouteInfo>,
    #[prost(message, repeated, tag = "15")]
    verdicts: Vec<StoredVerdict>,
}

/// A judgement on a hit.
#[derive(Clone, PartialEq, Message)]
struct StoredVerdict {
    #[prost(string, tag = "1")]
    request_id: String,
    #[prost(double, tag = "2")]
    probability: f64,
    #[prost(bool, tag = "3")]
    wrong: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StoredQuestion {
    #[prost(bytes = "bytes", tag = "1")]
    partition: Bytes,
    #[prost(string, tag = "2")]
    text: String,
    /// Of a pending entry only.
    #[prost(float, repeated, tag = "3")]
    vector: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredPending {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(bytes = "bytes", tag = "2")]
    entry_id: Bytes,
    #[prost(uint64, tag = "3")]
    epoch: u64,
    #[prost(uint64, tag = "4")]
    ttl_ms: u64,
    #[prost(string, repeated, tag = "5")]
    tags: Vec<String>,
    #[prost(message, optional, tag = "6")]
    question: Option<StoredQuestion>,
    #[prost(uint32, optional, tag = "7")]
    max_output_tokens: Option<u32>,
    #[prost(string, tag = "8")]
    request_id: String,
    #[prost(uint64, tag = "9")]
    stale_ms: u64,
    #[prost(message, optional, tag = "10")]
    shadow: Option<StoredShadow>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredShadow {
    #[prost(bytes = "bytes", tag = "1")]
    of: Bytes,
    #[prost(string, tag = "2")]
    request_id: String,
    #[prost(double, tag = "3")]
    model: f64,
}

/// The bytes of an entry. `None`: they cannot be sealed.
pub(crate) fn entry_bytes(entry: &Entry, vault: &Vault) -> Option<Vec<u8>> {
    let stored = StoredEntry {
        id: id_bytes(entry.id),
        tenant: entry.tenant.to_string(),
        key: key_bytes(entry.key),
        batches: entry.answer.stored().to_vec(),
        models: strings(&entry.answer.models),
        cut_by_request: entry.answer.cut_by_request,
        cost_nanousd: entry.cost_nanousd,
        created_unix_ms: entry.created_unix_ms,
        ttl_ms: entry.ttl_ms,
        tags: strings(&entry.tags),
        question: entry.question.as_ref().map(|question| stored(question, None)),
        writer: entry.writer.clone(),
        stale_ms: entry.stale_ms,
        route: entry.answer.route.clone(),
        verdicts: entry
            .standing
            .verdicts()
            .into_iter()
            .map(|Verdict(request_id, probability, wrong)| StoredVerdict { request_id, probability, wrong })
            .collect(),
    };
    vault.seal(Kind::Entry, &entry.tenant, &id_bytes(entry.id), stored.encode_to_vec())
}

/// Reads the entry of that id; `None` if these are not its bytes.
pub(crate) fn entry(
    bytes: Bytes,
    of: EntryId,
    vault: &Vault,
    standing: impl FnOnce(EntryId) -> Arc<Standing>,
) -> Option<Entry> {
    let stored = StoredEntry::decode(vault.open(Kind::Entry, &id_bytes(of), bytes)?).ok()?;
    let id = id(&stored.id).filter(|id| *id == of)?;
    let standing = standing(id);
    for StoredVerdict { request_id, probability, wrong } in stored.verdicts {
        standing.hear(Verdict(request_id, probability, wrong));
    }
    Some(Entry {
        id,
        tenant: stored.tenant.into(),
        key: key(&stored.key)?,
        answer: Arc::new(
            Answer::restore(stored.batches, shared(stored.models), stored.cut_by_request)
                .with_route(stored.route),
        ),
        cost_nanousd: stored.cost_nanousd,
        created_unix_ms: stored.created_unix_ms,
        ttl_ms: stored.ttl_ms,
        stale_ms: stored.stale_ms,
        tags: shared(stored.tags),
        question: match stored.question {
            Some(question) => Some(Question::new(key(&question.partition)?, &question.text)),
            None => None,
        },
        writer: stored.writer,
        standing,
        usage: Usage::default(),
        dead: AtomicBool::new(false),
    })
}

/// The bytes of what a fill needs to know. Its key is not among them. `None`: they cannot be sealed.
pub(crate) fn pending_bytes(pending: &Pending, vault: &Vault) -> Option<Vec<u8>> {
    let question = pending.question.as_ref().map(|(question, vector)| stored(question, Some(vector)));
    let stored = StoredPending {
        tenant: pending.tenant.to_string(),
        entry_id: id_bytes(pending.entry_id),
        epoch: pending.epoch,
        ttl_ms: pending.ttl_ms,
        tags: strings(&pending.tags),
        question,
        max_output_tokens: pending.max_output_tokens,
        request_id: pending.request_id.clone(),
        stale_ms: pending.stale_ms,
        shadow: pending.shadow.as_ref().map(|shadow| StoredShadow {
            of: id_bytes(shadow.of),
            request_id: shadow.request_id.clone(),
            model: shadow.model,
        }),
    };
    vault.seal(Kind::Pending, &pending.tenant, &pending.key.0, stored.encode_to_vec())
}

/// Reads what a fill needs to know; `None` if these are not the bytes of it.
pub(crate) fn pending(bytes: Bytes, of: Digest, vault: &Vault) -> Option<Pending> {
    let stored = StoredPending::decode(vault.open(Kind::Pending, &of.0, bytes)?).ok()?;
    let question = match stored.question {
        Some(StoredQuestion { partition, text, vector }) => {
            Some((Question::new(key(&partition)?, &text), Vector::from_unit(vector).ok()?))
        }
        None => None,
    };
    Some(Pending {
        tenant: stored.tenant.into(),
        key: of,
        entry_id: id(&stored.entry_id)?,
        epoch: stored.epoch,
        ttl_ms: stored.ttl_ms,
        tags: shared(stored.tags),
        question,
        max_output_tokens: stored.max_output_tokens,
        request_id: stored.request_id,
        stale_ms: stored.stale_ms,
        shadow: match stored.shadow {
            Some(StoredShadow { of, request_id, model }) => Some(Shadow { of: id(&of)?, request_id, model }),
            None => None,
        },
    })
}

pub(crate) fn id_bytes(id: EntryId) -> Bytes {
    Bytes::copy_from_slice(&id.0.to_be_bytes())
}

pub(crate) fn id(bytes: &[u8]) -> Option<EntryId> {
    Some(EntryId(u128::from_be_bytes(bytes.try_into().ok()?)))
}

pub(crate) fn key_bytes(key: Digest) -> Bytes {
    Bytes::copy_from_slice(&key.0)
}

pub(crate) fn key(bytes: &[u8]) -> Option<Digest> {
    Some(Digest(bytes.try_into().ok()?))
}

fn stored(question: &Question, vector: Option<&Vector>) -> StoredQuestion {
    StoredQuestion {
        partition: key_bytes(question.partition),
        text: question.text.to_string(),
        vector: vector.map(|vector| vector.to_vec()).unwrap_or_default(),
    }
}

fn strings(names: &[Arc<str>]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn shared(names: Vec<String>) -> Vec<Arc<str>> {
    names.into_iter().map(Arc::from).collect()
}

#[cfg(test)]
mod tests {
    use signalbox_mesh::Random;

    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_noise_does_not() {
        let question = Question::new(Digest([2; 32]), "Why is the sky blue?");
        let vector = Vector::from_unit(vec![0.6, 0.8]).unwrap();
        let before = Pending {
            tenant: "a".into(),
            key: Digest([1; 32]),
            entry_id: EntryId(3),
            epoch: 4,
            ttl_ms: 5,
            tags: vec!["news".into()],
            question: Some((question.clone(), vector)),
            max_output_tokens: Some(6),
            request_id: "r".into(),
            stale_ms: 10,
            shadow: Some(Shadow { of: EntryId(9), request_id: "q".into(), model: 0.9 }),
        };
        let vault = Vault::open_to_all(Random::seeded(1));
        let bytes = pending_bytes(&before, &vault).unwrap();
        let after = pending(bytes.into(), before.key, &vault).unwrap();
        assert_eq!(format!("{before:?}"), format!("{after:?}"));

        let before = Entry {
            id: EntryId(3),
            tenant: "a".into(),
            key: Digest([1; 32]),
            answer: Arc::new(Answer::restore(vec![Bytes::from_static(b"x")], vec!["p/m".into()], true)),
            cost_nanousd: 7,
            created_unix_ms: 8,
            ttl_ms: 9,
            stale_ms: 10,
            tags: vec!["news".into()],
            question: Some(question),
            writer: "r".into(),
            standing: Arc::default(),
            usage: Usage::default(),
            dead: AtomicBool::new(false),
        };
        before.standing.judge("r1", true);
        let bytes = Bytes::from(entry_bytes(&before, &vault).unwrap());
        assert!(entry(bytes.clone(), EntryId(4), &vault, |_| Arc::default()).is_none(), "another's");
        let after = entry(bytes, EntryId(3), &vault, |_| Arc::default()).unwrap();
        assert_eq!(format!("{before:?}"), format!("{after:?}"));
        for noise in [&b""[..], b"\xff\xff", b"\x0a\x01a"] {
            assert!(entry(Bytes::from_static(noise), EntryId(3), &vault, |_| Arc::default()).is_none());
            assert!(pending(Bytes::from_static(noise), Digest([1; 32]), &vault).is_none());
        }
    }
}
