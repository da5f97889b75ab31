//! What experiments and shadows showed, from the ledger: each arm beside the others, each copy beside the answer that was given.

mod interval;

use std::collections::{BTreeMap, HashMap};

use signalbox_proto::common::v1::{AttemptKind, AttemptOutcome};

pub use self::interval::Estimate;
use self::interval::{Mean, score_above, share_above};
use crate::ledger::{Recorded, Tried};

/// Units that are told apart over all experiments; further ones are left out, and that is told.
const UNITS: usize = 1_000_000;
/// Names are bounded by the configuration; this bounds what an old ledger may bring.
const NAMES: usize = 1_000;

/// Sums of a unit: requests, complete answers, cost, requests with times, and those with a score.
#[derive(Debug, Clone, Copy, Default)]
struct Unit {
    requests: f64,
    succeeded: f64,
    cost_nanousd: f64,
    answered: f64,
    total_ms: f64,
    with_output: f64,
    first_output_ms: f64,
    rated: f64,
    score: f64,
}

/// Collects exposures and copies, request by request.
#[derive(Debug, Default)]
pub struct Compare {
    arms: BTreeMap<(String, String), HashMap<u64, Unit>>,
    copies: BTreeMap<(String, String), Copies>,
    units: usize,
    left_out: u64,
}

/// Differences between copies and the answers that they were made beside.
#[derive(Debug, Default)]
struct Copies {
    copies: u64,
    failed: u64,
    cost_nanousd: Running,
    first_output_ms: Running,
    total_ms: Running,
    paid_nanousd: i64,
}

/// A mean of differences and their spread (Welford).
#[derive(Debug, Default)]
struct Running {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Running {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let off = value - self.mean;
        self.mean += off / self.count;
        self.squares += off * (value - self.mean);
    }

    fn estimate(&self) -> Option<Estimate> {
        Mean::measured(self.mean, self.squares, self.count).map(|mean| mean.estimate())
    }
}

/// An arm of an experiment, and how it differs from the control.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmReport {
    /// The experiment.
    pub experiment: String,
    /// The arm.
    pub arm: String,
    /// Whether the others are compared with it.
    pub control: bool,
    /// Requests that reached a model.
    pub requests: u64,
    /// What was assigned as a whole: requests, users, conversations.
    pub units: u64,
    /// The share of complete answers.
    pub succeeded: Estimate,
    /// Cost per request in nano-dollars, all attempts for the answer together.
    pub cost_nanousd: Estimate,
    /// Time to the first output in milliseconds, of complete answers. Absent: there were none.
    pub first_output_ms: Option<Estimate>,
    /// Time to the end in milliseconds, of complete answers. Absent: there were none.
    pub total_ms: Option<Estimate>,
    /// Requests that somebody scored.
    pub rated: u64,
    /// Their mean score, -1 to 1. Absent: nobody did.
    pub score: Option<Estimate>,
    /// The same beside the control.
    pub above: Above,
}

/// By how much an arm is above the control; absent for the control and where nothing is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Above {
    /// In its share of complete answers.
    pub succeeded: Option<Estimate>,
    /// In cost per request, in nano-dollars.
    pub cost_nanousd: Option<Estimate>,
    /// In the time to the first output, in milliseconds.
    pub first_output_ms: Option<Estimate>,
    /// In the time to the end, in milliseconds.
    pub total_ms: Option<Estimate>,
    /// In its mean score.
    pub score: Option<Estimate>,
}

/// Copies to a target beside answers of another.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowReport {
    /// The target that answered.
    pub beside: String,
    /// The target of the copies.
    pub target: String,
    /// Copies.
    pub copies: u64,
    /// Of them without an answer.
    pub failed: u64,
    /// What they cost together, in nano-dollars.
    pub paid_nanousd: i64,
    /// By how much a copy is dearer than its answer, in nano-dollars. Absent: no pair is complete.
    pub cost_nanousd: Option<Estimate>,
    /// By how much its first output is later, in milliseconds.
    pub first_output_ms: Option<Estimate>,
    /// By how much its end is later, in milliseconds.
    pub total_ms: Option<Estimate>,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// Experiments, the control of each first.
    pub arms: Vec<ArmReport>,
    /// Shadows.
    pub shadows: Vec<ShadowReport>,
    /// Requests that were left out because there are too many units.
    pub left_out: u64,
}

