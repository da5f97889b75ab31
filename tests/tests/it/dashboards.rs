//! Dashboards and alert rules, asked of a real Prometheus that scraped a real run of six processes.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use serde_json::Value;
use signalbox_proto::common::v1::{Policies, RoutePolicy};
use signalbox_tests::{
    ask::{question, with_policies},
    prometheus::{self, Asked, Prometheus},
    sandbox::{Sandbox, Topology},
};
use tokio::process::Command;

use crate::{PROMPT, cache_folder, telemetry, uncached};

fn deploy() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "deploy"].iter().collect()
}

#[tokio::test]
async fn alert_rules_fire_on_what_they_are_for() {
    let Some(promtool) = prometheus::program(&cache_folder(), "promtool") else {
        return println!("SKIPPED: no promtool; run scripts/setup.sh prometheus");
    };
    let rules = deploy().join("prometheus");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let ran = Command::new(&promtool).args(arguments).current_dir(&rules).output().await.unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    }
    // Each alert has a test, and a paragraph for whoever is woken by it.
    let (written, tested) = (read("prometheus/alerts.yml"), read("prometheus/alerts_test.yml"));
    let runbook = std::fs::read_to_string(deploy().join("../docs/runbook.md")).unwrap();
    let alerts: Vec<&str> =
        written.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(tested.contains(&format!("alertname: {alert}")), "{alert} has no test");
        assert!(runbook.contains(&format!("## {alert}\n")), "{alert} is not in docs/runbook.md");
        assert!(
            written.contains(&format!("docs/runbook.md#{}", alert.to_lowercase())),
            "{alert} names no runbook"
        );
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(deploy().join(path)).unwrap()
}

/// Expressions of dashboards and variables, each with where it stands.
fn expressions() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(deploy().join("grafana")).unwrap() {
        let path = entry.unwrap().path();
        let board: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let name = board["title"].as_str().unwrap().to_owned();
        assert!(board["uid"].as_str().is_some_and(|uid| uid.starts_with("signalbox-")), "{name}");
        let variables = board["templating"]["list"].as_array().unwrap();
        assert!(
            variables.iter().any(|variable| variable["type"] == "datasource"),
            "{name}: the data source is a variable"
        );
        for variable in variables.iter().filter(|variable| variable["type"] == "query") {
            let query = variable["query"]["query"].as_str().unwrap();
            let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (metric, label) = inside.split_once(", ").unwrap();
            all.push((format!("{name}: ${}", variable["name"]), format!("count by ({label}) ({metric})")));
        }
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}");
                all.push((
                    format!("{name}: {}", panel["title"]),
                    target["expr"].as_str().unwrap().to_owned(),
                ));
            }
        }
    }
    assert!(all.len() > 80, "{} expressions", all.len());
    all
}

/// As Grafana fills it in.
fn filled(expression: &str) -> String {
    let mut filled = expression.replace("$__rate_interval", "30s");
    for variable in ["$tenant", "$model", "$provider", "$policy"] {
        filled = filled.replace(variable, ".*");
    }
    assert!(
        !filled.contains('$') || filled.contains("label_replace"),
        "a variable is not filled in: {filled}"
    );
    filled
}

/// What a run of some seconds does not bring about: an answer by similarity, and how sure the cache is of those.
const EMPTY: [&str; 1] = ["bound="];

