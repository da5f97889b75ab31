//! The way down a plan, without a network.

use std::sync::Arc;
use std::time::Duration;

use signalbox_mesh::{Random, RequestContext, error};
use signalbox_proto::common::v1::{AttemptKind, ErrorReason};
use signalbox_wire::{Dialect, ErrorClass};
use tokio::time::Instant;
use tonic::Status;

use crate::budget::Budget;
use crate::config::Retry;
use crate::course::{Candidate, Course, Means, Step};
use crate::failure::Failure;
use crate::target::{Base, Credential, Limits, Target};

/// Makes a course over models at hosts (`model@host`), each with a window or none.
fn course(plan: &[(&str, Option<u64>)], around_filter: bool) -> Course {
    let targets = plan.iter().map(|(name, window)| {
        let (model, host) = name.split_once('@').unwrap();
        let target = Arc::new(Target {
            id: format!("sim/{model}"),
            provider: "sim".into(),
            model: model.into(),
            base: Base::parse(&format!("http://{host}.test/v1")).unwrap(),
            dialect: Dialect::OpenAi,
            credential: Credential::None,
            window: *window,
            reasoning: false,
            limits: Limits::default(),
            weight: 1,
            base_url: String::new(),
            credential_source: String::new(),
            price: None,
            memory: Arc::default(),
            max_in_flight: None,
            streams: true,
        });
        Candidate { target, prefill: false }
    });
    let means = Means {
        retry: Retry::default(),
        around_filter,
        deadline: Instant::now() + Duration::from_secs(5),
        context: RequestContext::background(),
        budget: Arc::new(Budget::new(Retry { budget_reserve: 1, ..Retry::default() })),
        random: Random::seeded(1),
    };
    Course::new(targets.collect(), means)
}

fn failed(class: ErrorClass) -> Failure {
    Failure::seen(class, "because")
}

/// Fails where the course stands.
fn after(course: &mut Course, failed: &Failure) -> Result<Step, Status> {
    let here = course.here();
    course.after(&here, failed)
}

fn step(course: &mut Course, class: ErrorClass) -> Option<(String, AttemptKind)> {
    let Step { target, kind, .. } = after(course, &failed(class)).ok()?;
    Some((target.model.clone(), kind))
}

#[tokio::test(start_paused = true)]
async fn too_long_goes_to_a_larger_window_only() {
    let plan =
        [("small@a", Some(8_000)), ("same@b", Some(8_000)), ("large@c", Some(128_000)), ("unknown@d", None)];
    let mut course = course(&plan, false);
    assert_eq!(step(&mut course, ErrorClass::ContextTooLong).unwrap().0, "large");
    assert_eq!(step(&mut course, ErrorClass::ContextTooLong).unwrap().0, "unknown");
    let status = after(&mut course, &failed(ErrorClass::ContextTooLong)).unwrap_err();
    assert_eq!(error::reason_of(&status), Some(ErrorReason::ContextTooLong));
}

#[tokio::test(start_paused = true)]
async fn a_content_filter_is_routed_around_only_if_asked() {
    let plan = [("one@a", None), ("two@b", None)];
    let status = after(&mut course(&plan, false), &failed(ErrorClass::ContentFilter)).unwrap_err();
    assert_eq!(error::reason_of(&status), Some(ErrorReason::ProviderContentFilter));
    assert_eq!(step(&mut course(&plan, true), ErrorClass::ContentFilter).unwrap().0, "two");
}

#[tokio::test(start_paused = true)]
async fn asking_the_same_provider_again_costs_and_asking_another_does_not() {
    let plan = [("one@a", None), ("two@a", None), ("three@b", None), ("four@b", None)];
    let mut course = course(&plan, false);
    assert_eq!(
        step(&mut course, ErrorClass::Overloaded),
        Some(("one".into(), AttemptKind::Retry)),
        "the one there is"
    );
    assert_eq!(step(&mut course, ErrorClass::Overloaded), Some(("three".into(), AttemptKind::Fallback)));
    let status = after(&mut course, &failed(ErrorClass::Overloaded)).unwrap_err();
    assert_eq!(error::reason_of(&status), Some(ErrorReason::RetryBudgetExhausted));
    let attempts = "sim/one overloaded; sim/one overloaded; sim/three overloaded";
    assert_eq!(error::metadata_of(&status, "attempts").as_deref(), Some(attempts));
}

#[tokio::test(start_paused = true)]
async fn the_error_is_the_first_one_unless_a_later_one_says_what_to_change() {
    let plan = [("one@a", None), ("two@b", None)];
    let mut first = course(&plan, false);
    step(&mut first, ErrorClass::Timeout);
    let status = after(&mut first, &failed(ErrorClass::Credential)).unwrap_err();
    assert_eq!(error::reason_of(&status), Some(ErrorReason::ProviderTimeout));
    let mut later = course(&plan, false);
    step(&mut later, ErrorClass::Timeout);
    let status = after(&mut later, &failed(ErrorClass::Rejected)).unwrap_err();
    assert_eq!(error::reason_of(&status), Some(ErrorReason::ProviderRejected));
    assert_eq!(error::metadata_of(&status, "target").as_deref(), Some("sim/two"));
}

#[tokio::test(start_paused = true)]
async fn no_wait_goes_beyond_the_deadline() {
    let mut course = course(&[("one@a", None)], false);
    let mut limited = failed(ErrorClass::RateLimited);
    limited.error.retry_after = Some(Duration::from_secs(6));
    let status = after(&mut course, &limited).unwrap_err();
    assert_eq!(error::reason_of(&status), Some(ErrorReason::ProviderRateLimited));
    assert_eq!(error::retry_after(&status), Some(Duration::from_secs(6)));
}
