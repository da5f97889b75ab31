//! Recorded requests through another policy: what would have gone elsewhere, at which cost, how fast.
//!
//! Only what the ledger keeps is used: no request is asked again, and nothing of what was said is known. The tokens of an answer are taken to
//! be the same from any model; latencies of a target are the means of what it did in the same recording.

use std::collections::BTreeMap;

use signalbox_catalog::{Cost, Price, Usage};
use signalbox_config::Shared;
use signalbox_mesh::Random;
use signalbox_proto::common::v1::{Attempt, AttemptOutcome, Attribution};

use crate::{
    config::{Config, Way},
    error::Error,
    learned::Learned,
    ledger::{Recorded, Tried},
    plan::BY_PRINCIPAL,
    record::Asked,
    setup::Setup,
    stats::Stats,
};

/// Moves that are told apart; there are never more than models times targets times targets.
const MOVES: usize = 100_000;

/// A policy that recorded requests are put through, one after another.
pub struct Replay {
    setup: Setup,
    /// What reports had said by then.
    stats: Stats,
    learned: Learned,
    tenants: BTreeMap<String, Rights>,
    seen: BTreeMap<String, Seen>,
    moves: BTreeMap<(String, String, String), Moved>,
    refused: BTreeMap<(String, &'static str), u64>,
    sums: Sums,
}

/// What a tenant may use, by the new configuration.
struct Rights {
    allowed: Vec<String>,
    policy: Option<String>,
}

/// How fast a target was.
#[derive(Default)]
struct Seen {
    answers: u64,
    total_ms: i64,
    with_output: u64,
    first_output_ms: i64,
}

/// Requests of one model that would go from one target to another, or stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// How many.
    pub requests: u64,
    /// What they cost where they went, in nano-dollars, as far as both prices are known.
    pub cost_before_nanousd: i64,
    /// What they would cost.
    pub cost_after_nanousd: i64,
    /// Of them with a price that is unknown on either side: they are in neither sum.
    pub unpriced: u64,
}

/// What became of the requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Requests read.
    pub requests: u64,
    /// Of them answered by the cache: no policy was asked.
    pub cached: u64,
    /// Never routed, or recorded by a version that kept nothing of it: blocked prompts, refused requests.
    pub unrouted: u64,
    /// Named more targets than are kept.
    pub incomplete: u64,
    /// Planned again.
    pub replayed: u64,
    /// Would go to another target first.
    pub elsewhere: u64,
    /// Would have no plan.
    pub refused: u64,
    /// Would be ordered by a complexity that was not recorded; they count as in configured order.
    pub without_complexity: u64,
}

/// A line of the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    /// What was asked for.
    pub model: String,
    /// The target that the recorded plan put first.
    pub from: String,
    /// The one that the new policy puts first.
    pub to: String,
    /// How many, and what they cost.
    pub moved: Moved,
    /// Mean time to the first output there, in milliseconds. `None`: unknown.
    pub first_output_ms: (Option<f64>, Option<f64>),
    /// Mean time to the end there, in milliseconds. `None`: unknown.
    pub total_ms: (Option<f64>, Option<f64>),
}

/// What would have changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// Counts.
    pub sums: Sums,
    /// By model, from and to; those that stay too.
    pub moves: Vec<Move>,
    /// Requests that would have no plan, by model and reason.
    pub refused: Vec<(String, &'static str, u64)>,
}