impl Compare {
    /// Takes a request in.
    pub fn add(&mut self, recorded: &Recorded) {
        if let Some(route) = recorded.route.as_ref().filter(|route| !route.experiment.is_empty()) {
            let arm = (route.experiment.clone(), route.arm.clone());
            // Digests; one of another form counts as itself.
            let unit = u64::from_str_radix(&route.unit, 16).unwrap_or_default();
            self.expose(arm, unit, recorded);
        }
        let Some(answered) = recorded.answered() else { return };
        for copy in recorded.attempts.iter().filter(|attempt| attempt.kind == AttemptKind::Shadow) {
            let pair = (answered.target_id.clone(), copy.target_id.clone());
            if self.copies.len() < NAMES || self.copies.contains_key(&pair) {
                self.copies.entry(pair).or_default().add(answered, copy);
            }
        }
    }

    fn expose(&mut self, arm: (String, String), unit: u64, recorded: &Recorded) {
        if self.arms.len() >= NAMES && !self.arms.contains_key(&arm) {
            self.left_out += 1;
            return;
        }
        let units = self.arms.entry(arm).or_default();
        if !units.contains_key(&unit) {
            if self.units >= UNITS {
                self.left_out += 1;
                return;
            }
            self.units += 1;
        }
        let sums = units.entry(unit).or_default();
        sums.requests += 1.0;
        sums.cost_nanousd += recorded.own().map(|attempt| attempt.cost_nanousd as f64).sum::<f64>();
        if let Some(score) = recorded.score {
            sums.rated += 1.0;
            sums.score += score;
        }
        if recorded.outcome == "OK" {
            sums.succeeded += 1.0;
            sums.answered += 1.0;
            sums.total_ms += recorded.total_ms as f64;
            if let Some(first) = recorded.first_output_ms {
                sums.with_output += 1.0;
                sums.first_output_ms += first as f64;
            }
        }
    }

    /// The comparison. `control` names the arm that others are compared with; without it, or where an experiment has none of that name, it
    /// is the one with the most requests.
    #[must_use]
    pub fn end(self, control: Option<&str>) -> Compared {
        let mut experiments: BTreeMap<&str, Vec<(&str, Means)>> = BTreeMap::new();
        for ((experiment, arm), units) in &self.arms {
            if let Some(means) = Means::of(units) {
                experiments.entry(experiment).or_default().push((arm, means));
            }
        }
        let mut arms = Vec::new();
        for (experiment, mut found) in experiments {
            found.sort_by(|(a, x), (b, y)| {
                let named = |arm: &str| control == Some(arm);
                (named(b), y.requests).cmp(&(named(a), x.requests)).then(a.cmp(b))
            });
            let first = found.first().map(|(_, means)| *means);
            arms.extend(
                found.iter().enumerate().map(|(at, (arm, means))| {
                    means.report(experiment, arm, first.as_ref().filter(|_| at > 0))
                }),
            );
        }
        let shadows = self.copies.into_iter().map(|((beside, target), copies)| ShadowReport {
            beside,
            target,
            copies: copies.copies,
            failed: copies.failed,
            paid_nanousd: copies.paid_nanousd,
            cost_nanousd: copies.cost_nanousd.estimate(),
            first_output_ms: copies.first_output_ms.estimate(),
            total_ms: copies.total_ms.estimate(),
        });
        Compared { arms, shadows: shadows.collect(), left_out: self.left_out }
    }
}

impl Copies {
    fn add(&mut self, answered: &Tried, copy: &Tried) {
        self.copies += 1;
        self.paid_nanousd = self.paid_nanousd.saturating_add(copy.cost_nanousd);
        if copy.outcome != AttemptOutcome::Ok {
            self.failed += 1;
            return;
        }
        self.cost_nanousd.add((copy.cost_nanousd - answered.cost_nanousd) as f64);
        self.total_ms.add((copy.duration_ms - answered.duration_ms) as f64);
        if let Some((copy, answered)) = copy.first_output_ms.zip(answered.first_output_ms) {
            self.first_output_ms.add((copy - answered) as f64);
        }
    }
}

