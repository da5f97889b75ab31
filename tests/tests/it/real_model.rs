//! A real model behind the mesh: SmolLM2 by llama.cpp.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use signalbox_proto::common::v1::{Sampling, UsageSource};
use signalbox_tests::{
    ask::question,
    invariants,
    sandbox::{Sandbox, Topology},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};

use crate::{cache_folder, clients, complete};

/// Bounds a hang: the server needs a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// Server and weights, if they are there.
fn parts() -> Option<(PathBuf, PathBuf)> {
    let folder = cache_folder().join("llama");
    let server = folder.join("llama-server");
    let weights = std::fs::read_dir(&folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let weights = weights.into_iter().find(|path| path.extension().is_some_and(|e| e == "gguf"))?;
    server.exists().then_some((server, weights))
}

/// Starts the server and waits until its model is loaded.
async fn serve(server: &Path, weights: &Path, port: u16) -> Child {
    let mut child = Command::new(server)
        .arg("-m")
        .arg(weights)
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .args(["-t", "1", "-c", "4096", "-np", "2", "--no-webui", "--device", "none"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let loaded = async {
        // It can only be asked: each tick is one question, not a guess at how long it takes.
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while !is_healthy(port).await.unwrap_or(false) {
            assert!(child.try_wait().unwrap().is_none(), "llama-server ended before it listened");
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), loaded).await.unwrap();
    child
}

async fn is_healthy(port: u16) -> std::io::Result<bool> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer.split(' ').nth(1) == Some("200"))
}

/// A mesh in one process with the model as `real`, and the model's server; none where it is missing.
#[expect(clippy::print_stdout, reason = "a skip is told")]
async fn started() -> Option<(Sandbox, Child)> {
    let Some((server, weights)) = parts() else {
        println!(
            "SKIPPED: real model: {} has none; run `make setup`",
            cache_folder().join("llama").display()
        );
        return None;
    };
    // The server takes no port 0.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let started = tokio::time::timeout(PATIENCE, serve(&server, &weights, port)).await;
    let server = started.expect("llama-server listens before patience ends");
    let config = format!(
        "[models.real]\ntargets = [{{ base_url = \"http://127.0.0.1:{port}/v1\", model = \"smollm2\" }}]\n"
    );
    Some((Sandbox::with(Topology::OneProcess, &[], &config).await, server))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_streams_an_answer() {
    let Some((sandbox, _server)) = started().await else { return };
    let mut request = question("real", "Say hello in one short sentence.");
    let sampling = Sampling { max_output_tokens: Some(24), ..Sampling::default() };
    request.chat.as_mut().unwrap().sampling = Some(sampling);
    let seen = complete(sandbox.ask(request).await);
    assert!(!seen.text.trim().is_empty());
    let usage = seen.finished.unwrap().usage.unwrap();
    assert_eq!(usage.source(), UsageSource::Reported);
    assert!(usage.input_tokens > 0 && (1..=24).contains(&usage.output_tokens), "{usage:?}");
    sandbox
        .finish(async |behind| {
            let row = invariants::usage(&behind).await;
            assert_eq!((row.requests, row.succeeded, row.attempts), (1, 1, 1));
            let settled = row.usage.unwrap();
            assert_eq!(
                (settled.input_tokens, settled.output_tokens),
                (usage.input_tokens, usage.output_tokens)
            );
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unmodified_clients_ask_a_real_model() {
    let Some(mut asked) = clients::python("sdks", "real_model.py") else { return };
    let Some((sandbox, _server)) = started().await else { return };
    clients::run(&mut asked, sandbox.address).await;
    sandbox
        .finish(async |behind| {
            let row = invariants::usage(&behind).await;
            assert_eq!((row.requests, row.succeeded), (6, 6));
            let usage = row.usage.unwrap();
            assert!(usage.input_tokens > 0 && usage.output_tokens > 6, "{usage:?}");
        })
        .await;
}
