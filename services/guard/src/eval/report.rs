//! The result, for people and for programs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    measure::{self, Judged},
    rows::Odd,
    values::Values,
};

/// The form of the JSON; raised when a meaning changes.
const SCHEMA: u32 = 1;

/// A figure and of how many rows it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Metric {
    /// The figure: a share from 0 to 1, or in the unit that its name ends with.
    pub value: f64,
    /// The rows or spans behind it.
    pub n: usize,
}

#[derive(Debug, Serialize)]
struct Measured {
    schema: u32,
    file: String,
    metrics: BTreeMap<String, Metric>,
}

/// What was measured, by file; the file `*` is all of them together.
#[derive(Debug)]
pub struct Report {
    learned: bool,
    files: Vec<Measured>,
    notices: Vec<String>,
}

impl Report {
    pub(super) const fn new(learned: bool) -> Self {
        Self { learned, files: Vec::new(), notices: Vec::new() }
    }

    /// Adds a file's figures; `read` are its rows that were judged, and those that were not.
    pub(super) fn file(&mut self, name: &str, read: (usize, &Odd), judged: &[Judged], values: &Values) {
        let (rows, odd) = read;
        let mut metrics = BTreeMap::new();
        let all = rows + odd.count;
        metrics.insert("rows.judged".to_owned(), Metric { value: rows as f64, n: all });
        if odd.count > 0 {
            metrics.insert("rows.left_out".to_owned(), Metric { value: odd.count as f64, n: all });
        }
        if !odd.reasons.is_empty() {
            let (count, reasons) = (odd.count, odd.reasons.join("; "));
            self.notices.push(format!("{name}: {count} of {all} rows are left out ({reasons})"));
        }
        injection(judged, name == "*", &mut metrics);
        personal(values, &mut metrics);
        secrets(values, &mut metrics);
        self.files.push(Measured { schema: SCHEMA, file: name.to_owned(), metrics });
    }

    /// What whoever reads the figures should know: rows that were left out, and why.
    pub fn notices(&self) -> impl Iterator<Item = &str> {
        self.notices.iter().map(String::as_str)
    }

