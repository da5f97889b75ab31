//! A provider that speaks prepared bytes over a pipe, in paused time: what turns on time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use parking_lot::Mutex;
use signalbox_config::Shared;
use signalbox_proto::common::v1::{
    AttemptKind, AttemptOutcome, ErrorReason, FinishReason, TimeLimits, UsageSource, generate_event,
};
use signalbox_proto::executor::v1::{BreakerState, ExecuteRequest, ListTargetsRequest, execute_response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use tower::service_fn;

use super::world::{Executors, executor, models, request, run};
use crate::client::{Connector, Io};
use crate::config::Config;

/// Is one step of a connection's script.
enum Say {
    Bytes(&'static str),
    Pause(u64),
    /// Stays open and says nothing more.
    Hang,
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const HELLO: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// Makes an executor whose connections follow the scripts in turn, and the times at which they were made.
fn scripted(config: Config, scripts: Vec<Vec<Say>>) -> (Executors, Arc<Mutex<Vec<Instant>>>) {
    scripted_over(config, scripts, models("http://provider.test/v1", &["a", "b"], None))
}

fn scripted_over(
    config: Config,
    scripts: Vec<Vec<Say>>,
    shared: Shared,
) -> (Executors, Arc<Mutex<Vec<Instant>>>) {
    let scripts = Arc::new(Mutex::new(VecDeque::from(scripts)));
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let connector = Connector::new(service_fn(move |_: Uri| {
        seen.lock().push(Instant::now());
        let script = scripts.lock().pop_front();
        async move {
            let Some(script) = script else { return Err("no more scripts".into()) };
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            tokio::spawn(play(theirs, script));
            Ok(Io::plain(ours))
        }
    }));
    (executor(config, connector, shared), times)
}

async fn play(mut pipe: tokio::io::DuplexStream, script: Vec<Say>) {
    let mut request = Vec::new();
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        if pipe.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    for say in script {
        match say {
            Say::Bytes(text) => {
                let Ok(()) = pipe.write_all(text.as_bytes()).await else { return };
            }
            Say::Pause(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Say::Hang => std::future::pending().await,
        }
    }
}

fn answer() -> Vec<Say> {
    vec![Say::Bytes(HEAD), Say::Bytes(HELLO), Say::Bytes(STOP), Say::Bytes(DONE)]
}

fn answer_after(millis: u64) -> Vec<Say> {
    vec![Say::Bytes(HEAD), Say::Pause(millis), Say::Bytes(HELLO), Say::Bytes(STOP), Say::Bytes(DONE)]
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_hedged_and_the_loser_is_accounted_for() {
    let usual = (0..20).map(|_| answer_after(200));
    let scripts = usual.chain([answer_after(5_000), answer_after(100), answer_after(5_000)]).collect();
    let (executors, times) = scripted(Config::default(), scripts);
    let mut hedged = request(&["a", "b"]);
    hedged.hedge = true;
    for _ in 0..20 {
        let ran = run(&executors, hedged.clone()).await;
        assert_eq!(ran.attempts.len(), 1, "the usual is not slow: {ran:?}");
    }
    let begin = Instant::now();
    let ran = run(&executors, hedged).await;
    assert_eq!(begin.elapsed().as_millis(), 300, "after the usual 200 ms another is asked");
    assert_eq!(ran.started.unwrap().model, "sim/b");
    let kinds: Vec<_> = ran.attempts.iter().map(|a| (a.number, a.kind(), a.outcome())).collect();
    let lost = (1, AttemptKind::First, AttemptOutcome::Cancelled);
    assert_eq!(kinds, [lost, (2, AttemptKind::Hedge, AttemptOutcome::Ok)]);
    assert_eq!(ran.attempts[0].usage.unwrap().input_tokens, 20);

    let unasked = run(&executors, request(&["a", "b"])).await;
    assert_eq!(unasked.attempts.len(), 1, "off by default");
    assert_eq!(times.lock().len(), 23);
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_that_comes_before_the_next_one_is_taken() {
    // The first speaks after its time is up, the second never does.
    let scripts = vec![answer_after(15_000), vec![Say::Bytes(HEAD), Say::Hang]];
    let (executors, _) = scripted(Config::default(), scripts);
    let begin = Instant::now();
    let ran = run(&executors, request(&["a", "b"])).await;
    assert_eq!((ran.text.as_str(), begin.elapsed().as_secs()), ("hello", 15), "{ran:?}");
    assert_eq!(ran.started.unwrap().model, "sim/a");
    let mut attempts: Vec<_> = ran.attempts.iter().map(|a| (a.number, a.outcome(), a.kind())).collect();
    attempts.sort_by_key(|attempt| attempt.0);
    let lost = (2, AttemptOutcome::Cancelled, AttemptKind::Fallback);
    assert_eq!(attempts, [(1, AttemptOutcome::Ok, AttemptKind::First), lost]);
}

#[tokio::test(start_paused = true)]
async fn silence_opens_the_breaker() {
    let mut config = Config::default();
    config.breaker.failures = 3;
    let silent = || vec![Say::Bytes(HEAD), Say::Hang];
    let (executors, _) = scripted(config, (0..3).flat_map(|_| [silent(), answer()]).collect());
    for _ in 0..3 {
        assert_eq!(run(&executors, request(&["a", "b"])).await.text, "hello");
    }
    let listed = executors.clone().list_targets(ListTargetsRequest {}).await.unwrap().into_inner();
    let silent = listed.targets.iter().find(|target| target.model == "a").unwrap();
    assert_eq!(silent.breaker(), BreakerState::Open, "{silent:?}");
    assert_eq!(silent.breaker_reason, "3 failures in a row, the last: timeout");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_only_drips_has_stalled() {
    let drops = (0..60).flat_map(|_| {
        [Say::Bytes("data: {\"choices\":[{\"delta\":{\"content\":\".\"}}]}\n\n"), Say::Pause(2_000)]
    });
    let script = [Say::Bytes(HEAD)].into_iter().chain(drops).collect();
    let (executors, _) = scripted(Config::default(), vec![script]);
    let begin = Instant::now();
    let ran = run(&executors, request(&["a"])).await;
    assert_eq!((ran.reason(), ran.metadata("cause").as_str()), (Some(ErrorReason::StreamBroken), "stall"));
    assert_eq!(begin.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_is_rotated() {
    let refused = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}";
    let two = "[models.test]\ntargets = [
        { base_url = 'http://one.test', provider = 'sim', model = 'a' },
        { base_url = 'http://two.test', provider = 'sim', model = 'a' }]";
    let shared = signalbox_config::Document::parse(two, "test").unwrap().shared().unwrap();
    let (executors, times) =
        scripted_over(Config::default(), vec![vec![Say::Bytes(refused)], answer()], shared);
    let ran = run(&executors, request(&["a"])).await;
    assert_eq!(ran.outcomes(), [AttemptOutcome::Credential, AttemptOutcome::Ok], "{ran:?}");
    assert!(ran.attempts.iter().all(|attempt| attempt.target_id == "sim/a"));
    assert_eq!(times.lock().len(), 2);
}

/// The stream form of Anthropic's documentation, with the words `hello there`.
const ANTHROPIC: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" there\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":5}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_in_another_dialect() {
    let two = "[models.test]\ntargets = [
        { base_url = 'http://one.test/v1', provider = 'sim', model = 'a' },
        { base_url = 'http://two.test', provider = 'sim', model = 'b', dialect = 'anthropic' }]";
    let shared = signalbox_config::Document::parse(two, "test").unwrap().shared().unwrap();
    let scripts =
        vec![vec![Say::Bytes(HEAD), Say::Bytes(HELLO)], vec![Say::Bytes(HEAD), Say::Bytes(ANTHROPIC)]];
    let (executors, _) = scripted_over(Config::default(), scripts, shared);
    let ran = run(&executors, request(&["a", "b"])).await;
    assert_eq!(ran.text, "hello there", "{ran:?}");
    assert_eq!(ran.seams.len(), 1);
    let usage = ran.attempts[1].usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (9, 5));
}

fn gaps(times: &Mutex<Vec<Instant>>) -> Vec<u64> {
    let times = times.lock();
    times.windows(2).map(|w| u64::try_from((w[1] - w[0]).as_millis()).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_in_every_form() {
    for (header, wait) in [
        ("Retry-After: 3", 3_000),
        ("Retry-After: Sun, 06 Nov 1994 08:49:42 GMT", 5_000),
        ("retry-after-ms: 1250", 1_250),
        ("x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 1.5s", 1_500),
    ] {
        let limited = format!("HTTP/1.1 429 Too Many Requests\r\n{header}\r\ncontent-length: 2\r\n\r\n{{}}");
        let (executors, times) =
            scripted(Config::default(), vec![vec![Say::Bytes(limited.leak())], answer()]);
        let ran = run(&executors, request(&["a"])).await;
        assert_eq!(ran.outcomes(), [AttemptOutcome::RateLimited, AttemptOutcome::Ok], "{header}: {ran:?}");
        let waited = gaps(&times)[0];
        assert!((wait..wait + 5).contains(&waited), "{header}: {waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn limits_have_their_defaults() {
    let begin = Instant::now();
    let (executors, times) = scripted(Config::default(), vec![vec![Say::Bytes(HEAD), Say::Hang], answer()]);
    let ran = run(&executors, request(&["a", "b"])).await;
    assert_eq!(ran.outcomes(), [AttemptOutcome::Timeout, AttemptOutcome::Ok]);
    assert!((10_000..10_005).contains(&gaps(&times)[0]), "first output");

    let (executors, _) =
        scripted(Config::default(), vec![vec![Say::Bytes(HEAD), Say::Bytes(HELLO), Say::Hang]]);
    let before = Instant::now();
    let ran = run(&executors, request(&["a"])).await;
    assert_eq!((ran.reason(), ran.text.as_str()), (Some(ErrorReason::StreamBroken), "hello"));
    assert_eq!(before.elapsed().as_secs(), 15, "idle");
    assert!(begin.elapsed().as_secs() < 60);
}

#[tokio::test(start_paused = true)]
async fn limits_of_the_request_go_first_and_keep_alives_do_not_count_as_output() {
    let alive = || [Say::Bytes(": keep-alive\n\n"), Say::Pause(900)];
    let script = [Say::Bytes(HEAD)].into_iter().chain((0..10).flat_map(|_| alive())).collect();
    let (executors, _) = scripted(Config::default(), vec![script]);
    let mut request = request(&["a"]);
    request.limits.get_or_insert_default().first_output_ms = Some(2_000);
    let begin = Instant::now();
    let ran = run(&executors, request).await;
    assert_eq!(ran.reason(), Some(ErrorReason::ProviderTimeout));
    assert_eq!(begin.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_total_ends_a_stream_that_goes_on() {
    let script = [Say::Bytes(HEAD)].into_iter();
    let script = script.chain((0..100).flat_map(|_| [Say::Bytes(HELLO), Say::Pause(1_000)])).collect();
    let (executors, _) = scripted(Config::default(), vec![script]);
    let mut request = request(&["a"]);
    request.limits.get_or_insert_default().total_ms = Some(5_500);
    let begin = Instant::now();
    let ran = run(&executors, request).await;
    assert_eq!(ran.reason(), Some(ErrorReason::DeadlineExceeded));
    assert_eq!((ran.text.len(), begin.elapsed().as_millis()), (6 * 5, 5_500));
}

#[tokio::test(start_paused = true)]
async fn a_finish_reason_is_enough_whatever_becomes_of_the_connection() {
    for (ending, waits) in [(vec![], 0), (vec![Say::Bytes(DONE), Say::Hang], 0), (vec![Say::Hang], 2)] {
        let mut script = vec![Say::Bytes(HEAD), Say::Bytes(HELLO), Say::Bytes(STOP)];
        script.extend(ending);
        let (executors, _) = scripted(Config::default(), vec![script]);
        let begin = Instant::now();
        let ran = run(&executors, request(&["a"])).await;
        let finished = ran.finished.unwrap();
        assert_eq!(finished.finish_reason(), FinishReason::Stop);
        assert_eq!(begin.elapsed().as_secs(), waits);
        let usage = finished.usage.unwrap();
        assert_eq!((usage.source(), usage.input_tokens), (UsageSource::Estimated, 20), "none was reported");
        assert!(usage.output_tokens > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_never_made_is_given_up_after_five_seconds() {
    let connector = Connector::new(service_fn(|_: Uri| std::future::pending()));
    let executors = executor(Config::default(), connector, models("http://provider.test", &["a"], None));
    let begin = Instant::now();
    let ran = run(&executors, request(&["a"])).await;
    assert_eq!((ran.reason(), ran.attempts.len()), (Some(ErrorReason::ProviderTimeout), 1), "{ran:?}");
    assert_eq!(begin.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_is_an_error_and_not_an_outage() {
    let long = format!("data: {}\n\n", "x".repeat(3 << 20)).leak();
    let headers = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "y".repeat(1 << 20)).leak();
    for script in [vec![Say::Bytes(HEAD), Say::Bytes(long)], vec![Say::Bytes(headers), Say::Hang]] {
        let (executors, _) = scripted(Config::default(), vec![script, answer()]);
        let ran = run(&executors, request(&["a"])).await;
        assert_eq!(ran.outcomes(), [AttemptOutcome::Protocol, AttemptOutcome::Ok], "{ran:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_streamed_is_one_too() {
    let body = r#"{"choices":[{"message":{"content":"whole"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (executors, _) = scripted(Config::default(), vec![vec![Say::Bytes(head.leak())]]);
    let ran = run(&executors, request(&["a"])).await;
    assert_eq!((ran.text.as_str(), ran.finished.unwrap().usage.unwrap().input_tokens), ("whole", 3));
}

#[tokio::test(start_paused = true)]
async fn gzip_that_nobody_asked_for_is_refused() {
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n\u{1f}x";
    let (executors, _) = scripted(Config::default(), vec![vec![Say::Bytes(head)], answer()]);
    let ran = run(&executors, request(&["a"])).await;
    assert_eq!(ran.outcomes(), [AttemptOutcome::Protocol, AttemptOutcome::Ok]);
    assert!(ran.attempts[0].error.contains("gzip"));
}

#[tokio::test(start_paused = true)]
async fn who_pays_is_asked_before_a_stream_is_rescued() {
    let cut = || vec![Say::Bytes(HEAD), Say::Bytes(HELLO)];
    let (executors, times) = scripted(Config::default(), vec![cut(), answer(), cut(), answer()]);
    for paid in [true, false] {
        let asked = times.lock().len();
        let (payer, messages) = tokio::sync::mpsc::channel::<ExecuteRequest>(2);
        let mut request = request(&["a", "b"]);
        request.pay_attempts = true;
        payer.send(request).await.unwrap();
        let messages = futures_util::stream::unfold(messages, async |mut messages| {
            messages.recv().await.map(|message| (message, messages))
        });
        let mut answer = executors.clone().execute(messages).await.unwrap().into_inner();
        let attempt = loop {
            match answer.message().await.unwrap().unwrap().kind.unwrap() {
                execute_response::Kind::Attempt(attempt) => break attempt,
                execute_response::Kind::Event(_) => {}
            }
        };
        assert_eq!((attempt.number, attempt.outcome()), (1, AttemptOutcome::Cut));
        let waited = tokio::time::timeout(Duration::from_secs(5), answer.message()).await;
        assert!(waited.is_err(), "{waited:?}");
        assert_eq!(times.lock().len(), asked + 1, "nobody else is asked before it is paid for");
        if paid {
            let word = ExecuteRequest { paid_attempt: 1, ..ExecuteRequest::default() };
            payer.send(word).await.unwrap();
            let mut finished = false;
            while let Some(message) = answer.message().await.unwrap() {
                let event = matches!(&message.kind, Some(execute_response::Kind::Event(event))
                    if matches!(event.kind, Some(generate_event::Kind::Finished(_))));
                finished |= event;
            }
            assert!(finished);
        } else {
            drop(payer);
            let refused = answer.message().await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}");
            assert_eq!(times.lock().len(), asked + 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keep_alives_stand_in_for_output_for_a_while() {
    let pings = |count| (0..count).flat_map(|_| [Say::Pause(10_000), Say::Bytes(": ping\n\n")]);
    let begun = [Say::Bytes(HEAD), Say::Bytes(HELLO)];
    let long_tool = begun.into_iter().chain(pings(5)).chain([Say::Bytes(STOP), Say::Bytes(DONE)]).collect();
    let (executors, _) = scripted(Config::default(), vec![long_tool]);
    let ran = run(&executors, request(&["a"])).await;
    assert!(ran.finished.is_some(), "{ran:?}");

    for (asked, seconds) in [(None, 60), (Some(20_000), 20)] {
        let begun = [Say::Bytes(HEAD), Say::Bytes(HELLO)];
        let (executors, _) = scripted(Config::default(), vec![begun.into_iter().chain(pings(100)).collect()]);
        let mut request = request(&["a"]);
        request.limits = Some(TimeLimits { idle_ms: asked, ..TimeLimits::default() });
        let begin = Instant::now();
        let ran = run(&executors, request).await;
        assert_eq!(ran.outcomes(), [AttemptOutcome::Stalled], "{ran:?}");
        assert_eq!(begin.elapsed().as_secs(), seconds);
    }
}
