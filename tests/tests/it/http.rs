//! The door for people's own SDKs, by hand: what they get, and what whoever means harm gets.

use std::time::Duration;

use serde_json::{Value, json};
use signalbox_proto::metering::v1::{CreateKeyRequest, Key, metering_service_client::MeteringServiceClient};
use signalbox_testkit::provider::Outcome;
use signalbox_tests::{
    plain::{self, Answer, exchange, get, post},
    sandbox::{Sandbox, Topology},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{PROMPT, finish};

both!(
    a_chat_costs_what_the_provider_reported,
    every_door_gives_the_same_answer_from_the_same_cache,
    keys_come_in_both_libraries_headers,
    a_seam_is_told_in_the_stream_and_the_text_is_whole,
    bad_bodies_are_refused_in_the_callers_dialect,
    who_leaves_in_mid_stream_lets_the_provider_go,
    an_answer_is_scored_by_its_id,
);

fn chat(model: &str, stream: bool) -> Value {
    json!({
        "model": model, "messages": [{ "role": "user", "content": PROMPT }], "stream": stream,
        "stream_options": { "include_usage": true },
    })
}

fn messages(model: &str, stream: bool) -> Value {
    json!({ "model": model, "max_tokens": 100, "messages": [{ "role": "user", "content": PROMPT }], "stream": stream })
}

/// What a chat's chunks say.
fn said(answer: &Answer) -> String {
    answer
        .events()
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect()
}

async fn a_chat_costs_what_the_provider_reported(topology: Topology) {
    let sandbox = Sandbox::start(topology).await;
    let answer = post(sandbox.address, "/v1/chat/completions", &[], &chat("sim-echo", true)).await;
    assert_eq!((answer.status, said(&answer).as_str()), (200, PROMPT), "{answer:?}");
    assert!(answer.header("content-type").starts_with("text/event-stream"));
    assert_eq!(answer.header("x-signalbox-model"), "sim/sim-echo");
    assert_eq!(answer.header("x-signalbox-cache"), "miss");
    assert!(answer.body.ends_with("data: [DONE]\n\n"));
    let events = answer.events();
    let usage = &events[events.len() - 1]["usage"];
    let reported = sandbox.provider.usage_total();
    assert_eq!(usage["prompt_tokens"], reported.prompt_tokens);
    assert_eq!(usage["completion_tokens"], reported.completion_tokens);
    let told = &events[events.len() - 2]["signalbox"];
    // 1 and 2 dollars per million tokens.
    assert_eq!(told["cost_nanousd"], reported.prompt_tokens * 1_000 + reported.completion_tokens * 2_000);
    assert_eq!(told["request_id"], answer.header("x-request-id"));
    finish(sandbox, 1).await;
}

async fn every_door_gives_the_same_answer_from_the_same_cache(topology: Topology) {
    let sandbox = Sandbox::start(topology).await;
    let at = sandbox.address;
    let first = post(at, "/v1/chat/completions", &[], &chat("sim-small", false)).await.json();
    let text = first["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let body = json!({ "model": "sim-small", "input": PROMPT });
    sandbox.kept().await;
    let responses = post(at, "/v1/responses", &[], &body).await;
    assert_eq!(responses.json()["output"][0]["content"][0]["text"], text.as_str());
    assert_eq!(responses.header("x-signalbox-cache"), "exact", "{responses:?}");
    assert_eq!(responses.header("x-signalbox-cost-usd"), "0.000000000");
    let streamed =
        post(at, "/v1/responses", &[], &json!({ "model": "sim-small", "input": PROMPT, "stream": true }))
            .await;
    let last = streamed.events().pop().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], text.as_str());
    let models = get(at, "/v1/models", &[]).await.json();
    assert!(models["data"].as_array().unwrap().iter().any(|model| model["id"] == "sim-small"), "{models}");
    let models = get(at, "/v1/models", &[("anthropic-version", "2023-06-01")]).await.json();
    assert_eq!(models["has_more"], false, "{models}");
    assert_eq!(get(at, "/v1/models/sim-small", &[]).await.json()["id"], "sim-small");
    let counted = post(at, "/v1/messages/count_tokens", &[], &messages("sim-small", false)).await;
    assert!(counted.json()["input_tokens"].as_u64().unwrap() > 3);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(at, path, &[]).await.status, 200, "{path}");
    }
    let answer = post(at, "/v1/messages", &[], &messages("sim-echo", true)).await;
    let kinds: Vec<Value> = answer.events().into_iter().map(|event| event["type"].clone()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&json!("message_start")), Some(&json!("message_stop"))));
    finish(sandbox, 4).await;
}

