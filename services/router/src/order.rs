//! The ways to choose: each gives every candidate a score and the reason for its place.

use signalbox_proto::router::v1::Candidate;

use crate::{
    config::{Latency, Policy, Way},
    hash::rendezvous,
    learned::Learned,
    pattern::covers_target,
    stats::Stats,
};

/// What an order may depend on besides the candidates.
pub(crate) struct Basis<'a> {
    pub(crate) stats: &'a Stats,
    /// What policies that learn believe.
    pub(crate) learned: &'a Learned,
    /// The policy's name and what was asked for: beliefs are theirs.
    pub(crate) policy: &'a str,
    pub(crate) model: &'a str,
    /// What makes requests equal for shares: the request's id.
    pub(crate) request_key: &'a str,
    /// What keeps requests together; empty: nothing.
    pub(crate) sticky_key: &'a str,
    /// The probability that the large model is better, where it was asked for.
    pub(crate) needs_large: Option<f64>,
    /// From which probability on the large model is asked.
    pub(crate) threshold: f64,
    /// The share of the large model's quality that the threshold keeps.
    pub(crate) quality: f64,
}

/// The score of what is not to be tried before all others were.
const LAST: f64 = -1e18;

/// Targets that go first whatever the way says.
pub(crate) struct Front<'a> {
    /// What puts them there: `rule 1`.
    pub(crate) by: String,
    pub(crate) targets: &'a [String],
}

/// Orders candidates, best first; equal ones stay in configured order.
pub(crate) fn order(
    candidates: &mut [Candidate],
    policy: &Policy,
    front: Option<&Front<'_>>,
    basis: &Basis<'_>,
) {
    for candidate in candidates.iter_mut() {
        let first = basis.stats.latency_ms(&candidate.target_id, Latency::FirstOutput);
        // Saturates; latencies are far below.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let whole = first.map(|ms| ms.round() as u64);
        candidate.predicted_first_output_ms = whole;
    }
    if let Some(front) = front {
        in_front(candidates, front);
    } else {
        match policy.way {
            Way::Fixed => fixed(candidates),
            Way::LowestCost => lowest_cost(candidates),
            Way::LowestLatency => lowest_latency(candidates, policy, basis),
            Way::Balanced => balanced(candidates, policy, basis),
            Way::Weighted => weighted(candidates, policy, basis),
            Way::Complexity => by_complexity(candidates, policy, basis),
            Way::Sticky => sticky(candidates, basis),
            Way::Learned => learned(candidates, policy, basis),
        }
    }
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
}

fn fixed(candidates: &mut [Candidate]) {
    for (place, candidate) in candidates.iter_mut().enumerate() {
        candidate.score = -(place as f64);
        candidate.reason = format!("configured at place {} among those that can answer", place + 1);
    }
}

fn in_front(candidates: &mut [Candidate], Front { by, targets }: &Front<'_>) {
    let place = |candidate: &Candidate| targets.iter().position(|p| covers_target(p, &candidate.target_id));
    for candidate in candidates {
        (candidate.score, candidate.reason) = match place(candidate) {
            Some(place) => (-(place as f64), format!("{by} names it at place {}", place + 1)),
            None => (LAST, format!("{by} does not name it, so it comes behind those named")),
        };
    }
}

fn dollars(nanousd: i64) -> f64 {
    nanousd as f64 / 1e9
}

fn lowest_cost(candidates: &mut [Candidate]) {
    for candidate in candidates {
        (candidate.score, candidate.reason) = match candidate.predicted_cost_nanousd {
            Some(cost) => (-dollars(cost), format!("predicted to cost ${:.6}", dollars(cost))),
            None => (LAST, "its price is unknown, so it comes last".into()),
        };
    }
}

fn lowest_latency(candidates: &mut [Candidate], policy: &Policy, basis: &Basis<'_>) {
    for candidate in candidates {
        let latency = basis.stats.latency_ms(&candidate.target_id, policy.latency);
        (candidate.score, candidate.reason) = match latency {
            Some(ms) => (-ms, format!("took {ms:.0} ms lately")),
            None => (0.0, "not asked yet, so it is tried to learn how fast it is".into()),
        };
    }
}

