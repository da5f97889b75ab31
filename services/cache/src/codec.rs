//! Entries and what a fill needs to know as bytes, for stores outside this process. Fields are only added.

use std::sync::{Arc, atomic::AtomicBool};

use prost::{Message, bytes::Bytes};
use signalbox_embed::Vector;

use crate::{
    backend::Pending,
    canonical::Digest,
    entry::{Entry, EntryId, Question, Usage},
    recording::Answer,
    standing::Standing,
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
}

/// The bytes of an entry.
pub(crate) fn entry_bytes(entry: &Entry) -> Vec<u8> {
    StoredEntry {
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
    }
    .encode_to_vec()
}

/// Reads an entry; `None` if these are not the bytes of one.
pub(crate) fn entry(bytes: Bytes, standing: impl FnOnce(EntryId) -> Arc<Standing>) -> Option<Entry> {
    let stored = StoredEntry::decode(bytes).ok()?;
    let id = id(&stored.id)?;
    Some(Entry {
        id,
        tenant: stored.tenant.into(),
        key: key(&stored.key)?,
        answer: Arc::new(Answer::restore(stored.batches, shared(stored.models), stored.cut_by_request)),
        cost_nanousd: stored.cost_nanousd,
        created_unix_ms: stored.created_unix_ms,
        ttl_ms: stored.ttl_ms,
        tags: shared(stored.tags),
        question: match stored.question {
            Some(question) => Some(Question::new(key(&question.partition)?, &question.text)),
            None => None,
        },
        writer: stored.writer,
        standing: standing(id),
        usage: Usage::default(),
        dead: AtomicBool::new(false),
    })
}

/// The bytes of what a fill needs to know. Its key is not among them.
pub(crate) fn pending_bytes(pending: &Pending) -> Vec<u8> {
    let question = pending.question.as_ref().map(|(question, vector)| stored(question, Some(vector)));
    StoredPending {
        tenant: pending.tenant.to_string(),
        entry_id: id_bytes(pending.entry_id),
        epoch: pending.epoch,
        ttl_ms: pending.ttl_ms,
        tags: strings(&pending.tags),
        question,
        max_output_tokens: pending.max_output_tokens,
        request_id: pending.request_id.clone(),
    }
    .encode_to_vec()
}

/// Reads what a fill needs to know; `None` if these are not the bytes of it.
pub(crate) fn pending(bytes: Bytes, of: Digest) -> Option<Pending> {
    let stored = StoredPending::decode(bytes).ok()?;
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
        };
        let after = pending(pending_bytes(&before).into(), before.key).unwrap();
        assert_eq!(format!("{before:?}"), format!("{after:?}"));

        let before = Entry {
            id: EntryId(3),
            tenant: "a".into(),
            key: Digest([1; 32]),
            answer: Arc::new(Answer::restore(vec![Bytes::from_static(b"x")], vec!["p/m".into()], true)),
            cost_nanousd: 7,
            created_unix_ms: 8,
            ttl_ms: 9,
            tags: vec!["news".into()],
            question: Some(question),
            writer: "r".into(),
            standing: Arc::default(),
            usage: Usage::default(),
            dead: AtomicBool::new(false),
        };
        let after = entry(entry_bytes(&before).into(), |_| Arc::default()).unwrap();
        assert_eq!(format!("{before:?}"), format!("{after:?}"));
        for noise in [&b""[..], b"\xff\xff", b"\x0a\x01a"] {
            assert!(entry(Bytes::from_static(noise), |_| Arc::default()).is_none());
            assert!(pending(Bytes::from_static(noise), Digest([1; 32])).is_none());
        }
    }
}
