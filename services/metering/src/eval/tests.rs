use std::fs;

use super::*;

const ROWS: &str = r#"{"provider": "openai", "model": "gpt-4o", "kind": "chat", "messages": [{"role": "user", "content": "What is the capital of France?"}], "prompt_tokens": 14, "wire_id": "w1"}
{"provider": "openai", "model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "prompt_tokens": 60, "has_tools_or_schema": true}
{"provider": "bedrock", "model": "us.anthropic.claude-x", "messages": [{"role": "user", "content": [{"text": "Hi"}]}], "prompt_tokens": 3, "cache_read": 5, "cache_creation": null}
{"encoding": "o200k_base", "text": "a<|endoftext|>", "tokens": [64, 199999]}
{"encoding": "cl100k_base", "text": "hello", "tokens": [15339]}
{"encoding": "cl100k_base", "text": "hello", "tokens": [1]}
{"encoding": "no_such", "text": "hello", "tokens": [1]}
{"model": "gpt-4o", "messages": [], "prompt_tokens": 0}
no json
[1, 2]
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("tokens")).unwrap();
    fs::write(folder.path().join("tokens/rows.jsonl"), ROWS).unwrap();
    folder
}

fn measure(folder: &tempfile::TempDir, predictions: Option<PathBuf>) -> Report {
    let options = Options { data: folder.path().to_owned(), predictions };
    run(&options, &|sent| {
        assert_eq!(sent.body["model"], "gpt-4o");
        Some(ChatRequest::default())
    })
    .unwrap()
}

#[test]
fn rows_are_measured_and_odd_ones_told() {
    let folder = folder();
    let predictions = folder.path().join("predictions");
    let report = measure(&folder, Some(predictions.clone()));
    let figure = |name: &str| report.metric("tokens/rows.jsonl", name).map(|metric| (metric.value, metric.n));
    let left_out = figure("rows.left_out").unwrap();
    assert_eq!((left_out.0, report.notices().count()), (3.0, 3), "{}", report.text());
    assert_eq!(figure("text.openai.exact"), Some((1.0, 1)));
    assert_eq!(figure("text.claude.within_1"), Some((1.0, 1)), "what the cache held is counted too");
    assert_eq!(figure("tools_unseen.openai.within_5"), Some((0.0, 1)));
    assert_eq!(
        figure("vectors.o200k_base.exact"),
        Some((1.0, 1)),
        "marks are tokens where the vector says so"
    );
    assert_eq!(figure("vectors.cl100k_base.exact"), Some((0.5, 2)));
    assert_eq!(figure("vectors.no_such.exact"), Some((0.0, 1)));
    assert_eq!(report.metric("*", "text.all.exact").map(|metric| metric.n), Some(2));
    assert!(report.json().starts_with(r#"{"schema":1,"file":"tokens/rows.jsonl","metrics":{"#));
    assert!(report.text().contains("text.openai.exact"));
    let lines = fs::read_to_string(predictions).unwrap();
    assert_eq!(lines.lines().count(), 7);
    assert_eq!(lines.lines().next(), Some(r#"{"id":"w1","predicted":14,"actual":14}"#));
}

#[test]
fn the_request_behind_a_row_is_counted_where_it_is_there() {
    let folder = folder();
    assert_eq!(measure(&folder, None).metric("*", "request_text.all.exact"), None);
    fs::create_dir_all(folder.path().join("wire")).unwrap();
    let line = r#"{"id": "w1", "path": "/v1/chat/completions", "request": {"model": "gpt-4o"}}"#;
    fs::write(folder.path().join("wire/some.jsonl"), format!("{line}\nodd\n")).unwrap();
    // What the test's reader makes of it has no messages, so the count differs.
    let metric = measure(&folder, None).metric("*", "request_text.all.exact").unwrap();
    assert_eq!((metric.value, metric.n), (0.0, 1));
}

#[test]
fn a_folder_without_data_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { data: folder.path().to_owned(), predictions: None };
    assert!(run(&options, &|_| None).unwrap_err().to_string().contains("holds no tokens/*.jsonl"));
}

/// What was reached on recorded prompts must not be lost; the floors lie a little below.
#[test]
fn recorded_prompts_are_counted_as_they_were_billed() {
    let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let data = std::env::var_os("SIGNALBOX_DATA").map_or_else(|| usual.into(), PathBuf::from);
    if !data.join("tokens/recorded_usage.jsonl").exists() {
        println!(
            "SKIPPED: recorded prompts: set SIGNALBOX_DATA to the folder with tokens/recorded_usage.jsonl"
        );
        return;
    }
    let report = run(&Options { data, predictions: None }, &|_| None).unwrap();
    println!("{}", report.text());
    for (name, floor) in [
        ("vectors.all.exact", 1.0),
        ("text.openai.exact", 0.78),
        ("text.gemini.exact", 0.70),
        ("text.mistral.exact", 0.80),
        ("text.llama3.exact", 0.70),
        ("text.claude.within_5", 0.50),
        ("text.nova.exact", 0.80),
    ] {
        let reached = report.metric("*", name).unwrap();
        assert!(reached.value >= floor, "{name}: {reached:?}, not {floor}");
    }
}