#[tokio::test(flavor = "multi_thread")]
async fn each_expression_names_what_there_is() {
    let Some(program) = prometheus::program(&cache_folder(), "prometheus") else {
        return println!("SKIPPED: no prometheus; run scripts/setup.sh prometheus");
    };
    let config = "[telemetry]\nmetrics_listen = \"127.0.0.1:0\"\n\
                  [tenants.local]\nguard_unavailable = 'open'\nallowed_models = ['sim-*', 'rescued', 'gone']\n\
                  budgets = [{ limit_usd = '0.0002', period = 'hour', hard = false }]\n\
                  [metering.alerts]\nevery_ms = 500\n[executor.retry]\nattempts_per_target = 1\n\
                  [guard.policies.default]\npatterns = [{ name = 'ticket', words = ['red button'], action = 'block' }]\n";
    let models = [&*telemetry::rescued(), "gone>sim-echo+status=503+tag=gone"];
    let mut sandbox = Sandbox::with(Topology::SixProcesses, &models, config).await;
    // While the guard is away requests pass unchecked.
    sandbox.kill("guard").await;
    let _unchecked = sandbox.ask(uncached("sim-small", PROMPT)).await;
    sandbox.revive("guard").await;
    let targets: Vec<(String, SocketAddr)> = sandbox
        .logs()
        .iter()
        .map(|(name, log)| (format!("signalbox-{name}"), telemetry::metrics_address(log)))
        .collect();
    assert_eq!(targets.len(), 6);
    let folder = tempfile::tempdir().unwrap();
    let rules = deploy().join("prometheus/alerts.yml").canonicalize().unwrap();
    let prometheus = Prometheus::start(&program, folder.path(), &targets, &rules).await;

    // A little of everything, twice, with scrapes before, between and behind.
    prometheus.wait_for("count(up == 1) == 6").await;
    for round in 1..=2 {
        for text in ["quetzalcoatl", "quetzalcoatl", "write to ada@example.com", "press the red button"] {
            let _seen = sandbox.ask(question("sim-small", text)).await;
        }
        for model in ["rescued", "gone", "forbidden"] {
            let _seen = sandbox.ask(uncached(model, PROMPT)).await;
        }
        // One target is left out of a plan; then all are.
        for (model, deny) in [("rescued", "sim/sim-echo+status=500"), ("sim-small", "sim/sim-small")] {
            let route = RoutePolicy { deny: vec![deny.into()], ..RoutePolicy::default() };
            let request = question(model, &format!("{PROMPT} {round}"));
            let policies = Policies { route: Some(route), ..Policies::default() };
            let _seen = sandbox.ask(with_policies(request, policies)).await;
        }
        prometheus.wait_for(&format!("sum(signalbox_attempts_total) >= {}", 5 * round)).await;
        prometheus.wait_for("signalbox_budget_remaining").await;
        prometheus.wait_for(&format!("sum(signalbox_ledger_lag_seconds_count) >= {}", 5 * round)).await;
    }
    // Of what came last, too, a rate is known: that takes two scrapes, of each process at a time of its own.
    for count in [
        "router_filtered",
        "router_refusals",
        "metering_refusals",
        "requests",
        "guard_verdicts",
        "cache_lookups",
        "attempts",
    ] {
        prometheus.wait_for(&format!("rate(signalbox_{count}_total[30s])")).await;
    }

    let mut faults = Vec::new();
    for (place, expression) in expressions() {
        let expression = filled(&expression);
        match prometheus.evaluate(&expression).await {
            Err(why) => faults.push(format!("{place}: {why}: {expression}")),
            Ok(found) if found.is_empty() && !EMPTY.iter().any(|part| expression.contains(part)) => {
                faults.push(format!("{place} is empty: {expression}"));
            }
            Ok(_) => {}
        }
        faults.extend(missing(&prometheus, &place, &prometheus::asked(&expression)).await);
    }
    // Rules were evaluated by Prometheus itself.
    let told = prometheus.ask("rules", &[]).await.unwrap();
    let rules: Vec<&Value> = told["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert!(rules.len() > 10);
    for rule in rules {
        let name = rule["name"].as_str().unwrap();
        if rule["health"] != "ok" {
            faults.push(format!("{name}: {}", rule["lastError"]));
        }
        let asked = prometheus::asked(rule["query"].as_str().unwrap());
        faults.extend(missing(&prometheus, name, &asked).await);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    sandbox.end().await;
}

/// Metrics and labels that an expression names and that nobody has.
async fn missing(prometheus: &Prometheus, place: &str, asked: &Asked) -> Vec<String> {
    let mut missing = Vec::new();
    let mut all = BTreeSet::from(["__name__".to_owned(), "invariant".to_owned()]);
    for (metric, selected) in &asked.metrics {
        let labels = prometheus.labels(metric).await;
        if labels.is_empty() {
            missing.push(format!("{place}: there is no {metric}"));
        }
        missing.extend(
            selected
                .iter()
                .filter(|label| !labels.contains(*label))
                .map(|label| format!("{place}: {metric} has no {label}")),
        );
        all.extend(labels);
    }
    let unknown = asked.groups.iter().filter(|label| !all.contains(*label));
    missing.extend(unknown.map(|label| format!("{place}: nothing has a {label}")));
    missing
}