impl Replay {
    /// Prepares a policy; `shared` holds the models and tenants that it is about.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(shared: &Shared, config: Config) -> Result<Self, String> {
        let rights = |tenant: &signalbox_config::Tenant| Rights {
            allowed: tenant.allowed_models.clone(),
            policy: tenant.route_policy.clone(),
        };
        Ok(Self {
            setup: Setup::new(shared, config)?,
            stats: Stats::default(),
            learned: Learned::new(Random::seeded(0)),
            tenants: shared.tenants.iter().map(|(name, tenant)| (name.clone(), rights(tenant))).collect(),
            seen: BTreeMap::new(),
            moves: BTreeMap::new(),
            refused: BTreeMap::new(),
            sums: Sums::default(),
        })
    }

    /// Puts one request through the policy. Requests come in the order in which they began.
    pub fn add(&mut self, recorded: &Recorded) {
        self.sums.requests += 1;
        self.plan_again(recorded);
        // What it taught is known to those after it.
        let ended = |attempt: &Tried| recorded.started_unix_ms.saturating_add(attempt.duration_ms);
        for attempt in &recorded.attempts {
            self.stats.record(&reported(attempt), ended(attempt));
            let seen = self.seen.entry(attempt.target_id.clone()).or_default();
            if attempt.outcome == AttemptOutcome::Ok {
                seen.answers += 1;
                seen.total_ms = seen.total_ms.saturating_add(attempt.duration_ms);
                if let Some(first) = attempt.first_output_ms {
                    seen.with_output += 1;
                    seen.first_output_ms = seen.first_output_ms.saturating_add(first);
                }
            }
        }
    }

    fn plan_again(&mut self, recorded: &Recorded) {
        if recorded.is_hit() {
            self.sums.cached += 1;
            return;
        }
        let (Some(route), Some(first)) = (&recorded.route, recorded.own().next()) else {
            self.sums.unrouted += 1;
            return;
        };
        if route.incomplete {
            self.sums.incomplete += 1;
            return;
        }
        self.sums.replayed += 1;
        let mut record = route.clone();
        let rights = self.tenants.get(&recorded.tenant);
        if let Some(policy) = rights.and_then(|rights| rights.policy.clone())
            && record.named_by != crate::plan::BY_REQUEST
        {
            (record.policy, record.named_by) = (policy, BY_PRINCIPAL.to_owned());
        }
        let has_complexity = record.needs_large.is_some();
        let asked = Asked {
            request_id: recorded.request_id.clone(),
            tenant: recorded.tenant.clone(),
            model: recorded.model.clone(),
            attribution: Attribution {
                user: recorded.user.clone(),
                feature: recorded.feature.clone(),
                tags: recorded.tags.clone().into_iter().collect(),
                conversation_id: Some(record.sticky.clone()).filter(|digest| !digest.is_empty()),
            },
            allowed: rights.map(|rights| rights.allowed.clone()).unwrap_or_default(),
            unix_ms: recorded.started_unix_ms,
            record,
        };
        let planned = match asked.plan(&self.setup, &self.stats, &self.learned) {
            Ok(planned) => planned,
            Err(error) => {
                self.sums.refused += 1;
                *self.refused.entry((recorded.model.clone(), reason(&error))).or_default() += 1;
                return;
            }
        };
        self.learn(recorded, &planned);
        let by_complexity =
            self.setup.config.policy(&planned.policy).is_some_and(|policy| policy.way == Way::Complexity);
        self.sums.without_complexity += u64::from(by_complexity && !has_complexity);
        let to = planned.candidates.first().map(|candidate| candidate.target_id.clone()).unwrap_or_default();
        self.sums.elsewhere += u64::from(to != first.target_id);
        let cost = self.costs(recorded, first, &to);
        let key = (recorded.model.clone(), first.target_id.clone(), to);
        if self.moves.len() >= MOVES && !self.moves.contains_key(&key) {
            return;
        }
        let moved = self.moves.entry(key).or_default();
        moved.requests += 1;
        match cost {
            Some((before, after)) => {
                moved.cost_before_nanousd = moved.cost_before_nanousd.saturating_add(before);
                moved.cost_after_nanousd = moved.cost_after_nanousd.saturating_add(after);
            }
            None => moved.unpriced += 1,
        }
    }

    /// What the request cost, and would cost: at the tokens of the answer that there was, by the prices of now. Where nothing changes,
    /// what was paid. `None`: unknown.
    fn costs(&self, recorded: &Recorded, first: &Tried, to: &str) -> Option<(i64, i64)> {
        let Some(answered) = recorded.answered() else { return Some((0, 0)) };
        if to == first.target_id {
            return Some((answered.cost_nanousd, answered.cost_nanousd));
        }
        let usage = Usage {
            input_tokens: answered.input_tokens,
            output_tokens: answered.output_tokens,
            ..Usage::default()
        };
        let price = |target_id: &str| {
            let price = self.setup.catalog.target(target_id)?.price;
            match Price::cost_or_unknown(price.as_ref(), &usage) {
                Cost { unknown: true, .. } => None,
                Cost { nanousd, .. } => Some(nanousd),
            }
        };
        // One that is no longer configured cost what it cost.
        let before = match self.setup.catalog.target(&first.target_id) {
            Some(_) => price(&first.target_id)?,
            None => answered.cost_nanousd,
        };
        Some((before, price(to)?))
    }

    /// A policy that learns is taught by the answers of those targets that were really asked.
    fn learn(&self, recorded: &Recorded, planned: &signalbox_proto::router::v1::PlanResponse) {
        let Some(policy) = self.setup.config.policies.get(&planned.policy).filter(|p| p.way == Way::Learned)
        else {
            return;
        };
        let dearest = planned.candidates.iter().filter_map(|c| c.predicted_cost_nanousd).max();
        for attempt in recorded.own() {
            let of = (planned.policy.as_str(), recorded.model.as_str());
            self.learned.served(&policy.learn, of, &reported(attempt), dearest);
        }
    }

    /// What would have changed, dearest changes first.
    #[must_use]
    pub fn end(self) -> Replayed {
        let mean = |sum: i64, count: u64| (count > 0).then(|| sum as f64 / count as f64);
        let first = |id: &str| self.seen.get(id).and_then(|s| mean(s.first_output_ms, s.with_output));
        let total = |id: &str| self.seen.get(id).and_then(|s| mean(s.total_ms, s.answers));
        let mut moves: Vec<Move> = self
            .moves
            .iter()
            .map(|((model, from, to), moved)| Move {
                model: model.clone(),
                first_output_ms: (first(from), first(to)),
                total_ms: (total(from), total(to)),
                from: from.clone(),
                to: to.clone(),
                moved: *moved,
            })
            .collect();
        moves.sort_by_key(|one| (one.from == one.to, std::cmp::Reverse(one.moved.requests)));
        let refused =
            self.refused.into_iter().map(|((model, reason), count)| (model, reason, count)).collect();
        Replayed { sums: self.sums, moves, refused }
    }
}

