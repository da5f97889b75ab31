//! An answer while it flows: recorded once, read along by all who ask the same.
//!
//! Followers read the recording itself, so that what they see costs no memory of theirs. When the leader fails, the recording stays
//! and waits for one of them to go on with it.

use std::sync::Arc;

use parking_lot::Mutex;
use signalbox_proto::common::v1::GenerateEvent;
use tokio::{sync::watch, time::Instant};

use crate::{
    canonical::Digest,
    entry::EntryId,
    recording::{Answer, Flaw, Recording},
};

/// The reason of a leader that said nothing any more.
pub(crate) const EXPIRED: &str = "expired";

/// One answer on its way.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) key: Digest,
    pub(crate) entry_id: EntryId,
    state: Mutex<State>,
    /// Counts changes; followers wait for the next.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    recording: Option<Recording>,
    /// When the leader is given up unless something comes.
    expires: Instant,
    followers: usize,
}

#[derive(Debug)]
enum Phase {
    /// Somebody fills it, or will.
    Led,
    /// The leader failed; the first follower that comes for it goes on.
    Orphaned(&'static str),
    /// It cannot be kept, so nobody leads it; each follower goes on alone.
    Lost(&'static str),
    /// Complete.
    Done(Arc<Answer>),
}

/// What a follower sees next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Events after those it has seen.
    Events(Vec<GenerateEvent>),
    /// That was the last of a complete answer.
    End,
    /// Nothing yet; by then the leader has expired.
    Wait(Instant),
    /// The leader failed; the follower may try to take over.
    Orphaned(&'static str),
    /// The follower goes on alone.
    Lost(&'static str),
}

impl Flight {
    pub(crate) fn new(key: Digest, entry_id: EntryId, recording: Recording, expires: Instant) -> Self {
        let state = State { phase: Phase::Led, recording: Some(recording), expires, followers: 0 };
        Self { key, entry_id, state: Mutex::new(state), changes: watch::Sender::new(0) }
    }

    /// Takes the leader's next events.
    ///
    /// # Errors
    /// A flaw, when the answer cannot be kept; its followers then go on alone.
    pub(crate) fn push(&self, events: Vec<GenerateEvent>) -> Result<(), Flaw> {
        let mut state = self.state.lock();
        let recording = state.recording.as_mut().ok_or(Flaw::Malformed)?;
        let pushed = events.into_iter().try_for_each(|event| recording.push(event));
        drop(state);
        if let Err(flaw) = pushed {
            self.lose(flaw.as_str());
        }
        self.changed();
        pushed
    }

    /// The whole answer, which cost that much.
    ///
    /// # Errors
    /// A flaw of the whole.
    pub(crate) fn complete(&self, cost_nanousd: i64) -> Result<Answer, Flaw> {
        let recording = self.state.lock().recording.take().ok_or(Flaw::Malformed)?;
        recording.complete(cost_nanousd).inspect_err(|flaw| self.lose(flaw.as_str()))
    }

    /// Tells the followers that the answer is complete. It is theirs also when it is not kept, because what it answers was
    /// invalidated after they asked.
    pub(crate) fn done(&self, answer: Arc<Answer>) {
        self.state.lock().phase = Phase::Done(answer);
        self.changed();
    }

    /// Nobody can lead it any more.
    pub(crate) fn lose(&self, reason: &'static str) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Led | Phase::Orphaned(_)) {
            state.phase = Phase::Lost(reason);
        }
        drop(state);
        self.changed();
    }

    /// The leader failed: true if there are followers to take over, until `expires`.
    pub(crate) fn orphan(&self, reason: &'static str, expires: Instant) -> bool {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Led) {
            return false;
        }
        let followed = state.followers > 0;
        state.phase = if followed { Phase::Orphaned(reason) } else { Phase::Lost(reason) };
        state.expires = expires;
        drop(state);
        self.changed();
        followed
    }

    /// Takes over from a leader that failed, or that said nothing until it expired; true for one caller only.
    pub(crate) fn adopt(&self, now: Instant, expires: Instant) -> bool {
        let mut state = self.state.lock();
        let free = matches!(state.phase, Phase::Orphaned(_))
            || (matches!(state.phase, Phase::Led) && state.expires <= now);
        if !free {
            return false;
        }
        state.phase = Phase::Led;
        state.expires = expires;
        if let Some(recording) = &mut state.recording {
            recording.go_on();
        }
        drop(state);
        self.changed();
        true
    }

    /// Notes that the leader lives.
    pub(crate) fn renew(&self, expires: Instant) {
        let mut state = self.state.lock();
        let sooner = expires < state.expires;
        state.expires = expires;
        drop(state);
        if sooner {
            self.changed();
        }
    }

    /// The leader, elsewhere, failed.
    pub(crate) fn orphaned(&self, reason: &'static str) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Led) {
            state.phase = Phase::Orphaned(reason);
        }
        drop(state);
        self.changed();
    }

