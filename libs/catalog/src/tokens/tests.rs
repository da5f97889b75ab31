use proptest::prelude::*;
use serde_json::json;

use super::*;

fn says(text: &str) -> Turn<'_> {
    Turn { text: text.into(), ..Turn::default() }
}

fn prompt<'a>(turns: &[(Speaker, &'a str)]) -> Prompt<'a> {
    let turns = turns.iter().map(|(speaker, text)| Turn { speaker: *speaker, ..says(text) }).collect();
    Prompt { turns, ..Prompt::default() }
}

fn model(name: &str) -> Model<'_> {
    let provider = if name.starts_with("gemini") { "google" } else { "test" };
    Model { provider, name, ..Model::default() }
}

/// "What is the capital of France?" is 14 tokens to GPT-4o, by OpenAI's own count; what others bill for the same was recorded
/// too. Seven are the text's.
#[test]
fn counts_a_question_as_each_provider_does() {
    for (name, tokens, exact) in [
        ("gpt-4o", 14, true),
        ("gpt-4", 14, true),
        ("gpt-5", 13, false),
        ("o3-mini", 13, false),
        ("gpt-oss-120b", 74, false),
        ("llama-3.3-70b", 42, false),
        ("llama3-8b-8192", 17, false),
        ("mistral-large-latest", 10, false),
        ("gemini-2.0-flash", 7, true),
        ("gemini-2.5-flash", 8, true),
        ("deepseek-reasoner", 12, false),
        ("qwen/qwen3-32b", 19, false),
        ("claude-sonnet-4-5", 14, false),
        ("amazon.nova-micro-v1:0", 7, false),
    ] {
        let count = count(&model(name), &prompt(&[(Speaker::User, "What is the capital of France?")]));
        assert_eq!((count.tokens, count.exact), (tokens, exact), "{name}");
        assert_eq!(count.exact, count.margin == 0, "{name}");
    }
}

#[test]
fn only_what_is_sure_is_called_exact() {
    let asked = [(Speaker::System, "Be brief"), (Speaker::User, "Hi")];
    let answered = [(Speaker::User, "Hi"), (Speaker::Assistant, "Hello"), (Speaker::User, "Bye")];
    for (name, whole) in
        [("gpt-4o", true), ("gemini-2.5-flash", true), ("gpt-5", false), ("qwen3-32b", false)]
    {
        assert_eq!(count(&model(name), &prompt(&asked)).exact, whole, "{name}");
        let later = count(&model(name), &prompt(&answered));
        assert!(!later.exact && later.margin >= 3, "{name}: {later:?}");
    }
    let searching = Prompt { unseen: vec!["web_search"], ..prompt(&asked) };
    let found = count(&model("gpt-4o"), &searching);
    assert!(!found.exact && found.margin > 10_000, "what a search will find is not known: {found:?}");
    let kept = Prompt { unseen: vec!["cachedContent"], ..prompt(&asked) };
    let google = Model { provider: "gemini", ..model("gemini-2.5-flash") };
    assert!(count(&google, &kept).margin > 5_000, "nor what was kept of an earlier call");
    let router = Model { provider: "openrouter", ..google };
    assert!(
        count(&google, &prompt(&asked)).exact && !count(&router, &prompt(&asked)).exact,
        "another's template"
    );
    let mut named = prompt(&asked);
    named.turns[0].name = Some("ann");
    assert!(!count(&model("gpt-4o"), &named).exact, "how names are framed is not known");
    let told = prompt(&asked);
    let untold = Prompt { untold: true, ..told.clone() };
    let margin = |prompt: &Prompt<'_>| count(&model("claude-sonnet-4-5"), prompt).margin;
    assert!(margin(&untold) >= margin(&told) + 28, "whether it is asked to think is not known");
}

#[test]
fn each_message_has_its_frame() {
    let turns =
        [(Speaker::System, "Hi"), (Speaker::User, "Hi"), (Speaker::Assistant, "Hi"), (Speaker::User, "Hi")];
    let texts = 4;
    for (name, frame) in [
        ("gpt-4o", 3 + 16),
        ("gpt-5", 2 + 16),
        ("mistral-large-latest", 8),
        ("llama-3.1-8b", 25 + 20),
        ("gemini-2.5-flash", 4),
    ] {
        assert_eq!(count(&model(name), &prompt(&turns)).tokens, texts + frame, "{name}");
    }
}

