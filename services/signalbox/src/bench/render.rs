//! The report for people.

use super::{
    latency::{Added, Quantiles},
    report::{Chunks, Report, Run, Site},
};
use crate::print;

/// What DESIGN.md §7 aims at, in microseconds of processor time, on two cores with the semantic tier off: for one process and
/// for six in sum.
const GOALS: [(&str, [&str; 3]); 2] =
    [("one", ["≤ 150", "≤ 300", "≤ 9"]), ("six", ["≤ 800", "≤ 1500", "≤ 40"])];

/// Lays out the whole report.
pub(super) fn render(report: &Report) -> String {
    let workload = &report.workload;
    let mut sections = vec![
        format!(
            "{}\n{} connections; a short prompt, new every time (seed {}); {} requests of warm-up not counted",
            report.place(),
            workload.connections,
            workload.seed,
            workload.warm_up_requests
        ),
        latencies(&report.runs),
        processor(report),
    ];
    let mut notes = errors(&report.runs);
    notes.extend(report.notes.iter().cloned());
    if report.is_debug() {
        notes.push(
            "this is a debug build: an optimised one is several times faster (cargo build --release)".into(),
        );
    }
    sections.push(notes.iter().map(|note| format!("note: {note}")).collect::<Vec<_>>().join("\n"));
    sections.retain(|section| !section.is_empty());
    sections.join("\n\n")
}

/// Rates and latencies, a line a measurement: what the mesh adds, or where the provider is unknown, what it takes.
fn latencies(runs: &[Run]) -> String {
    let added = runs.iter().any(|run| run.added.is_some());
    let head =
        ["mesh", "semantic", "answer", "load", "req/s", "p50", "p99", "p99.9", "first: p50", "p99", "p99.9"];
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let load = run
                .offered_per_second
                .map_or_else(|| run.load.to_owned(), |rate| format!("open {rate:.0}/s"));
            let mut row = names(&run.site);
            row.extend([run.answer.name().to_owned(), load, format!("{:.0}", run.requests_per_second)]);
            let (all, first) = match added {
                true => (run.added, run.added_first),
                false => (
                    run.latency.map(|q| q.over(&Quantiles::ZERO)),
                    run.first.map(|q| q.over(&Quantiles::ZERO)),
                ),
            };
            row.extend(cells(all));
            row.extend(cells(first));
            row
        })
        .collect();
    let right: Vec<bool> = (0..head.len()).map(|column| column > 3).collect();
    let of =
        if added { "added over the provider, whose own quantiles are subtracted" } else { "of the mesh" };
    format!("latency in ms {of}; first: to the first text\n{}", print::table(&head, &right, &rows))
}

fn cells(quantiles: Option<Added>) -> [String; 3] {
    quantiles.map_or(["-", "-", "-"].map(str::to_owned), |q| [ms(q.p50_us), ms(q.p99_us), ms(q.p999_us)])
}

/// Three digits that count, of milliseconds.
fn ms(us: f64) -> String {
    let ms = us / 1_000.0;
    let decimals = match ms.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{ms:.decimals$}")
}

/// Processor time and memory.
fn processor(report: &Report) -> String {
    let measured = report.runs.iter().filter(|run| run.cpu_us_per_request.is_some());
    let rows: Vec<Vec<String>> = measured
        .map(|run| {
            let mut row = names(&run.site);
            let mib = |bytes: u64| (bytes >> 20).to_string();
            let memory = run.memory.unwrap_or_default();
            row.extend([
                run.answer.name().to_owned(),
                run.load.to_owned(),
                run.cpu_us_per_request.map_or_else(|| "-".into(), |cpu| format!("{cpu:.0}")),
                mib(memory.resident_bytes),
                mib(memory.peak_bytes),
                by_process(run),
            ]);
            row
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = ["mesh", "semantic", "answer", "load", "CPU µs/req", "RSS MiB", "peak MiB", ""];
    let right = [false, false, false, false, true, true, true, false];
    let mut text = format!(
        "processor time (simulator and load generator excluded) and memory\n{}",
        print::table(&head, &right, &rows)
    );
    if !report.chunks.is_empty() {
        text.push_str("\n\n");
        text.push_str(&chunks(&report.chunks));
    }
    text
}

/// What each of several processes took.
fn by_process(run: &Run) -> String {
    let parts = &run.cpu_us_per_request_by_process;
    if parts.len() < 2 {
        return String::new();
    }
    parts.iter().map(|(name, cpu)| format!("{name} {cpu:.0}")).collect::<Vec<_>>().join(", ")
}

/// Processor time per chunk, with the goals.
fn chunks(chunks: &[Chunks]) -> String {
    let mut rows = Vec::new();
    for of in chunks {
        let mut row = names(&of.site);
        row.extend([of.whole_us, of.stream_us].map(|us| format!("{us:.0}")));
        row.push(of.one_more_us.map_or_else(|| "-".to_owned(), |us| format!("{us:.1}")));
        row.extend([of.each_more_us, of.each_share_us].map(|us| format!("{us:.1}")));
        rows.push(row);
        let goal = GOALS
            .iter()
            .find(|(topology, _)| *topology == of.site.topology && of.site.semantic == Some(false));
        if let Some((_, [whole, stream, chunk])) = goal {
            rows.push(["", "goal", whole, stream, chunk, chunk, ""].map(str::to_owned).to_vec());
        }
    }
    let head = [
        "mesh",
        "semantic",
        "whole",
        "stream",
        "one more chunk",
        "(stream − whole) / chunks",
        "stream / chunks",
    ];
    let right = [false, false, true, true, true, true, true];
    format!(
        "processor µs in the closed loop; one more chunk: what a long stream takes more than a short one, by the chunk\n{}",
        print::table(&head, &right, &rows)
    )
}

fn names(site: &Site) -> Vec<String> {
    let semantic = site.semantic.map_or("?", |on| if on { "on" } else { "off" });
    vec![site.topology.to_owned(), semantic.to_owned()]
}

/// What puts the figures in doubt.
fn errors(runs: &[Run]) -> Vec<String> {
    let mut notes = Vec::new();
    for run in runs {
        let name = format!("{} {} {}", names(&run.site).join("/"), run.answer.name(), run.load);
        for (error, count) in &run.errors {
            notes.push(format!("{name}: {count} failed: {error}"));
        }
        if run.cached > 0 {
            notes.push(format!("{name}: {} of {} answers came from the cache", run.cached, run.answered));
        }
        if run.degraded > 0 {
            notes.push(format!("{name}: {} answers went without a part of the mesh", run.degraded));
        }
        // Rounded up to what is due in the time of one answer at the end.
        if run.offered_per_second.is_some_and(|rate| run.requests_per_second < 0.9 * rate) {
            notes.push(format!(
                "{name}: the mesh did not keep up with the rate; latencies hold the wait for it"
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;

    #[test]
    fn three_digits_are_shown() {
        let shown = [0.0, 42.0, 1_234.0, 56_780.0, 400_000.0, -42.0].map(super::ms);
        assert_eq!(shown, ["0.000", "0.042", "1.23", "56.8", "400", "-0.042"]);
    }

    #[test]
    fn the_report_holds_figures_goals_and_doubts() {
        let text = super::render(&report(3));
        for expected in [
            "16 connections",
            "0.300", // added
            "0.150", // added to the first text
            "one more chunk",
            "≤ 9",
            "3 failed: OVERLOADED",
            "note: a note",
        ] {
            assert!(text.contains(expected), "{expected} is missing in:\n{text}");
        }
    }
}
