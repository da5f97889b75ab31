//! Learning on the way: which candidate serves best, by Thompson sampling within stated bounds.
//!
//! Each candidate of a policy and model has a belief of how useful its answers are, 0 to 1: a mean and how much it rests on. A request
//! draws a number from each belief and goes where it is highest, so that what is uncertain is tried as often as it may still turn out
//! best. A part of the requests is spread evenly whatever is believed: that keeps every share between `least` and `most`.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use signalbox_mesh::Random;
use signalbox_proto::{
    common::v1::{Attempt, AttemptKind, AttemptOutcome},
    router::v1::Candidate,
};

/// More candidates than any configuration has; further ones stay unknown.
const BELIEFS: usize = 20_000;

/// How a policy learns.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Learn {
    /// The least share of requests that each candidate gets, whatever is believed of it, 0 to 1. Default 0.05.
    pub least: f64,
    /// The largest share that one candidate gets, 0 to 1. Default 0.9.
    pub most: f64,
    /// Observations that a belief rests on at most: with fewer it follows changes faster and errs more. Default 500.
    pub memory: u32,
    /// How much each side counts in what is learned: that it answered, what it cost as a share of the dearest candidate, how soon its
    /// first output came, and scores of answers where there are any. Weights of 0 or more. Defaults 2, 1, 1, 2.
    pub errors: f64,
    /// See `errors`.
    pub cost: f64,
    /// See `errors`.
    pub latency: f64,
    /// See `errors`.
    pub quality: f64,
    /// The time to first output that counts half, in milliseconds. Default 1,000.
    pub latency_ms: f64,
}

impl Default for Learn {
    fn default() -> Self {
        Self {
            least: 0.05,
            most: 0.9,
            memory: 500,
            errors: 2.0,
            cost: 1.0,
            latency: 1.0,
            quality: 2.0,
            latency_ms: 1_000.0,
        }
    }
}

impl Learn {
    /// Checks what the types cannot say; `key` is its place in the configuration.
    pub(crate) fn validate(&self, key: &str) -> Result<(), String> {
        let shares = (0.0..=1.0).contains(&self.least) && (0.0..=1.0).contains(&self.most);
        if !shares || self.least > self.most {
            return Err(format!(
                "{key}: least is {} and most {}; give 0 ≤ least ≤ most ≤ 1",
                self.least, self.most
            ));
        }
        if !(10..=100_000).contains(&self.memory) {
            return Err(format!("{key}.memory is {}; give 10 to 100,000 observations", self.memory));
        }
        let weights = [self.errors, self.cost, self.latency, self.quality];
        if weights.iter().any(|weight| !weight.is_finite() || *weight < 0.0)
            || weights.iter().sum::<f64>() <= 0.0
        {
            return Err(format!("{key} needs weights of 0 or more, one of them above 0"));
        }
        if !(self.latency_ms.is_finite() && self.latency_ms > 0.0) {
            return Err(format!("{key}.latency_ms is {}; give a time above 0", self.latency_ms));
        }
        Ok(())
    }

    /// The share of requests that goes where the beliefs say; the rest is spread evenly over `count` candidates. A candidate that is
    /// always believed best then gets at most `most`, one that never is at least `least`.
    fn trust(&self, count: usize) -> f64 {
        if count < 2 {
            return 1.0;
        }
        let even = 1.0 / count as f64;
        let for_least = 1.0 - self.least / even;
        let for_most = (self.most - even) / (1.0 - even);
        for_least.min(for_most).clamp(0.0, 1.0)
    }

