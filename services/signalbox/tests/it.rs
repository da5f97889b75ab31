//! The program as a whole.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

fn signalbox(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_signalbox")).args(arguments).output().unwrap()
}

#[test]
fn bench_starts_a_mesh_measures_it_and_ends_it() {
    let arguments =
        ["bench", "--semantic", "off", "--requests", "40", "--warm-up", "4", "--rate", "200", "--json"];
    let ended = signalbox(&arguments);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(report["schema"], 1);
    let runs = report["runs"].as_array().unwrap();
    // In either loop whole and streamed, and once with long answers.
    assert_eq!(runs.len(), 5);
    let chunks: Vec<_> = runs.iter().filter_map(|run| run["chunks_per_answer"].as_f64()).collect();
    assert_eq!(chunks.iter().filter(|count| **count == 256.0).count(), 1, "{chunks:?}");
    for run in runs {
        assert_eq!((&run["answered"], &run["failed"]), (&40.into(), &0.into()), "{run}");
        assert_eq!((&run["cached"], &run["degraded"]), (&0.into(), &0.into()), "{run}");
        assert!(run["latency"]["p999_us"].as_f64().unwrap() > 0.0, "{run}");
        let streamed = run["answer"] != "whole";
        let chunks = run["chunks_per_answer"].as_f64().unwrap();
        assert!(if streamed { chunks >= 16.0 } else { chunks == 0.0 }, "{run}");
        assert_eq!(run["added_first"].is_object(), streamed, "{run}");
        assert_eq!(run["memory"].is_object(), cfg!(target_os = "linux"), "{run}");
    }
}

#[test]
fn bench_says_what_is_missing() {
    let ended = signalbox(&["bench", "--server", "http://127.0.0.1:1"]);
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("no mesh answers at http://127.0.0.1:1"), "{said}");
}
