//! The mesh end to end, as one process and as six.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

/// Makes each scenario a test of either topology.
macro_rules! both {
    ($($name:ident),* $(,)?) => {
        mod one_process {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Topology::OneProcess).await;
            })*
        }
        mod six_processes {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Topology::SixProcesses).await;
            })*
        }
    };
}

mod budgets;
mod cache;
mod cli;
mod clients;
mod dashboards;
mod failures;
mod faults;
mod guard;
mod health;
mod http;
mod real_model;
mod reload;
mod rolling;
mod routing;
mod scale;
mod scenarios;
mod secured;
mod stubs;
mod telemetry;

use std::path::PathBuf;

use signalbox_proto::{
    common::v1::{CachePolicy, CacheState, Policies, cache_policy::Mode},
    gateway::v1::GenerateRequest,
};
use signalbox_tests::{
    ask::{Seen, question, with_policies},
    invariants::{self, Expected},
    sandbox::Sandbox,
};

/// A prompt that holds [`invariants::SENTINEL`], so that a log that repeats it is found out.
const PROMPT: &str = "Who was quetzalcoatl, the feathered serpent?";

/// A question that neither reads nor writes the cache.
fn uncached(model: &str, text: &str) -> GenerateRequest {
    let cache = CachePolicy { mode: Mode::Off.into(), ..CachePolicy::default() };
    with_policies(question(model, text), Policies { cache: Some(cache), ..Policies::default() })
}

/// Base64url, as the simulator's model names take it.
fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

/// Asserts that an answer is complete, and returns it.
#[track_caller]
fn complete(seen: Seen) -> Seen {
    assert!(seen.error.is_none(), "the answer is complete: {:?}", seen.error);
    assert!(seen.finished.is_some(), "the answer is finished");
    seen
}

/// Asserts that an answer is complete and that of the very same request, and returns it.
#[track_caller]
fn reused(seen: Seen) -> Seen {
    let seen = complete(seen);
    assert_eq!(seen.cache(), CacheState::Exact);
    seen
}

/// Ends a sandbox and checks the invariants, with so many requests in the ledger.
async fn finish(sandbox: Sandbox, requests: u64) {
    let expected = Expected { requests, tenants: &["local"] };
    sandbox.finish(async |behind| invariants::check(&behind, expected).await).await;
}

/// The folder of tools and models that `make setup` fills.
fn cache_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    variable("SIGNALBOX_CACHE").unwrap_or_else(|| {
        let caches = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
        caches.expect("HOME is set").join("signalbox")
    })
}