    /// How useful an attempt was without regard to its answer's quality, 0 to 1; `None`: it says nothing of the target.
    fn served(&self, attempt: &Attempt, dearest_nanousd: Option<i64>) -> Option<f64> {
        use AttemptOutcome as Outcome;
        let weights = self.errors + self.cost + self.latency;
        if weights <= 0.0 || matches!(attempt.kind(), AttemptKind::Shadow | AttemptKind::Judge) {
            return None;
        }
        match attempt.outcome() {
            Outcome::Ok => {
                let cost = match dearest_nanousd {
                    Some(dearest) if dearest > 0 => {
                        (attempt.cost_nanousd as f64 / dearest as f64).clamp(0.0, 1.0)
                    }
                    _ => 0.5,
                };
                let first_ms = attempt.first_output_ms.unwrap_or(attempt.duration_ms) as f64;
                let soon = self.latency_ms / (self.latency_ms + first_ms);
                Some((self.errors + self.cost * (1.0 - cost) + self.latency * soon) / weights)
            }
            Outcome::Unspecified
            | Outcome::Cancelled
            | Outcome::Rejected
            | Outcome::ContextTooLong
            | Outcome::ContentFilter => None,
            _ => Some(0.0),
        }
    }
}

/// A mean of observations from 0 to 1, the older ones forgotten by and by.
#[derive(Debug, Clone, Copy)]
struct Mean {
    mean: f64,
    count: f64,
}

impl Default for Mean {
    fn default() -> Self {
        Self { mean: 0.5, count: 0.0 }
    }
}

impl Mean {
    fn add(&mut self, observed: f64, memory: u32) {
        // The first one counts beside the guess of a half.
        self.count = (self.count + 1.0).min(f64::from(memory));
        self.mean += (observed - self.mean) / (self.count + 1.0);
    }

    /// Draws from the belief: what lies between 0 and 1 varies by a quarter at most.
    fn draw(&self, random: &Random) -> f64 {
        self.mean + normal(random) * 0.5 / (self.count + 1.0).sqrt()
    }
}

/// A number of the normal distribution (Box and Muller).
fn normal(random: &Random) -> f64 {
    let (a, b) = (1.0 - random.f64(), random.f64());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

#[derive(Debug, Clone, Copy, Default)]
struct Belief {
    served: Mean,
    quality: Mean,
}

/// What was observed of a candidate in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lesson {
    /// Sum and number of observations of what was served.
    served: (f64, u32),
    /// The same of scores.
    scored: (f64, u32),
    memory: u32,
}

/// What is believed of the candidates of all policies that learn.
pub(crate) struct Learned {
    beliefs: Mutex<HashMap<String, Belief>>,
    /// What the other replicas were not told yet; absent where nobody else is.
    news: Option<Mutex<BTreeMap<String, Lesson>>>,
    random: Random,
}

/// What a policy would do with a candidate.
#[derive(Debug)]
pub(crate) struct Draw {
    /// The number drawn.
    pub(crate) value: f64,
    /// What is believed: mean usefulness, and observations behind it.
    pub(crate) mean: f64,
    pub(crate) count: f64,
}

fn key(policy: &str, model: &str, target_id: &str) -> String {
    format!("{policy}\0{model}\0{target_id}")
}

impl Learned {
    pub(crate) fn new(random: Random) -> Self {
        Self { beliefs: Mutex::default(), news: None, random }
    }

    /// Of a replica that tells others.
    pub(crate) fn shared(random: Random) -> Self {
        Self { news: Some(Mutex::default()), ..Self::new(random) }
    }

    /// What is new since the last time.
    pub(crate) fn take_news(&self) -> BTreeMap<String, Lesson> {
        self.news.as_ref().map(|news| std::mem::take(&mut *news.lock())).unwrap_or_default()
    }

