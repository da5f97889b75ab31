//! A tenant's index in Redis: what there is, under which names, and what was invalidated lately.

use std::time::Duration;

use prost::Message;
use redis::Value;
use signalbox_embed::Vector;

use super::{Redis, keys::label, link::Within, millis, pairs, script, scripts};
use crate::{
    backend::{Away, Cover, Named},
    canonical::Digest,
    codec,
    entry::{Entry, EntryId},
};

/// Invalidations that are remembered; a fill that began before all of them is not kept.
const INVALIDATIONS: usize = 128;
/// How often an entry is tried to be added while others invalidate.
const TRIES: usize = 4;
/// Ids that are named to Redis at a time.
const CHUNK: usize = 500;

/// An invalidation, as Redis holds it.
#[derive(Clone, PartialEq, Message)]
struct StoredCover {
    #[prost(bytes = "vec", optional, tag = "1")]
    entry: Option<Vec<u8>>,
    #[prost(string, optional, tag = "2")]
    tag: Option<String>,
    #[prost(string, optional, tag = "3")]
    model: Option<String>,
    #[prost(float, repeated, tag = "4")]
    like: Vec<f32>,
    #[prost(float, tag = "5")]
    at_least: f32,
}

impl From<&Cover> for StoredCover {
    fn from(cover: &Cover) -> Self {
        let mut stored = Self::default();
        match cover {
            Cover::All => {}
            Cover::Entry(id) => stored.entry = Some(codec::id_bytes(*id).to_vec()),
            Cover::Tag(tag) => stored.tag = Some(tag.to_string()),
            Cover::Model(model) => stored.model = Some(model.to_string()),
            Cover::Like { vector, at_least } => {
                (stored.like, stored.at_least) = (vector.to_vec(), *at_least);
            }
        }
        stored
    }
}

impl StoredCover {
    /// What it covers; what cannot be read covers everything.
    fn cover(self) -> Cover {
        match self {
            Self { entry: Some(id), .. } => codec::id(&id).map_or(Cover::All, Cover::Entry),
            Self { tag: Some(tag), .. } => Cover::Tag(tag.into()),
            Self { model: Some(model), .. } => Cover::Model(model.into()),
            Self { like, at_least, .. } if !like.is_empty() => {
                Vector::from_unit(like).map_or(Cover::All, |vector| Cover::Like { vector, at_least })
            }
            _ => Cover::All,
        }
    }
}

impl Redis {
    /// Names the present, for [`Self::add`].
    pub(super) async fn epoch(&self, tenant: &str) -> Result<u64, Away> {
        let mut command = redis::cmd("HGET");
        command.arg(self.0.keys.index(tenant).about).arg("epoch");
        let epoch: Option<u64> = self.0.link.ask(&command, Within::Deadline).await?;
        Ok(epoch.unwrap_or(0))
    }

    /// Adds an entry whose fill began at `epoch`, and gives what had to go for it; `None` if it was invalidated since, or may have been.
    pub(super) async fn add(
        &self,
        entry: &Entry,
        began: u64,
        vector: Option<&Vector>,
    ) -> Result<Option<Vec<Named>>, Away> {
        let index = self.0.keys.index(&entry.tenant);
        let mut epoch = began;
        for _ in 0..TRIES {
            let mut command = script(scripts::ADD, 5);
            command
                .arg(&index.ids)
                .arg(&index.ends)
                .arg(&index.labels)
                .arg(&index.about)
                .arg(&index.covers)
                .arg(epoch)
                .arg(&codec::id_bytes(entry.id)[..])
                .arg(&codec::key_bytes(entry.key)[..])
                .arg(entry.life_ms())
                .arg(entry.weight())
                .arg(self.0.most_entries)
                .arg(self.0.most_bytes);
            command.arg(entry.tags.iter().map(|tag| label('t', tag)).collect::<Vec<_>>());
            command.arg(entry.answer.models.iter().map(|model| label('m', model)).collect::<Vec<_>>());
            let answer: Vec<Value> = self.0.link.ask(&command, Within::Patience).await?;
            let [state, rest @ ..] = &answer[..] else { return Err(Away) };
            let state: String = redis::from_redis_value_ref(state).map_err(|_| Away)?;
            if state == "added" {
                return pairs(rest).map(Some);
            }
            let [now, covers @ ..] = rest else { return Err(Away) };
            epoch = redis::from_redis_value_ref(now).map_err(|_| Away)?;
            if covered(covers, began, epoch, entry, vector) {
                return Ok(None);
            }
        }
        // In doubt it is not kept.
        Ok(None)
    }

