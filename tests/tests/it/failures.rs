//! A process dies, the mesh does what it promises without it, and heals when it is back.

use std::time::Duration;

use signalbox_mesh::error;
use signalbox_proto::{
    common::v1::{ErrorReason, notice},
    gateway::v1::{FeedbackRequest, GenerateRequest},
};
use signalbox_tests::{
    ask::{Seen, question},
    invariants,
    sandbox::{Sandbox, Topology},
};
use tonic::Code;

use crate::{PROMPT, complete, finish, reused, uncached};

/// Bounds a hang, not the work: a connection is tried again after a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// A sandbox that counts what it is asked, because each admitted request stands in the ledger.
struct Counting {
    sandbox: Sandbox,
    asked: u64,
}

impl Counting {
    async fn start() -> Self {
        Self { sandbox: Sandbox::start(Topology::SixProcesses).await, asked: 0 }
    }

    async fn ask(&mut self, request: GenerateRequest) -> Seen {
        self.asked += 1;
        self.sandbox.ask(request).await
    }

    /// Brings a process back and asks until an answer is whole and without a notice.
    async fn heal(&mut self, name: &'static str, request: GenerateRequest) {
        self.sandbox.revive(name).await;
        let healed = async {
            loop {
                let seen = self.ask(request.clone()).await;
                if seen.finished.is_some() && seen.notices.is_empty() {
                    break;
                }
            }
        };
        let healed = tokio::time::timeout(PATIENCE, healed).await;
        assert!(healed.is_ok(), "the mesh heals when {name} is back");
    }

    async fn finish(self) {
        finish(self.sandbox, self.asked).await;
    }
}

/// Asserts that the answer is complete and says which part is away.
#[track_caller]
fn without(part: &str, seen: Seen) {
    let seen = complete(seen);
    assert!(!seen.text.is_empty());
    let told: Vec<_> =
        seen.notices.iter().filter(|n| n.kind() == notice::Kind::Degraded).map(|n| n.part.as_str()).collect();
    assert_eq!(told, [part]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_the_cache() {
    let mut mesh = Counting::start().await;
    complete(mesh.ask(question("sim-small", PROMPT)).await);
    mesh.sandbox.kill("cache").await;
    without("cache", mesh.ask(question("sim-small", PROMPT)).await);
    mesh.heal("cache", question("sim-small", PROMPT)).await;
    // It fills again.
    mesh.sandbox.kept().await;
    reused(mesh.ask(question("sim-small", PROMPT)).await);
    mesh.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_the_router() {
    let mut mesh = Counting::start().await;
    mesh.sandbox.kill("router").await;
    without("router", mesh.ask(uncached("sim-small", PROMPT)).await);
    mesh.heal("router", uncached("sim-small", PROMPT)).await;
    mesh.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_without_the_guard() {
    let mut mesh = Counting::start().await;
    complete(mesh.ask(question("sim-small", PROMPT)).await);
    mesh.sandbox.kill("guard").await;
    let refused = mesh.ask(question("sim-small", PROMPT)).await;
    assert_eq!(refused.reason(), Some(ErrorReason::ServiceUnavailable), "{:?}", refused.error);
    assert_eq!(mesh.sandbox.provider.totals().received, 1, "nothing unchecked goes out");
    mesh.heal("guard", question("sim-small", PROMPT)).await;
    mesh.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_what_is_cached_without_the_executor() {
    let mut mesh = Counting::start().await;
    let first = complete(mesh.ask(question("sim-small", PROMPT)).await);
    mesh.sandbox.kill("executor").await;
    let refused = mesh.ask(question("sim-small", "Something else about quetzalcoatl.")).await;
    assert_eq!(
        refused.error.as_ref().map(tonic::Status::code),
        Some(Code::Unavailable),
        "{:?}",
        refused.error
    );
    assert_eq!(reused(mesh.ask(question("sim-small", PROMPT)).await).text, first.text);
    mesh.heal("executor", uncached("sim-small", PROMPT)).await;
    mesh.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spends_an_allowance_without_metering_and_settles_it_later() {
    let mut mesh = Counting::start().await;
    complete(mesh.ask(uncached("sim-small", PROMPT)).await);
    mesh.sandbox.kill("metering").await;
    without("metering", mesh.ask(uncached("sim-small", PROMPT)).await);
    let seen = mesh.ask(uncached("sim-small", PROMPT)).await;
    let request_id = seen.started.as_ref().unwrap().request_id.clone();
    without("metering", seen);
    let score = async |sandbox: &Sandbox| {
        let request =
            FeedbackRequest { request_id: request_id.clone(), score: 1.0, ..FeedbackRequest::default() };
        let scored = sandbox.gateway().feedback(request).await;
        scored.map(drop).map_err(|status| error::reason_of(&status))
    };
    let away = Err(Some(ErrorReason::ServiceUnavailable));
    assert_eq!(score(&mesh.sandbox).await, away);
    mesh.heal("metering", uncached("sim-small", PROMPT)).await;
    // Its settlement may wait for a while longer: until then it is told to come again.
    let scored = tokio::time::timeout(PATIENCE, async {
        while let Err(refused) = score(&mesh.sandbox).await {
            assert_eq!(Err(refused), away);
        }
    });
    assert!(scored.await.is_ok(), "a score is taken once its request is on record");
    mesh.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_gateway_leaves_nothing_behind() {
    let config = "[tenants.local]\nbudgets = [{ limit_usd = \"1\" }]\n\
                  [metering.grants]\nttl_ms = 1000\n[metering.allowance]\nenabled = false\n";
    let mut sandbox = Sandbox::with(Topology::SixProcesses, &["sim-small+stall=2"], config).await;
    let request = question("sim-small+stall=2", PROMPT);
    let mut stream = sandbox.gateway().generate(request).await.unwrap().into_inner();
    let mut seen = Seen::default();
    while seen.deltas == 0 {
        assert!(seen.next(&mut stream).await, "output comes before the silence: {:?}", seen.error);
    }
    sandbox.kill("gateway").await;
    while seen.next(&mut stream).await {}
    assert_eq!(seen.error.map(|error| error.code()), Some(Code::Unavailable), "the client is told at once");
    sandbox.provider.wait_for(|totals| totals.client_gone == 1).await;

    sandbox.revive("gateway").await;
    complete(sandbox.ask(uncached("sim-small", PROMPT)).await);
    sandbox
        .finish(async |behind| {
            let freed = async { while invariants::reserved(&behind).await > 0 {} };
            let freed = tokio::time::timeout(PATIENCE, freed).await;
            assert!(freed.is_ok(), "L1: what the dead gateway had reserved returns by itself");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_without_the_guard_where_the_tenant_says_so() {
    let config = "[tenants.local]\nguard_unavailable = \"open\"";
    let mut sandbox = Sandbox::with(Topology::SixProcesses, &[], config).await;
    sandbox.kill("guard").await;
    without("guard", sandbox.ask(uncached("sim-small", PROMPT)).await);
    sandbox.revive("guard").await;
    finish(sandbox, 1).await;
}
