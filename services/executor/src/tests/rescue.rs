//! Streams that break after output, and go on.

use signalbox_proto::common::v1::rescue_policy::Mode;
use signalbox_proto::common::v1::{
    AttemptKind, AttemptOutcome, ErrorReason, JsonObjectFormat, RescuePolicy, ResponseFormat, Tool,
    response_format, seam,
};
use signalbox_proto::executor::v1::{DeliveredPrefix, ExecuteRequest};

use super::world::{PROMPT, Ran, World, request, run};

fn policy(mode: Mode) -> RescuePolicy {
    RescuePolicy { mode: mode.into(), ..RescuePolicy::default() }
}

/// Runs a request whose first candidate breaks.
async fn rescued(first: &str, next: &[&str], change: impl FnOnce(&mut ExecuteRequest)) -> Ran {
    let models: Vec<&str> = [first].into_iter().chain(next.iter().copied()).collect();
    let world = World::new(&models).await;
    let mut request = request(&models);
    change(&mut request);
    let ran = run(&world.executors, request).await;
    world.idle().await;
    ran
}

#[tokio::test]
async fn another_model_goes_on_and_nothing_is_repeated_or_lost() {
    use AttemptOutcome as O;
    for (fault, reason, outcome) in [
        ("+cut=3", "cut", O::Cut),
        ("+cut=9", "cut", O::Cut),
        ("+stall=4", "stall", O::Stalled),
        ("+no-finish", "cut", O::Cut),
        ("+error-event=5", "error", O::Overloaded),
    ] {
        for next in ["sim-echo", "sim-echo+overlap=9", "sim-echo+overlap=30", "sim-echo+again"] {
            for prefill in [false, true] {
                let first = format!("sim-echo{fault}");
                let ran = rescued(&first, &[next], |request| {
                    request.plan.iter_mut().for_each(|planned| planned.prefill = prefill);
                })
                .await;
                let case = format!("{fault}, then {next}, prefill {prefill}: {ran:?}");
                assert_eq!(ran.text, PROMPT, "{case}");
                let [(seam, at)] = ran.seams.as_slice() else { panic!("one seam: {case}") };
                assert_eq!((seam.kind(), seam.reason.as_str()), (seam::Kind::Continued, reason), "{case}");
                assert_eq!(seam.from_model, format!("sim/{first}"));
                assert_eq!((seam.to_model.as_str(), seam.at_byte), (&*format!("sim/{next}"), *at as u64));
                assert_eq!(ran.outcomes(), [outcome, O::Ok], "{case}");
                assert_eq!(ran.attempts[1].kind(), AttemptKind::Rescue);
                let finished = ran.finished.unwrap();
                assert_eq!((finished.model, finished.attempts), (format!("sim/{next}"), 2));
                let usage = ran.attempts[0].usage.unwrap();
                assert!(usage.output_tokens > 0, "what the broken attempt wrote is accounted for");
            }
        }
    }
}

#[tokio::test]
async fn a_rescue_may_break_too() {
    let ran = rescued("sim-echo+cut=3", &["sim-echo+cut=2", "sim-echo+status=500", "sim-echo"], |_| {}).await;
    assert_eq!(ran.text, PROMPT, "{ran:?}");
    assert_eq!(ran.seams.len(), 2);
    assert_eq!(ran.seams[1].0.from_model, "sim/sim-echo+cut=2");
}

#[tokio::test]
async fn a_model_that_starts_over_in_other_words_is_passed_over() {
    let other = "sim-echo+answer=Say%20that%20boxes%20are%20square";
    let ran = rescued("sim-echo+cut=3", &[other, "sim-echo"], |_| {}).await;
    assert_eq!(ran.text, PROMPT, "{ran:?}");
    assert_eq!(ran.seams.len(), 1, "the client hears nothing of the failed one");
    assert_eq!(ran.outcomes(), [AttemptOutcome::Cut, AttemptOutcome::Protocol, AttemptOutcome::Ok]);
    assert!(ran.attempts[1].usage.unwrap().output_tokens > 0, "its tokens are accounted for");
}

#[tokio::test]
async fn an_error_of_the_rescue_does_not_hide_the_first() {
    let ran = rescued("sim-echo+stall=3", &["sim-echo+status=401"], |_| {}).await;
    assert_eq!((ran.reason(), ran.metadata("cause").as_str()), (Some(ErrorReason::StreamBroken), "stall"));
    assert_eq!(ran.metadata("target"), "sim/sim-echo+stall=3");
    assert_eq!(ran.metadata("delivered_bytes"), ran.text.len().to_string());
    assert!(ran.metadata("attempts").contains("credential 401"), "{ran:?}");
}

