//! The contract as its callers see it.

use std::time::Duration;

use futures_util::StreamExt as _;
use signalbox_mesh::{RequestContext, error};
use signalbox_proto::common::v1::{ErrorReason, UsageSource};
use signalbox_proto::executor::v1::{
    BreakerState, DeliveredPrefix, EmbedRequest, ExecuteRequest, ListTargetsRequest, PlannedTarget,
};
use signalbox_testkit::provider::{self, Key, Provider};
use tokio::time::Instant;

use super::world::{World, executor, models, only, quick, request, run, run_in};
use crate::client::Connector;
use crate::config::Tls;

#[tokio::test]
async fn bad_requests_name_the_field() {
    let world = World::new(&["sim-small"]).await;
    let full = || request(&["sim-small"]);
    for (request, reason, words) in [
        (ExecuteRequest { chat: None, ..full() }, ErrorReason::InvalidRequest, "chat: "),
        (
            ExecuteRequest { chat: Some(Default::default()), ..full() },
            ErrorReason::InvalidRequest,
            "chat.messages: ",
        ),
        (ExecuteRequest { plan: vec![], ..full() }, ErrorReason::InvalidRequest, "plan: "),
        (
            ExecuteRequest { plan: vec![PlannedTarget::default(); 33], ..full() },
            ErrorReason::InvalidRequest,
            "plan: ",
        ),
        (request(&["nobody"]), ErrorReason::ModelUnknown, "`sim/nobody` is not configured"),
        (
            ExecuteRequest {
                delivered: Some(DeliveredPrefix { text: "x".repeat(70_000), ..Default::default() }),
                ..full()
            },
            ErrorReason::InvalidRequest,
            "delivered.text: ",
        ),
    ] {
        let ran = run(&world.executors, request).await;
        assert_eq!(ran.reason(), Some(reason));
        assert!(ran.status.as_ref().unwrap().message().starts_with(words), "{ran:?}");
    }
    assert_eq!(world.provider.totals().received, 0);
}

#[tokio::test]
async fn leaving_cancels_the_provider_at_once() {
    let world = World::new(&["sim-echo+drip=50"]).await;
    let mut messages =
        world.executors.clone().execute(only(request(&["sim-echo+drip=50"]))).await.unwrap().into_inner();
    for _ in 0..3 {
        messages.next().await.unwrap().unwrap();
    }
    drop(messages);
    let totals = world.provider.wait_for(|totals| totals.client_gone == 1).await;
    assert_eq!(totals.completed, 0);
    world.idle().await;
}

#[tokio::test]
async fn the_callers_deadline_ends_the_request() {
    let world = World::new(&["sim-echo+silence", "sim-small"]).await;
    let mut context = RequestContext::background();
    context.set_deadline(Instant::now() + Duration::from_millis(100));
    let ran = run_in(&world.executors, request(&["sim-echo+silence", "sim-small"]), context).await;
    assert_eq!(ran.reason(), Some(ErrorReason::DeadlineExceeded), "{ran:?}");
    world.idle().await;
}

#[tokio::test]
async fn a_request_without_retries_left_is_not_retried() {
    let world = World::new(&["sim-echo+fail-first=1"]).await;
    let mut context = RequestContext::background();
    context.set_retry_budget(0);
    let ran = run_in(&world.executors, request(&["sim-echo+fail-first=1"]), context).await;
    assert_eq!((ran.reason(), ran.attempts.len()), (Some(ErrorReason::RetryBudgetExhausted), 1));
}

#[tokio::test]
async fn the_credential_goes_to_the_provider_and_nowhere_else() {
    let config = provider::Config {
        require_key: Some(Key::from("sk-right-0123456789".to_owned())),
        ..Default::default()
    };
    let provider = Provider::start(config).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let connector = || Connector::system(Duration::from_secs(5), &Tls::default()).unwrap();
    for (secret, answered) in [("sk-right-0123456789", true), ("sk-wrong-0123456789", false)] {
        std::fs::write(&key, secret).unwrap();
        let executors =
            executor(quick(), connector(), models(&provider.base_url(), &["sim-echo"], Some(&key)));
        let ran = run(&executors, request(&["sim-echo"])).await;
        assert_eq!(ran.finished.is_some(), answered);
        assert!(!format!("{ran:?}").contains("0123456789"), "{ran:?}");
        let listed = executors.clone().list_targets(ListTargetsRequest {}).await.unwrap().into_inner();
        assert!(listed.targets[0].has_credential && !format!("{listed:?}").contains("0123456789"));
    }
    let nowhere = folder.path().join("nothing");
    let executors =
        executor(quick(), connector(), models(&provider.base_url(), &["sim-echo"], Some(&nowhere)));
    let ran = run(&executors, request(&["sim-echo"])).await;
    assert_eq!(ran.reason(), Some(ErrorReason::ProviderCredential));
    assert!(ran.status.unwrap().message().starts_with("sim/sim-echo: no credential: the key file"));
}

#[tokio::test]
async fn targets_tell_their_health() {
    let world = World::new(&["sim-echo", "sim-small+status=500"]).await;
    world.run(&["sim-echo"]).await;
    world.run(&["sim-small+status=500"]).await;
    let listed =
        world.executors.clone().list_targets(ListTargetsRequest {}).await.unwrap().into_inner().targets;
    assert_eq!(
        (listed[0].target_id.as_str(), listed[0].attempts, listed[0].failures),
        ("sim/sim-echo", 1, 0)
    );
    assert!(listed[0].first_output_ms.is_some() && listed[0].remaining_tokens.is_some());
    assert_eq!((listed[1].attempts, listed[1].failures), (2, 2));
    assert_eq!(listed[1].breaker(), BreakerState::Closed);
    assert!(world.provider.base_url().contains(&listed[0].host));
}

#[tokio::test]
async fn vectors_come_from_the_first_candidate_that_gives_them() {
    let world = World::new(&["sim-embed+status=503", "sim-embed"]).await;
    let plan = ["sim/sim-embed+status=503", "sim/sim-embed"];
    let request = EmbedRequest {
        plan: plan.iter().map(|id| PlannedTarget { target_id: (*id).into(), prefill: false }).collect(),
        inputs: vec!["one".into(), "two words".into()],
        ..Default::default()
    };
    let answer = world.executors.clone().embed(request).await.unwrap().into_inner();
    assert_eq!(
        (answer.embeddings.len(), answer.attempts.len(), answer.model.as_str()),
        (2, 3, "sim/sim-embed")
    );
    assert!(answer.embeddings.iter().all(|e| !e.values.is_empty()));
    let usage = answer.usage.unwrap();
    assert_eq!(
        (usage.input_tokens, usage.source()),
        (world.provider.usage_total().prompt_tokens, UsageSource::Reported)
    );
    let empty = world.executors.clone().embed(EmbedRequest::default()).await.unwrap_err();
    assert_eq!(error::reason_of(&empty), Some(ErrorReason::InvalidRequest));
    world.idle().await;
}
