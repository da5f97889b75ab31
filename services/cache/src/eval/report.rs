//! The result, for people and for programs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    measure::{Judged, Outcome, share},
    replay::Replayed,
    rows::Odd,
};

/// The form of the JSON; raised when a meaning changes.
const SCHEMA: u32 = 1;

/// A figure and of how many rows it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Metric {
    /// The figure: a share from 0 to 1, or in the unit that its name ends with.
    pub value: f64,
    /// The pairs, hits or requests behind it.
    pub n: usize,
}

#[derive(Debug, Serialize)]
struct Measured {
    schema: u32,
    file: String,
    metrics: Metrics,
}

type Metrics = BTreeMap<String, Metric>;

/// What was measured, by file; the file `*` is all pairs together.
#[derive(Debug, Default)]
pub struct Report {
    files: Vec<Measured>,
    /// A line for each file and reason why rows were left out.
    notices: Vec<String>,
}

/// All pairs together.
pub(super) const ALL: &str = "*";

/// Bounds on the error that a caller may state.
const BOUNDS: [f64; 6] = [0.02, 0.05, 0.06, 0.075, 0.1, 0.2];

/// Fixed thresholds: what others use, and what is left when they are raised.
const THRESHOLDS: [f32; 7] = [0.70, 0.80, 0.85, 0.90, 0.92, 0.95, 0.98];

impl Report {
    /// Tells how many rows of a file were judged, and which were left out.
    pub(super) fn rows(&mut self, name: &str, judged: usize, odd: &[Odd]) {
        let mut metrics = Metrics::new();
        let all = judged + odd.len();
        put(&mut metrics, "rows.judged", Some((judged as f64, all)));
        if !odd.is_empty() {
            put(&mut metrics, "rows.left_out", Some((odd.len() as f64, all)));
        }
        self.add(name, metrics);
        let mut reasons: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for Odd { line, reason } in odd.iter().filter(|_| name != ALL) {
            reasons.entry(reason).or_default().push(*line);
        }
        self.notices.extend(reasons.into_iter().map(|(reason, lines)| {
            let first = lines.first().copied().unwrap_or_default();
            format!(
                "{name}: {} of {all} rows are left out; the first is line {first}, which {reason}",
                lines.len()
            )
        }));
    }

    fn add(&mut self, name: &str, metrics: Metrics) {
        match self.files.iter_mut().find(|file| file.file == name) {
            Some(file) => file.metrics.extend(metrics),
            None => self.files.push(Measured { schema: SCHEMA, file: name.to_owned(), metrics }),
        }
    }

    /// What whoever reads the figures should know: rows that were left out, and why.
    pub fn notices(&self) -> impl Iterator<Item = &str> {
        self.notices.iter().map(String::as_str)
    }

    pub(super) fn pairs(&mut self, name: &str, judged: &[Judged]) {
        if judged.is_empty() {
            return;
        }
        let mut metrics = Metrics::new();
        put(&mut metrics, "pairs.admitted", share(count(judged, |j| j.admitted), judged.len()));
        outcome(&mut metrics, "default", Outcome::of(judged.iter(), |pair| pair.hit));
        for least in THRESHOLDS {
            let above = move |pair: &Judged| pair.similarity >= least;
            outcome(&mut metrics, &format!("threshold_{least:.2}.bare"), Outcome::of(judged.iter(), above));
            let looked = move |pair: &Judged| above(pair) && pair.agreed;
            outcome(
                &mut metrics,
                &format!("threshold_{least:.2}.second_look"),
                Outcome::of(judged.iter(), looked),
            );
        }
        for bound in BOUNDS {
            let sure = move |pair: &Judged| pair.admitted && pair.right >= 1.0 - bound;
            let looked = move |pair: &Judged| sure(pair) && pair.agreed;
            outcome(&mut metrics, &format!("bound_{bound:.3}.model_alone"), Outcome::of(judged.iter(), sure));
            outcome(
                &mut metrics,
                &format!("bound_{bound:.3}.second_look"),
                Outcome::of(judged.iter(), looked),
            );
        }
        group(&mut metrics, "kind", judged, |pair| &pair.kind);
        group(&mut metrics, "source", judged, |pair| &pair.source);
        self.add(name, metrics);
    }

