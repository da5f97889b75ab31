//! Telemetry as a collector gets it, of six processes and of one: what happened to a request is in one trace, what was said is nowhere.

use std::{collections::HashSet, path::PathBuf, process::Stdio, time::Duration};

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use signalbox_proto::gateway::v1::{EmbedRequest, GenerateRequest};
use signalbox_tests::{
    ask::{Seen, question},
    collector::{Collector, attribute},
    invariants::SENTINEL,
    sandbox::{Sandbox, Topology},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::Command,
};

use crate::{PROMPT, base64, cache_folder, complete, uncached};

/// A client's trace, and its span in it.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Telemetry to a collector, without delay.
fn sent_to(endpoint: &str, more: &str) -> String {
    format!(
        "[telemetry.otlp]\nendpoint = \"{endpoint}\"\nbatch_ms = 20\nmetrics_ms = 200\ntimeout_ms = 5000\n{more}\n"
    )
}

/// Six processes, or `signalbox up`: telemetry is a process' own.
async fn mesh(topology: Topology, models: &[&str], config: &str) -> Sandbox {
    match topology {
        Topology::SixProcesses => Sandbox::with(topology, models, config).await,
        Topology::OneProcess => Sandbox::up(models, config).await,
    }
}

async fn ask_within(sandbox: &Sandbox, traceparent: &str, request: GenerateRequest) -> Seen {
    let mut request = tonic::Request::new(request);
    request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    let stream = sandbox.gateway().generate(request).await.unwrap();
    complete(Seen::read(stream.into_inner()).await)
}

