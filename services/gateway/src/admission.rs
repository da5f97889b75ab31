//! Who calls, and may they: metering's word, or, while metering is away, the last known one within an allowance.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use parking_lot::Mutex;
use ring::digest;
use signalbox_mesh::{Clock, error};
use signalbox_proto::{
    common::v1::ErrorReason,
    metering::v1::{AdmitRequest, AdmitResponse, Principal, RateStatus, Reservation},
};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::{
    config::Config,
    parts::{self, Parts, is_away},
};

/// Principals remembered at most; a key beyond them costs one more wait for metering.
const PRINCIPALS: u64 = 10_000;

type Fingerprint = [u8; 32];

/// Admission of a request.
pub(crate) struct Admission {
    /// Who calls.
    pub(crate) principal: Principal,
    /// The money held; empty when nothing was reserved.
    pub(crate) reservation: Reservation,
    /// Input tokens as counted; 0 when metering is away.
    pub(crate) input_tokens: u64,
    /// Budgets that are nearly used up.
    pub(crate) low_budgets: Vec<String>,
    /// Present when metering is away.
    pub(crate) allowance: Option<Drawn>,
    /// For output while metering is away.
    pub(crate) standby: Option<Arc<Allowance>>,
    /// Rate limits after this request.
    pub(crate) rates: Vec<RateStatus>,
}

/// What is remembered of a credential.
struct Known {
    principal: Principal,
    /// When metering said so last.
    seen: Mutex<Instant>,
    allowance: Option<Arc<Allowance>>,
    /// The largest reservation seen: the measure of a draw while metering is away.
    usual: Usual,
}

/// What a request is given.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Usual {
    nanousd: i64,
    /// 0: no bound.
    output_tokens: u64,
}

impl Usual {
    /// A reservation as if all of it had been granted at once.
    fn of(reservation: &Reservation) -> Self {
        let output_tokens = reservation.granted_output_tokens.max(reservation.most_output_tokens);
        let more = i128::from(output_tokens - reservation.granted_output_tokens);
        let more = (more * i128::from(reservation.output_picousd) + 999) / 1_000;
        let more = i64::try_from(more).unwrap_or(i64::MAX);
        Self { nanousd: reservation.amount_nanousd.saturating_add(more), output_tokens }
    }
}

/// Money that may be spent while metering is away.
pub(crate) struct Allowance {
    reservation_id: String,
    left_nanousd: AtomicI64,
    expires_unix_ms: i64,
}

/// Money drawn from an allowance for one request. What was not spent goes back on drop.
pub(crate) struct Drawn {
    allowance: Arc<Allowance>,
    drawn_nanousd: i64,
    spent_nanousd: i64,
}

impl Drawn {
    /// The reservation that backs the allowance.
    pub(crate) fn reservation_id(&self) -> &str {
        &self.allowance.reservation_id
    }

    /// Notes what was spent.
    pub(crate) fn spend(&mut self, nanousd: i64) {
        self.spent_nanousd = nanousd;
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        self.allowance.left_nanousd.fetch_add(self.drawn_nanousd - self.spent_nanousd, Ordering::AcqRel);
    }
}

impl Allowance {
    /// Spends an amount for good; false, and nothing, where there is not so much.
    pub(crate) fn spend(self: &Arc<Self>, nanousd: i64, now_unix_ms: i64) -> bool {
        self.draw(nanousd, now_unix_ms).is_some()
    }

    /// Takes an amount, never below zero.
    fn draw(self: &Arc<Self>, nanousd: i64, now_unix_ms: i64) -> Option<Drawn> {
        if now_unix_ms >= self.expires_unix_ms {
            return None;
        }
        let take = |left: i64| (left >= nanousd).then(|| left - nanousd);
        self.left_nanousd.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        Some(Drawn { allowance: Arc::clone(self), drawn_nanousd: nanousd, spent_nanousd: nanousd })
    }
}

/// Asks metering, and remembers.
pub(crate) struct Admissions {
    known: Cache<Fingerprint, Arc<Known>>,
    memory: Duration,
    grace: Duration,
    limit_ms: u64,
    clock: Arc<dyn Clock>,
}