/// Why there would be no plan, in bounded words.
fn reason(error: &Error) -> &'static str {
    match error {
        Error::Config(_) | Error::NoPolicy(_) => "policy_invalid",
        Error::Unknown { .. } => "model_unknown",
        Error::TooLong { .. } => "context_too_long",
        Error::NotAllowed(_) => "not_allowed",
        Error::NoneLeft { .. } => "no_candidate",
    }
}

/// An attempt as it was reported.
fn reported(attempt: &Tried) -> Attempt {
    let whole = |ms: i64| u64::try_from(ms).unwrap_or(0);
    Attempt {
        target_id: attempt.target_id.clone(),
        kind: attempt.kind.into(),
        outcome: attempt.outcome.into(),
        duration_ms: whole(attempt.duration_ms),
        first_output_ms: attempt.first_output_ms.map(whole),
        cost_nanousd: attempt.cost_nanousd,
        ..Attempt::default()
    }
}

#[cfg(test)]
mod tests {
    use signalbox_config::Document;
    use signalbox_proto::common::v1::{AttemptKind, RouteRecord};

    use super::*;

    const MODELS: &str = "
        [models.m]
        targets = [
          { base_url = 'http://h/v1', model = 'dear', provider = 'p', context_window_tokens = 9000,
            price = { input_usd_per_mtok = '10', output_usd_per_mtok = '10' } },
          { base_url = 'http://h/v1', model = 'cheap', provider = 'p', context_window_tokens = 500,
            price = { input_usd_per_mtok = '1', output_usd_per_mtok = '1' } },
        ]
        [tenants.strict]
        allowed_models = ['p/dear']\n";