    /// Draws for each candidate, and says which goes first.
    pub(crate) fn draw(
        &self,
        learn: &Learn,
        policy: &str,
        model: &str,
        candidates: &[Candidate],
    ) -> (Vec<Draw>, usize) {
        let known = self.beliefs.lock();
        let belief = |candidate: &Candidate| known.get(&key(policy, model, &candidate.target_id)).copied();
        let beliefs: Vec<Belief> = candidates.iter().map(|one| belief(one).unwrap_or_default()).collect();
        drop(known);
        // Who has no scores counts as good as those who have: doubt that nobody ever resolves would spread traffic for ever.
        let scored = beliefs.iter().map(|belief| belief.quality).filter(|quality| quality.count > 0.0);
        let (sum, count) = scored.fold((0.0, 0.0), |(sum, count), quality| (sum + quality.mean, count + 1.0));
        let weight = learn.errors + learn.cost + learn.latency;
        let only_scores = weight <= 0.0;
        let typical = if count > 0.0 { sum / count } else { 0.5 };
        let quality_weight = if count > 0.0 || only_scores { learn.quality } else { 0.0 };
        let both = |served: f64, quality: f64| {
            (weight * served + quality_weight * quality) / (weight + quality_weight).max(f64::MIN_POSITIVE)
        };
        let draws: Vec<Draw> = beliefs
            .iter()
            .map(|Belief { served, quality }| {
                let of = |known: f64| if quality.count > 0.0 || only_scores { known } else { typical };
                Draw {
                    value: both(served.draw(&self.random), of(quality.draw(&self.random))),
                    mean: both(served.mean, of(quality.mean)),
                    count: served.count,
                }
            })
            .collect();
        let even = self.random.f64() >= learn.trust(candidates.len());
        let best = draws.iter().enumerate().max_by(|(_, a), (_, b)| a.value.total_cmp(&b.value));
        let first = if even { self.random.below(candidates.len()) } else { best.map_or(0, |(at, _)| at) };
        (draws, first)
    }

    /// Takes in what became of an attempt.
    pub(crate) fn served(
        &self,
        learn: &Learn,
        (policy, model): (&str, &str),
        attempt: &Attempt,
        dearest_nanousd: Option<i64>,
    ) {
        if let Some(useful) = learn.served(attempt, dearest_nanousd) {
            let lesson = Lesson { served: (useful, 1), memory: learn.memory, ..Lesson::default() };
            self.observe(key(policy, model, &attempt.target_id), &lesson);
        }
    }

    /// Takes in a score of a target's answer, −1 to 1.
    pub(crate) fn scored(&self, learn: &Learn, (policy, model): (&str, &str), target_id: &str, score: f64) {
        let good = (score.clamp(-1.0, 1.0) + 1.0) / 2.0;
        let lesson = Lesson { scored: (good, 1), memory: learn.memory, ..Lesson::default() };
        self.observe(key(policy, model, target_id), &lesson);
    }

    fn observe(&self, key: String, lesson: &Lesson) {
        if let Some(news) = &self.news {
            let mut news = news.lock();
            if news.len() < BELIEFS || news.contains_key(&key) {
                news.entry(key.clone()).or_default().add(lesson);
            }
        }
        self.apply(key, lesson);
    }

    /// Takes in what was observed, here or elsewhere.
    pub(crate) fn apply(&self, key: String, lesson: &Lesson) {
        let mut beliefs = self.beliefs.lock();
        if beliefs.len() >= BELIEFS && !beliefs.contains_key(&key) {
            return;
        }
        let belief = beliefs.entry(key).or_default();
        for (mean, (sum, count)) in
            [(&mut belief.served, lesson.served), (&mut belief.quality, lesson.scored)]
        {
            // More than are remembered change nothing further.
            for _ in 0..count.min(lesson.memory) {
                mean.add((sum / f64::from(count)).clamp(0.0, 1.0), lesson.memory);
            }
        }
    }
}

