//! Figures of the services' own measurements (`guard eval`, `cache eval`, …), for people and for programs.

mod files;
mod stopwatch;

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

pub use self::{
    files::{FileError, Lines, Predictions, json_lines},
    stopwatch::Stopwatch,
};

/// The form of the JSON; raised when a meaning changes.
const SCHEMA: u32 = 1;

/// The name of the file that stands for all of them together.
pub const ALL: &str = "*";

/// A figure and of how many rows it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Metric {
    /// The figure: a share from 0 to 1, a count, or in the unit that its name ends with.
    pub value: f64,
    /// What is behind it: rows, spans, hits, requests.
    pub n: usize,
}

/// Figures by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Metrics(BTreeMap<String, Metric>);

impl Metrics {
    /// Adds a figure, if there is one.
    pub fn put(&mut self, name: impl Into<String>, measured: Option<(f64, usize)>) {
        if let Some((value, n)) = measured {
            self.0.insert(name.into(), Metric { value, n });
        }
    }

    /// Returns a figure.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Metric> {
        self.0.get(name).copied()
    }
}

#[derive(Debug, Serialize)]
struct Measured {
    schema: u32,
    file: String,
    metrics: Metrics,
}

/// A row that cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// From 1.
    pub line: usize,
    /// What is wrong with it, to be read after "which". Nothing of its text.
    pub reason: &'static str,
}

/// What was measured, by file.
#[derive(Debug, Default)]
pub struct Report {
    head: String,
    whole: &'static str,
    files: Vec<Measured>,
    notices: Vec<String>,
}

impl Report {
    /// Creates an empty one; `head` tells people what the names mean, `whole` what [`ALL`] stands for.
    #[must_use]
    pub fn new(head: impl Into<String>, whole: &'static str) -> Self {
        Self { head: head.into(), whole, ..Self::default() }
    }

    /// Adds figures to a file's.
    pub fn add(&mut self, name: &str, metrics: Metrics) {
        match self.files.iter_mut().find(|file| file.file == name) {
            Some(file) => file.metrics.0.extend(metrics.0),
            None => self.files.push(Measured { schema: SCHEMA, file: name.to_owned(), metrics }),
        }
    }

    /// Tells how many rows of a file were judged, and which were left out.
    pub fn rows(&mut self, name: &str, judged: usize, odd: &[Odd]) {
        let mut metrics = Metrics::default();
        let all = judged + odd.len();
        metrics.put("rows.judged", Some((judged as f64, all)));
        metrics.put("rows.left_out", (!odd.is_empty()).then_some((odd.len() as f64, all)));
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

    /// Adds what whoever reads the figures should know.
    pub fn notice(&mut self, notice: String) {
        self.notices.push(notice);
    }

    /// What whoever reads the figures should know: rows that were left out, and why.
    pub fn notices(&self) -> impl Iterator<Item = &str> {
        self.notices.iter().map(String::as_str)
    }

    /// One figure.
    #[must_use]
    pub fn metric(&self, file: &str, name: &str) -> Option<Metric> {
        self.files.iter().find(|f| f.file == file)?.metrics.get(name)
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
        let mut text = self.head.clone();
        for notice in &self.notices {
            // Writing to a string does not fail.
            let _infallible = writeln!(text, "NOTICE {notice}");
        }
        for file in &self.files {
            let name = if file.file == ALL { self.whole } else { &file.file };
            let width = file.metrics.0.keys().map(String::len).max().unwrap_or(0);
            let _infallible = writeln!(text, "\n{name}");
            for (name, metric) in &file.metrics.0 {
                let _infallible = writeln!(text, "  {name:<width$} {:>9.4}  n {}", metric.value, metric.n);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_to_people_and_programs() {
        let mut report = Report::new("share: of all\n", "all files");
        let mut metrics = Metrics::default();
        metrics.put("share", Some((0.25, 4)));
        metrics.put("nothing", None);
        report.add("a.jsonl", metrics);
        report.rows("a.jsonl", 3, &[Odd { line: 7, reason: "is not JSON" }]);
        assert_eq!(report.metric("a.jsonl", "rows.left_out"), Some(Metric { value: 1.0, n: 4 }));
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!((&json["schema"], &json["metrics"]["share"]["n"]), (&1.into(), &4.into()));
        assert!(
            report
                .text()
                .contains("NOTICE a.jsonl: 1 of 4 rows are left out; the first is line 7, which is not JSON")
        );
    }
}
