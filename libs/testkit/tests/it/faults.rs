//! Each fault does what its name says, and nothing else.

use std::io::ErrorKind;
use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::json;
use signalbox_testkit::provider::{Config, Fault, Outcome, Provider};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::client::{Answer, ask, ask_whole, chat, get, post, provider, read, send, send_h2};

/// Longer than anything waits; passes at once, as the clock is paused.
const FOREVER: Duration = Duration::from_secs(3600);

async fn last_outcome(provider: &Provider) -> Outcome {
    provider.wait_for(|totals| totals.in_flight == 0).await;
    provider.requests().last().unwrap().outcome
}

async fn next(body: &mut hyper::body::Incoming) -> Option<hyper::Result<hyper::body::Frame<bytes::Bytes>>> {
    body.frame().await
}

fn words(count: usize) -> String {
    (0..count).map(|index| format!("w{index}")).collect::<Vec<_>>().join(" ")
}

fn error(answer: &Answer) -> serde_json::Value {
    answer.json()["error"].clone()
}

#[tokio::test]
async fn rate_limits_come_with_and_without_retry_after() {
    let provider = provider().await;
    let bare = chat(&provider, &ask("sim-small+429", "hi")).await;
    assert_eq!(bare.status, 429);
    assert!(!bare.headers.contains_key("retry-after"));
    assert_eq!(bare.headers["x-ratelimit-remaining-requests"], "0");
    assert_eq!(error(&bare)["code"], "rate_limit_exceeded");
    let told = chat(&provider, &ask("sim-small+429-retry-after=2", "hi")).await;
    assert_eq!(told.headers["retry-after"], "2");
    assert_eq!(last_outcome(&provider).await, Outcome::Error);
    assert_eq!(provider.requests()[1].status, Some(429));
}

#[tokio::test]
async fn any_error_status_comes() {
    let provider = provider().await;
    for status in [400, 401, 404, 500, 502, 503, 529] {
        let answer = chat(&provider, &ask(&format!("sim-small+status={status}"), "hi")).await;
        assert_eq!(answer.status.as_u16(), status);
        assert!(error(&answer)["message"].is_string());
    }
    assert_eq!(provider.totals().error, 7);
    assert_eq!(provider.totals().actual.total_tokens(), 0);
}

#[tokio::test]
async fn a_reset_comes_before_any_header() {
    let provider = provider().await;
    let mut socket = TcpStream::connect(provider.addr()).await.unwrap();
    let body = ask("sim-small+reset", "hi").to_string();
    let head =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all((head + &body).as_bytes()).await.unwrap();
    let end = socket.read(&mut [0; 64]).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(last_outcome(&provider).await, Outcome::Reset);
    assert_eq!(provider.requests()[0].status, None);
}