impl Lesson {
    fn add(&mut self, later: &Self) {
        let sum = |a: (f64, u32), b: (f64, u32)| (a.0 + b.0, a.1.saturating_add(b.1));
        (self.served, self.scored) = (sum(self.served, later.served), sum(self.scored, later.scored));
        self.memory = later.memory;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A world with targets that answer with a probability of their own.
    struct World {
        learned: Learned,
        learn: Learn,
        random: Random,
        candidates: Vec<Candidate>,
    }

    impl World {
        fn new(targets: usize, learn: Learn) -> Self {
            let candidate = |n: usize| Candidate { target_id: format!("p/{n}"), ..Candidate::default() };
            Self {
                learned: Learned::new(Random::seeded(1)),
                learn,
                random: Random::seeded(2),
                candidates: (0..targets).map(candidate).collect(),
            }
        }

        /// The shares of requests that each target got.
        fn run(&self, requests: usize, answers: &[f64]) -> Vec<f64> {
            let mut asked = vec![0.0; answers.len()];
            for _ in 0..requests {
                let (_, first) = self.learned.draw(&self.learn, "x", "m", &self.candidates);
                asked[first] += 1.0 / requests as f64;
                let ok = self.random.f64() < answers[first];
                let outcome = if ok { AttemptOutcome::Ok } else { AttemptOutcome::Overloaded };
                let target_id = self.candidates[first].target_id.clone();
                let attempt =
                    Attempt { target_id, outcome: outcome.into(), duration_ms: 100, ..Attempt::default() };
                self.learned.served(&self.learn, ("x", "m"), &attempt, None);
            }
            asked
        }
    }

    #[test]
    fn traffic_shifts_to_what_serves_best_and_back_when_that_changes() {
        let world = World::new(3, Learn::default());
        world.run(1_000, &[0.7, 0.95, 0.8]);
        let shares = world.run(2_000, &[0.7, 0.95, 0.8]);
        assert!(shares[1] > 0.7, "{shares:?}");
        world.run(3_000, &[0.95, 0.4, 0.8]);
        let shares = world.run(2_000, &[0.95, 0.4, 0.8]);
        assert!(shares[0] > 0.7 && shares[1] < 0.1, "{shares:?}");
    }

    #[test]
    fn shares_stay_within_their_bounds_whatever_is_believed() {
        let learn = Learn { least: 0.1, most: 0.6, ..Learn::default() };
        let world = World::new(3, learn);
        world.run(1_000, &[0.0, 1.0, 0.0]);
        let shares = world.run(20_000, &[0.0, 1.0, 0.0]);
        assert!((0.58..0.62).contains(&shares[1]), "at most `most`: {shares:?}");
        assert!(shares[0] > 0.09 && shares[2] > 0.09, "at least `least`: {shares:?}");
        // Shares that cannot all be kept are even.
        assert_eq!(Learn { least: 0.6, most: 1.0, ..learn }.trust(2), 0.0);
        assert_eq!((learn.trust(1), Learn { least: 0.0, most: 1.0, ..learn }.trust(5)), (1.0, 1.0));
    }

    #[test]
    fn scores_count_beside_what_was_served() {
        let world = World::new(2, Learn::default());
        for _ in 0..200 {
            for candidate in &world.candidates {
                let target_id = candidate.target_id.clone();
                let attempt = Attempt { outcome: AttemptOutcome::Ok.into(), target_id, ..Attempt::default() };
                world.learned.served(&world.learn, ("x", "m"), &attempt, None);
            }
            world.learned.scored(&world.learn, ("x", "m"), "p/1", 1.0);
            world.learned.scored(&world.learn, ("x", "m"), "p/0", -1.0);
        }
        let firsts = (0..1_000)
            .filter(|_| world.learned.draw(&world.learn, "x", "m", &world.candidates).1 == 1)
            .count();
        assert!(firsts > 850, "{firsts}");
        let elsewhere =
            (0..1_000).filter(|_| world.learned.draw(&world.learn, "x", "n", &world.candidates).1 == 1);
        assert!(
            (400..600).contains(&elsewhere.count()),
            "what was learned of one model is not believed of another"
        );
    }

    #[test]
    fn what_the_caller_caused_teaches_nothing() {
        let learn = Learn::default();
        for outcome in [AttemptOutcome::Cancelled, AttemptOutcome::Rejected, AttemptOutcome::ContentFilter] {
            let attempt = Attempt { outcome: outcome.into(), ..Attempt::default() };
            assert_eq!(learn.served(&attempt, None), None);
        }
        let ok = |cost_nanousd, kind: AttemptKind| Attempt {
            outcome: AttemptOutcome::Ok.into(),
            cost_nanousd,
            kind: kind.into(),
            ..Attempt::default()
        };
        assert_eq!(learn.served(&ok(1, AttemptKind::Shadow), None), None);
        let useful = |cost| learn.served(&ok(cost, AttemptKind::First), Some(100)).unwrap();
        assert!(useful(0) == 1.0 && useful(50) > useful(100) && useful(1_000) == useful(100));
    }
}
