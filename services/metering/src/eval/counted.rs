//! Counts beside what was billed, and their figures.

use std::collections::BTreeSet;

use signalbox_report::Metrics;

/// What the names of the figures mean.
pub(super) const HEAD: &str = "text: prompts without tools, counted from their messages; tools_unseen: prompts with tools that the row does not hold;\n\
     request_text, request_tools: the same, counted from the request as it was sent; vectors: published tokens of texts.\n\
     exact, within_1, within_5: share of the counts that are equal, within 1 % and within 5 % of what was billed;\n\
     in_margin: share within the error that the count itself states\n";

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

/// The figures of counts, by the way they were made and by family of models.
pub(super) fn figures(counted: &[Counted]) -> Metrics {
    let mut metrics = Metrics::default();
    let ways: BTreeSet<&str> = counted.iter().map(|one| one.way).collect();
    for way in ways {
        let of: Vec<&Counted> = counted.iter().filter(|one| one.way == way).collect();
        shares(&mut metrics, &format!("{way}.all"), &of);
        group(&mut metrics, way, &of, |one| &one.family);
        if matches!(way, "text" | "request_tools") {
            group(&mut metrics, &format!("{way}.source"), &of, |one| &one.source);
        }
    }
    metrics
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
        metrics.put(format!("{name}.{what}"), Some((count as f64 / n.max(1) as f64, n)));
    };
    put("exact", &|one| one.off() == 0);
    put("within_1", &|one| one.within(0.01));
    put("within_5", &|one| one.within(0.05));
    put("in_margin", &|one| one.off() <= one.margin);
}