#[tokio::test(start_paused = true)]
async fn silence_lasts_until_the_caller_leaves() {
    let provider = provider().await;
    let request = post("/v1/chat/completions", ask("sim-small+silence", "hi").to_string());
    assert!(timeout(FOREVER, send(provider.addr(), request)).await.is_err());
    assert_eq!(last_outcome(&provider).await, Outcome::ClientGone);
    let totals = provider.wait_for(|totals| totals.open_connections == 0).await;
    assert_eq!((totals.client_gone, totals.in_flight), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_token_comes_after_prompt_headers() {
    let provider = provider().await;
    let began = Instant::now();
    let request = post("/v1/chat/completions", ask("sim-small+slow-first=300", "hi").to_string());
    let mut response = send(provider.addr(), request).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    next(response.body_mut()).await.unwrap().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(read(response).await.complete);
    let began = Instant::now();
    chat(&provider, &ask_whole("sim-small+slow-first=300", "hi")).await;
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_before_the_headers_is_noticed() {
    let provider = provider().await;
    let request = post("/v1/chat/completions", ask_whole("sim-small+slow-first=600000", "hi").to_string());
    let patience = Duration::from_secs(1);
    assert!(timeout(patience, send(provider.addr(), request)).await.is_err());
    assert_eq!(last_outcome(&provider).await, Outcome::ClientGone);
}

#[tokio::test(start_paused = true)]
async fn a_drip_delays_each_chunk() {
    let provider = provider().await;
    let began = Instant::now();
    let answer = chat(&provider, &ask("sim-echo+drip=20", &words(10))).await;
    assert_eq!(answer.chunks().len(), 10);
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(answer.complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_closes_after_exactly_n_chunks() {
    let provider = provider().await;
    for cut in [0, 1, 7, 40, 99].repeat(10) {
        let answer = chat(&provider, &ask(&format!("sim-echo+cut={cut}"), &words(40))).await;
        assert_eq!(answer.chunks().len(), cut.min(40));
        assert!(!answer.complete);
        assert!(!answer.text().contains("finish_reason\":\"stop"));
        assert_eq!(last_outcome(&provider).await, Outcome::Cut);
        let record = provider.requests().pop().unwrap();
        assert_eq!(record.delivered_chunks as usize, cut.min(40));
        assert_eq!(record.usage_actual.completion_tokens, u64::from(record.delivered_chunks));
        assert_eq!(record.usage_reported, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_ends_an_http2_connection_after_exactly_n_chunks() {
    let provider = provider().await;
    for _ in 0..30 {
        let response = send_h2(provider.addr(), &ask("sim-echo+cut=7", &words(40))).await.unwrap();
        let answer = read(response).await;
        assert_eq!(answer.chunks().len(), 7);
        assert!(!answer.complete);
    }
    let answer = read(send_h2(provider.addr(), &ask("sim-echo", &words(40))).await.unwrap()).await;
    assert_eq!(answer.chunks().concat(), words(40));
    assert!(answer.complete);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_an_http2_stream_is_noticed() {
    let provider = provider().await;
    let response = send_h2(provider.addr(), &ask("sim-echo+stall=2", &words(5))).await.unwrap();
    drop(response);
    assert_eq!(last_outcome(&provider).await, Outcome::ClientGone);
}

#[tokio::test(start_paused = true)]
async fn a_stall_keeps_the_stream_open() {
    let provider = provider().await;
    let request = post("/v1/chat/completions", ask("sim-echo+stall=3", &words(10)).to_string());
    let mut response = send(provider.addr(), request).await.unwrap();
    provider.wait_for(|totals| totals.delivered_chunks == 3).await;
    for _ in 0..4 {
        next(response.body_mut()).await.unwrap().unwrap();
    }
    assert!(timeout(FOREVER, next(response.body_mut())).await.is_err());
    assert_eq!(provider.in_flight(), 1);
    drop(response);
    assert_eq!(last_outcome(&provider).await, Outcome::ClientGone);
    assert_eq!(provider.requests()[0].delivered_chunks, 3);
}

#[tokio::test]
async fn an_error_event_ends_the_stream() {
    let provider = provider().await;
    let answer = chat(&provider, &ask("sim-echo+error-event=2", &words(10))).await;
    assert_eq!(answer.chunks().len(), 2);
    assert!(answer.complete);
    assert_eq!(answer.events().last().unwrap()["error"]["type"], "server_error");
    assert!(!answer.text().contains("[DONE]"));
    assert_eq!(last_outcome(&provider).await, Outcome::Error);
}

#[tokio::test]
async fn one_chunk_is_malformed_and_the_rest_sound() {
    let provider = provider().await;
    for (nth, lost) in [(1, 0), (3, 2), (99, 4)] {
        let answer = chat(&provider, &ask(&format!("sim-echo+malformed={nth}"), &words(5))).await;
        let mut expected = vec!["w0".to_owned(), " w1".into(), " w2".into(), " w3".into(), " w4".into()];
        expected.remove(lost);
        assert_eq!(answer.chunks(), expected);
        let broken = answer.data().into_iter().filter(|data| data != "[DONE]");
        assert_eq!(broken.filter(|data| serde_json::from_str::<serde_json::Value>(data).is_err()).count(), 1);
        assert!(answer.text().ends_with("data: [DONE]\n\n"));
    }
}

#[tokio::test]
async fn ends_can_be_missing() {
    let provider = provider().await;
    let no_done = chat(&provider, &ask("sim-echo+no-done", "a b")).await;
    assert!(!no_done.text().contains("[DONE]"));
    assert_eq!(no_done.events().last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert!(no_done.complete);
    let no_finish = chat(&provider, &ask("sim-echo+no-finish", "a b")).await;
    assert!(no_finish.events().iter().all(|event| event["choices"][0]["finish_reason"].is_null()));
    assert!(no_finish.text().ends_with("data: [DONE]\n\n"));
    let neither = chat(&provider, &ask("sim-echo+no-finish+no-done", "a b")).await;
    assert_eq!(neither.events().last().unwrap()["choices"][0]["delta"]["content"], " b");
    let whole = chat(&provider, &ask_whole("sim-echo+no-finish", "a b")).await;
    assert!(whole.json()["choices"][0]["finish_reason"].is_null());
}

#[tokio::test]
async fn a_200_need_not_be_an_answer() {
    let provider = provider().await;
    let html = chat(&provider, &ask("sim-small+html", "hi")).await;
    assert_eq!(
        (html.status.as_u16(), &html.headers["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert!(html.text().starts_with("<!DOCTYPE html>"));
    let wrong = chat(&provider, &ask("sim-small+error-200", "hi")).await;
    assert_eq!(wrong.status, 200);
    assert_eq!(error(&wrong)["type"], "server_error");
    assert_eq!(provider.totals().error, 2);
}

#[tokio::test]
async fn the_first_requests_fail_by_name() {
    let provider = provider().await;
    let statuses = async |model: &str| {
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(chat(&provider, &ask(model, "hi")).await.status.as_u16());
        }
        statuses
    };
    assert_eq!(statuses("sim-small+fail-first=2").await, [503, 503, 200, 200]);
    assert_eq!(statuses("sim-small+fail-first=2+tag=b").await, [503, 503, 200, 200]);
    assert_eq!(statuses("sim-small+429+only-first=1").await, [429, 200, 200, 200]);
    assert_eq!(statuses("sim-small+fail-first=2").await, [200, 200, 200, 200]);
    provider.reset();
    assert_eq!(statuses("sim-small+fail-first=2").await, [503, 503, 200, 200]);
}

#[tokio::test(start_paused = true)]
async fn whole_answers_break_in_their_middle() {
    let provider = provider().await;
    let sound = chat(&provider, &ask_whole("sim-echo", &words(9))).await;
    let cut = chat(&provider, &ask_whole("sim-echo+cut=3", &words(9))).await;
    assert!(!cut.complete);
    assert!(!cut.bytes().is_empty() && cut.bytes().len() < sound.bytes().len());
    let malformed = chat(&provider, &ask_whole("sim-echo+malformed=1", &words(9))).await;
    assert!(malformed.complete);
    assert!(serde_json::from_slice::<serde_json::Value>(&malformed.bytes()).is_err());
    let request = post("/v1/chat/completions", ask_whole("sim-echo+stall=1", &words(9)).to_string());
    let response = send(provider.addr(), request).await.unwrap();
    assert!(timeout(FOREVER, read(response)).await.is_err());
    assert_eq!(last_outcome(&provider).await, Outcome::ClientGone);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_the_answer_back() {
    let provider = provider().await;
    let request = post("/v1/chat/completions", ask("sim-small+chunks=100000", "hi").to_string());
    let response = send(provider.addr(), request).await.unwrap();
    let all = provider.wait_for(|totals| totals.delivered_chunks == 100_000);
    assert!(timeout(FOREVER, all).await.is_err());
    drop(response);
    assert_eq!(last_outcome(&provider).await, Outcome::ClientGone);
}

#[tokio::test]
async fn a_shutdown_ends_open_streams_and_frees_the_port() {
    let provider = provider().await;
    let request = post("/v1/chat/completions", ask("sim-echo+stall=1", "a b").to_string());
    let response = send(provider.addr(), request).await.unwrap();
    provider.wait_for(|totals| totals.delivered_chunks == 1).await;
    provider.shutdown().await;
    assert_eq!(last_outcome(&provider).await, Outcome::Shutdown);
    assert!(!read(response).await.complete);
    let config = Config { listen: provider.addr(), ..Config::default() };
    let again = Provider::start(config).await.unwrap();
    assert_eq!(read(send(again.addr(), get("/v1/models")).await.unwrap()).await.status, 200);
}

#[tokio::test]
async fn every_fault_is_served() {
    let provider = provider().await;
    for fault in Fault::EXAMPLES {
        if matches!(fault, Fault::Silence | Fault::Stall { .. }) {
            continue;
        }
        let request = post("/v1/chat/completions", ask(&format!("sim-echo+{fault}"), "a b c d").to_string());
        match send(provider.addr(), request).await {
            Ok(response) => assert_ne!(read(response).await.status, 404, "{fault}"),
            Err(_) => assert_eq!(fault, Fault::Reset),
        }
    }
    assert_eq!(provider.totals().in_flight, 0);
    let vectors = json!({"model": "sim-embed+429", "input": "a"});
    let request = post("/v1/embeddings", vectors.to_string());
    assert_eq!(read(send(provider.addr(), request).await.unwrap()).await.status, 429);
}
