//! What was measured.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    generator::{Outcome, float},
    latency::{Added, Quantiles},
    process::{Memory, Used, memory_of_all},
    workload::{Answer, Load},
};

/// The version of the JSON form: raised when a field changes its meaning or goes.
pub(super) const SCHEMA: u32 = 1;
/// How this program was built.
pub(super) const BUILD: &str = if cfg!(debug_assertions) { "debug" } else { "release" };
/// The share of failed requests above which the benchmark itself fails.
const MOST_ERRORS: f64 = 0.01;

/// All of it. Durations are in microseconds, memory in bytes.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: u32,
    version: &'static str,
    /// `release`, or `debug` for a build whose figures say little.
    build: &'static str,
    os: &'static str,
    arch: &'static str,
    cores: usize,
    pub(super) workload: Workload,
    pub(super) runs: Vec<Run>,
    pub(super) chunks: Vec<Chunks>,
    /// What could not be measured, and why.
    pub(super) notes: Vec<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Workload {
    pub(super) connections: usize,
    pub(super) in_flight: usize,
    pub(super) warm_up_requests: u64,
    pub(super) seed: u32,
}

/// Which mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Site {
    /// `one` process, `six`, or `running`: a mesh that ran already.
    pub(super) topology: &'static str,
    /// Whether the semantic tier worked. Absent: unknown.
    pub(super) semantic: Option<bool>,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    #[serde(flatten)]
    pub(super) site: Site,
    pub(super) answer: Answer,
    /// `closed` or `open`.
    #[serde(rename = "loop")]
    pub(super) load: &'static str,
    /// In an open loop: requests due per second.
    pub(super) offered_per_second: Option<f64>,
    pub(super) answered: u64,
    pub(super) failed: u64,
    /// Answers that came from the cache, and so tell nothing about the way to the provider.
    pub(super) cached: u64,
    /// Answers for which the mesh went without one of its parts.
    pub(super) degraded: u64,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) seconds: f64,
    pub(super) requests_per_second: f64,
    /// From when a request was due to the end of its answer.
    pub(super) latency: Option<Quantiles>,
    /// From there to the first piece of text.
    pub(super) first: Option<Quantiles>,
    pub(super) provider_latency: Option<Quantiles>,
    pub(super) provider_first: Option<Quantiles>,
    pub(super) added: Option<Added>,
    pub(super) added_first: Option<Added>,
    /// Pieces of text in an answer as the client saw them, and as the provider sent them.
    pub(super) chunks_per_answer: f64,
    pub(super) provider_chunks_per_answer: Option<f64>,
    /// Processor time of the mesh for each answer, what it does after the answer included.
    pub(super) cpu_us_per_request: Option<f64>,
    pub(super) cpu_us_per_request_by_process: BTreeMap<String, f64>,
    pub(super) memory: Option<Memory>,
}

/// Processor time per streamed chunk, from the closed loops of one mesh.
#[derive(Debug, Serialize)]
pub(super) struct Chunks {
    #[serde(flatten)]
    pub(super) site: Site,
    pub(super) whole_us: f64,
    pub(super) stream_us: f64,
    /// Chunks of one answer.
    pub(super) chunks: f64,
    /// (stream − whole) / chunks: what streaming costs, by the chunk. DESIGN.md §7 counts so.
    pub(super) each_more_us: f64,
    /// What one more chunk costs: (long stream − stream) / (chunks of the long one − chunks), as far as a long one was measured.
    pub(super) one_more_us: Option<f64>,
    /// stream / chunks: what a chunk costs with its share of the request.
    pub(super) each_share_us: f64,
}