    /// Removes what is covered, now and when a running fill ends.
    pub(super) async fn take(&self, tenant: &str, cover: &Cover, near: &[Named]) -> Result<Vec<Named>, Away> {
        let index = self.0.keys.index(tenant);
        let mut note = script(scripts::NOTE, 2);
        // A fill lasts as long as its lease is renewed: an hour is beyond any deadline.
        note.arg(&index.about)
            .arg(&index.covers)
            .arg(StoredCover::from(cover).encode_to_vec())
            .arg(INVALIDATIONS)
            .arg(millis(Duration::from_secs(3_600)));
        let _epoch: String = self.0.link.ask(&note, Within::Patience).await?;
        let mut gone = Vec::new();
        let mut named: Vec<EntryId> = near.iter().map(|named| named.id).collect();
        if let Cover::Entry(id) = cover {
            named.push(*id);
        }
        loop {
            let some = named.split_off(named.len().saturating_sub(CHUNK));
            let taken = match cover {
                Cover::All => self.taken(tenant, "all", &[]).await?,
                Cover::Tag(tag) => self.taken(tenant, "label", &[label('t', tag).into_bytes()]).await?,
                Cover::Model(model) => self.taken(tenant, "label", &[label('m', model).into_bytes()]).await?,
                Cover::Entry(_) | Cover::Like { .. } => self.unlist(tenant, &some).await?,
            };
            self.kill(&taken).await?;
            if taken.is_empty() && named.is_empty() {
                return Ok(gone);
            }
            gone.extend(taken);
        }
    }

    /// Takes entries out of the index; gives those that were there.
    pub(super) async fn unlist(&self, tenant: &str, ids: &[EntryId]) -> Result<Vec<Named>, Away> {
        let ids: Vec<_> = ids.iter().map(|id| codec::id_bytes(*id).to_vec()).collect();
        if ids.is_empty() { Ok(Vec::new()) } else { self.taken(tenant, "ids", &ids).await }
    }

    async fn taken(&self, tenant: &str, how: &str, what: &[Vec<u8>]) -> Result<Vec<Named>, Away> {
        let index = self.0.keys.index(tenant);
        let mut command = script(scripts::TAKE, 4);
        command.arg(&index.ids).arg(&index.ends).arg(&index.labels).arg(&index.about).arg(how).arg(what);
        let taken: Vec<Value> = self.0.link.ask(&command, Within::Patience).await?;
        pairs(&taken)
    }

    /// Where an entry is.
    pub(super) async fn key_of(&self, tenant: &str, id: EntryId) -> Result<Option<Digest>, Away> {
        let mut command = script(scripts::FIND, 1);
        command.arg(self.0.keys.index(tenant).ids).arg(&codec::id_bytes(id)[..]);
        let key: Option<Vec<u8>> = self.0.link.ask(&command, Within::Patience).await?;
        Ok(key.and_then(|key| codec::key(&key)))
    }

    /// Entries and their bytes.
    pub(super) async fn count(&self, tenant: &str) -> Result<(u64, u64), Away> {
        let index = self.0.keys.index(tenant);
        let mut command = script(scripts::EXTENT, 2);
        command.arg(&index.ends).arg(&index.about);
        self.0.link.ask(&command, Within::Patience).await
    }
}

/// Whether one of the invalidations since `began` covers the entry, or one that was forgotten may.
fn covered(covers: &[Value], began: u64, now: u64, entry: &Entry, vector: Option<&Vector>) -> bool {
    // Redis lost what it knew.
    if now <= began {
        return true;
    }
    let mut oldest = u64::MAX;
    for value in covers {
        let Ok(bytes) = redis::from_redis_value_ref::<Vec<u8>>(value) else { return true };
        let Some(space) = bytes.iter().position(|byte| *byte == b' ') else { return true };
        let epoch = std::str::from_utf8(&bytes[..space]).ok().and_then(|epoch| epoch.parse::<u64>().ok());
        let (Some(epoch), Ok(cover)) = (epoch, StoredCover::decode(&bytes[space + 1..])) else { return true };
        oldest = oldest.min(epoch);
        if epoch > began && cover.cover().covers(entry, vector) {
            return true;
        }
    }
    covers.is_empty() || (covers.len() == INVALIDATIONS && oldest > began)
}
