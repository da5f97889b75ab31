//! The SDKs that people already have, unmodified, each against a mesh: what they check is in `tests/clients/`.

#![expect(clippy::print_stdout, reason = "a skip is told")]

use std::{net::SocketAddr, path::Path, process::Output};

use signalbox_testkit::provider::Outcome;
use signalbox_tests::{
    invariants::{self, Expected},
    sandbox::{Sandbox, Topology},
};
use tokio::process::Command;

use crate::cache_folder;

/// The models that the checks ask for.
const MODELS: [&str; 8] = [
    "sim-small+tools",
    "sim-echo+drip=50",
    "sim-small+429-retry-after=7",
    "sim-small+429-retry-after=7+tag=b",
    "sim-echo+cut=2",
    "sim-small+status=503",
    "sim-embed",
    "sim-large",
];

#[tokio::test(flavor = "multi_thread")]
async fn openai_for_python() {
    check(python("sdks", "openai_sdk.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_for_python() {
    check(python("sdks", "anthropic_sdk.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain() {
    check(python("frameworks", "langchain_sdk.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn llamaindex() {
    check(python("frameworks", "llamaindex_sdk.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn litellm_as_a_client() {
    check(python("frameworks", "litellm_sdk.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_for_node() {
    check(node("openai_sdk.mjs")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_for_node() {
    check(node("anthropic_sdk.mjs")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vercels_ai_sdk() {
    check(node("ai_sdk.mjs")).await;
}

/// A script with the packages of a set, if they are there.
pub(crate) fn python(set: &str, script: &str) -> Option<Asked> {
    let cache = cache_folder();
    let (python, packages) = (cache.join("venv/bin/python"), cache.join("clients").join(set));
    if !python.exists() || !packages.exists() {
        println!("SKIPPED: {script}: {} is missing; run `make setup`", packages.display());
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python").join(script);
    let mut command = Command::new(python);
    command.arg(script).env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(Asked { command, _folder: None })
}

/// A module beside the packages, where Node looks for them.
fn node(module: &str) -> Option<Asked> {
    let packages = cache_folder().join("clients/node");
    if !packages.join("node").exists() {
        println!("SKIPPED: {module}: {} is missing; run `make setup`", packages.display());
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(packages.join("node_modules"), folder.path().join("node_modules")).unwrap();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/node");
    for file in ["checks.mjs", module] {
        std::fs::copy(own.join(file), folder.path().join(file)).unwrap();
    }
    let mut command = Command::new(packages.join("node"));
    command.arg(folder.path().join(module)).env("AI_SDK_LOG_WARNINGS", "false");
    Some(Asked { command, _folder: Some(folder) })
}

/// A client's checks, to be run.
pub(crate) struct Asked {
    command: Command,
    _folder: Option<tempfile::TempDir>,
}

/// Runs a client's checks against a mesh.
pub(crate) async fn run(asked: &mut Asked, mesh: SocketAddr) {
    let command = &mut asked.command;
    command.args(["--address", &mesh.to_string()]).kill_on_drop(true);
    // Nothing of the machine's may reach the libraries.
    for variable in [
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_AUTH_TOKEN",
    ] {
        command.env_remove(variable);
    }
    for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(variable);
    }
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let (told, failed) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{told}\n{failed}");
    assert!(told.lines().filter(|line| line.starts_with("passed ")).count() > 5, "{told}\n{failed}");
}

/// Runs a client's checks against the simulator, and looks at what it saw and at the ledger.
async fn check(asked: Option<Asked>) {
    let Some(mut asked) = asked else { return };
    let sandbox = Sandbox::with(Topology::OneProcess, &MODELS, "").await;
    run(&mut asked, sandbox.address).await;

    sandbox.provider.wait_for(|totals| totals.in_flight == 0).await;
    let requests = sandbox.provider.requests();
    let left: Vec<Outcome> =
        requests.iter().filter(|one| one.model == "sim-echo+drip=50").map(|one| one.outcome).collect();
    assert!(
        left.iter().all(|outcome| *outcome == Outcome::ClientGone),
        "who leaves is not answered on: {left:?}"
    );
    let pictures = requests.iter().filter(|one| one.body.to_string().contains("data:image/png;base64,"));
    assert!(pictures.count() > 0, "the provider sees the picture");
    sandbox
        .finish(async |behind| {
            // Who is refused at the door is in no ledger, so how many there are is the clients' affair.
            let requests = invariants::usage(&behind).await.requests;
            assert!(requests > 5, "{requests}");
            invariants::check(&behind, Expected { requests, tenants: &["local"] }).await;
        })
        .await;
}
