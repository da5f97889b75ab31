//! A client in another language.

use std::path::Path;

use signalbox_tests::sandbox::{Sandbox, Topology};
use tokio::process::Command;

use crate::{PROMPT, cache_folder, finish};

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_streams_answers() {
    let python = cache_folder().join("venv/bin/python");
    if !python.exists() {
        println!("SKIPPED: python client: {} is missing; run `make setup`", python.display());
        return;
    }
    let sandbox = Sandbox::start(Topology::SixProcesses).await;
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/client.py");
    let output = Command::new(python)
        .arg(client)
        .args(["--address", &sandbox.address.to_string(), "--model", "sim-echo", PROMPT, PROMPT])
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<serde_json::Value> =
        output.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(answers.len(), 2, "{}", String::from_utf8_lossy(&output.stdout));
    for (answer, cache) in answers.iter().zip(["miss", "exact"]) {
        assert_eq!(answer["error"], "", "{answer}");
        assert_eq!(answer["text"], PROMPT);
        assert_eq!(answer["cache"], cache);
        assert_eq!(answer["model"], "sim/sim-echo");
        assert_eq!(answer["sequence_ok"], true);
        assert_eq!(answer["cost_nanousd"].as_i64().unwrap() == 0, cache == "exact", "{answer}");
    }
    finish(sandbox, 2).await;
}
