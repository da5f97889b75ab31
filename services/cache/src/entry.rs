//! What is kept of an answer.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use signalbox_mesh::Random;

use crate::{
    canonical::Digest,
    recording::Answer,
    second_look::Features,
    standing::{Change, Standing},
};

/// Names an entry; 32 hexadecimal digits, drawn at random.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EntryId(pub(crate) u128);

impl EntryId {
    pub(crate) fn draw(random: &Random) -> Self {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that names no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoEntryId;

impl FromStr for EntryId {
    type Err = NoEntryId;

    fn from_str(text: &str) -> Result<Self, NoEntryId> {
        let digits = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or(NoEntryId)
    }
}

/// What was asked, for comparing by meaning.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) partition: Digest,
    /// What the features were taken from: other builds take others.
    pub(crate) text: Box<str>,
    pub(crate) features: Features,
}

impl Question {
    pub(crate) fn new(partition: Digest, text: &str) -> Self {
        Self { partition, text: text.into(), features: Features::of(text) }
    }
}

/// How often an entry was of use lately; counts to 3.
#[derive(Debug, Default)]
pub(crate) struct Usage(AtomicU8);

impl Usage {
    pub(crate) fn note(&self) {
        // Lost updates are as good as the others.
        let used = self.0.load(Ordering::Relaxed);
        if used < 3 {
            self.0.store(used + 1, Ordering::Relaxed);
        }
    }

    /// Whether it was of use; counts as one use less from now on.
    pub(crate) fn pass(&self) -> bool {
        let used = self.0.load(Ordering::Relaxed);
        self.0.store(used.saturating_sub(1), Ordering::Relaxed);
        used > 0
    }
}

/// An answer and all that decides whom it may answer.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: EntryId,
    pub(crate) tenant: Arc<str>,
    pub(crate) key: Digest,
    pub(crate) answer: Arc<Answer>,
    pub(crate) cost_nanousd: i64,
    pub(crate) created_unix_ms: i64,
    pub(crate) ttl_ms: u64,
    /// For how long after that it may still answer while the model is asked again.
    pub(crate) stale_ms: u64,
    pub(crate) tags: Vec<Arc<str>>,
    /// Absent: answers the very same request only.
    pub(crate) question: Option<Question>,
    /// The request whose answer this is: a judgement on it is none on a hit.
    pub(crate) writer: String,
    pub(crate) standing: Arc<Standing>,
    pub(crate) usage: Usage,
    /// Invalidated, whatever store still holds it.
    pub(crate) dead: AtomicBool,
}

/// How good an entry that may answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    /// Its time to live is over: the model is to be asked again.
    Stale,
}

/// What an entry costs besides its content: maps, counters, pointers.
const OVERHEAD: usize = 512;

impl Entry {
    /// Its age; 0 when the clock was set back meanwhile.
    pub(crate) fn age_ms(&self, now_unix_ms: i64) -> u64 {
        u64::try_from(now_unix_ms.saturating_sub(self.created_unix_ms)).unwrap_or(0)
    }

    /// Whether it may answer now.
    pub(crate) fn answers(&self, now_unix_ms: i64, max_age_ms: u64) -> bool {
        self.fresh_or_stale(now_unix_ms, max_age_ms, false) == Some(Freshness::Fresh)
    }

    /// Whether it may answer now, and how: `None` if it may not.
    pub(crate) fn fresh_or_stale(&self, now_unix_ms: i64, max_age_ms: u64, stale: bool) -> Option<Freshness> {
        let age = self.age_ms(now_unix_ms);
        if self.dead.load(Ordering::Acquire) || age > max_age_ms {
            None
        } else if age < self.ttl_ms {
            Some(Freshness::Fresh)
        } else {
            (stale && age < self.life_ms()).then_some(Freshness::Stale)
        }
    }

    /// How long it is kept.
    pub(crate) fn life_ms(&self) -> u64 {
        self.ttl_ms.saturating_add(self.stale_ms)
    }

    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// Takes a judgement on a hit; one on the answer's own request is none.
    pub(crate) fn judge(&self, request_id: &str, wrong: bool) -> Change {
        if request_id == self.writer { Change::default() } else { self.standing.judge(request_id, wrong) }
    }

    /// Memory, about, in bytes.
    pub(crate) fn weight(&self) -> u32 {
        let tags: usize = self.tags.iter().map(|tag| 2 * tag.len() + 96).sum();
        let question = self
            .question
            .as_ref()
            .map_or(0, |question| question.text.len() + question.features.size() + 2_048);
        u32::try_from(OVERHEAD + self.answer.size() + tags + question).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_nothing_else_does() {
        let id = EntryId::draw(&Random::seeded(1));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().len(), 32);
        for wrong in ["", "1", "+0000000000000000000000000000000", &"g".repeat(32), &"A".repeat(32)] {
            assert_eq!(wrong.parse::<EntryId>(), Err(NoEntryId), "{wrong}");
        }
    }
}
