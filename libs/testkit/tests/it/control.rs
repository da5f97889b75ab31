//! What the simulator remembers, in process and over HTTP.

use serde_json::{Value, json};
use signalbox_testkit::provider::{Config, Outcome, Provider, Recorded, Totals, Usage, count_tokens};

use crate::client::{Answer, ask, ask_whole, chat, get, post, provider, read, send};

async fn control(provider: &Provider, path: &str) -> Answer {
    read(send(provider.addr(), get(path)).await.unwrap()).await
}

#[tokio::test]
async fn requests_are_recorded_as_they_came() {
    let provider = provider().await;
    let mut question = ask("sim-echo", "one two");
    question["stream_options"] = json!({"include_usage": true});
    question["x_extra"] = json!([1, {"a": null}]);
    chat(&provider, &question).await;
    let [record] = <[Recorded; 1]>::try_from(provider.requests()).unwrap();
    assert_eq!(
        (record.ordinal, record.model.as_str(), record.path.as_str()),
        (0, "sim-echo", "/v1/chat/completions")
    );
    assert_eq!(record.body, question);
    assert!(record.authorization_present);
    assert!(record.headers.iter().all(|(name, value)| name != "authorization" && !value.contains("sk-test")));
    assert!(record.headers.contains(&("content-type".to_owned(), "application/json".to_owned())));
    assert_eq!((record.outcome, record.status), (Outcome::Completed, Some(200)));
    assert_eq!(record.delivered_chunks, 2);
    // 3 for the reply, 3 for the message, 2 words.
    let usage = Usage { prompt_tokens: 8, completion_tokens: 2, ..Usage::default() };
    assert_eq!((record.usage_reported, record.usage_actual), (Some(usage), usage));
    assert_eq!(provider.usage_total(), usage);
}

#[tokio::test]
async fn usage_is_exact_whether_told_or_not() {
    let provider = provider().await;
    let told = chat(&provider, &ask_whole("sim-large", "What, pray, is <EMAIL_1>?")).await.json();
    let content = told["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(told["usage"]["completion_tokens"], count_tokens(content));
    let untold = chat(&provider, &ask("sim-large", "What, pray, is <EMAIL_1>?")).await;
    assert_eq!(untold.chunks().concat(), content);
    let records = provider.requests();
    assert_eq!(records[1].usage_reported, None);
    assert_eq!(records[0].usage_actual, records[1].usage_actual);
    let totals = provider.totals();
    assert_eq!(totals.actual.completion_tokens, 2 * totals.reported.completion_tokens);
    let mut priced = ask_whole("sim-echo+cached=5+reasoning=7", "one two three");
    priced["messages"] =
        json!([{"role": "system", "content": "be kind"}, {"role": "user", "content": "a b"}]);
    let usage = chat(&provider, &priced).await.json()["usage"].clone();
    assert_eq!(usage["prompt_tokens"], 3 + 5 + 5);
    assert_eq!(usage["completion_tokens"], 2 + 7);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 5);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 7);
}

#[tokio::test]
async fn the_same_is_told_over_http() {
    let provider = provider().await;
    chat(&provider, &ask("sim-small", "hi")).await;
    chat(&provider, &ask("sim-small+cut=1", "hi")).await;
    assert_eq!(control(&provider, "/sim/health").await.status, 200);
    let requests = control(&provider, "/sim/requests").await.json()["requests"].take();
    assert_eq!(serde_json::from_value::<Vec<Recorded>>(requests).unwrap(), provider.requests());
    let totals: Totals = serde_json::from_value(control(&provider, "/sim/usage").await.json()).unwrap();
    assert_eq!((totals.received, totals.completed, totals.cut), (2, 1, 1));
    assert_eq!(control(&provider, "/sim/wait?received=2&cut=1&in_flight=0").await.status, 200);
    assert_eq!(control(&provider, "/sim/wait?received=3&timeout_ms=0").await.status, 408);
    let wrong = control(&provider, "/sim/wait?recieved=3").await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("recieved=3"));
    assert_eq!(control(&provider, "/sim/nothing").await.status, 404);
    let reset = read(send(provider.addr(), post("/sim/reset", "")).await.unwrap()).await;
    assert_eq!(reset.status, 200);
    assert_eq!(provider.requests(), []);
    assert_eq!(provider.totals().received, 0);
}

#[tokio::test]
async fn a_reset_forgets_requests_in_flight_but_not_that_they_run() {
    let provider = provider().await;
    let request = post("/v1/chat/completions", ask("sim-echo+stall=1", "a b").to_string());
    let response = send(provider.addr(), request).await.unwrap();
    provider.wait_for(|totals| totals.delivered_chunks == 1).await;
    provider.reset();
    assert_eq!(provider.in_flight(), 1);
    drop(response);
    let totals = provider.wait_for(|totals| totals.in_flight == 0).await;
    assert_eq!((totals.client_gone, totals.actual), (0, Usage::default()));
}

#[tokio::test]
async fn the_oldest_records_are_forgotten_and_all_are_counted() {
    let provider = Provider::start(Config { kept_records: 3, ..Config::default() }).await.unwrap();
    for _ in 0..5 {
        chat(&provider, &ask("sim-bench", "hi")).await;
    }
    let ordinals: Vec<u64> = provider.requests().iter().map(|record| record.ordinal).collect();
    assert_eq!(ordinals, [2, 3, 4]);
    assert_eq!(provider.totals().completed, 5);
}

#[tokio::test]
async fn a_waiter_is_woken_by_what_it_waits_for() {
    let provider = std::sync::Arc::new(provider().await);
    let waiter = tokio::spawn({
        let provider = std::sync::Arc::clone(&provider);
        async move { provider.wait_for(|totals| totals.completed == 2).await }
    });
    chat(&provider, &ask("sim-small", "hi")).await;
    chat(&provider, &ask_whole("sim-small", "hi")).await;
    assert_eq!(waiter.await.unwrap().completed, 2);
}

#[tokio::test]
async fn the_bench_answer_is_counted_like_any_other() {
    let provider = provider().await;
    let mut question = ask("sim-bench", "hi");
    question["stream_options"] = json!({"include_usage": true});
    let streamed = chat(&provider, &question).await;
    let whole = chat(&provider, &ask_whole("sim-bench", "hi")).await.json();
    assert_eq!(streamed.chunks().len(), 16);
    assert_eq!(streamed.chunks().concat(), whole["choices"][0]["message"]["content"]);
    assert_eq!(streamed.events().last().unwrap()["usage"], whole["usage"]);
    // Each chunk is a write of its own: opening, 16, finish, usage, [DONE].
    assert_eq!(streamed.frames.len(), 20);
    let usage = Usage { prompt_tokens: 16, completion_tokens: 16, ..Usage::default() };
    let records = provider.requests();
    assert!(
        records.iter().all(|record| record.usage_reported == Some(usage) && record.usage_actual == usage)
    );
    assert_eq!(records[0].body, question);
    let expected: Value = question["messages"][0]["content"].clone();
    assert_eq!(records[1].body["messages"][0]["content"], expected);
}
