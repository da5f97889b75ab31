//! The program as a whole.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Output, Stdio},
};

fn signalbox(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_signalbox")).args(arguments).output().unwrap()
}

#[test]
fn bench_starts_a_mesh_measures_it_and_ends_it() {
    let arguments =
        ["bench", "--semantic", "off", "--requests", "40", "--warm-up", "4", "--rate", "200", "--json"];
    let ended = signalbox(&arguments);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(report["schema"], 1);
    let runs = report["runs"].as_array().unwrap();
    // In either loop whole and streamed, and once with long answers.
    assert_eq!(runs.len(), 5);
    let chunks: Vec<_> = runs.iter().filter_map(|run| run["chunks_per_answer"].as_f64()).collect();
    assert_eq!(chunks.iter().filter(|count| **count == 256.0).count(), 1, "{chunks:?}");
    for run in runs {
        assert_eq!((&run["answered"], &run["failed"]), (&40.into(), &0.into()), "{run}");
        assert_eq!((&run["cached"], &run["degraded"]), (&0.into(), &0.into()), "{run}");
        assert!(run["latency"]["p999_us"].as_f64().unwrap() > 0.0, "{run}");
        let streamed = run["answer"] != "whole";
        let chunks = run["chunks_per_answer"].as_f64().unwrap();
        assert!(if streamed { chunks >= 16.0 } else { chunks == 0.0 }, "{run}");
        assert_eq!(run["added_first"].is_object(), streamed, "{run}");
        assert_eq!(run["memory"].is_object(), cfg!(target_os = "linux"), "{run}");
    }
}

#[test]
fn bench_says_what_is_missing() {
    let ended = signalbox(&["bench", "--server", "http://127.0.0.1:1"]);
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("no mesh answers at http://127.0.0.1:1"), "{said}");
}

/// A mesh of the simulated models, with a first admin key; ends when it is dropped.
struct Mesh {
    child: Child,
    server: String,
    _folder: tempfile::TempDir,
}

const ADMIN: &str = "sb_admin_0123456789abcdef";

impl Mesh {
    fn start() -> Self {
        Self::start_with(|command| {
            command.stderr(Stdio::null());
        })
    }