async fn keys_come_in_both_libraries_headers(topology: Topology) {
    let sandbox = Sandbox::start(topology).await;
    let mut metering = signalbox_mesh::client!(MeteringServiceClient, sandbox.channel);
    let key = Key { name: "door".into(), tenant: "local".into(), ..Key::default() };
    let secret =
        metering.create_key(CreateKeyRequest { key: Some(key) }).await.unwrap().into_inner().credential;
    let bearer = format!("Bearer {secret}");
    let ask = async |path, headers: &[(&str, &str)], body| post(sandbox.address, path, headers, &body).await;
    for headers in [[("authorization", bearer.as_str())], [("x-api-key", secret.as_str())]] {
        assert_eq!(ask("/v1/chat/completions", &headers, chat("sim-echo", false)).await.status, 200);
        assert_eq!(ask("/v1/messages", &headers, messages("sim-echo", false)).await.status, 200);
    }
    let refused = ask("/v1/chat/completions", &[], chat("sim-echo", false)).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    assert_eq!(
        (refused.header("x-should-retry"), refused.header("x-signalbox-reason")),
        ("false", "CREDENTIAL_MISSING")
    );
    assert!(!refused.header("x-request-id").is_empty());
    let refused = ask("/v1/messages", &[("x-api-key", "sb_wrong_wrong")], messages("sim-echo", true)).await;
    assert_eq!((refused.status, &refused.json()["error"]["type"]), (401, &json!("authentication_error")));
    assert_eq!(refused.json()["request_id"], refused.header("request-id"));
    finish(sandbox, 4).await;
}

async fn a_seam_is_told_in_the_stream_and_the_text_is_whole(topology: Topology) {
    let sandbox = Sandbox::with(topology, &["rescued>sim-echo+cut=2|sim-echo"], "").await;
    let answer = post(sandbox.address, "/v1/chat/completions", &[], &chat("rescued", true)).await;
    assert_eq!(said(&answer), PROMPT, "{answer:?}");
    let comment = answer.body.lines().find_map(|line| line.strip_prefix(": signalbox ")).expect("a comment");
    let seam: Value = serde_json::from_str(comment).unwrap();
    assert_eq!(seam["seam"]["to_model"], "sim/sim-echo");
    let events = answer.events();
    let last = events.iter().rev().find(|event| event["signalbox"].is_object()).unwrap();
    assert_eq!(last["signalbox"]["seams"][0], seam["seam"]);
    finish(sandbox, 1).await;
}

async fn bad_bodies_are_refused_in_the_callers_dialect(topology: Topology) {
    let limits = "[gateway.http]\nmax_body_bytes = 100000\nbody_idle_ms = 300\n";
    let sandbox = Sandbox::with(topology, &[], limits).await;
    let at = sandbox.address;
    let deep = format!(r#"{{"model":"m","messages":[],"x":{}{}}}"#, "[".repeat(40_000), "]".repeat(40_000));
    let large = format!(r#"{{"model":"{}"}}"#, "m".repeat(200_000));
    let cases: [(&str, &[u8], u16, &str); 6] = [
        ("too large", large.as_bytes(), 413, "MESSAGE_TOO_LARGE"),
        ("deep", deep.as_bytes(), 400, "INVALID_REQUEST"),
        ("no UTF-8", b"{\"model\":\"\xff\xfe\"}", 400, "INVALID_REQUEST"),
        ("no JSON", b"{\"model\":", 400, "INVALID_REQUEST"),
        ("a list", b"[]", 400, "INVALID_REQUEST"),
        ("wrong types", b"{\"model\":7,\"messages\":{},\"input\":7}", 400, "INVALID_REQUEST"),
    ];
    for path in [
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/embeddings",
    ] {
        for (what, body, status, reason) in cases {
            let request = plain::request("POST", path, &[("content-type", "application/json")], body);
            let answer = exchange(at, &request).await;
            assert_eq!(
                (answer.status, answer.header("x-signalbox-reason")),
                (status, reason),
                "{path}: {what}: {answer:?}"
            );
            let anthropic = path.starts_with("/v1/messages");
            assert_eq!(answer.json()["type"] == "error", anthropic, "{path}: {what}");
            assert!(!answer.json()["error"]["message"].as_str().unwrap().is_empty());
        }
    }
    let head = |length: &str| {
        format!(
            "POST /v1/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
        )
    };
    // Larger than allowed without having said so, and one that is announced and never comes.
    let piece = format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000));
    let chunked = head("transfer-encoding: chunked") + &piece + &piece;
    assert_eq!(exchange(at, chunked.as_bytes()).await.status, 413);
    let slow = exchange(at, (head("content-length: 100") + "{").as_bytes()).await;
    assert_eq!((slow.status, slow.header("x-signalbox-reason")), (408, "REQUEST_TIMEOUT"));

    let form = plain::request("POST", "/v1/chat/completions", &[("content-type", "text/plain")], b"{}");
    assert_eq!(exchange(at, &form).await.json()["error"]["param"], "content-type");
    let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let packed = plain::request("POST", "/v1/chat/completions", &packed, b"\x1f\x8b");
    assert_eq!(exchange(at, &packed).await.json()["error"]["param"], "content-encoding");
    assert_eq!(get(at, "/v1/chat/completions", &[]).await.status, 405);
    assert_eq!(get(at, "/chat/completions", &[]).await.status, 404);
    let lost = post(at, "/v1/messages/batches", &[], &json!({})).await;
    assert_eq!((lost.status, &lost.json()["error"]["type"]), (404, &json!("not_found_error")));
    let many = plain::request("GET", "/v1/models", &[("x-a", "b"); 200], b"");
    assert_eq!(exchange(at, &many).await.status, 431);
    finish(sandbox, 0).await;
}

