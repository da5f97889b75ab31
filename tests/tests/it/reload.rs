//! A changed configuration takes over in all six processes while they run, or in none.

use signalbox_proto::common::v1::ErrorReason;
use signalbox_tests::{
    ask::question,
    sandbox::{Sandbox, Topology},
};

use crate::{PROMPT, complete, finish};

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