    pub(super) fn speed(&mut self, figures: Vec<(&'static str, f64, usize)>) {
        let metrics = figures.into_iter().map(|(name, value, n)| (name.to_owned(), Metric { value, n }));
        self.files.push(Measured { schema: SCHEMA, file: "speed".into(), metrics: metrics.collect() });
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
        let mut text = String::new();
        if !self.learned {
            text.push_str("the learned tier is OFF: no embedding model (run `make setup`); patterns alone\n");
        }
        for notice in &self.notices {
            text.push_str(&format!("NOTICE {notice}\n"));
        }
        for file in &self.files {
            text.push_str(&format!("\n{}\n", if file.file == "*" { "all files" } else { &file.file }));
            for (name, metric) in &file.metrics {
                text.push_str(&format!("  {name:<56} {:>9.4}  n {}\n", metric.value, metric.n));
            }
        }
        text
    }
}

type Metrics = BTreeMap<String, Metric>;

fn put(metrics: &mut Metrics, name: impl Into<String>, measured: Option<(f64, usize)>) {
    if let Some((value, n)) = measured {
        metrics.insert(name.into(), Metric { value, n });
    }
}

fn injection(rows: &[Judged], pooled: bool, metrics: &mut Metrics) {
    if rows.is_empty() {
        return;
    }
    let n = rows.len();
    put(metrics, "injection.auc", measure::auc(rows).map(|auc| (auc, n)));
    put(metrics, "injection.recall", measure::share(rows.iter().filter(|r| r.label).map(|r| r.flagged)));
    put(metrics, "injection.accuracy_harmless", measure::share(harmless(rows).map(|r| !r.flagged)));
    let triggers = rows.iter().filter(|r| r.trigger);
    put(metrics, "injection.over_defence_accuracy", measure::share(triggers.map(|r| !r.flagged)));
    put(metrics, "injection.needed_learned", measure::share(rows.iter().map(|r| r.learned)));
    for (name, share) in [("1", 0.01), ("5", 0.05)] {
        if let Some(above) = measure::threshold(rows, share) {
            put(metrics, format!("injection.recall_at_fpr_{name}"), measure::recall(rows.iter(), above));
            if pooled {
                by_source(rows, name, above, metrics);
            }
        }
    }
    let langs: BTreeSet<&str> = rows.iter().map(|r| r.lang.as_str()).collect();
    for lang in langs {
        let of = || rows.iter().filter(|r| r.lang == lang);
        let recall = measure::share(of().filter(|r| r.label).map(|r| r.flagged));
        put(metrics, format!("injection.recall.lang.{lang}"), recall);
        let calm = measure::share(of().filter(|r| !r.label).map(|r| !r.flagged));
        put(metrics, format!("injection.accuracy_harmless.lang.{lang}"), calm);
    }
    for (name, range) in LENGTHS {
        let of = || rows.iter().filter(|r| range.contains(&r.length));
        let recall = measure::share(of().filter(|r| r.label).map(|r| r.flagged));
        put(metrics, format!("injection.recall.bytes.{name}"), recall);
        let calm = measure::share(of().filter(|r| !r.label).map(|r| !r.flagged));
        put(metrics, format!("injection.accuracy_harmless.bytes.{name}"), calm);
        let micros: Vec<f64> = of().map(|r| r.micros).collect();
        let mean =
            (!micros.is_empty()).then(|| (micros.iter().sum::<f64>() / micros.len() as f64, micros.len()));
        put(metrics, format!("injection.cost.bytes.{name}_us"), mean);
    }
}

const LENGTHS: [(&str, std::ops::Range<usize>); 4] =
    [("to_200", 0..200), ("to_1000", 200..1_000), ("to_5000", 1_000..5_000), ("above", 5_000..usize::MAX)];

fn harmless(rows: &[Judged]) -> impl Iterator<Item = &Judged> {
    rows.iter().filter(|r| !r.label)
}

/// Recall by source at one threshold for all, and its mean over sources: large sources do not drown small ones.
fn by_source(rows: &[Judged], name: &str, above: f64, metrics: &mut Metrics) {
    let sources: BTreeSet<&str> = rows.iter().map(|r| r.source.as_str()).collect();
    let mut recalls = Vec::new();
    for source in sources {
        let of = || rows.iter().filter(|r| r.source == source);
        let recall = measure::recall(of(), above);
        // Single files of one collection are sources too; a mean of ones and zeros says nothing.
        recalls.extend(recall.filter(|(_, n)| *n >= 10).map(|(value, _)| value));
        put(
            metrics,
            format!("injection.recall_at_fpr_{name}.source.{source}"),
            recall.filter(|(_, n)| *n >= 10),
        );
        let calm = measure::share(of().filter(|r| !r.label).map(|r| r.score <= above));
        put(
            metrics,
            format!("injection.accuracy_harmless_at_fpr_{name}.source.{source}"),
            calm.filter(|(_, n)| *n >= 10),
        );
    }
    if !recalls.is_empty() {
        let mean = recalls.iter().sum::<f64>() / recalls.len() as f64;
        put(metrics, format!("injection.recall_at_fpr_{name}.mean_of_sources"), Some((mean, recalls.len())));
    }
}

fn personal(values: &Values, metrics: &mut Metrics) {
    let (structured, all) = values.sums();
    let sums = [("pii.structured", structured), ("pii.all", all)];
    let kinds = values.kinds.iter().map(|(kind, count)| (format!("pii.type.{kind}"), *count));
    for (name, count) in sums.into_iter().map(|(n, c)| (n.to_owned(), c)).chain(kinds) {
        if count.there == 0 && count.said == 0 {
            continue;
        }
        put(metrics, format!("{name}.precision"), Some((count.precision(), count.said)));
        put(metrics, format!("{name}.recall"), Some((count.recall(), count.there)));
        put(metrics, format!("{name}.f2"), Some((count.f2(), count.there)));
        let exact = (count.there > 0).then(|| (count.exact as f64 / count.there as f64, count.there));
        put(metrics, format!("{name}.recall_exact"), exact);
    }
    let (bytes, time) = values.cost;
    if bytes > 0 {
        let rate = bytes as f64 / 1e6 / time.as_secs_f64().max(1e-9);
        put(metrics, "values.speed_mb_per_s", Some((rate, bytes)));
    }
}

fn secrets(values: &Values, metrics: &mut Metrics) {
    let share = |(hits, n): (usize, usize)| (n > 0).then(|| (hits as f64 / n as f64, n));
    put(metrics, "secret.recall", share(values.secrets));
    put(metrics, "secret.false_hits", share(values.harmless));
}