    fn replay(section: &str) -> Replay {
        let document = Document::parse(&format!("{MODELS}{section}"), "t").unwrap();
        Replay::new(&document.shared().unwrap(), document.section("router").unwrap()).unwrap()
    }

    fn recorded(id: &str, tenant: &str, input_tokens: u64) -> Recorded {
        let attempt = |target: &str, ms| Tried {
            target_id: target.into(),
            kind: AttemptKind::First,
            outcome: AttemptOutcome::Ok,
            duration_ms: ms,
            first_output_ms: Some(ms / 2),
            input_tokens,
            output_tokens: 100,
            cost_nanousd: 10_000,
            ..Tried::default()
        };
        let shadow = Tried { kind: AttemptKind::Shadow, ..attempt("p/cheap", 100) };
        let route = RouteRecord {
            policy: "fixed".into(),
            named_by: "alias".into(),
            input_tokens,
            turns: 1,
            ..RouteRecord::default()
        };
        Recorded {
            request_id: id.into(),
            tenant: tenant.into(),
            model: "m".into(),
            cache: "MISS".into(),
            attempts: vec![attempt("p/dear", 400), shadow],
            route: Some(route),
            ..Recorded::default()
        }
    }

    #[test]
    fn tells_models_cost_and_latency() {
        let mut replay = replay("[router]\naliases = { m = 'lowest_cost' }");
        replay.add(&recorded("a", "acme", 100));
        replay.add(&recorded("b", "acme", 2_000));
        replay.add(&recorded("c", "strict", 100));
        replay.add(&Recorded { cache: "EXACT".into(), ..recorded("d", "acme", 1) });
        replay.add(&Recorded { route: None, ..recorded("e", "acme", 1) });
        let Replayed { sums, moves, refused } = replay.end();
        assert_eq!(
            (sums.requests, sums.cached, sums.unrouted, sums.replayed, sums.elsewhere),
            (5, 1, 1, 3, 1)
        );
        assert!(refused.is_empty());
        // Only the short request of the tenant that may: the window of the other target and the rights of the other tenant are kept.
        let moved = &moves[0];
        assert_eq!((&*moved.from, &*moved.to, moved.moved.requests), ("p/dear", "p/cheap", 1));
        assert_eq!((moved.moved.cost_before_nanousd, moved.moved.cost_after_nanousd), (2_000_000, 200_000));
        assert_eq!(
            (moved.first_output_ms, moved.total_ms),
            ((Some(200.0), Some(50.0)), (Some(400.0), Some(100.0)))
        );
        assert_eq!((&*moves[1].to, moves[1].moved.requests), ("p/dear", 2));
        assert_eq!(moves[1].moved.cost_after_nanousd, 20_000, "what stays costs what was paid");
    }

    #[test]
    fn the_same_policy_changes_nothing() {
        let mut replay = replay("");
        (0..50).for_each(|n| replay.add(&recorded(&n.to_string(), "acme", 100)));
        let end = replay.end();
        assert_eq!((end.sums.elsewhere, end.moves.len()), (0, 1));
    }

    #[test]
    fn what_would_fail_is_told_with_its_reason() {
        let mut replay = replay(
            "[router]\naliases = { m = 'x' }\n[router.policies.x]\nway = 'complexity'\nallow = ['p/cheap']",
        );
        replay.add(&recorded("a", "acme", 2_000));
        replay.add(&recorded("b", "acme", 100));
        let mut gone = recorded("c", "acme", 100);
        gone.route.as_mut().unwrap().named_by = "request".into();
        gone.route.as_mut().unwrap().policy = "of-before".into();
        replay.add(&gone);
        let end = replay.end();
        assert_eq!(end.refused, [("m".to_owned(), "no_candidate", 1), ("m".to_owned(), "policy_invalid", 1)]);
        assert_eq!((end.sums.refused, end.sums.without_complexity), (2, 1));
    }
}