#[test]
fn whether_an_open_model_is_shown_the_schema_is_its_servers_choice() {
    let asked = prompt(&[(Speaker::User, "Hi")]);
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let held = Prompt { schema: Some(schema), ..asked.clone() };
    for (name, bound) in [("qwen3-32b", true), ("gpt-4o", false), ("gemini-2.5-flash", false)] {
        let (bare, held) = (count(&model(name), &asked), count(&model(name), &held));
        let shown = held.tokens - bare.tokens;
        assert_eq!(shown > 0 && held.margin >= shown, bound, "{name}: {bare:?} {held:?}");
    }
}

#[test]
fn newer_gemini_is_shown_no_schema_of_a_tool_without_arguments() {
    let mut tooled = prompt(&[(Speaker::User, "Hi")]);
    let parameters = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    tooled.tools.push(Tool { name: "get_time", description: "", parameters });
    let of = |name: &'static str| {
        let model = Model { provider: "gemini", ..model(name) };
        count(&model, &tooled).tokens
    };
    assert!(of("gemini-2.5-flash") > of("gemini-3-flash-preview") + 5);
}

#[test]
fn tools_cost_and_are_an_estimate() {
    let parameters = json!({
        "type": "object", "required": ["city"], "properties": { "city": { "type": "string", "description": "The city" } },
    });
    let bare = prompt(&[(Speaker::User, "Hi")]);
    let mut tooled = bare.clone();
    tooled.tools.push(Tool { name: "get_weather", description: "Tells the weather", parameters });
    for name in [
        "gpt-4o",
        "gpt-5",
        "claude-sonnet-4-5",
        "gemini-2.5-flash",
        "qwen3-32b",
        "mistral-large-latest",
        "grok-4",
    ] {
        let (bare, tooled) = (count(&model(name), &bare), count(&model(name), &tooled));
        assert!(
            tooled.tokens >= bare.tokens + 15 && !tooled.exact && tooled.margin > 0,
            "{name}: {tooled:?}"
        );
    }
}

#[test]
fn an_unknown_model_is_estimated_and_says_so() {
    let count = count_text("no-such-model", "Hello world, this is a text");
    assert!(!count.exact && count.tokens == 7 && count.margin > 0, "{count:?}");
}

#[test]
fn a_vocabulary_of_ones_own_goes_before_the_familys() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let vocabulary = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "post_processor": null, "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": { "a": 0, "b": 1, "ab": 2 }, "merges": ["a b"],
        },
    });
    std::fs::write(file.path(), vocabulary.to_string()).unwrap();
    let own = Loaded::read(file.path()).unwrap();
    let model = Model { vocabulary: Some(&own), ..model("gpt-4o") };
    let count = count(&model, &prompt(&[(Speaker::User, "ababab")]));
    assert_eq!((count.tokens, count.exact), (3 + 7, true));
}

#[test]
fn ten_megabytes_are_bounded_and_marked() {
    let long = "The quick brown fox jumps over the lazy dog. ".repeat(230_000);
    assert!(long.len() > 10_000_000);
    let count = count(&model("gpt-4o"), &prompt(&[(Speaker::User, &long)]));
    assert!(!count.exact);
    let expected = 230_000.0 * 10.0;
    assert!((count.tokens as f64 / expected - 1.0).abs() < 0.01, "{count:?}");
}

#[test]
fn agrees_with_published_vectors() {
    let data = std::env::var("SIGNALBOX_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").into());
    let Ok(lines) = std::fs::read_to_string(format!("{data}/tokens/bpe_exact_vectors.jsonl")) else {
        println!(
            "SKIPPED: tokens vectors: set SIGNALBOX_DATA to the folder with tokens/bpe_exact_vectors.jsonl"
        );
        return;
    };
    for line in lines.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let vocabulary = Vocabulary::named(row["encoding"].as_str().unwrap()).unwrap();
        let text = row["text"].as_str().unwrap();
        let expected: Vec<u32> = serde_json::from_value(row["tokens"].clone()).unwrap();
        assert_eq!(vocabulary.encode(text, false), expected, "{vocabulary:?} {text:?}");
    }
}

proptest! {
    #[test]
    fn any_prompt_has_a_count(text in ".{0,200}", name in "(gpt-4o|claude-x|gemini-3|command-r|[a-z0-9/.:-]{0,20})") {
        let count = count(&model(&name), &prompt(&[(Speaker::System, &text), (Speaker::User, "x")]));
        prop_assert!(count.tokens >= 1);
        prop_assert!(count.tokens < 2_000);
    }
}