    pub(super) fn replay(&mut self, name: &str, replayed: &Replayed) {
        let mut metrics = Metrics::new();
        let Replayed { requests, exact, semantic, wrong_exact, wrong_semantic, .. } = *replayed;
        put(&mut metrics, "replay.exact_hit_rate", share(exact, requests));
        put(&mut metrics, "replay.semantic_hit_rate", share(semantic, requests));
        put(&mut metrics, "replay.hit_rate", share(exact + semantic, requests));
        put(&mut metrics, "replay.wrong_hits", share(wrong_exact + wrong_semantic, exact + semantic));
        put(&mut metrics, "replay.semantic_wrong_hits", share(wrong_semantic, semantic));
        put(&mut metrics, "replay.repeated", share(replayed.repeated, requests));
        put(
            &mut metrics,
            "replay.saved_cost_nanousd",
            Some((replayed.saved_nanousd as f64, exact + semantic)),
        );
        put(&mut metrics, "replay.cost_nanousd", Some((replayed.cost_nanousd as f64, requests)));
        self.add(name, metrics);
    }

    /// One figure.
    #[must_use]
    pub fn metric(&self, file: &str, name: &str) -> Option<Metric> {
        self.files.iter().find(|f| f.file == file)?.metrics.get(name).copied()
    }

    /// A line of JSON for each file: `{schema: 1, file, metrics: {name: {value, n}}}`.
    #[must_use]
    pub fn json(&self) -> String {
        let line = |file| serde_json::to_string(file).unwrap_or_default();
        self.files.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Columns for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from(
            "hit_rate: share of the pairs with one answer that hit; wrong_hits: share of the hits that are wrong;\n\
             false_hits: share of the pairs with two answers that hit\n",
        );
        for notice in &self.notices {
            text.push_str(&format!("NOTICE {notice}\n"));
        }
        for file in &self.files {
            text.push_str(&format!("\n{}\n", if file.file == ALL { "all pairs" } else { &file.file }));
            for (name, metric) in &file.metrics {
                text.push_str(&format!("  {name:<60} {:>9.4}  n {}\n", metric.value, metric.n));
            }
        }
        text
    }
}

fn count(judged: &[Judged], holds: impl Fn(&Judged) -> bool) -> usize {
    judged.iter().filter(|one| holds(one)).count()
}

fn put(metrics: &mut Metrics, name: &str, measured: Option<(f64, usize)>) {
    if let Some((value, n)) = measured {
        metrics.insert(name.to_owned(), Metric { value, n });
    }
}

fn outcome(metrics: &mut Metrics, name: &str, outcome: Outcome) {
    put(metrics, &format!("{name}.hit_rate"), outcome.hit_rate());
    put(metrics, &format!("{name}.wrong_hits"), outcome.wrong_hits());
    put(metrics, &format!("{name}.false_hits"), outcome.false_hits());
}

/// The figures of each group by itself.
fn group(metrics: &mut Metrics, what: &str, judged: &[Judged], name: impl Fn(&Judged) -> &str) {
    let names: BTreeSet<&str> = judged.iter().map(&name).filter(|name| !name.is_empty()).collect();
    for one in names {
        let of = || judged.iter().filter(|pair| name(pair) == one);
        outcome(metrics, &format!("{what}.{one}.default"), Outcome::of(of(), |pair| pair.hit));
        let fixed = Outcome::of(of(), |pair| pair.similarity >= 0.9);
        outcome(metrics, &format!("{what}.{one}.threshold_0.90.bare"), fixed);
    }
}
