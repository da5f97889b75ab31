//! What is known of an entry's hits: which were right, which were wrong, and what that says of the next one.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Hits that an entry remembers: of those that were judged so many, and of the others.
pub(crate) const HITS: usize = 32;
/// How many outcomes the model's own estimate counts for.
const TRUST: f64 = 8.0;
/// What a wrong hit counts for against questions that are no closer than that one was.
const WRONG: f64 = 4.0;
/// What it counts for against closer ones.
const WRONG_FARTHER: f64 = 0.2;

/// The hits of an entry. Bounded: the oldest goes first.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<VecDeque<Hit>>);

#[derive(Debug)]
struct Hit {
    request_id: String,
    /// The probability of being right that the model saw; 1 for the very same request.
    probability: f64,
    /// Absent: nobody has said.
    wrong: Option<bool>,
}

/// A judgement on a hit, as replicas tell one another: request, the probability that the model saw, and whether it was wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict(pub(crate) String, pub(crate) f64, pub(crate) bool);

/// How a judgement changed what is known.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// Wrong hits: −1, 0 or 1.
    pub(crate) wrong: i64,
    /// Judged hits by meaning: 0 or 1.
    pub(crate) semantic: i64,
    /// Of them wrong: −1, 0 or 1.
    pub(crate) semantic_wrong: i64,
}

impl Standing {
    /// Notes a hit, so that a judgement on it can be told from others.
    pub(crate) fn hit(&self, request_id: &str, probability: f64) {
        if request_id.is_empty() {
            return;
        }
        push(&mut self.0.lock(), Hit { request_id: request_id.to_owned(), probability, wrong: None });
    }

    /// The same, unless it is known already.
    pub(crate) fn hit_once(&self, request_id: &str, probability: f64) {
        let known = self.0.lock().iter().any(|hit| hit.request_id == request_id);
        if !known {
            self.hit(request_id, probability);
        }
    }

    /// Takes a judgement. The last word on a request counts.
    pub(crate) fn judge(&self, request_id: &str, wrong: bool) -> Change {
        let mut hits = self.0.lock();
        let known = hits.iter_mut().find(|hit| !request_id.is_empty() && hit.request_id == request_id);
        let Some(hit) = known else {
            // A hit that was forgotten: as if it had been as sure as can be, which is the careful reading of a wrong one.
            push(&mut hits, Hit { request_id: request_id.to_owned(), probability: 1.0, wrong: Some(wrong) });
            return Change { wrong: wrong.into(), ..Change::default() };
        };
        let before = hit.wrong.replace(wrong);
        let change = i64::from(wrong) - i64::from(before.unwrap_or(false));
        let by_meaning = i64::from(hit.probability < 1.0);
        Change {
            wrong: change,
            semantic: by_meaning * i64::from(before.is_none()),
            semantic_wrong: by_meaning * change,
        }
    }

    /// The judgement on a request's hit, if there is one.
    pub(crate) fn verdict(&self, request_id: &str) -> Option<Verdict> {
        let hits = self.0.lock();
        let hit = hits.iter().rev().find(|hit| hit.request_id == request_id)?;
        Some(Verdict(hit.request_id.clone(), hit.probability, hit.wrong?))
    }

    /// All judgements, the oldest first.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let hits = self.0.lock();
        let judged =
            hits.iter().filter_map(|hit| Some(Verdict(hit.request_id.clone(), hit.probability, hit.wrong?)));
        judged.collect()
    }

    /// Takes in what was judged at any replica, or before a restart.
    pub(crate) fn hear(&self, Verdict(request_id, probability, wrong): Verdict) {
        let mut hits = self.0.lock();
        match hits.iter_mut().find(|hit| !request_id.is_empty() && hit.request_id == request_id) {
            Some(hit) => hit.wrong = Some(wrong),
            None => push(&mut hits, Hit { request_id, probability, wrong: Some(wrong) }),
        }
    }

    /// The probability that the next hit is right, given the model's and the outcomes so far.
    pub(crate) fn probability(&self, model: f64) -> f64 {
        let (mut right, mut all) = (TRUST * model, TRUST);
        for hit in self.0.lock().iter() {
            let weight = match hit.wrong {
                // Says something of questions that are as close or closer.
                Some(false) if hit.probability <= model => 1.0,
                Some(true) if hit.probability >= model => WRONG,
                Some(true) => WRONG_FARTHER,
                _ => continue,
            };
            all += weight;
            right += if hit.wrong == Some(false) { weight } else { 0.0 };
        }
        right / all
    }
}

