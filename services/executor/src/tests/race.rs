//! Attempts side by side.

use signalbox_proto::common::v1::{AttemptOutcome, ErrorReason};

use super::world::{PROMPT, World, quick, request, run};

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