fn balanced(candidates: &mut [Candidate], policy: &Policy, basis: &Basis<'_>) {
    let latency = |candidate: &Candidate| basis.stats.latency_ms(&candidate.target_id, policy.latency);
    let cost = |candidate: &Candidate| candidate.predicted_cost_nanousd.map(dollars);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max).max(1e-12);
    let dearest = most(&mut candidates.iter().filter_map(cost));
    let slowest = most(&mut candidates.iter().filter_map(latency));
    let weights = policy.balance;
    for candidate in candidates.iter_mut() {
        // An unknown price counts as the dearest, an unknown latency as none: it becomes known by being tried.
        let cost = cost(candidate).map_or(1.0, |cost| cost / dearest);
        let latency = latency(candidate).map_or(0.0, |ms| ms / slowest);
        let errors = basis.stats.errors(&candidate.target_id);
        candidate.score = -(weights.cost * cost + weights.latency * latency + weights.errors * errors);
        candidate.reason = format!(
            "cost {cost:.2} of the dearest, latency {latency:.2} of the slowest, {:.0} % of attempts failed",
            errors * 100.0
        );
    }
}

fn weighted(candidates: &mut [Candidate], policy: &Policy, basis: &Basis<'_>) {
    let weight = |candidate: &Candidate| {
        let covering =
            policy.weights.iter().find(|(pattern, _)| covers_target(pattern, &candidate.target_id));
        covering.map_or(0.0, |(_, weight)| *weight)
    };
    let sum: f64 = candidates.iter().map(weight).sum();
    for candidate in candidates {
        let weight = weight(candidate);
        if weight > 0.0 {
            candidate.score = rendezvous(basis.request_key, &candidate.target_id, weight);
            candidate.reason = format!("has a share of {:.0} %", weight / sum * 100.0);
        } else {
            candidate.score = LAST;
            candidate.reason = "has no share, so it comes last".into();
        }
    }
}

fn learned(candidates: &mut [Candidate], policy: &Policy, basis: &Basis<'_>) {
    let (draws, first) = basis.learned.draw(&policy.learn, basis.policy, basis.model, candidates);
    for (at, (candidate, draw)) in candidates.iter_mut().zip(draws).enumerate() {
        // Draws are near 0 to 1: whoever was chosen is above all others.
        candidate.score = draw.value + if at == first { 100.0 } else { 0.0 };
        candidate.reason = format!(
            "useful {:.2} of 1 by {:.0} observations{}",
            draw.mean,
            draw.count,
            if at == first { ", and its turn" } else { "" }
        );
    }
}

fn sticky(candidates: &mut [Candidate], basis: &Basis<'_>) {
    if basis.sticky_key.is_empty() {
        fixed(candidates);
        for candidate in candidates {
            candidate.reason.push_str("; nothing keeps the request at one target");
        }
        return;
    }
    for candidate in candidates {
        candidate.score = rendezvous(basis.sticky_key, &candidate.target_id, 1.0);
        candidate.reason = "what belongs together stays together".into();
    }
}