impl Run {
    /// Puts together what was measured at the mesh, at the provider, and of processes before and after.
    pub(super) fn new(
        site: Site,
        answer: Answer,
        load: Load,
        mesh: Outcome,
        provider: Option<&Outcome>,
        used: Option<&(Vec<Used>, Vec<Used>)>,
    ) -> Self {
        let over = |of: fn(&Outcome) -> Option<Quantiles>| Some(of(&mesh)?.over(&of(provider?)?));
        let (added, added_first) = (over(|outcome| outcome.latency), over(|outcome| outcome.first));
        let by_process =
            used.map(|(before, after)| per_request(before, after, mesh.answered)).unwrap_or_default();
        let (load, offered_per_second) = match load {
            Load::Closed => ("closed", None),
            Load::Open(rate) => ("open", Some(rate)),
        };
        Self {
            site,
            answer,
            load,
            offered_per_second,
            answered: mesh.answered,
            failed: mesh.failed,
            cached: mesh.cached,
            degraded: mesh.degraded,
            seconds: mesh.elapsed.as_secs_f64(),
            requests_per_second: mesh.rate(),
            latency: mesh.latency,
            first: mesh.first,
            provider_latency: provider.and_then(|outcome| outcome.latency),
            provider_first: provider.and_then(|outcome| outcome.first),
            added,
            added_first,
            chunks_per_answer: chunks(&mesh),
            provider_chunks_per_answer: provider.map(chunks),
            cpu_us_per_request: (!by_process.is_empty()).then(|| by_process.values().sum()),
            cpu_us_per_request_by_process: by_process,
            memory: used.map(|(_, after)| memory_of_all(after)),
            errors: mesh.errors,
        }
    }

    fn too_many_errors(&self) -> bool {
        float(self.failed) > MOST_ERRORS * float(self.answered + self.failed) || self.answered == 0
    }
}

fn chunks(outcome: &Outcome) -> f64 {
    float(outcome.chunks) / float(outcome.answered.max(1))
}

fn per_request(before: &[Used], after: &[Used], answered: u64) -> BTreeMap<String, f64> {
    if answered == 0 {
        return BTreeMap::new();
    }
    let spent = before.iter().zip(after).map(|(before, after)| {
        let cpu = after.cpu.saturating_sub(before.cpu);
        (after.name.clone(), cpu.as_secs_f64() * 1e6 / float(answered))
    });
    spent.collect()
}

impl Report {
    pub(super) fn new(workload: Workload, runs: Vec<Run>, notes: Vec<String>) -> Self {
        let chunks = per_chunk(&runs);
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            build: BUILD,
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            workload,
            runs,
            chunks,
            notes,
        }
    }

    /// The machine and the build in words.
    pub(super) fn place(&self) -> String {
        format!(
            "signalbox {} ({} build) on {}/{}, {} cores",
            self.version, self.build, self.os, self.arch, self.cores
        )
    }

    pub(super) fn is_debug(&self) -> bool {
        self.build == "debug"
    }

    /// # Errors
    /// More than one request in a hundred failed in one of the measurements.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let bad: Vec<&Run> = self.runs.iter().filter(|run| run.too_many_errors()).collect();
        let Some(worst) = bad.first() else { return Ok(()) };
        let usual =
            worst.errors.iter().max_by_key(|(_, count)| **count).map_or("no answer", |(error, _)| error);
        Err(format!(
            "more than 1 % of the requests failed in {} of {} measurements: {usual}",
            bad.len(),
            self.runs.len()
        ))
    }
}

