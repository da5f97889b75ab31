//! Every fault of the simulator.

use signalbox_config::Document;
use signalbox_mesh::error::retry_after;
use signalbox_proto::common::v1::rescue_policy::Mode;
use signalbox_proto::common::v1::{
    AttemptKind, AttemptOutcome, ErrorReason, FinishReason, RescuePolicy, UsageSource,
};

use super::world::{PROMPT, World, quick, request, run};
use crate::config::Config;

#[tokio::test]
async fn an_answer_streams_and_is_accounted_as_reported() {
    let world = World::new(&["sim-echo"]).await;
    let ran = world.run(&["sim-echo"]).await;

    assert_eq!(ran.text, PROMPT);
    assert_eq!(ran.started.unwrap().model, "sim/sim-echo");
    let finished = ran.finished.unwrap();
    assert_eq!((finished.finish_reason(), finished.attempts), (FinishReason::Stop, 1));
    let usage = finished.usage.unwrap();
    let told = world.provider.usage_total();
    assert_eq!((usage.input_tokens, usage.output_tokens), (told.prompt_tokens, told.completion_tokens));
    assert_eq!(usage.source(), UsageSource::Reported);
    let cost = told.prompt_tokens * 1_000 + told.completion_tokens * 10_000;
    assert_eq!((finished.cost_nanousd, finished.price_unknown), (i64::try_from(cost).unwrap(), false));
    assert_eq!(ran.attempts[0].outcome(), AttemptOutcome::Ok);
    assert_eq!(ran.attempts[0].http_status, Some(200));
    assert!(ran.attempts[0].provider_request_id.is_some());
    world.idle().await;
}

#[tokio::test]
async fn a_failure_before_output_goes_down_the_plan_unseen() {
    use AttemptOutcome as O;
    for (fault, outcomes) in [
        ("+429", &[O::RateLimited, O::Ok][..]),
        ("+429-retry-after=600", &[O::RateLimited, O::Ok]),
        ("+status=401", &[O::Credential, O::Ok]),
        ("+status=404", &[O::Rejected, O::Ok]),
        ("+status=500", &[O::Overloaded, O::Overloaded, O::Ok]),
        ("+status=503", &[O::Overloaded, O::Overloaded, O::Ok]),
        ("+reset", &[O::Transport, O::Transport, O::Ok]),
        ("+silence", &[O::Timeout, O::Ok]),
        ("+slow-first=60000", &[O::Timeout, O::Ok]),
        ("+html", &[O::Protocol, O::Protocol, O::Ok]),
        ("+error-200", &[O::Protocol, O::Protocol, O::Ok]),
        ("+cut=0", &[O::Transport, O::Transport, O::Ok]),
        ("+stall=0", &[O::Timeout, O::Ok]),
    ] {
        let faulty = format!("sim-small{fault}");
        let world = World::new(&[&faulty, "sim-echo"]).await;
        let ran = world.run(&[&faulty, "sim-echo"]).await;
        assert_eq!(ran.outcomes(), outcomes, "{fault}: {ran:?}");
        assert_eq!(ran.text, PROMPT, "{fault}");
        assert_eq!(ran.attempts.last().unwrap().kind(), AttemptKind::Fallback);
        assert_eq!(ran.notices, 1);
        let finished = ran.finished.unwrap();
        assert_eq!((finished.model.as_str(), finished.attempts as usize), ("sim/sim-echo", outcomes.len()));
        world.idle().await;
    }
}