async fn an_answer_is_scored_by_its_id(topology: Topology) {
    let sandbox = Sandbox::start(topology).await;
    let id = post(sandbox.address, "/v1/chat/completions", &[], &chat("sim-echo", false)).await;
    let id = id.header("x-request-id").to_owned();
    let score = async |body: Value| post(sandbox.address, "/v1/feedback", &[], &body).await;
    let taken = score(json!({ "request_id": id, "score": 0.5, "kind": "stars" })).await;
    assert_eq!((taken.status, &taken.json()["score"]), (200, &json!(0.5)), "{taken:?}");
    for (body, status, says) in [
        (json!({ "request_id": id, "score": 5 }), 400, "must be between -1 and 1"),
        (json!({ "request_id": id }), 400, "missing field `score`"),
        (json!({ "request_id": "r-0", "score": 1 }), 404, "no such request"),
    ] {
        let refused = score(body).await;
        let said = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(refused.status == status && said.contains(says), "{refused:?}");
    }
    finish(sandbox, 1).await;
}

async fn who_leaves_in_mid_stream_lets_the_provider_go(topology: Topology) {
    let model = "sim-echo+drip=100";
    let sandbox = Sandbox::with(topology, &[model], "").await;
    let text = [PROMPT; 40].join(" ");
    let body = json!({ "model": model, "stream": true, "messages": [{ "role": "user", "content": text }] });
    let bytes = plain::request(
        "POST",
        "/v1/chat/completions",
        &[("content-type", "application/json")],
        body.to_string().as_bytes(),
    );
    let mut io = TcpStream::connect(sandbox.address).await.unwrap();
    io.write_all(&bytes).await.unwrap();
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains("quetzalcoatl") {
        assert!(io.read_buf(&mut got).await.unwrap() > 0, "{}", String::from_utf8_lossy(&got));
    }
    drop(io);
    sandbox.provider.wait_for(|totals| totals.in_flight == 0).await;
    assert_eq!(sandbox.provider.requests()[0].outcome, Outcome::ClientGone);
    finish(sandbox, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_make_room_for_others() {
    let limits = "[mesh.server]\nmax_connections = 32\nheader_timeout_ms = 500\n";
    let sandbox = Sandbox::with(Topology::OneProcess, &[], limits).await;
    let mut idle = Vec::new();
    for beginning in ["", "GET /v1/models HTTP/1.1\r\nx-slow: "].iter().cycle().take(64) {
        let mut io = TcpStream::connect(sandbox.address).await.unwrap();
        io.write_all(beginning.as_bytes()).await.unwrap();
        idle.push(io);
    }
    let answer = post(sandbox.address, "/v1/chat/completions", &[], &chat("sim-echo", false)).await;
    assert_eq!(answer.status, 200);
    drop(idle);
    finish(sandbox, 1).await;
}

/// Streams that are opened and reset at once, many more than a client has reason to (CVE-2023-44487).
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_resets_ends_its_connection_and_nobody_elses() {
    let sandbox = Sandbox::start(Topology::OneProcess).await;
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        out.extend_from_slice(&[kind, flags]);
        out.extend_from_slice(&stream.to_be_bytes());
        out.extend_from_slice(payload);
        out
    };
    // Indexed: GET, http, /; then an authority as a literal.
    let headers = [&[0x82, 0x86, 0x84, 0x41, 4][..], b"mesh"].concat();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    for stream in (1..20_000).step_by(2) {
        bytes.extend(frame(1, 5, stream, &headers));
        bytes.extend(frame(3, 0, stream, &8u32.to_be_bytes()));
    }
    let mut io = TcpStream::connect(sandbox.address).await.unwrap();
    let _cut = io.write_all(&bytes).await;
    let mut got = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), io.read_to_end(&mut got)).await;
    assert!(ended.is_ok(), "the connection is closed");
    assert_eq!(get(sandbox.address, "/v1/models", &[]).await.status, 200);
    finish(sandbox, 0).await;
}
