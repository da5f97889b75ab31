//! A second reading of the Messages dialect that shares nothing with the crate under test: it puts the message together as
//! Anthropic's own libraries do, and reads that.

use serde_json::{Value, json};

/// Is the first byte of a stretch, and the byte after its last.
pub(crate) type Place = (u64, u64);

/// What an answer says, in its simplest form.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) text: String,
    pub(crate) thinking: String,
    /// Signatures, and thinking that cannot be read.
    pub(crate) signatures: Vec<String>,
    pub(crate) refusal: String,
    /// Id, name, arguments.
    pub(crate) tools: Vec<(String, String, String)>,
    /// Address and title, and the cited bytes of the text.
    pub(crate) citations: Vec<(String, String, Option<Place>)>,
    /// Blocks that our messages do not know.
    pub(crate) others: Vec<Value>,
    pub(crate) finish: String,
    /// Input, output, cached, written to the cache, reasoning.
    pub(crate) usage: Option<[u64; 5]>,
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) error: Option<String>,
}

/// Puts a message together from a stream's events and reads it.
pub(crate) fn read(payloads: &[Value]) -> Seen {
    let mut message = Value::Null;
    let (mut counted, mut failed) = (false, None);
    for payload in payloads {
        let index = usize::try_from(payload["index"].as_u64().unwrap_or_default()).unwrap();
        match payload["type"].as_str().unwrap_or_default() {
            "message_start" if message.is_null() => message = payload["message"].clone(),
            "message_start" if message == payload["message"] => {}
            "message_start" => {
                failed = Some("another message began before the first one ended".to_owned());
                break;
            }
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!(content.len(), index);
                content.push(payload["content_block"].clone());
            }
            "content_block_delta" => grow(&mut message["content"][index], &payload["delta"]),
            "message_delta" => {
                counted = true;
                for from in [&payload["delta"], payload] {
                    for (key, value) in from.as_object().unwrap() {
                        if !matches!(key.as_str(), "type" | "delta" | "usage") {
                            message[key] = value.clone();
                        }
                    }
                }
                for (key, value) in payload["usage"].as_object().into_iter().flatten() {
                    if !value.is_null() && *value != 0 {
                        message["usage"][key] = value.clone();
                    }
                }
            }
            "message_stop" => break,
            "error" => {
                failed = Some(payload["error"]["message"].as_str().unwrap().to_owned());
                break;
            }
            _ => {}
        }
    }
    let mut seen = of_message(&message, counted);
    if failed.is_some() {
        // What belongs to a block's end did not come.
        let ended = payloads.iter().filter(|p| p["type"] == "content_block_stop").count();
        seen.others.truncate(ended);
    }
    seen.error = failed;
    seen
}

fn grow(block: &mut Value, delta: &Value) {
    let append = |block: &mut Value, key: &str, more: &Value| {
        let so_far = block[key].as_str().unwrap_or_default();
        block[key] = json!(format!("{so_far}{}", more.as_str().unwrap()));
    };
    match delta["type"].as_str().unwrap() {
        "text_delta" => append(block, "text", &delta["text"]),
        "thinking_delta" => append(block, "thinking", &delta["thinking"]),
        "signature_delta" => block["signature"] = delta["signature"].clone(),
        "input_json_delta" => append(block, "partial_json", &delta["partial_json"]),
        "citations_delta" => {
            if block["citations"].is_null() {
                block["citations"] = json!([]);
            }
            block["citations"].as_array_mut().unwrap().push(delta["citation"].clone());
        }
        _ => {
            for (key, value) in delta.as_object().unwrap().iter().filter(|(key, _)| *key != "type") {
                block[key] = value.clone();
            }
        }
    }
}

/// Reads a message; `counted`: its counts are totals.
pub(crate) fn of_message(message: &Value, counted: bool) -> Seen {
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = Seen {
        id: string(&message["id"]),
        model: string(&message["model"]),
        finish: string(&message["stop_reason"]),
        usage: counted.then(|| usage(&message["usage"])),
        ..Seen::default()
    };
    if out.finish == "refusal" {
        out.refusal = string(&message["stop_details"]["explanation"]);
    }
    for block in message["content"].as_array().into_iter().flatten() {
        let json_text = block["partial_json"].as_str().filter(|text| !text.is_empty());
        match block["type"].as_str().unwrap() {
            "text" => {
                let start = out.text.len() as u64;
                out.text.push_str(block["text"].as_str().unwrap());
                let end = out.text.len() as u64;
                for citation in block["citations"].as_array().into_iter().flatten() {
                    let first = |keys: [&str; 2]| {
                        keys.iter().find_map(|key| citation[key].as_str()).unwrap_or_default().to_owned()
                    };
                    let place = (start < end).then_some((start, end));
                    out.citations.push((first(["url", "source"]), first(["title", "document_title"]), place));
                }
            }
            "thinking" => {
                out.thinking.push_str(block["thinking"].as_str().unwrap());
                out.signatures
                    .extend(block["signature"].as_str().filter(|s| !s.is_empty()).map(str::to_owned));
            }
            "redacted_thinking" => out.signatures.push(string(&block["data"])),
            "tool_use" => {
                let arguments = json_text.map_or_else(|| block["input"].to_string(), str::to_owned);
                out.tools.push((string(&block["id"]), string(&block["name"]), arguments));
            }
            kind => {
                if kind == "fallback" {
                    out.model = string(&block["to"]["model"]);
                }
                let mut whole = block.clone();
                whole.as_object_mut().unwrap().remove("partial_json");
                if let Some(text) = json_text {
                    whole["input"] = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
                }
                out.others.push(whole);
            }
        }
    }
    out
}

fn usage(usage: &Value) -> [u64; 5] {
    let number = |value: &Value, key: &str| value[key].as_u64().unwrap_or_default();
    let mut turns = vec![usage];
    turns.extend(
        usage["iterations"].as_array().into_iter().flatten().filter(|turn| turn["type"] == "compaction"),
    );
    let sum = |key: &str| turns.iter().map(|turn| number(turn, key)).sum::<u64>();
    let (read, written) = (sum("cache_read_input_tokens"), sum("cache_creation_input_tokens"));
    let thinking = number(&usage["output_tokens_details"], "thinking_tokens");
    [sum("input_tokens") + read + written, sum("output_tokens"), read, written, thinking]
}
