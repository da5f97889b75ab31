//! Attempts side by side.

use signalbox_proto::common::v1::{AttemptKind, AttemptOutcome, ErrorReason};
use signalbox_proto::executor::v1::{BreakerState, ListTargetsRequest};

use super::world::{PROMPT, World, quick, request, run};

#[tokio::test]
async fn a_late_answer_that_comes_before_the_next_one_is_taken() {
    // The first speaks after its time is up, the second never does.
    let models = ["sim-echo+slow-first=600", "sim-small+silence"];
    let world = World::new(&models).await;
    let ran = world.run(&models).await;
    assert_eq!(ran.text, PROMPT, "{ran:?}");
    assert_eq!(ran.started.unwrap().model, format!("sim/{}", models[0]));
    let mut outcomes: Vec<_> = ran.attempts.iter().map(|a| (a.number, a.outcome(), a.kind())).collect();
    outcomes.sort_by_key(|attempt| attempt.0);
    assert_eq!(
        outcomes,
        [(1, AttemptOutcome::Ok, AttemptKind::First), (2, AttemptOutcome::Cancelled, AttemptKind::Fallback)]
    );
    world.idle().await;
}

#[tokio::test]
async fn the_loser_is_cancelled_at_once_and_accounted_for() {
    let models = ["sim-small+slow-first=60000", "sim-echo"];
    let world = World::new(&models).await;
    let ran = world.run(&models).await;
    assert_eq!((ran.text.as_str(), ran.notices), (PROMPT, 1));
    assert_eq!(ran.outcomes(), [AttemptOutcome::Timeout, AttemptOutcome::Ok]);
    assert_eq!(
        ran.attempts[0].usage.unwrap().input_tokens,
        20,
        "it had begun to answer: its input is billed"
    );
    world.provider.wait_for(|totals| totals.client_gone == 1).await;
    world.idle().await;
}

#[tokio::test]
async fn nobody_speaks() {
    let models = ["sim-small+silence", "sim-small+slow-first=60000"];
    let world = World::new(&models).await;
    let ran = world.run(&models).await;
    assert_eq!(ran.reason(), Some(ErrorReason::ProviderTimeout));
    assert_eq!(ran.outcomes(), [AttemptOutcome::Timeout; 2]);
    world.idle().await;
}

#[tokio::test]
async fn silence_opens_the_breaker() {
    let mut config = quick();
    config.limits.first_output_ms = 20;
    config.breaker.failures = 3;
    let models = ["sim-small+silence", "sim-echo"];
    let world = World::with(config, &models).await;
    for _ in 0..3 {
        assert_eq!(world.run(&models).await.text, PROMPT);
    }
    let listed = world.executors.clone().list_targets(ListTargetsRequest {}).await.unwrap().into_inner();
    let silent = listed.targets.iter().find(|t| t.model == models[0]).unwrap();
    assert_eq!(silent.breaker(), BreakerState::Open, "{silent:?}");
    assert_eq!(silent.breaker_reason, "3 failures in a row, the last: timeout");
}

#[tokio::test]
async fn a_hedge_is_made_only_where_asked_for_and_known_to_be_slow() {
    let mut config = quick();
    config.limits.first_output_ms = 60_000;
    // The first twenty answers are quick, then one is slow.
    let slow = "sim-echo+slow-first=60000+tag=slow";
    let models = [slow, "sim-echo"];
    let world = World::with(config, &models).await;
    let mut asked = request(&models);
    asked.limits.get_or_insert_default().total_ms = Some(300);
    asked.hedge = true;
    let unknown = run(&world.executors, asked.clone()).await;
    assert_eq!((unknown.reason(), unknown.attempts.len()), (Some(ErrorReason::DeadlineExceeded), 1));
}
