use std::time::Duration;

use super::*;

type Nowhere = opentelemetry_otlp::MetricExporter;

/// One test, because what is counted is the process'.
#[tokio::test]
async fn what_is_counted_is_read_by_its_names() {
    ended(&Request { tenant: "early", ..Request::default() });
    let metrics = Metrics::begin::<Nowhere>(crate::resource("test"), true, None).unwrap();
    began("acme");
    ended(&Request {
        tenant: "acme",
        model: "fast",
        outcome: "OK",
        cache: "MISS",
        saved_nanousd: 500_000_000,
        total: Duration::from_millis(30),
        first_output: Some(Duration::from_millis(7)),
        overhead: Duration::from_micros(300),
        steps: [
            ("admit", Duration::from_micros(200)),
            ("plan", Duration::ZERO),
            ("lookup", Duration::ZERO),
            ("inspect", Duration::ZERO),
        ],
    });
    attempted(&Attempt {
        operation: "chat",
        tenant: "acme",
        model: "fast",
        provider: "gemini",
        target_model: "small",
        outcome: "TIMEOUT",
        kind: "FIRST",
        input_tokens: 12,
        cost_nanousd: 250_000_000,
        duration: Duration::from_secs(3),
        ..Attempt::default()
    });
    let text = metrics.text();
    let value = |name: &str, with: &[&str]| {
        let mut lines = text.lines().filter(|line| line.starts_with(name));
        let line = lines.find(|line| with.iter().all(|part| line.contains(part)));
        line.unwrap_or_else(|| panic!("no {name} {with:?} in\n{text}")).rsplit(' ').next().unwrap().to_owned()
    };
    let requests =
        ["signalbox_tenant=\"acme\"", "gen_ai_request_model=\"fast\"", "signalbox_cache_state=\"MISS\""];
    assert_eq!(value("signalbox_requests_total{", &requests), "1");
    assert_eq!(value("signalbox_requests_in_flight{", &["acme"]), "0");
    assert_eq!(value("signalbox_saved_usd_total{", &["acme"]), "0.5");
    assert_eq!(value("signalbox_cost_usd_total{", &["acme", "small"]), "0.25");
    assert_eq!(value("signalbox_attempts_total{", &["TIMEOUT", "FIRST"]), "1");
    assert_eq!(value("signalbox_request_step_seconds_count{", &["admit"]), "1");
    assert!(!text.contains("\"plan\"") && !text.contains("early"), "{text}");
    let operation =
        ["gen_ai_operation_name=\"chat\"", "gen_ai_provider_name=\"gcp.gemini\"", "error_type=\"TIMEOUT\""];
    assert_eq!(value("gen_ai_client_operation_duration_seconds_count{", &operation), "1");
    assert_eq!(value("gen_ai_client_token_usage_count{", &["gen_ai_token_type=\"input\""]), "1");

    // Names that callers choose are bounded.
    for n in 0..MOST_SERIES * 2 {
        ended(&Request { tenant: &n.to_string(), ..Request::default() });
    }
    let series = metrics.text().lines().filter(|line| line.starts_with("signalbox_requests_total{")).count();
    assert_eq!(series, MOST_SERIES + 1, "and what came beyond, together");
    assert!(metrics.text().contains("otel_metric_overflow"));

    let address = metrics.serve("127.0.0.1:0").await.unwrap();
    let config =
        signalbox_config::Telemetry { metrics_listen: Some(address.to_string()), ..Default::default() };
    let taken = crate::start("again", &config).await.err().unwrap().to_string();
    assert!(taken.contains("metrics_listen") && taken.contains("9464"), "{taken}");
}
