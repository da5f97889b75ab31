//! Every fault of the simulator, in both topologies: S1, D1, R1, and with [`finish`] M1, M2 and L1.

use std::time::Duration;

use futures_util::future::join_all;
use signalbox_proto::common::v1::{ErrorReason, FinishReason, seam};
use signalbox_proto::gateway::v1::CompleteRequest;
use signalbox_testkit::provider::Fault;
use signalbox_tests::{
    ask::Seen,
    sandbox::{Sandbox, Topology},
};

use crate::{PROMPT, finish, uncached};

both!(
    a_fault_ends_in_the_answer_or_in_a_clean_error,
    a_fault_is_made_good_by_the_next_candidate,
    a_total_outage_is_asked_a_fifth_more_at_most,
);

/// Bounds a hang, not the work.
const PATIENCE: Duration = Duration::from_secs(120);

/// Silence is found soon; on a busy machine nothing else takes as long.
const LIMITS: &str = "[executor.limits]\nfirst_output_ms = 3000\nidle_ms = 3000\nconnect_ms = 60000\n";

/// All faults at once would use up the budget that one needs to be asked again.
const RETRIES: &str = "[executor.retry]\nbudget_reserve = 100\n";

/// A model that says the prompt back, and does so badly.
fn faulty(fault: &Fault, tag: &str) -> String {
    format!("sim-echo+{fault}+tag={tag}")
}

/// Whether the fault takes words out of the middle of a stream that goes on.
fn has_gaps(fault: &Fault) -> bool {
    matches!(fault, Fault::Malformed { .. })
}

/// S1: all of the answer, or its beginning and an error; what has gaps says so.
#[track_caller]
fn check(fault: &Fault, seen: &Seen) {
    assert_ne!(seen.finished.is_some(), seen.error.is_some(), "{fault}: one of both: {seen:?}");
    match (&seen.finished, &seen.error) {
        (Some(finished), None) if has_gaps(fault) => {
            assert_eq!(finished.skipped_chunks, 1, "{fault}: it is told that words may be missing");
            assert!(seen.text.len() < PROMPT.len(), "{fault}: {}", seen.text);
        }
        (Some(finished), None) => {
            assert_eq!(seen.text, PROMPT, "{fault}: what is called complete is all of it, once");
            assert_eq!((finished.finish_reason(), finished.skipped_chunks), (FinishReason::Stop, 0));
            assert!(seen.seams.iter().all(|seam| seam.kind() == seam::Kind::Continued));
        }
        (None, Some(status)) => {
            assert!(PROMPT.starts_with(&seen.text), "{fault}: {} is the answer's beginning", seen.text);
            let reason = seen.reason();
            assert!(reason.is_some_and(|r| r != ErrorReason::Internal), "{fault}: {status:?}");
        }
        _ => {}
    }
}

/// Whether nothing is wrong with an answer, however oddly it comes.
fn is_harmless(fault: &Fault) -> bool {
    use Fault as F;
    match fault {
        F::SlowFirst { .. } | F::Drip { .. } | F::NoDone | F::Split { .. } | F::Malformed { .. } => true,
        // The first fails; it is asked again.
        F::FailFirst { .. } | F::OnlyFirst { .. } => true,
        F::RateLimited { retry_after_s: _ } | F::Status(_) | F::Reset | F::Silence | F::Html => false,
        F::WholeOnly | F::Error200 | F::Cut { .. } | F::Stall { .. } | F::ErrorEvent { .. } | F::NoFinish => {
            false
        }
    }
}

async fn a_fault_ends_in_the_answer_or_in_a_clean_error(topology: Topology) {
    let models: Vec<String> = Fault::EXAMPLES
        .iter()
        .flat_map(|fault| [faulty(fault, "streamed"), faulty(fault, "whole")])
        .collect();
    let models: Vec<&str> = models.iter().map(String::as_str).collect();
    let sandbox = Sandbox::with(topology, &models, &format!("{LIMITS}{RETRIES}")).await;
    let asked = join_all(Fault::EXAMPLES.iter().map(async |fault| {
        let seen = sandbox.ask(uncached(&faulty(fault, "streamed"), PROMPT)).await;
        check(fault, &seen);
        let request = Some(uncached(&faulty(fault, "whole"), PROMPT));
        let whole = sandbox.gateway().complete(CompleteRequest { request }).await;
        // The same bytes decide: what a stream ends in, `Complete` ends in.
        assert_eq!(whole.is_ok(), seen.finished.is_some(), "{fault}: {whole:?}");
        assert_eq!(seen.finished.is_some(), is_harmless(fault), "{fault}: {:?}", seen.error);
    }));
    tokio::time::timeout(PATIENCE, asked).await.expect("D1: every request ends");
    finish(sandbox, 2 * Fault::EXAMPLES.len() as u64).await;
}

async fn a_fault_is_made_good_by_the_next_candidate(topology: Topology) {
    let alias = |fault: &Fault| format!("good>{}|sim-echo", faulty(fault, "good"));
    let models: Vec<String> = Fault::EXAMPLES
        .iter()
        .enumerate()
        .map(|(number, fault)| alias(fault).replacen("good>", &format!("good-{number}>"), 1))
        .collect();
    let models: Vec<&str> = models.iter().map(String::as_str).collect();
    let sandbox = Sandbox::with(topology, &models, &format!("{LIMITS}{RETRIES}")).await;
    let asked = join_all(Fault::EXAMPLES.iter().enumerate().map(async |(number, fault)| {
        let seen = sandbox.ask(uncached(&format!("good-{number}"), PROMPT)).await;
        check(fault, &seen);
        assert!(seen.finished.is_some(), "{fault}: {:?}", seen.error);
        let after_output = matches!(
            fault,
            Fault::Cut { .. } | Fault::Stall { .. } | Fault::ErrorEvent { .. } | Fault::NoFinish
        );
        assert_eq!(!seen.seams.is_empty(), after_output, "{fault}: a seam where something was delivered");
    }));
    tokio::time::timeout(PATIENCE, asked).await.expect("D1: every request ends");
    finish(sandbox, Fault::EXAMPLES.len() as u64).await;
}

async fn a_total_outage_is_asked_a_fifth_more_at_most(topology: Topology) {
    let broken = ["sim-echo+status=503", "sim-echo+status=503+tag=other"];
    let config = format!("{LIMITS}[executor.breaker]\nfailures = 0\n");
    let sandbox = Sandbox::with(topology, &[&format!("broken>{}|{}", broken[0], broken[1])], &config).await;
    let offered = 100;
    let asked = join_all((0..offered).map(|_| sandbox.ask(uncached("broken", PROMPT))));
    let asked = tokio::time::timeout(PATIENCE, asked).await.expect("D1: every request ends");
    assert!(asked.iter().all(|seen| seen.finished.is_none() && seen.error.is_some()));
    let received = sandbox.provider.totals().received;
    assert!((offered..=offered * 6 / 5).contains(&received), "R1: {received} for {offered}");
    finish(sandbox, offered).await;
}
