//! What all requests share.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use signalbox_mesh::{Clock, Random};
use signalbox_proto::common::v1::{AttemptOutcome, TimeLimits};
use signalbox_wire::ErrorClass;
use tokio::time::Instant;

use crate::account::Seen;
use crate::answer::Ask;
use crate::breaker::{Open, Permit};
use crate::budget::Budget;
use crate::client::Client;
use crate::config::{Config, ms};
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::stats::InFlight;
use crate::target::{Credential, Target};
use crate::targets::Targets;

/// Is what an attempt holds of its target while it lasts.
pub(crate) type Held = InFlight;

/// The executor's state.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) targets: Targets,
    pub(crate) budget: Arc<Budget>,
    /// The other replicas, where breakers are shared.
    pub(crate) fleet: Option<Arc<Fleet>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Random,
}

impl Core {
    /// Takes what an attempt at a target needs: a place, the breaker's leave, and a credential to be there.
    ///
    /// Cancel safe: all of it is given back.
    pub(crate) async fn admit(&self, target: &Target, now: Instant) -> Result<(Permit, Held), Box<Failure>> {
        if let Credential::Missing(why) = &target.credential {
            let words = format!("no credential: {why}");
            return Err(Box::new(Failure::unsent(
                AttemptOutcome::Credential,
                ErrorClass::Credential,
                &words,
                None,
            )));
        }
        let most = target.max_in_flight.unwrap_or(self.config.bounds.in_flight_per_target);
        let Some(held) = target.memory.stats.begin(most) else {
            let words = format!("{most} requests are under way already");
            return Err(Box::new(Failure::unsent(
                AttemptOutcome::Overloaded,
                ErrorClass::Overloaded,
                &words,
                None,
            )));
        };
        match self.leave(target, now).await {
            Ok(permit) => Ok((permit, held.admitted())),
            Err(open) => {
                let words = format!("not asked: {}", open.reason);
                Err(Box::new(Failure::unsent(
                    AttemptOutcome::BreakerOpen,
                    open.class(),
                    &words,
                    Some(open.retry_in),
                )))
            }
        }
    }

    /// Asks the breaker; for a probe, the other replicas too.
    async fn leave(&self, target: &Target, now: Instant) -> Result<Permit, Open> {
        let mut permit = target.memory.breaker.admit(self.config.breaker, now)?;
        if let Some(fleet) = self.fleet.as_ref().filter(|_| permit.is_probe()) {
            // A right that is not given back, because its holder died, ends when the next probe would be due.
            let lasting = ms(self.config.breaker.open_ms.max(1));
            if !fleet.claim(target, lasting).await {
                return Err(permit.elsewhere(now));
            }
            permit.claimed();
        }
        Ok(permit)
    }

    pub(crate) fn ask<'a>(&'a self, target: &'a Target, until: Instant, seen: &'a OnceLock<Seen>) -> Ask<'a> {
        Ask {
            client: &self.client,
            dialect: target.dialect,
            streams: target.streams,
            bounds: self.config.bounds,
            secret: target.credential.secret(),
            until,
            now: self.now(),
            seen,
            stats: &target.memory.stats,
        }
    }

    pub(crate) fn first_output(&self, target: &Target, limits: &TimeLimits) -> Duration {
        let default = self.config.limits;
        // Who thinks first, and who says nothing before all is said, is silent for long.
        let slow = target.reasoning || !target.streams;
        let default = if slow { default.first_output_reasoning_ms } else { default.first_output_ms };
        limit(limits.first_output_ms, target.limits.first_output, default)
    }

    pub(crate) fn idle(&self, target: &Target, limits: &TimeLimits) -> Duration {
        limit(limits.idle_ms, target.limits.idle, self.config.limits.idle_ms)
    }

    /// How long a stream may send nothing but keep-alives. A request that says how long it waits for output means output.
    pub(crate) fn alive(&self, target: &Target, limits: &TimeLimits) -> Duration {
        let idle = self.idle(target, limits);
        if limits.idle_ms.is_some() { idle } else { idle.max(ms(self.config.limits.keep_alive_ms)) }
    }

    /// Returns when a request ends that arrives now: by its own limit, its first candidate's, and the caller's deadline.
    pub(crate) fn deadline(
        &self,
        first: &Target,
        limits: &TimeLimits,
        caller: Option<Instant>,
        now: Instant,
    ) -> Instant {
        let own = now + limit(limits.total_ms, first.limits.total, self.config.limits.total_ms);
        caller.map_or(own, |deadline| deadline.min(own))
    }

    pub(crate) fn now(&self) -> SystemTime {
        let unix = u64::try_from(self.clock.unix_ms()).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_millis(unix)
    }
}

/// Chooses a limit on time: the request's own, else the target's, else the configured one.
fn limit(request: Option<u64>, target: Option<Duration>, default: u64) -> Duration {
    request.map(ms).or(target).unwrap_or(ms(default))
}