    fn start_with(arrange: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
        command
            .args(["up", "--simulate", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path())
            .env("SIGNALBOX_ADMIN_KEY", ADMIN)
            .env_remove("OPENAI_API_KEY")
            .env_remove("SIGNALBOX_CONFIG")
            .env("SIGNALBOX__CACHE__SEMANTIC__ENABLED", "false")
            .env("SIGNALBOX__GUARD__LEARNED", "false")
            .stdout(Stdio::piped());
        arrange(&mut command);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let server =
            lines.find_map(|line| Some(line.unwrap().split_once("listening on ")?.1.to_owned())).unwrap();
        Self { child, server, _folder: folder }
    }

    /// Runs a command with a key; what it printed, and what it said beside that.
    fn run(&self, key: &str, arguments: &[&str]) -> (bool, String, String) {
        let ended = Command::new(env!("CARGO_BIN_EXE_signalbox"))
            .args(arguments)
            .args(["--server", &self.server])
            .env("SIGNALBOX_KEY", key)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (ended.status.success(), text(&ended.stdout), text(&ended.stderr))
    }

    fn json(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let (good, out, said) = self.run(ADMIN, &[arguments, &["--json"]].concat());
        assert!(good, "{arguments:?}: {said}");
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}

#[test]
fn keys_and_budgets_live_change_and_end_and_usage_is_told() {
    let mesh = Mesh::start();
    let (good, key, said) =
        mesh.run(ADMIN, &["keys", "create", "--tenant", "acme", "--name", "ci", "--model", "sim-*"]);
    assert!(good, "{said}");
    let key = key.trim();
    assert!(key.starts_with("sb_") && said.contains("only time"), "{said}");
    let listed = mesh.json(&["keys", "list", "--tenant", "acme"]);
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!(
        (listed.len(), &listed[0]["name"], &listed[0]["allowed_models"][0]),
        (1, &"ci".into(), &"sim-*".into())
    );

    let (good, _, said) = mesh.run(key, &["chat", "Hello there", "--model", "sim-small"]);
    assert!(good, "{said}");
    let (good, _, said) = mesh.run(key, &["keys", "list"]);
    assert!(!good && said.contains("ADMIN_REQUIRED") && said.contains("SIGNALBOX_KEY"), "{said}");

    let made =
        mesh.json(&["budgets", "create", "month", "--tenant", "acme", "--usd", "0", "--period", "month"]);
    assert_eq!((&made[0]["kind"], &made[0]["limit_nanousd"]), (&"hard".into(), &0.into()));
    let (good, _, said) = mesh.run(key, &["chat", "Hello again", "--model", "sim-small"]);
    assert!(!good && said.contains("BUDGET_EXHAUSTED") && said.contains("month"), "{said}");
    let changed = mesh.json(&["budgets", "change", "month", "--usd", "12.5", "--only", "feature=summary"]);
    assert_eq!(
        (&changed[0]["limit_nanousd"], &changed[0]["only"][0]),
        (&12_500_000_000_u64.into(), &"feature=summary".into())
    );
    let (good, table, _) = mesh.run(ADMIN, &["budgets", "list"]);
    assert!(good && table.contains("$12.50") && table.contains("feature=summary"), "{table}");
    mesh.json(&["budgets", "delete", "month"]);
    let (good, _, said) = mesh.run(ADMIN, &["budgets", "delete", "month"]);
    assert!(!good && said.contains("signalbox budgets list"), "{said}");

    let usage = mesh.json(&["usage", "--by", "tenant,model", "--only", "tenant=acme"]);
    assert_eq!(
        (&usage[0]["tenant"], &usage[0]["model"], &usage[0]["attempts"]),
        (&"acme".into(), &"sim-small".into(), &1.into())
    );
    let (good, lines, said) = mesh.run(ADMIN, &["usage", "export", "--tenant", "acme"]);
    assert!(good && lines.contains("\"target_id\":\"simulated/sim-small\""), "{said}{lines}");

    let rotated = mesh.json(&["keys", "rotate", id]);
    let new = rotated[0]["credential"].as_str().unwrap();
    let asks = |key: &str| mesh.run(key, &["chat", "Hello there", "--model", "sim-small"]).0;
    assert!(asks(new) && !asks(key), "the old secret ends at once");
    let limited = mesh.json(&["keys", "expire", id, "30d"]);
    assert!(limited[0]["expires_unix_ms"].as_i64().is_some() && asks(new));
    let revoked = mesh.json(&["keys", "revoke", id]);
    assert!(revoked[0]["revoked_unix_ms"].as_i64().is_some() && !asks(new));
    let (good, _, said) = mesh.run(ADMIN, &["keys", "revoke", "nobody"]);
    assert!(!good && said.contains("signalbox keys list"), "{said}");
}

#[test]
fn limits_live_change_and_end_and_the_audit_and_the_alerts_tell_of_it() {
    let mesh = Mesh::start();
    let (good, _, said) = mesh.run(ADMIN, &["keys", "create", "--tenant", "acme"]);
    assert!(!good && said.contains("--name"), "{said}");
    let made = mesh.json(&["keys", "create", "--tenant", "acme", "--name", "ci"]);
    let key = made[0]["credential"].as_str().unwrap().to_owned();
    let made = ["limits", "create", "slow", "--tenant", "acme", "--requests", "1", "--per", "day"];
    assert_eq!(mesh.json(&made)[0]["metric"], "requests");
    let asks = || mesh.run(&key, &["chat", "Hello there", "--model", "sim-small"]);
    assert!(asks().0);
    let (good, _, said) = asks();
    assert!(!good && said.contains("RATE_LIMITED"), "{said}");
    let changed = mesh.json(&["limits", "change", "slow", "--requests", "50", "--each", "user"]);
    assert_eq!((&changed[0]["burst"], &changed[0]["each"]), (&50.into(), &"user".into()));
    let (good, table, _) = mesh.run(ADMIN, &["limits", "list"]);
    assert!(good && table.contains("50 requests per day"), "{table}");
    assert!(asks().0);
    mesh.json(&["limits", "delete", "slow"]);
    let (good, _, said) = mesh.run(ADMIN, &["limits", "delete", "slow"]);
    assert!(!good && said.contains("signalbox limits list"), "{said}");
    let (good, _, said) = mesh.run(ADMIN, &["limits", "create", "x", "--tenant", "a", "--requests", "1"]);
    assert!(!good && said.contains("--per"), "{said}");

    let audit: Vec<_> = mesh.json(&["audit"]).into_iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(audit, ["limit.delete", "limit.update", "limit.create", "key.create"]);
    let (good, table, said) = mesh.run(ADMIN, &["audit", "--limit", "1"]);
    assert!(good && table.contains("limit.delete") && said.contains("--before"), "{table}{said}");

    let made = [
        "budgets", "create", "tiny", "--tenant", "acme", "--tokens", "1", "--period", "day", "--kind", "soft",
    ];
    mesh.json(&made);
    assert!(asks().0);
    let mut watching = Command::new(env!("CARGO_BIN_EXE_signalbox"))
        .args(["alerts", "--json", "--server", &mesh.server])
        .env("SIGNALBOX_KEY", ADMIN)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(watching.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let _ended = watching.kill().and_then(|()| watching.wait());
    let alert: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&alert["kind"], &alert["subject"]), (&"budget".into(), &"tiny".into()), "{alert}");
}

#[test]
fn a_providers_export_is_compared_with_the_ledger() {
    let mesh = Mesh::start();
    let (good, _, said) = mesh.run(ADMIN, &["chat", "Hello there", "--model", "sim-small"]);
    assert!(good, "{said}");
    let rows = loop {
        let rows = mesh.json(&["usage", "--by", "target"]);
        if !rows.is_empty() {
            break rows;
        }
    };
    let (input, output) =
        (rows[0]["input_tokens"].as_u64().unwrap(), rows[0]["output_tokens"].as_u64().unwrap());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let file = tempfile::NamedTempFile::new().unwrap();
    let text =
        format!("start_time,model,input_tokens,output_tokens\n{now},sim-small,{},{output}\n", input + 7);
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap();
    let drift = mesh.json(&["usage", "reconcile", path, "--provider", "simulated"]);
    assert_eq!((&drift[0]["model"], &drift[0]["drift_tokens"]), (&"sim-small".into(), &7.into()));
    assert_eq!(drift[0]["ours"]["input_tokens"].as_u64(), Some(input));
    std::fs::write(file.path(), "hello").unwrap();
    let (good, _, said) = mesh.run(ADMIN, &["usage", "reconcile", path]);
    assert!(!good && said.contains(path) && said.contains("CSV"), "{said}");
}

#[test]
fn prometheus_finds_what_was_counted() {
    let mut mesh = Mesh::start_with(|command| {
        command.env("SIGNALBOX__TELEMETRY__METRICS_LISTEN", "127.0.0.1:0").stderr(Stdio::piped());
    });
    let mut log = BufReader::new(mesh.child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let told = log.find(|line| line.contains("metrics are at /metrics")).unwrap();
    // Colours would be for a terminal.
    let address = told.split_once("address=").unwrap().1.trim().to_owned();
    // Whoever writes to a pipe that nobody reads waits.
    std::thread::spawn(move || log.for_each(drop));

    let (good, _, said) = mesh.run(ADMIN, &["chat", "Hello there", "--model", "sim-small"]);
    assert!(good, "{said}");
    let wanted = [
        "signalbox_requests_total{gen_ai_request_model=\"sim-small\",signalbox_cache_state=\"MISS\",signalbox_outcome=\"OK\"",
        "gen_ai_client_token_usage_count{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"simulated\"",
        "gen_ai_client_operation_duration_seconds_count{",
        "signalbox_request_overhead_seconds_count{signalbox_cache_state=\"MISS\"} 1",
        "signalbox_cost_usd_total{",
        "signalbox_target_state{signalbox_target=\"simulated/sim-small\"",
        "signalbox_cache_lookups_total{signalbox_cache_state=\"MISS\"",
        "service_name=\"signalbox\"",
    ];
    // The bill is settled when the answer has left.
    let text = loop {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        if text.contains("signalbox_requests_total{") {
            break text;
        }
    };
    for line in wanted {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    assert!(!text.contains("Hello"), "{text}");
}