    /// Somebody, perhaps elsewhere, goes on.
    pub(crate) fn led(&self) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Led | Phase::Orphaned(_)) {
            state.phase = Phase::Led;
            if let Some(recording) = &mut state.recording {
                recording.go_on();
            }
        }
        drop(state);
        self.changed();
    }

    /// Sets the request's own output limit, where it becomes known only after the recording began.
    pub(crate) fn limit(&self, max_output_tokens: Option<u32>) {
        if let Some(recording) = &mut self.state.lock().recording {
            recording.limit(max_output_tokens);
        }
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Done(_) | Phase::Lost(_))
    }

    /// Tells of changes, and of the last follower's leaving.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn followers(&self) -> usize {
        self.state.lock().followers
    }

    /// Who began it, as `provider/model`. Empty: that is not known yet.
    pub(crate) fn model(&self) -> String {
        let state = self.state.lock();
        let models = match &state.phase {
            Phase::Done(answer) => Some(&answer.models),
            _ => state.recording.as_ref().map(Recording::models),
        };
        models.and_then(|models| models.first()).map(ToString::to_string).unwrap_or_default()
    }

    /// Joins it.
    pub(crate) fn follow(self: &Arc<Self>) -> Follower {
        self.state.lock().followers += 1;
        Follower { flight: Arc::clone(self), changes: self.changes.subscribe(), seen: 0, bytes: 0 }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// One who reads along. Dropping it leaves.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) flight: Arc<Flight>,
    changes: watch::Receiver<u64>,
    seen: usize,
    /// Bytes of text among what it has seen.
    pub(crate) bytes: u64,
}

impl Follower {
    /// What comes next, without waiting.
    pub(crate) fn next(&mut self) -> Next {
        // Before looking, so that no change between looking and waiting is missed.
        self.changes.borrow_and_update();
        let state = self.flight.state.lock();
        let events = match &state.phase {
            Phase::Done(answer) => answer.events_from(self.seen),
            _ => {
                state.recording.as_ref().map(|recording| recording.events_from(self.seen)).unwrap_or_default()
            }
        };
        let next = if events.is_empty() {
            match &state.phase {
                Phase::Done(_) => Next::End,
                Phase::Led if state.expires <= Instant::now() => Next::Orphaned(EXPIRED),
                Phase::Led => Next::Wait(state.expires),
                Phase::Orphaned(reason) => Next::Orphaned(reason),
                Phase::Lost(reason) => Next::Lost(reason),
            }
        } else {
            Next::Events(events)
        };
        drop(state);
        if let Next::Events(events) = &next {
            self.seen += events.len();
            self.bytes += events.iter().map(crate::recording::text_bytes).sum::<u64>();
        }
        next
    }

    /// Waits for a change, or for the leader to expire. Cancel safe.
    pub(crate) async fn wait(&mut self, expires: Instant) {
        // The sender lives as long as the flight does.
        let _changed_or_expired = tokio::time::timeout_at(expires, self.changes.changed()).await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.flight.state.lock();
        state.followers = state.followers.saturating_sub(1);
        if state.followers == 0 {
            drop(state);
            self.flight.changed();
        }
    }
}