impl Admissions {
    /// Makes an empty memory.
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            known: Cache::new(PRINCIPALS),
            memory: Duration::from_millis(config.principal_memory_ms),
            grace: Duration::from_millis(config.principal_grace_ms),
            limit_ms: config.steps.admit_ms,
            clock,
        }
    }

    /// The principal of a credential, if it was seen a moment ago: enough to begin inspecting, never to admit.
    pub(crate) fn remembered(&self, credential: &str) -> Option<Principal> {
        let known = self.known.get(&fingerprint(credential))?;
        (known.seen.lock().elapsed() <= self.memory).then(|| known.principal.clone())
    }

    /// Admits a request.
    ///
    /// # Errors
    /// Metering's refusal; or `SERVICE_UNAVAILABLE` / `ALLOWANCE_EXHAUSTED` when metering is away and the last known
    /// word does not cover the request.
    pub(crate) async fn admit(
        &self,
        parts: &Parts,
        request: tonic::Request<AdmitRequest>,
    ) -> Result<Admission, Status> {
        let key = fingerprint(&request.get_ref().credential);
        match parts::step("metering", self.limit_ms, parts.admit(request)).await {
            Ok(answer) => self.remember(key, answer),
            Err(status) if is_away(&status) => self.on_allowance(key, status),
            Err(status) => {
                self.known.invalidate(&key);
                Err(status)
            }
        }
    }

    fn remember(&self, key: Fingerprint, answer: AdmitResponse) -> Result<Admission, Status> {
        let Some(principal) = answer.principal else {
            return Err(parts::away("metering", "metering answered without a principal"));
        };
        let reservation = answer.reservation.unwrap_or_default();
        let before = self.known.get(&key);
        let before = before.as_ref();
        // The same allowance keeps what was drawn from it.
        let allowance = answer.allowance.map(|new| match before.and_then(|k| k.allowance.as_ref()) {
            Some(old)
                if old.reservation_id == new.reservation_id && old.expires_unix_ms == new.expires_unix_ms =>
            {
                Arc::clone(old)
            }
            _ => Arc::new(Allowance {
                reservation_id: new.reservation_id,
                left_nanousd: AtomicI64::new(new.amount_nanousd),
                expires_unix_ms: new.expires_unix_ms,
            }),
        });
        let (usual, this) = (before.map_or(Usual::default(), |k| k.usual), Usual::of(&reservation));
        let usual = if this.nanousd >= usual.nanousd { this } else { usual };
        let standby = allowance.clone();
        let same = |known: &&Arc<Known>| {
            let held = match (&known.allowance, &allowance) {
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                (old, new) => old.is_none() && new.is_none(),
            };
            held && known.usual == usual && known.principal == principal
        };
        match before.filter(same) {
            // As nearly always.
            Some(known) => *known.seen.lock() = Instant::now(),
            None => {
                let seen = Mutex::new(Instant::now());
                self.known
                    .insert(key, Arc::new(Known { principal: principal.clone(), seen, allowance, usual }));
            }
        }
        Ok(Admission {
            principal,
            reservation,
            input_tokens: answer.input_tokens,
            low_budgets: answer.low_budgets,
            allowance: None,
            standby,
            rates: answer.rates,
        })
    }

    fn on_allowance(&self, key: Fingerprint, away: Status) -> Result<Admission, Status> {
        let known =
            self.known.get(&key).filter(|known| known.seen.lock().elapsed() <= self.grace).ok_or(away)?;
        let drawn = known.allowance.as_ref().and_then(|a| a.draw(known.usual.nanousd, self.clock.unix_ms()));
        let drawn = drawn.ok_or_else(allowance_exhausted)?;
        Ok(Admission {
            principal: known.principal.clone(),
            // The provider keeps to what was drawn.
            reservation: Reservation {
                granted_output_tokens: known.usual.output_tokens,
                ..Reservation::default()
            },
            input_tokens: 0,
            low_budgets: Vec::new(),
            allowance: Some(drawn),
            standby: None,
            rates: Vec::new(),
        })
    }
}

/// The status of what the allowance does not cover.
pub(crate) fn allowance_exhausted() -> Status {
    let message =
        "metering is away and what was set aside for that is used up or expired; retry when it is back";
    error::status(Code::Unavailable, ErrorReason::AllowanceExhausted, message)
        .with_metadata("service", "metering")
        .with_retry(Duration::from_secs(5))
        .into()
}

/// Credentials are not kept: only their digest is.
fn fingerprint(credential: &str) -> Fingerprint {
    let digest = digest::digest(&digest::SHA256, credential.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_never_overdrawn_and_gets_back_what_was_not_spent() {
        let allowance = Arc::new(Allowance {
            reservation_id: "a".into(),
            left_nanousd: AtomicI64::new(100),
            expires_unix_ms: 1_000,
        });
        let mut first = allowance.draw(60, 0).unwrap();
        assert!(allowance.draw(60, 0).is_none());
        first.spend(10);
        drop(first);
        assert!(allowance.draw(90, 999).is_some());
        assert!(allowance.draw(1, 1_000).is_none(), "expired");
        assert!(!allowance.spend(1, 0), "what was drawn is spent unless it is said otherwise");
    }

    #[test]
    fn a_first_slice_is_measured_as_if_all_had_been_granted() {
        let reservation = Reservation {
            amount_nanousd: 1_000,
            granted_output_tokens: 100,
            most_output_tokens: 300,
            output_picousd: 1_500,
            ..Reservation::default()
        };
        let usual = Usual::of(&reservation);
        assert_eq!((usual.nanousd, usual.output_tokens), (1_300, 300));
        let whole = Usual::of(&Reservation { most_output_tokens: 0, ..reservation });
        assert_eq!((whole.nanousd, whole.output_tokens), (1_000, 100));
    }
}