/// Hits that were judged and those that were not are bounded each by itself: neither pushes the other out.
fn push(hits: &mut VecDeque<Hit>, hit: Hit) {
    let alike = |other: &Hit| other.wrong.is_some() == hit.wrong.is_some();
    if hits.iter().filter(|other| alike(other)).count() >= HITS
        && let Some(oldest) = hits.iter().position(alike)
    {
        hits.remove(oldest);
    }
    hits.push_back(hit);
}

/// The share of wrong hits, and the interval that holds it in 95 of 100 cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) share: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Joins what the model expects of each hit (`expected`, a mean) with what was judged. The model counts for ten outcomes.
pub(crate) fn estimate(expected: f64, judged: u64, wrong: u64) -> Estimate {
    const PRIOR: f64 = 10.0;
    /// Standard deviations of 95 %.
    const Z: f64 = 1.96;
    let n = judged as f64 + PRIOR;
    let share = (wrong as f64 + PRIOR * expected) / n;
    // Wilson's interval: also sound near 0.
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Estimate { share, low: (middle - half).max(0.0), high: (middle + half).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_hits_close_the_entry_for_what_is_no_closer() {
        let standing = Standing::default();
        standing.hit("r1", 0.96);
        assert!((standing.probability(0.97) - 0.97).abs() < 1e-9, "nobody has said");
        assert_eq!(standing.judge("r1", true), Change { wrong: 1, semantic: 1, semantic_wrong: 1 });
        assert!(standing.probability(0.96) < 0.7 && standing.probability(0.99) > 0.95);
        assert_eq!(standing.judge("r1", true), Change::default(), "said twice");
        assert_eq!(standing.judge("r1", false), Change { wrong: -1, semantic: 0, semantic_wrong: -1 });
        assert!(standing.probability(0.96) > 0.96, "right ones open it");
        assert!((standing.probability(0.9) - 0.9).abs() < 1e-9, "but not for what is farther");
    }

    #[test]
    fn a_verdict_counts_where_it_is_heard_once() {
        let (gave, judged, other) = (Standing::default(), Standing::default(), Standing::default());
        gave.hit("r1", 0.96);
        assert_eq!((gave.verdict("r1"), judged.verdict("r1")), (None, None));
        judged.judge("r1", true);
        let verdict = judged.verdict("r1").unwrap();
        assert_eq!(verdict, Verdict("r1".into(), 1.0, true));
        for _ in 0..3 {
            gave.hear(verdict.clone());
            other.hear(verdict.clone());
        }
        assert!(
            gave.probability(0.99) > 0.95 && gave.probability(0.96) < 0.7,
            "it knows how close that one was"
        );
        assert!((other.probability(0.99) - judged.probability(0.99)).abs() < 1e-9);
        gave.hear(Verdict("r1".into(), 1.0, false));
        assert!(gave.probability(0.96) > 0.96, "the last word");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let standing = Standing::default();
        standing.hit("judged", 0.95);
        standing.judge("judged", true);
        for n in 0..1_000 {
            standing.hit(&n.to_string(), 0.99);
        }
        assert_eq!(standing.0.lock().len(), HITS + 1);
        assert!(standing.probability(0.95) < 0.7, "what was judged stays");
        assert_eq!(standing.judge("0", true), Change { wrong: 1, ..Change::default() }, "forgotten");
        for n in 0..1_000 {
            standing.hear(Verdict(format!("heard {n}"), 0.9, false));
        }
        assert_eq!(standing.0.lock().len(), 2 * HITS);
        standing.judge("999", false);
        assert_eq!(
            standing.verdict("999"),
            Some(Verdict("999".into(), 0.99, false)),
            "what was heard pushes out no hit"
        );
    }

    #[test]
    fn the_interval_narrows_with_what_is_known() {
        let (few, many) = (estimate(0.02, 0, 0), estimate(0.02, 990, 20));
        assert!((few.share - 0.02).abs() < 1e-9 && (many.share - 0.02).abs() < 1e-3);
        assert!(few.low <= few.share && few.share <= few.high);
        assert!(many.high - many.low < few.high - few.low);
        assert!(estimate(0.02, 10, 10).share > 0.5);
    }
}