/// An alias whose first target refuses, whose second breaks off, and whose third goes on.
pub(crate) fn rescued() -> String {
    format!("rescued>sim-echo+status=500|sim-echo+cut=4+tag=b|sim-large+answer64={}", base64(PROMPT))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

both!(
    one_trace_holds_all_that_happened,
    vectors_are_traced_as_answers_are,
    content_is_redacted_where_it_is_captured,
    only_what_is_sampled_is_traced,
    a_collector_that_is_away_slows_nothing,
    a_collector_that_hangs_slows_nothing,
);

async fn one_trace_holds_all_that_happened(topology: Topology) {
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().unwrap();
    let headers = folder.path().join("headers");
    std::fs::write(&headers, "x-test = a vendor's key\n").unwrap();
    let config = sent_to(
        &format!("http://{}", collector.address),
        &format!("headers_file = {headers:?}\n[executor.retry]\nattempts_per_target = 1"),
    );
    let sandbox = mesh(topology, &[&rescued()], &config).await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let seen = ask_within(&sandbox, &traceparent, uncached("rescued", PROMPT)).await;
    assert_eq!((seen.text.as_str(), seen.seams.len()), (PROMPT, 1));

    let trace = bytes(TRACE);
    let server = "signalbox.gateway.v1.GatewayService/Generate";
    collector
        .wait_for("whole trace", |taken| {
            let has = |name: &str| taken.trace(&trace).iter().any(|(_, span)| span.name == name);
            has(server) && has("signalbox.request")
        })
        .await;
    let provider: Vec<String> = sandbox
        .provider
        .requests()
        .iter()
        .map(|asked| {
            let traceparent = asked.headers.iter().find(|(name, _)| name == "traceparent");
            traceparent.expect("the provider is told of the trace").1.clone()
        })
        .collect();
    collector.wait_for("metrics", |taken| !taken.metrics.is_empty()).await;
    // The last of it is sent at the end.
    sandbox.end().await;

    collector.look(|taken| {
        let spans = taken.trace(&trace);
        // The only span of a name.
        let named = |name: &str| -> &Span {
            let mut found = spans.iter().filter(|(_, span)| span.name == name);
            let (first, second) = (found.next(), found.next());
            assert!(first.is_some() && second.is_none(), "one {name}: {first:?} {second:?}");
            first.unwrap().1
        };
        // All of it hangs together: nobody's parent is missing, and nobody is told twice.
        let ids: HashSet<&[u8]> = spans.iter().map(|(_, span)| span.span_id.as_slice()).collect();
        assert_eq!(ids.len(), spans.len());
        let client = bytes(PARENT);
        for (by, span) in &spans {
            let parent = span.parent_span_id.as_slice();
            assert!(ids.contains(parent) || parent == client, "{by}: {} has no parent", span.name);
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{}", span.name);
        }
        let door = named(server);
        assert_eq!((door.kind(), &door.parent_span_id), (SpanKind::Server, &client));
        assert_eq!(attribute(&door.attributes, "rpc.grpc.status_code"), "0");
        let request = named("signalbox.request");
        assert_eq!(request.parent_span_id, door.span_id);
        let about = |name: &str| attribute(&request.attributes, name);
        assert_eq!(about("gen_ai.request.model"), "rescued");
        assert_eq!(about("signalbox.tenant"), "local");
        assert_eq!(about("signalbox.outcome"), "OK");
        assert_eq!(about("signalbox.attempts"), "3");
        assert!(about("gen_ai.response.finish_reasons").contains("stop"));
        let seams: Vec<_> = request.events.iter().filter(|event| event.name == "signalbox.seam").collect();
        assert_eq!(seams.len(), 1, "{:?}", request.events);
        assert_eq!(attribute(&seams[0].attributes, "signalbox.reason"), "cut");
        assert_eq!(attribute(&seams[0].attributes, "signalbox.seam.from"), "sim/sim-echo+cut=4+tag=b");

        for step in ["admit", "inspect", "plan", "execute"] {
            let step = named(step);
            assert_eq!((step.kind(), &step.parent_span_id), (SpanKind::Client, &request.span_id));
            assert!(step.start_time_unix_nano >= request.start_time_unix_nano);
        }
        let calls: HashSet<(&str, &str)> = spans
            .iter()
            .filter(|(_, span)| span.kind() == SpanKind::Server)
            .map(|(by, span)| (*by, span.name.as_str()))
            .collect();
        if topology == Topology::SixProcesses {
            for call in [
                ("signalbox-gateway", server),
                ("signalbox-metering", "signalbox.metering.v1.MeteringService/Admit"),
                ("signalbox-guard", "signalbox.guard.v1.GuardService/Inspect"),
                ("signalbox-guard", "signalbox.guard.v1.GuardService/Screen"),
                ("signalbox-router", "signalbox.router.v1.RouterService/Plan"),
                ("signalbox-executor", "signalbox.executor.v1.ExecutorService/Execute"),
            ] {
                assert!(calls.contains(&call), "{call:?} is no call of {calls:?}");
            }
        } else {
            assert_eq!(calls, HashSet::from([("signalbox", server)]));
        }

        let mut attempts: Vec<&Span> =
            spans.iter().map(|(_, span)| *span).filter(|span| span.name.starts_with("chat ")).collect();
        attempts.sort_by_key(|span| attribute(&span.attributes, "signalbox.attempt.number"));
        let told: Vec<[String; 3]> = attempts
            .iter()
            .map(|span| {
                assert_eq!(span.kind(), SpanKind::Client);
                ["signalbox.attempt.kind", "error.type", "signalbox.outcome"]
                    .map(|name| attribute(&span.attributes, name))
            })
            .collect();
        let expected =
            [["FIRST", "OVERLOADED", "OVERLOADED"], ["FALLBACK", "CUT", "CUT"], ["RESCUE", "", "OK"]];
        assert_eq!(told, expected.map(|of| of.map(str::to_owned)));
        let last = &attempts[2].attributes;
        assert_eq!(attribute(last, "gen_ai.provider.name"), "sim");
        assert_eq!(attribute(last, "gen_ai.operation.name"), "chat");
        assert!(attribute(last, "gen_ai.usage.output_tokens").parse::<u64>().unwrap() > 0);
        assert!(attribute(last, "gen_ai.response.time_to_first_chunk").parse::<f64>().unwrap() >= 0.0);
        // Each provider was told the attempt that it was asked in.
        let ids: Vec<String> =
            attempts.iter().map(|span| format!("00-{TRACE}-{}-01", hex(&span.span_id))).collect();
        assert_eq!(provider, ids);

        let metrics: HashSet<&str> = taken.metrics.iter().map(|(_, metric)| metric.name.as_str()).collect();
        for name in [
            "gen_ai.client.token.usage",
            "gen_ai.client.operation.duration",
            "gen_ai.server.time_to_first_token",
            "signalbox.request.overhead",
            "signalbox.telemetry.sent",
        ] {
            assert!(metrics.contains(name), "no {name} in {metrics:?}");
        }
        let failed = taken.logs.iter().find(|(_, line)| {
            line.trace_id == trace && format!("{:?}", line.body).contains("an attempt failed")
        });
        assert!(failed.is_some(), "log lines have the trace of their request: {:?}", taken.logs);
        assert!(!taken.holds(SENTINEL), "G2: nothing of a prompt or an answer is sent");
        assert_eq!(taken.headers.iter().collect::<Vec<_>>(), ["a vendor's key"]);
    });
}

async fn vectors_are_traced_as_answers_are(topology: Topology) {
    let collector = Collector::start().await;
    let sandbox =
        mesh(topology, &["sim-embed"], &sent_to(&format!("http://{}", collector.address), "")).await;
    let mut request = tonic::Request::new(EmbedRequest {
        model: "sim-embed".into(),
        inputs: vec!["one".into(), "two".into()],
        ..EmbedRequest::default()
    });
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-{PARENT}-01").parse().unwrap());
    let answer = sandbox.gateway().embed(request).await.unwrap().into_inner();
    assert_eq!(answer.embeddings.len(), 2);
    sandbox.end().await;
    collector.look(|taken| {
        let spans = taken.trace(&bytes(TRACE));
        let named = |name: &str| -> &Span { spans.iter().find(|(_, span)| span.name == name).expect(name).1 };
        let request = named("signalbox.request");
        assert_eq!(attribute(&request.attributes, "gen_ai.operation.name"), "embeddings");
        assert_eq!(attribute(&request.attributes, "signalbox.outcome"), "OK");
        for step in ["admit", "inspect", "plan", "execute"] {
            assert_eq!(named(step).parent_span_id, request.span_id, "{step}");
        }
        let attempts = spans.iter().filter(|(_, span)| span.name.starts_with("embeddings "));
        let operations: Vec<_> =
            attempts.map(|(_, span)| attribute(&span.attributes, "gen_ai.operation.name")).collect();
        assert_eq!(operations, ["embeddings"]);
    });
}

async fn content_is_redacted_where_it_is_captured(topology: Topology) {
    let collector = Collector::start().await;
    let endpoint = format!("http://{}", collector.address);
    let config = format!(
        "[tenants.local]\nguard_unavailable = 'open'\n[telemetry]\ncapture_content = true\n{}",
        sent_to(&endpoint, "")
    );
    let mut sandbox = mesh(topology, &[], &config).await;
    let text = "quetzalcoatl wrote to ada@example.com";
    let seen = complete(sandbox.ask(question("sim-echo", text)).await);
    assert_eq!(seen.text, text);
    // An answer from the cache is one too.
    complete(sandbox.ask(question("sim-echo", text)).await);
    // What the guard has not seen is nowhere, although it passes.
    if topology == Topology::SixProcesses {
        sandbox.kill("guard").await;
        complete(sandbox.ask(question("sim-echo", "unchecked: bob@example.com")).await);
        sandbox.revive("guard").await;
    }
    sandbox.end().await;
    collector.look(|taken| {
        let requests: Vec<_> =
            taken.spans.iter().filter(|(_, span)| span.name == "signalbox.request").collect();
        assert_eq!(requests.len(), if topology == Topology::SixProcesses { 3 } else { 2 });
        assert!(!taken.holds("bob@example.com") && !taken.holds("unchecked: "));
        for (_, span) in requests.into_iter().take(2) {
            for name in ["gen_ai.input.messages", "gen_ai.output.messages"] {
                let content = attribute(&span.attributes, name);
                assert!(content.contains("quetzalcoatl wrote to <EMAIL_1>"), "{name}: {content}");
            }
        }
        assert!(!taken.holds("ada@example.com"), "what the guard redacts is nowhere");
        assert!(
            !format!("{:?} {:?}", taken.logs, taken.metrics).contains(SENTINEL),
            "content is in spans alone"
        );
    });
}

async fn only_what_is_sampled_is_traced(topology: Topology) {
    let collector = Collector::start().await;
    let config = sent_to(&format!("http://{}", collector.address), "sample_ratio = 0.0");
    let sandbox = mesh(topology, &[], &config).await;
    complete(sandbox.ask(question("sim-small", PROMPT)).await);
    ask_within(&sandbox, &format!("00-{TRACE}-{PARENT}-00"), uncached("sim-small", PROMPT)).await;
    let sampled = TRACE.replace("4bf9", "5bf9");
    ask_within(&sandbox, &format!("00-{sampled}-{PARENT}-01"), uncached("sim-small", PROMPT)).await;
    let told: Vec<String> = sandbox
        .provider
        .requests()
        .iter()
        .map(|asked| asked.headers.iter().find(|(name, _)| name == "traceparent").unwrap().1.clone())
        .collect();
    assert!(
        told[0].ends_with("-00") && told[1].starts_with(&format!("00-{TRACE}-")) && told[1].ends_with("-00")
    );
    assert!(told[2].starts_with(&format!("00-{sampled}-")) && told[2].ends_with("-01"), "{told:?}");
    sandbox.end().await;
    collector.look(|taken| {
        let traces: HashSet<String> = taken.spans.iter().map(|(_, span)| hex(&span.trace_id)).collect();
        assert_eq!(traces, HashSet::from([sampled]), "the client's word goes before the share");
    });
}

/// Asks some requests while nothing can be sent, and looks at what became of their spans.
async fn goes_on_without(topology: Topology, endpoint: &str) {
    let sent = sent_to(endpoint, "queue = 5").replace("timeout_ms = 5000", "timeout_ms = 200");
    let config = format!("[telemetry]\nmetrics_listen = \"127.0.0.1:0\"\n{sent}");
    let sandbox = mesh(topology, &[], &config).await;
    for _ in 0..10 {
        complete(sandbox.ask(uncached("sim-small", PROMPT)).await);
    }
    let log = if topology == Topology::SixProcesses { "gateway" } else { "up" };
    let address = metrics_address(&sandbox.logs()[log]);
    let dropped = async {
        loop {
            let page = signalbox_tests::plain::get(address, "/metrics", &[]).await.body;
            let lines = page.lines().filter(|line| line.starts_with("signalbox_telemetry_dropped_total{"));
            let counts = lines.filter(|line| line.contains("\"traces\""));
            let count: f64 =
                counts.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
            if count > 0.0 {
                return count;
            }
            complete(sandbox.ask(uncached("sim-small", PROMPT)).await);
        }
    };
    let dropped = tokio::time::timeout(Duration::from_secs(60), dropped).await;
    assert!(dropped.expect("what does not fit is dropped, and counted") >= 1.0);
    sandbox.end().await;
}

/// Where a process serves its metrics, as its log says.
pub(crate) fn metrics_address(log: &str) -> std::net::SocketAddr {
    let line = log.lines().rfind(|line| line.contains("metrics are at /metrics")).expect("it says where");
    let (_, address) = line.split_once("address=").unwrap();
    // Colours stand between name and value only on a terminal.
    address.split_whitespace().next().unwrap().parse().unwrap()
}

async fn a_collector_that_is_away_slows_nothing(topology: Topology) {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    goes_on_without(topology, &format!("http://{address}")).await;
}

async fn a_collector_that_hangs_slows_nothing(topology: Topology) {
    // It takes connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    goes_on_without(topology, &format!("http://{address}")).await;
    held.abort();
}

/// The real collector's program, where `scripts/setup.sh rotel` has brought it.
fn rotel() -> Option<PathBuf> {
    let program = cache_folder().join("rotel/rotel-agent");
    program.is_file().then_some(program)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_collector_takes_all_three_signals() {
    let Some(program) = rotel() else { return println!("SKIPPED: no rotel; run scripts/setup.sh rotel") };
    for (protocol, signal, expected) in [
        ("grpc", "traces", "signalbox.request"),
        ("http", "traces", "chat sim-small"),
        ("grpc", "metrics", "gen_ai.client.token.usage"),
        ("http", "metrics", "gen_ai.server.time_to_first_token"),
        ("http", "logs", "signalbox"),
    ] {
        let ports = signalbox_testkit::free_ports::<2>().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut agent = Command::new(&program)
            .arg("start")
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{}", ports[0])])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{}", ports[1])])
            .args(["--debug-log", signal, "--debug-log-verbosity", "detailed", "--exporter", "blackhole"])
            .arg("--pid-file")
            .arg(folder.path().join("pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines();
        let port = if protocol == "grpc" { ports[0] } else { ports[1] };
        let config = sent_to(&format!("http://127.0.0.1:{port}"), &format!("protocol = \"{protocol}\""));
        let sandbox = Sandbox::up(&[], &config).await;
        complete(sandbox.ask(uncached("sim-small", PROMPT)).await);
        let taken = async {
            let mut said = String::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                assert!(!line.contains(SENTINEL), "G2: {line}");
                if line.contains(expected) {
                    return;
                }
                said.push_str(&line);
            }
            panic!("{protocol} {signal}: it ended before it had {expected}: {said}");
        };
        let taken = tokio::time::timeout(Duration::from_secs(60), taken).await;
        assert!(taken.is_ok(), "{protocol}: the collector says nothing of {signal} with {expected}");
        sandbox.end().await;
        agent.kill().await.unwrap();
    }
}