/// The means of an arm.
#[derive(Debug, Clone, Copy)]
struct Means {
    requests: u64,
    units: u64,
    succeeded: Mean,
    cost_nanousd: Mean,
    first_output_ms: Option<Mean>,
    total_ms: Option<Mean>,
    rated: u64,
    score: Option<Mean>,
}

impl Means {
    fn of(units: &HashMap<u64, Unit>) -> Option<Self> {
        let mean = |of: fn(&Unit) -> (f64, f64)| Mean::of(units.values().map(of));
        // Of those units alone that have any.
        let some =
            |of: fn(&Unit) -> (f64, f64)| Mean::of(units.values().map(of).filter(|(_, count)| *count > 0.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let count = |of: fn(&Unit) -> f64| units.values().map(of).sum::<f64>() as u64;
        Some(Self {
            requests: count(|u| u.requests),
            units: units.len() as u64,
            succeeded: mean(|u| (u.succeeded, u.requests))?,
            cost_nanousd: mean(|u| (u.cost_nanousd, u.requests))?,
            first_output_ms: some(|u| (u.first_output_ms, u.with_output)),
            total_ms: some(|u| (u.total_ms, u.answered)),
            rated: count(|u| u.rated),
            score: some(|u| (u.score, u.rated)),
        })
    }

    fn report(&self, experiment: &str, arm: &str, control: Option<&Self>) -> ArmReport {
        let both = |of: fn(&Self) -> Option<&Mean>, above: fn(&Mean, &Mean) -> Estimate| {
            of(self).zip(control.and_then(of)).map(|(own, other)| above(own, other))
        };
        ArmReport {
            experiment: experiment.to_owned(),
            arm: arm.to_owned(),
            control: control.is_none(),
            requests: self.requests,
            units: self.units,
            succeeded: self.succeeded.share(),
            cost_nanousd: self.cost_nanousd.estimate(),
            first_output_ms: self.first_output_ms.as_ref().map(Mean::estimate),
            total_ms: self.total_ms.as_ref().map(Mean::estimate),
            rated: self.rated,
            score: self.score.as_ref().map(Mean::score),
            above: Above {
                succeeded: both(|m| Some(&m.succeeded), share_above),
                cost_nanousd: both(|m| Some(&m.cost_nanousd), Mean::above),
                first_output_ms: both(|m| m.first_output_ms.as_ref(), Mean::above),
                total_ms: both(|m| m.total_ms.as_ref(), Mean::above),
                score: both(|m| m.score.as_ref(), score_above),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::RouteRecord;

    use super::*;

    fn tried(target: &str, kind: AttemptKind, ms: i64, cost_nanousd: i64) -> Tried {
        Tried {
            target_id: target.into(),
            kind,
            outcome: AttemptOutcome::Ok,
            duration_ms: ms,
            cost_nanousd,
            ..Tried::default()
        }
    }

    fn exposed(arm: &str, unit: u32, ms: i64, outcome: &str) -> Recorded {
        let route = RouteRecord {
            experiment: "x".into(),
            arm: arm.into(),
            unit: format!("{unit:016x}"),
            ..RouteRecord::default()
        };
        let attempt = tried("p/a", AttemptKind::First, ms, ms * 10);
        let attempts = vec![attempt];
        Recorded {
            outcome: outcome.into(),
            total_ms: ms,
            route: Some(route),
            attempts,
            ..Recorded::default()
        }
    }

    #[test]
    fn an_arm_is_compared_with_the_control_by_units() {
        let mut compare = Compare::default();
        for unit in 0..40 {
            for n in 0..5 {
                compare.add(&exposed("control", unit, 100 + n, "OK"));
                if unit < 30 {
                    let outcome = if unit % 3 == 0 { "FAILED" } else { "OK" };
                    compare.add(&exposed("nano", unit, 50 + n, outcome));
                }
            }
        }
        let arms = compare.end(None).arms;
        assert_eq!(
            (&*arms[0].arm, arms[0].control, arms[0].requests, arms[0].units),
            ("control", true, 200, 40)
        );
        let nano = &arms[1];
        assert_eq!(
            (nano.control, nano.requests, nano.units, nano.succeeded.value),
            (false, 150, 30, 2.0 / 3.0)
        );
        let Above { succeeded, cost_nanousd: cost, first_output_ms: first, total_ms: total, score } =
            nano.above;
        assert_eq!((nano.rated, nano.score, score), (0, None, None), "nobody rated");
        let below = |estimate: Option<Estimate>| estimate.unwrap().interval.unwrap().1 < 0.0;
        assert!(below(succeeded) && below(cost) && below(total) && first.is_none());
        assert_eq!(total.unwrap().value, -50.0);
        let (low, high) = nano.succeeded.interval.unwrap();
        assert!(high - low > 0.25, "30 users, not 150 requests: {low} to {high}");
    }

    #[test]
    fn scores_are_those_of_who_rated() {
        let mut compare = Compare::default();
        let rated = |arm: &str, unit: u32, score: f64| Recorded {
            score: Some(score),
            ..exposed(arm, unit, 10, "OK")
        };
        for unit in 0..40 {
            // Nobody rates all that was asked.
            compare.add(&exposed("control", unit, 10, "OK"));
            compare.add(&exposed("nano", unit, 10, "OK"));
            compare.add(&rated("control", unit, if unit % 4 == 0 { -1.0 } else { 1.0 }));
            if unit < 20 {
                compare.add(&rated("nano", unit, if unit % 4 == 0 { 1.0 } else { -1.0 }));
            }
        }
        compare.add(&rated("alone", 1, 0.5));
        // What failed may be rated, too.
        compare.add(&Recorded { score: Some(-1.0), ..exposed("control", 0, 10, "FAILED") });
        let arms = compare.end(Some("control")).arms;
        let (control, nano, alone) = (&arms[0], &arms[1], &arms[2]);
        assert_eq!((control.requests, control.rated, nano.rated, alone.rated), (81, 41, 20, 1));
        assert_eq!((control.score.unwrap().value, control.above.score), (19.0 / 41.0, None));
        assert_eq!(nano.score.unwrap().value, -0.5);
        let (low, high) = nano.above.score.unwrap().interval.unwrap();
        assert!(low < -0.96 && -0.97 < high && high < -0.3, "{low} to {high}");
        assert_eq!(alone.score.unwrap(), Estimate { value: 0.5, interval: None });
        assert_eq!(alone.above.score.unwrap().interval, None);
    }

    #[test]
    fn a_control_may_be_named() {
        let mut compare = Compare::default();
        (0..5).for_each(|unit| compare.add(&exposed("b", unit, 10, "OK")));
        (0..2).for_each(|unit| compare.add(&exposed("a", unit, 10, "OK")));
        let arms = compare.end(Some("a")).arms;
        assert_eq!((&*arms[0].arm, arms[0].control, arms[1].control), ("a", true, false));
    }

    #[test]
    fn copies_are_compared_with_the_answers_they_were_made_beside() {
        let mut compare = Compare::default();
        for n in 0..20 {
            let mut copy = tried("p/b", AttemptKind::Shadow, 50 + n, 7);
            if n == 0 {
                copy.outcome = AttemptOutcome::Timeout;
            }
            let attempts = vec![tried("p/a", AttemptKind::First, 100, 10), copy];
            compare.add(&Recorded { attempts, ..Recorded::default() });
        }
        let shadows = compare.end(None).shadows;
        let one = &shadows[0];
        assert_eq!(
            (&*one.beside, &*one.target, one.copies, one.failed, one.paid_nanousd),
            ("p/a", "p/b", 20, 1, 140)
        );
        assert_eq!(one.cost_nanousd.unwrap().interval, Some((-3.0, -3.0)));
        let (low, high) = one.total_ms.unwrap().interval.unwrap();
        assert!(low < -40.0 && high > -40.0 && high < -35.0, "{low} to {high}");
    }
}