#[tokio::test]
async fn a_model_that_cannot_stream_is_asked_for_the_whole_where_that_is_known() {
    // Later than a first piece may be.
    let name = "sim-echo+whole-only+slow-first=500";
    let world = World::new(&[name, "sim-echo"]).await;
    let ran = world.run(&[name]).await;
    assert_eq!((ran.reason(), ran.attempts.len()), (Some(ErrorReason::ProviderRejected), 1));
    let words = ran.status.unwrap().message().to_owned();
    assert!(words.contains("does not support true") && words.contains("stream = false"), "{words}");
    let ran = world.run(&[name, "sim-echo"]).await;
    assert_eq!(ran.outcomes(), [AttemptOutcome::Rejected, AttemptOutcome::Ok], "another one can");

    let world = World::of(quick(), |base_url| {
        let text = format!(
            "[models.test]\ntargets = [{{ base_url = '{base_url}', provider = 'sim', model = '{name}', stream = false }}]"
        );
        Document::parse(&text, "test").unwrap().shared().unwrap()
    });
    let world = world.await;
    let ran = world.run(&[name]).await;
    assert_eq!((ran.text.as_str(), ran.outcomes()), (PROMPT, vec![AttemptOutcome::Ok]), "{ran:?}");
    let told = world.provider.usage_total();
    let usage = ran.finished.unwrap().usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (told.prompt_tokens, told.completion_tokens));
    world.idle().await;
}

#[tokio::test]
async fn without_another_candidate_the_error_says_what_happened() {
    use ErrorReason as R;
    for (fault, reason, asked) in [
        ("+429", R::ProviderRateLimited, 2),
        ("+429-retry-after=600", R::ProviderRateLimited, 1),
        ("+status=400", R::ProviderRejected, 1),
        ("+status=401", R::ProviderCredential, 1),
        ("+status=402", R::ProviderCredential, 1),
        ("+status=422", R::ProviderRejected, 1),
        ("+status=500", R::ProviderUnavailable, 2),
        ("+reset", R::ProviderConnection, 2),
        ("+silence", R::ProviderTimeout, 1),
        ("+html", R::ProviderProtocol, 2),
        ("+error-200", R::ProviderProtocol, 2),
        ("+no-finish+chunks=0", R::ProviderProtocol, 2),
    ] {
        let faulty = format!("sim-small{fault}");
        let world = World::new(&[&faulty]).await;
        let ran = world.run(&[&faulty]).await;
        assert_eq!(ran.reason(), Some(reason), "{fault}: {ran:?}");
        assert_eq!((ran.attempts.len(), ran.metadata("target")), (asked, format!("sim/{faulty}")), "{fault}");
        assert!(ran.text.is_empty() && ran.started.is_none());
        let told = retry_after(ran.status.as_ref().unwrap()).map(|d| d.as_secs());
        if fault == "+429-retry-after=600" {
            assert_eq!(told, Some(600));
        }
        world.idle().await;
    }
}

#[tokio::test]
async fn what_breaks_after_output_is_never_called_complete() {
    use AttemptOutcome as O;
    for (fault, cause, outcome) in [
        ("+cut=3", "cut", O::Cut),
        ("+stall=3", "stall", O::Stalled),
        ("+no-finish", "cut", O::Cut),
        ("+no-finish+no-done", "cut", O::Cut),
        ("+error-event=3", "error", O::Overloaded),
    ] {
        let faulty = format!("sim-echo{fault}");
        let world = World::new(&[&faulty, "sim-small"]).await;
        let mut request = request(&[&faulty, "sim-small"]);
        request.rescue = Some(RescuePolicy { mode: Mode::None.into(), ..Default::default() });
        let ran = run(&world.executors, request).await;
        assert_eq!(ran.reason(), Some(ErrorReason::StreamBroken), "{fault}: {ran:?}");
        assert_eq!((ran.outcomes(), ran.metadata("cause").as_str()), (vec![outcome], cause), "{fault}");
        assert!(!ran.text.is_empty() && PROMPT.starts_with(&ran.text), "{fault}: {}", ran.text);
        assert_eq!(ran.metadata("delivered_bytes"), ran.text.len().to_string());
        let usage = ran.attempts[0].usage.unwrap();
        assert!(usage.output_tokens > 0 && usage.input_tokens > 0, "{fault}");
        world.idle().await;
    }
}