fn by_complexity(candidates: &mut [Candidate], policy: &Policy, basis: &Basis<'_>) {
    let Some(needs_large) = basis.needs_large else {
        return fixed(candidates);
    };
    let cost = |candidate: &Candidate| candidate.predicted_cost_nanousd.unwrap_or(i64::MAX);
    let dearest = candidates.iter().map(cost).max().unwrap_or(i64::MAX);
    let small = |candidate: &Candidate| {
        if policy.small.is_empty() {
            cost(candidate) < dearest
        } else {
            policy.small.iter().any(|pattern| covers_target(pattern, &candidate.target_id))
        }
    };
    let large_first = needs_large >= basis.threshold;
    let compared = format!(
        "with probability {needs_large:.2} the large model is better; from {:.2} on it is asked, to keep {:.0} % of its quality",
        basis.threshold,
        basis.quality * 100.0
    );
    for candidate in candidates {
        let small = small(candidate);
        candidate.predicted_quality = Some(if small { 1.0 - needs_large } else { 1.0 });
        // Dollars are far below the step between the two groups.
        let behind = if small == large_first { 1e9 } else { 0.0 };
        candidate.score = -behind - candidate.predicted_cost_nanousd.map_or(1e6, dollars);
        candidate.reason = format!("{} model: {compared}", if small { "small" } else { "large" });
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::LazyLock};

    use signalbox_mesh::Random;
    use signalbox_proto::common::v1::{Attempt, AttemptOutcome};

    use super::*;

    fn candidates() -> Vec<Candidate> {
        let one = |id: &str, cost| Candidate {
            target_id: id.into(),
            predicted_cost_nanousd: cost,
            ..Candidate::default()
        };
        vec![one("p/dear", Some(9_000)), one("p/cheap", Some(1_000)), one("p/unknown", None)]
    }

    fn basis(stats: &Stats) -> Basis<'_> {
        static LEARNED: LazyLock<Learned> = LazyLock::new(|| Learned::new(Random::seeded(1)));
        Basis {
            stats,
            learned: &LEARNED,
            policy: "x",
            model: "m",
            request_key: "r",
            sticky_key: "",
            needs_large: None,
            threshold: 0.5,
            quality: 0.95,
        }
    }

    fn ordered(policy: &Policy, basis: &Basis<'_>) -> Vec<String> {
        let mut all = candidates();
        order(&mut all, policy, None, basis);
        assert!(all.iter().all(|c| !c.reason.is_empty()));
        all.into_iter().map(|c| c.target_id).collect()
    }

    #[test]
    fn by_cost_and_by_rule() {
        let stats = Stats::default();
        let way = Policy::of(Way::LowestCost);
        assert_eq!(ordered(&way, &basis(&stats)), ["p/cheap", "p/dear", "p/unknown"]);
        let mut all = candidates();
        let front = Front { by: "rule 1".into(), targets: &["p/unknown".to_owned(), "p/d*".to_owned()] };
        order(&mut all, &way, Some(&front), &basis(&stats));
        assert_eq!(all.iter().map(|c| &*c.target_id).collect::<Vec<_>>(), ["p/unknown", "p/dear", "p/cheap"]);
    }

    #[test]
    fn by_latency_the_slow_one_comes_last_and_the_unknown_is_tried() {
        let stats = Stats::default();
        for (target, ms) in [("p/dear", 50), ("p/cheap", 900)] {
            let outcome = AttemptOutcome::Ok.into();
            let attempt = Attempt {
                target_id: target.into(),
                outcome,
                first_output_ms: Some(ms),
                duration_ms: ms,
                ..Attempt::default()
            };
            stats.record(&attempt, 0);
        }
        let way = Policy::of(Way::LowestLatency);
        assert_eq!(ordered(&way, &basis(&stats)), ["p/unknown", "p/dear", "p/cheap"]);
        // Ten times the cost counts more than nothing, less than being eighteen times as slow with twice the weight.
        let mut way = Policy::of(Way::Balanced);
        way.balance.latency = 2.0;
        assert_eq!(ordered(&way, &basis(&stats))[2], "p/cheap");
    }

    #[test]
    fn by_complexity_the_hard_goes_to_the_large_one() {
        let stats = Stats::default();
        let mut policy = Policy::of(Way::Complexity);
        policy.small = vec!["p/cheap".into()];
        let at = |needs_large| Basis { needs_large: Some(needs_large), ..basis(&stats) };
        assert_eq!(ordered(&policy, &at(0.6))[0], "p/dear");
        assert_eq!(ordered(&policy, &at(0.4))[0], "p/cheap");
        assert_eq!(ordered(&policy, &at(0.5)), ["p/dear", "p/unknown", "p/cheap"]);
    }

    #[test]
    fn shares_are_kept_and_only_the_keys_of_a_lost_target_move() {
        let stats = Stats::default();
        let mut policy = Policy::of(Way::Weighted);
        policy.weights = BTreeMap::from([("p/dear".to_owned(), 1.0), ("p/cheap".to_owned(), 3.0)]);
        let first = |key: &str| {
            let basis = Basis { request_key: key, ..basis(&stats) };
            ordered(&policy, &basis)[0].clone()
        };
        let cheap = (0..4_000).filter(|n| first(&n.to_string()) == "p/cheap").count();
        assert!((2_900..3_100).contains(&cheap), "{cheap} of 4,000, three quarters");

        let sticky = Policy::of(Way::Sticky);
        for key in (0..200).map(|n: u32| n.to_string()) {
            let basis = Basis { sticky_key: &key, ..basis(&stats) };
            let mut all = candidates();
            order(&mut all, &sticky, None, &basis);
            let mut fewer = candidates();
            fewer.retain(|c| c.target_id != all[2].target_id);
            order(&mut fewer, &sticky, None, &basis);
            assert_eq!(fewer[0].target_id, all[0].target_id);
        }
    }
}
