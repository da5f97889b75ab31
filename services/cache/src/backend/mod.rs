//! Where entries, leases and answers in flight are kept: in this process, or in a Redis that replicas share.

pub(crate) mod embedded;
pub(crate) mod redis;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use signalbox_embed::Vector;
use signalbox_proto::common::v1::GenerateEvent;

use crate::{
    canonical::Digest,
    entry::{Entry, EntryId, NoEntryId, Question},
    flight::{Flight, Follower},
    recording::Flaw,
    standing::Verdict,
};

/// Keeps entries, gives leases, and carries answers to those who follow them.
///
/// - **One lease per key**: of all that ask at once, over all replicas, one is given the lease and the others follow.
/// - **Fenced**: who has lost a lease can neither add to its recording nor keep an entry under it.
/// - **Taken over once**: when a leader fails, one follower anywhere gets a lease, and what was delivered.
/// - **Invalidated is gone**: when [`invalidate`](Self::invalidate) returns, no lookup finds what it covers, nor will a fill that began
///   before it be kept if it is covered.
/// - **Tenants apart**: whatever names an entry, only its own tenant finds it.
/// - **Bounded**: what is kept is bounded in total and per tenant; the tenant that has most gives first.
///
/// Where it does not answer within its deadline that is an [`Away`], which is a miss for those who ask.
#[tonic::async_trait]
pub(crate) trait Backend: Send + Sync + 'static {
    /// How long a lookup may wait for it, all calls together.
    fn deadline(&self) -> Duration;

    /// The entry of a key. Whether it may still answer is for the caller to say.
    async fn get(&self, tenant: &str, key: Digest) -> Result<Option<Arc<Entry>>, Away>;

    /// The entries of points that a search by meaning found, in their order; `None` for one that is gone for good.
    async fn resolve(&self, tenant: &str, named: &[Named]) -> Result<Vec<Option<Arc<Entry>>>, Away>;

    /// The entry of that id.
    async fn find(&self, tenant: &str, id: EntryId) -> Result<Option<Arc<Entry>>, Away>;

    /// Notes that an entry was of use.
    fn used(&self, entry: &Entry);

    /// Keeps a judgement on a hit that an entry gave beside it, for other replicas and for the next start. It is lost to them where that
    /// cannot be done now.
    async fn judged(&self, entry: &Arc<Entry>, verdict: Verdict);

    /// Gives the lease for a key, or says who has it. Cancel safe: at most a lease is given in vain, and expires.
    async fn grant(&self, wish: Wish) -> Result<Grant, Away>;

    /// Begins the fill of a lease; `None` if the tenant holds none of that name, or its fill has begun already. Cancel safe: who asks no
    /// more gives it back.
    async fn claim(&self, tenant: &str, lease: LeaseId) -> Result<Option<Claimed>, Away>;

    /// Takes over from a leader that failed.
    async fn take_over(&self, flight: &Arc<Flight>) -> TakeOver;

    /// Adds to the recording of a lease, which lasts as long again.
    async fn write(&self, claimed: &Claimed, events: Vec<GenerateEvent>) -> Result<(), Stop>;

    /// Keeps the complete answer of a lease, which ends; gives the ids of entries that had to go.
    async fn keep(&self, claimed: &Claimed, kept: Kept) -> Result<Vec<EntryId>, Stop>;

    /// Gives a lease back whose answer was not kept; nothing happens where it was. Not cancel safe: dropped before its end it may not have
    /// happened, and is to be done again by [`Self::drop_lease`].
    async fn give_back(&self, claimed: &Claimed, reason: &'static str);

    /// The same, for a fill that was dropped: some time later.
    fn drop_lease(&self, claimed: Claimed, reason: &'static str);

    /// Removes what is covered, now and when a running fill ends; gives the ids of what was there. `near` are the points that
    /// [`Cover::Like`] means.
    async fn invalidate(&self, tenant: &str, cover: Cover, near: &[Named]) -> Result<Vec<EntryId>, Away>;

    /// Entries of a tenant and their bytes.
    async fn extent(&self, tenant: &str) -> (u64, u64);

    /// Leases of a tenant that this replica knows of.
    fn leases(&self, tenant: &str) -> u64;

    /// How many follow the fill of a lease, other replicas counted as one each.
    async fn followers(&self, tenant: &str, lease: LeaseId) -> u64;

    /// Why it does not work now, in bounded words.
    fn trouble(&self) -> Option<&'static str>;

    /// Writes down what would be lost with the process.
    async fn flush(&self);
}

/// How long a lease that a lookup was given waits for its fill, at most: who asked may have gone before it was told, and others would follow
/// nobody. One that was taken over is claimed with the first piece of the new answer, and lasts as long as any.
pub(crate) const UNCLAIMED: Duration = Duration::from_secs(5);

/// The backend does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Away;

/// A point's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) id: EntryId,
    pub(crate) key: Digest,
}