#[tokio::test]
async fn what_is_only_odd_does_not_matter() {
    for odd in ["+no-done", "+split=1", "+split=7", "+slow-first=30", "+drip=2", "+cached=5", "+reasoning=9"]
    {
        let model = format!("sim-echo{odd}");
        let world = World::new(&[&model]).await;
        let ran = world.run(&[&model]).await;
        assert_eq!((ran.text.as_str(), ran.status.is_none()), (PROMPT, true), "{odd}");
        let usage = ran.finished.unwrap().usage.unwrap();
        let told = world.provider.usage_total();
        assert_eq!(
            [usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.reasoning_tokens],
            [told.prompt_tokens, told.completion_tokens, told.cached_tokens, told.reasoning_tokens],
            "{odd}"
        );
        world.idle().await;
    }
}

#[tokio::test]
async fn an_unreadable_chunk_is_skipped() {
    let world = World::new(&["sim-echo+malformed=2"]).await;
    let ran = world.run(&["sim-echo+malformed=2"]).await;
    let finished = ran.finished.unwrap();
    assert_eq!((finished.finish_reason(), finished.skipped_chunks), (FinishReason::Stop, 1));
    assert!(ran.text.len() < PROMPT.len() && PROMPT.starts_with("Say"));
    assert_eq!(ran.notices, 1, "the client is told");
    assert_eq!(world.target("sim/sim-echo+malformed=2").await.skipped_chunks, 1);
}

#[tokio::test]
async fn a_target_that_recovers_answers_the_retry() {
    let world = World::new(&["sim-echo+fail-first=1"]).await;
    let ran = world.run(&["sim-echo+fail-first=1"]).await;
    assert_eq!(ran.text, PROMPT);
    assert_eq!(ran.outcomes(), [AttemptOutcome::Overloaded, AttemptOutcome::Ok]);
    assert_eq!(ran.attempts[1].kind(), AttemptKind::Retry);
}

/// R1: with and without breakers, all at once.
#[tokio::test]
async fn a_total_outage_is_asked_a_fifth_more_at_most() {
    for failures in [0, 5] {
        let mut config: Config = quick();
        config.breaker.failures = failures;
        let world = World::with(config, &["sim-small+status=503", "sim-large+status=503"]).await;
        let offered = 100;
        let runs = (0..offered)
            .map(|_| run(&world.executors, request(&["sim-small+status=503", "sim-large+status=503"])));
        let all = futures_util::future::join_all(runs).await;
        assert!(all.iter().all(|ran| ran.finished.is_none()));
        let seen = world.provider.totals().received;
        assert!(seen * 5 <= offered * 6, "{seen} for {offered}");
        let recorded: usize =
            all.iter().flat_map(|ran| &ran.attempts).filter(|a| a.http_status.is_some()).count();
        assert_eq!(recorded as u64, seen, "every attempt is recorded once");
        if failures == 0 {
            assert!(all.iter().any(|ran| ran.reason() == Some(ErrorReason::RetryBudgetExhausted)));
        }
        world.idle().await;
    }
}

#[tokio::test]
async fn breakers_spare_a_target_that_keeps_failing() {
    let world = World::new(&["sim-small+status=503", "sim-echo"]).await;
    for _ in 0..20 {
        assert_eq!(world.run(&["sim-small+status=503", "sim-echo"]).await.text, PROMPT);
    }
    let ran = world.run(&["sim-small+status=503", "sim-echo"]).await;
    assert_eq!(ran.outcomes(), [AttemptOutcome::BreakerOpen, AttemptOutcome::Ok]);
    assert_eq!(ran.finished.unwrap().attempts, 1);
    let failing = world.provider.requests().iter().filter(|r| r.model.contains("503")).count();
    assert_eq!(failing, 5, "five failures in a row, and nothing after them");
}

#[tokio::test]
async fn a_breaker_that_rate_limits_opened_says_so() {
    let model = "sim-small+429-retry-after=60";
    let world = World::new(&[model]).await;
    for _ in 0..5 {
        assert_eq!(world.run(&[model]).await.reason(), Some(ErrorReason::ProviderRateLimited));
    }
    let ran = world.run(&[model]).await;
    assert_eq!(ran.outcomes(), [AttemptOutcome::BreakerOpen]);
    assert_eq!(ran.reason(), Some(ErrorReason::ProviderRateLimited), "as if it had been asked");
}