fn per_chunk(runs: &[Run]) -> Vec<Chunks> {
    let closed = |site: &Site, answer| {
        let of = |run: &&Run| run.load == "closed" && run.site == *site && run.answer == answer;
        runs.iter().find(of)
    };
    let streams = runs.iter().filter(|run| run.load == "closed" && run.answer == Answer::Stream);
    let chunks = streams.filter_map(|run| {
        let whole_us = closed(&run.site, Answer::Whole)?.cpu_us_per_request?;
        let stream_us = run.cpu_us_per_request?;
        let count = |run: &Run| run.provider_chunks_per_answer.unwrap_or(run.chunks_per_answer);
        let chunks = count(run);
        let long = closed(&run.site, Answer::Long).filter(|long| count(long) > chunks);
        let one_more_us =
            long.and_then(|long| Some((long.cpu_us_per_request? - stream_us) / (count(long) - chunks)));
        (chunks > 0.0).then(|| Chunks {
            site: run.site.clone(),
            whole_us,
            stream_us,
            chunks,
            each_more_us: (stream_us - whole_us) / chunks,
            one_more_us,
            each_share_us: stream_us / chunks,
        })
    });
    chunks.collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    fn quantiles(us: f64) -> Quantiles {
        Quantiles { mean_us: us, p50_us: us, p99_us: us * 2.0, p999_us: us * 3.0, max_us: us * 4.0 }
    }

    fn outcome(answered: u64, failed: u64, us: f64, answer: Answer) -> Outcome {
        let stream = answer != Answer::Whole;
        let long = if answer == Answer::Long { 10 } else { 1 };
        Outcome {
            answered,
            failed,
            cached: 0,
            degraded: 0,
            chunks: if stream { 16 * long * answered } else { 0 },
            elapsed: Duration::from_secs(1),
            latency: Some(quantiles(us)),
            first: stream.then(|| quantiles(us / 2.0)),
            errors: (failed > 0).then(|| ("OVERLOADED: try later".to_owned(), failed)).into_iter().collect(),
        }
    }

    fn used(cpu_ms: u64) -> Vec<Used> {
        let memory = Memory { resident_bytes: 50 << 20, peak_bytes: 60 << 20 };
        vec![Used { name: "signalbox".to_owned(), cpu: Duration::from_millis(cpu_ms), memory }]
    }

    /// Three runs, each of 1,000 answers: whole at 150 µs of processor time, streams at 310 µs, long ones at 1,750 µs.
    pub(in crate::bench) fn report(failed: u64) -> Report {
        let site = Site { topology: "one", semantic: Some(false) };
        let run = |answer, cpu_ms: u64| {
            let provider = outcome(1_000, 0, 100.0, answer);
            let mesh = outcome(1_000, failed, 400.0, answer);
            let used = (used(40), used(40 + cpu_ms));
            Run::new(site.clone(), answer, Load::Closed, mesh, Some(&provider), Some(&used))
        };
        let runs = vec![run(Answer::Whole, 150), run(Answer::Stream, 310), run(Answer::Long, 1_750)];
        let workload = Workload { connections: 16, in_flight: 256, warm_up_requests: 500, seed: 1 };
        Report::new(workload, runs, vec!["a note".to_owned()])
    }

    #[test]
    fn what_the_mesh_adds_is_put_together() {
        let report = report(0);
        let stream = &report.runs[1];
        assert_eq!(stream.added, Some(Added { p50_us: 300.0, p99_us: 600.0, p999_us: 900.0 }));
        assert_eq!(stream.added_first.unwrap().p50_us, 150.0);
        assert_eq!(report.runs[0].added_first, None);
        assert_eq!(stream.cpu_us_per_request, Some(310.0));
        assert_eq!(stream.memory.unwrap().peak_bytes, 60 << 20);
        let chunks = &report.chunks[0];
        assert_eq!((chunks.chunks, chunks.each_more_us, chunks.each_share_us), (16.0, 10.0, 19.375));
        assert_eq!(chunks.one_more_us, Some(10.0), "1,440 µs for 144 chunks more");
    }

    #[test]
    fn one_error_in_a_hundred_is_the_most() {
        assert_eq!(report(10).verdict(), Ok(()));
        let error = report(11).verdict().unwrap_err();
        assert!(error.contains("3 of 3") && error.contains("OVERLOADED"), "{error}");
    }

    #[test]
    fn the_json_form_keeps_its_names() {
        let json = serde_json::to_value(report(0)).unwrap();
        assert_eq!(json["schema"], 1);
        assert_eq!(json["runs"][1]["loop"], "closed");
        assert_eq!(json["runs"][1]["answer"], "stream");
        assert_eq!(json["runs"][1]["topology"], "one");
        assert_eq!(json["runs"][1]["added"]["p999_us"], 900.0);
        assert_eq!(json["runs"][1]["memory"]["resident_bytes"], 50 << 20);
        assert_eq!(json["chunks"][0]["each_more_us"], 10.0);
        assert_eq!(json["chunks"][0]["one_more_us"], 10.0);
    }
}