/// What a fill will need to know.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) tenant: Arc<str>,
    pub(crate) key: Digest,
    pub(crate) entry_id: EntryId,
    /// The tenant's epoch when the lease was given. Set by the backend.
    pub(crate) epoch: u64,
    pub(crate) ttl_ms: u64,
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) question: Option<(Question, Vector)>,
    pub(crate) max_output_tokens: Option<u32>,
    pub(crate) request_id: String,
    /// For how long after its time to live the entry may still answer.
    pub(crate) stale_ms: u64,
    /// The hit that the answer is to be compared with.
    pub(crate) shadow: Option<Shadow>,
}

/// A hit by meaning that is checked by asking the model as well.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shadow {
    /// The entry that answered.
    pub(crate) of: EntryId,
    /// The request that it answered.
    pub(crate) request_id: String,
    /// The model's probability that the hit is right.
    pub(crate) model: f64,
}

/// Says whether an entry may answer.
pub(crate) type Enough = Box<dyn Fn(&Entry) -> bool + Send + Sync>;

/// The wish for a lease.
pub(crate) struct Wish {
    pub(crate) pending: Pending,
    /// Says whether an entry that is there by now is good enough, so that no lease is needed.
    pub(crate) enough: Option<Enough>,
}

/// What became of the wish for a lease.
pub(crate) enum Grant {
    /// An entry is there by now.
    Known(Arc<Entry>),
    /// The lease.
    Given(LeaseId, EntryId),
    /// Somebody fills the entry; this follows it.
    Held(Follower),
    /// There are too many.
    Full,
}

/// What became of taking over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TakeOver {
    /// The lease.
    Given(LeaseId),
    /// Another one leads, or is about to be given up.
    Led,
    /// Nobody can lead it any more; the flight says so.
    Gone,
}

/// A lease whose fill has begun.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) lease: LeaseId,
    pub(crate) pending: Box<Pending>,
    pub(crate) flight: Arc<Flight>,
}

/// What is to be kept under a lease.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) entry: Arc<Entry>,
    pub(crate) vector: Option<Vector>,
}

/// Why a fill cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The lease is lost.
    Expired,
    /// The backend does not answer.
    Away,
    /// The answer cannot be kept.
    Flawed(Flaw),
}

/// Names a lease; 96 hexadecimal digits. Says where to look for it, so that any replica can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseId {
    pub(crate) key: Digest,
    pub(crate) token: EntryId,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}{}", self.key, self.token)
    }
}

impl FromStr for LeaseId {
    type Err = NoEntryId;

    fn from_str(text: &str) -> Result<Self, NoEntryId> {
        let (key, token) = text.split_at_checked(64).ok_or(NoEntryId)?;
        Ok(Self { key: key.parse()?, token: token.parse()? })
    }
}

/// What is removed.
#[derive(Debug, Clone)]
pub(crate) enum Cover {
    Entry(EntryId),
    Tag(Arc<str>),
    Model(Arc<str>),
    All,
    Like { vector: Vector, at_least: f32 },
}

impl Cover {
    pub(crate) fn covers(&self, entry: &Entry, of_entry: Option<&Vector>) -> bool {
        match self {
            Self::All => true,
            Self::Entry(id) => entry.id == *id,
            Self::Tag(tag) => entry.tags.contains(tag),
            Self::Model(model) => entry.answer.models.contains(model),
            Self::Like { vector, at_least } => of_entry.is_some_and(|own| own.cosine(vector) >= *at_least),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_leases_read_back_and_nothing_else_does() {
        let lease = LeaseId { key: Digest([0xa1; 32]), token: EntryId(7) };
        assert_eq!(lease.to_string().parse(), Ok(lease));
        let short = &lease.to_string()[..95];
        for wrong in ["", "0", short, &"é".repeat(48), &format!("{lease}0"), &"A".repeat(96)] {
            assert_eq!(wrong.parse::<LeaseId>(), Err(NoEntryId), "{wrong}");
        }
    }
}