#[tokio::test]
async fn the_same_target_goes_on_if_there_is_no_other() {
    let ran = rescued("sim-echo+cut=3+only-first=1", &[], |_| {}).await;
    assert_eq!(ran.text, PROMPT, "{ran:?}");
    let silent = rescued("sim-echo+stall=3+only-first=1", &[], |_| {}).await;
    assert_eq!(silent.reason(), Some(ErrorReason::StreamBroken), "who fell silent is not asked again");
    assert_eq!(silent.attempts.len(), 1);
}

#[tokio::test]
async fn rescues_end() {
    let models: Vec<String> = (0..8).map(|n| format!("sim-echo+cut=1+tag=m{n}")).collect();
    let rest: Vec<&str> = models[1..].iter().map(String::as_str).collect();
    let ran = rescued(&models[0], &rest, |_| {}).await;
    assert_eq!((ran.reason(), ran.attempts.len()), (Some(ErrorReason::StreamBroken), 4), "{ran:?}");
    assert!(PROMPT.starts_with(&ran.text));
}

#[tokio::test]
async fn what_cannot_be_gone_on_with_is_a_clean_error() {
    let json = |request: &mut ExecuteRequest| {
        let kind = Some(response_format::Kind::JsonObject(JsonObjectFormat {}));
        request.chat.as_mut().unwrap().response_format = Some(ResponseFormat { kind });
    };
    let tools = |request: &mut ExecuteRequest| {
        let tool = Tool { name: "look".into(), ..Tool::default() };
        request.chat.as_mut().unwrap().tools = vec![tool];
    };
    let structured = rescued("sim-small+cut=2", &["sim-small"], json).await;
    assert_eq!(structured.reason(), Some(ErrorReason::StreamBroken), "{structured:?}");
    let calling = rescued("sim-small+tools+cut=1", &["sim-small+tools"], tools).await;
    assert_eq!(calling.reason(), Some(ErrorReason::StreamBroken), "{calling:?}");

    let held = rescued("sim-small+tools+cut=1", &["sim-small+tools"], |request| {
        tools(request);
        request.rescue = Some(RescuePolicy { hold_tool_calls: true, ..RescuePolicy::default() });
    })
    .await;
    assert!(held.finished.is_some() && held.seams.len() <= 1, "{held:?}");

    let restarted = rescued("sim-small+cut=2", &["sim-small"], |request| {
        json(request);
        request.rescue = Some(RescuePolicy { accept_restart: true, ..RescuePolicy::default() });
    })
    .await;
    let [(seam, at)] = restarted.seams.as_slice() else { panic!("one seam: {restarted:?}") };
    assert_eq!(seam.kind(), seam::Kind::Restarted);
    assert!(serde_json::from_str::<serde_json::Value>(&restarted.text[*at..]).is_ok(), "{restarted:?}");
}

#[tokio::test]
async fn a_restart_needs_a_client_that_accepts_it() {
    let refused = rescued("sim-echo+cut=3", &["sim-echo"], |r| r.rescue = Some(policy(Mode::Restart))).await;
    assert_eq!(refused.reason(), Some(ErrorReason::StreamBroken));
    let ran = rescued("sim-echo+cut=3", &["sim-echo"], |request| {
        request.rescue = Some(RescuePolicy { accept_restart: true, ..policy(Mode::Restart) });
    })
    .await;
    let (seam, at) = &ran.seams[0];
    assert_eq!((seam.kind(), &ran.text[*at..]), (seam::Kind::Restarted, PROMPT));
}

#[tokio::test]
async fn an_execution_may_start_from_a_delivered_prefix() {
    let prefix = "Say that the signal";
    let ran = rescued("sim-echo+overlap=9", &[], |request| {
        request.delivered = Some(DeliveredPrefix {
            text: prefix.into(),
            model: "sim/leader".into(),
            reason: "leader lost".into(),
        });
    })
    .await;
    assert_eq!(format!("{prefix}{}", ran.text), PROMPT, "{ran:?}");
    let (seam, at) = &ran.seams[0];
    assert_eq!((seam.from_model.as_str(), seam.at_byte, *at), ("sim/leader", prefix.len() as u64, 0));
    assert_eq!(seam.reason, "leader lost");
}
