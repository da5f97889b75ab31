//! A changed configuration takes over in all six processes while they run, or in none.

use signalbox_proto::common::v1::{ErrorReason, Tool};
use signalbox_tests::{
    ask::question,
    sandbox::{Sandbox, Topology},
};

use crate::{PROMPT, complete, finish, uncached};

#[tokio::test]
async fn a_changed_file_takes_over_and_a_faulty_one_does_not() {
    let sandbox = Sandbox::start(Topology::SixProcesses).await;
    complete(sandbox.ask(question("sim-small", PROMPT)).await);
    assert_eq!(sandbox.ask(question("renamed", PROMPT)).await.reason(), Some(ErrorReason::ModelUnknown));

    // An alias is renamed, and what waits for a restart is told.
    sandbox.rewrite(|text| {
        text.replace("[models.\"sim-small\"]", "[models.\"renamed\"]")
            + "\n[mesh.server]\nconcurrency = 4000\n[telemetry]\nlog_level = 'debug'\n"
    });
    sandbox.logged_by_all("a new configuration took over").await;
    complete(sandbox.ask(question("renamed", PROMPT)).await);
    assert_eq!(sandbox.ask(question("sim-small", PROMPT)).await.reason(), Some(ErrorReason::ModelUnknown));
    let logs = sandbox.logs();
    assert!(logs["gateway"].contains("DEBUG"), "the level of the log takes over, too");
    assert!(
        logs["executor"].contains("mesh.server.concurrency: 4000 (new); it waits for a restart"),
        "{logs:#?}"
    );

    // What one service cannot use, none uses.
    sandbox.rewrite(|text| text.replace("model = \"sim-small\"", "modl = \"sim-small\""));
    sandbox.logged_by_all("the new configuration is at fault").await;
    assert!(sandbox.logs()["guard"].contains("modl"));
    complete(sandbox.ask(question("renamed", PROMPT)).await);
    finish(sandbox, 3).await;
}

#[tokio::test]
async fn what_recent_requests_would_fail_under_waits_and_another_policy_routes_the_next_one() {
    let sandbox = Sandbox::with(Topology::SixProcesses, &["pair>sim-small|sim-echo"], "").await;
    let model = async || {
        let mut request = uncached("pair", "What is the time in Rome?");
        request.chat.as_mut().unwrap().tools = vec![Tool { name: "clock".to_owned(), ..Tool::default() }];
        complete(sandbox.ask(request).await).started.unwrap().model
    };
    assert_eq!(model().await, "sim/sim-small");
    // Nobody but the router minds.
    sandbox.rewrite(|text| text.replace("\"tools\", ", ""));
    sandbox.logged_by("router", "a recent request of tenant local for `pair` would fail").await;
    let policy = "\n[router]\naliases = { pair = 'next' }\n[router.policies.next]\nway = 'fixed'\ndeny = ['sim/sim-small']\n";
    sandbox.rewrite(|text| text.replace("\"json_schema\"", "\"tools\", \"json_schema\"") + policy);
    sandbox.logged_by("router", "of the recent requests so many would go elsewhere").await;
    sandbox.logged_by("router", "a new configuration took over").await;
    assert_eq!(model().await, "sim/sim-echo");
    finish(sandbox, 2).await;
}
