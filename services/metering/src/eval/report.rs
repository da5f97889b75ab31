//! The result, for people and for programs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// The form of the JSON; raised when a meaning changes.
const SCHEMA: u32 = 1;

/// A figure and of how many rows it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Metric {
    /// The figure: a share from 0 to 1, or a count.
    pub value: f64,
    /// The rows behind it.
    pub n: usize,
}

#[derive(Debug, Serialize)]
struct Measured {
    schema: u32,
    file: String,
    metrics: Metrics,
}

type Metrics = BTreeMap<String, Metric>;

/// What was measured, by file; the file `*` is all rows together.
#[derive(Debug, Default)]
pub struct Report {
    files: Vec<Measured>,
}

/// One count beside the provider's.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    pub(super) id: String,
    /// What was counted, and from what.
    pub(super) way: &'static str,
    pub(super) family: String,
    pub(super) source: String,
    pub(super) predicted: u64,
    pub(super) actual: u64,
    /// How far off the count says that it may be, nine times of ten.
    pub(super) margin: u64,
}

impl Counted {
    fn off(&self) -> u64 {
        self.predicted.abs_diff(self.actual)
    }

    fn within(&self, share: f64) -> bool {
        self.off() as f64 <= share * self.actual as f64
    }

    /// Whether it is the row's own count, not that of the request behind it.
    pub(super) fn is_first(&self) -> bool {
        !self.way.starts_with("request")
    }
}

impl Report {
    pub(super) fn add(&mut self, name: &str, counted: &[Counted], odd: usize) {
        let mut metrics = Metrics::new();
        if odd > 0 {
            metrics.insert("rows.odd".to_owned(), Metric { value: odd as f64, n: odd });
        }
        let ways: BTreeSet<&str> = counted.iter().map(|one| one.way).collect();
        for way in ways {
            let of: Vec<&Counted> = counted.iter().filter(|one| one.way == way).collect();
            shares(&mut metrics, &format!("{way}.all"), &of);
            group(&mut metrics, way, &of, |one| &one.family);
            if matches!(way, "text" | "request_tools") {
                group(&mut metrics, &format!("{way}.source"), &of, |one| &one.source);
            }
        }
        if !metrics.is_empty() {
            self.files.push(Measured { schema: SCHEMA, file: name.to_owned(), metrics });
        }
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
            "text: prompts without tools, counted from their messages; tools_unseen: prompts with tools that the row does not hold;\n\
             request_text, request_tools: the same, counted from the request as it was sent; vectors: published tokens of texts.\n\
             exact, within_1, within_5: share of the counts that are equal, within 1 % and within 5 % of what was billed;\n\
             in_margin: share within the error that the count itself states\n",
        );
        for file in &self.files {
            text.push_str(&format!("\n{}\n", if file.file == "*" { "all files" } else { &file.file }));
            let width = file.metrics.keys().map(String::len).max().unwrap_or(0);
            for (name, metric) in &file.metrics {
                text.push_str(&format!("  {name:<width$} {:>8.3}  n {}\n", metric.value, metric.n));
            }
        }
        text
    }
}

/// The figures of each group by itself.
fn group(metrics: &mut Metrics, what: &str, of: &[&Counted], name: impl Fn(&Counted) -> &str) {
    let names: BTreeSet<&str> = of.iter().map(|one| name(one)).filter(|name| !name.is_empty()).collect();
    for group in names {
        let some: Vec<&Counted> = of.iter().filter(|one| name(one) == group).copied().collect();
        shares(metrics, &format!("{what}.{group}"), &some);
    }
}

fn shares(metrics: &mut Metrics, name: &str, of: &[&Counted]) {
    let n = of.len();
    let mut put = |what: &str, holds: &dyn Fn(&Counted) -> bool| {
        let count = of.iter().filter(|one| holds(one)).count();
        metrics.insert(format!("{name}.{what}"), Metric { value: count as f64 / n.max(1) as f64, n });
    };
    put("exact", &|one| one.off() == 0);
    put("within_1", &|one| one.within(0.01));
    put("within_5", &|one| one.within(0.05));
    put("in_margin", &|one| one.off() <= one.margin);
}
