//! What recorded answers cost: by the dialects and the price book, and by a second computation that shares nothing with them. It
//! reads the provider's JSON by the paths that genai-prices gives, finds the price in that list, and multiplies decimal numbers.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;
use signalbox_catalog::{Book, Tariff, Usage};
use signalbox_wire::Dialect;

/// 1 November 2026, noon: past every first day in the list.
const AT: &str = "2026-11-01T12:00:00Z";

fn data() -> PathBuf {
    let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    std::env::var_os("SIGNALBOX_DATA").map_or_else(|| usual.into(), PathBuf::from)
}

/// By dialect and book, in nano-dollars; `None`: the price is unknown.
fn ours(row: &Value, provider: &str, dialect: Dialect, at: i64) -> Option<i64> {
    let body = row["response"].to_string();
    let usage = dialect.whole(body.as_bytes()).ok()?.summary.usage?;
    let known = Book::built_in().find(provider, row["url"].as_str()?, row["model"].as_str()?)?;
    let usage = Usage {
        input_tokens: usage.input_tokens - usage.unbilled_input_tokens,
        output_tokens: usage.output_tokens - usage.unbilled_output_tokens,
        cached_input_tokens: usage.cached_input_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        cache_write_1h_tokens: usage.cache_write_1h_tokens,
        audio_input_tokens: usage.audio_input_tokens,
        audio_output_tokens: usage.audio_output_tokens,
        ..Usage::default()
    };
    known.tariff.as_ref().and_then(|tariff: &Tariff| tariff.at(at)).map(|price| price.cost(&usage))
}

/// The second computation.
mod theirs {
    use std::collections::BTreeMap;

    use serde_json::Value;

    /// Dollars times 10^15, so that a token of any price in the list is a whole number.
    fn per_token(price: &Value) -> i128 {
        let text = price.to_string();
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: i128 = format!("{whole}{part}").parse().unwrap();
        let shift = 9 + exponent.parse::<i32>().unwrap() - i32::try_from(part.len()).unwrap();
        // Some prices in the list went through a double; what is below a nano-dollar per million is noise.
        match shift {
            0.. => digits * 10_i128.pow(shift.unsigned_abs()),
            _ => digits / 10_i128.pow(shift.unsigned_abs()),
        }
    }

    fn covers(rule: &Value, name: &str) -> bool {
        rule.as_object().unwrap().iter().all(|(kind, value)| {
            let text = || value.as_str().unwrap().to_lowercase();
            match kind.as_str() {
                "equals" => name == text(),
                "starts_with" => name.starts_with(&text()),
                "ends_with" => name.ends_with(&text()),
                "contains" => name.contains(&text()),
                "regex" => regex::Regex::new(value.as_str().unwrap()).unwrap().is_match(name),
                "or" => value.as_array().unwrap().iter().any(|one| covers(one, name)),
                "and" => value.as_array().unwrap().iter().all(|one| covers(one, name)),
                other => panic!("{other}"),
            }
        })
    }

    fn at<'a>(value: &'a Value, path: &Value) -> Option<&'a Value> {
        match path {
            Value::String(key) => value.get(key),
            Value::Array(steps) => steps.iter().try_fold(value, |value, step| match step {
                Value::Object(choice) => {
                    let field = choice["field"].as_str().unwrap();
                    let wanted = choice["match"]["equals"].as_str().unwrap();
                    value.as_array()?.iter().find(|item| item[field] == wanted)
                }
                step => value.get(step.as_str().unwrap()),
            }),
            _ => None,
        }
    }

    fn usage(provider: &Value, flavor: &str, response: &Value) -> Option<BTreeMap<String, i128>> {
        let extractor = provider["extractors"].as_array()?.iter().find(|one| one["api_flavor"] == flavor)?;
        let root = at(response, &extractor["root"])?;
        let mut usage = BTreeMap::new();
        for mapping in extractor["mappings"].as_array()? {
            let found = at(root, &mapping["path"]).and_then(Value::as_i64);
            match found {
                Some(count) => {
                    *usage.entry(mapping["dest"].as_str()?.to_owned()).or_insert(0) += i128::from(count);
                }
                None if mapping["required"] == true => return None,
                None => {}
            }
        }
        Some(usage)
    }

    /// Of a history the last entry that holds on 1 November 2026 at noon.
    fn prices(model: &Value) -> &Value {
        let Some(history) = model["prices"].as_array() else { return &model["prices"] };
        let holds = |entry: &&Value| {
            let constraint = &entry["constraint"];
            constraint.is_null()
                || constraint["start_date"].as_str().is_some_and(|day| day <= "2026-11-01")
                || constraint["start_time"].as_str().is_some_and(|start| {
                    (start..constraint["end_time"].as_str().unwrap()).contains(&"12:00:00Z")
                })
        };
        &history.iter().rev().find(holds).unwrap()["prices"]
    }

    pub(super) fn cost(list: &Value, provider: &str, flavor: &str, row: &Value) -> Option<i64> {
        let of = |id: &str| list.as_array().unwrap().iter().find(|one| one["id"] == id);
        let provider = of(provider)?;
        let name = row["model"].as_str()?.to_lowercase();
        let fallback = provider["fallback_model_providers"].as_array().into_iter().flatten();
        let served = std::iter::once(provider).chain(fallback.filter_map(|id| of(id.as_str()?)));
        let named = |model: &&Value| {
            model["id"].as_str().unwrap().to_lowercase() == name || covers(&model["match"], &name)
        };
        let exact = |one: &'_ Value| one["models"].as_array().unwrap().iter().find(named).cloned();
        let model = served.filter_map(exact).next()?;
        let usage = usage(provider, flavor, &row["response"])?;
        let of = |kind: &str| usage.get(kind).copied().unwrap_or(0);
        let prices = prices(&model);
        let rate = |key: &str| {
            let price = prices.get(key).filter(|price| !price.is_null())?;
            let Some(tiers) = price.get("tiers") else { return Some(per_token(price)) };
            let tier = &tiers[0];
            let long = of("input_tokens") > i128::from(tier["start"].as_i64().unwrap());
            Some(per_token(if long { &tier["price"] } else { &price["base"] }))
        };
        let (input, output) = (rate("input_mtok").unwrap_or(0), rate("output_mtok").unwrap_or(0));
        let (cached, written) = (of("cache_read_tokens"), of("cache_write_tokens"));
        let heard = of("input_audio_tokens") - of("cache_audio_read_tokens");
        let spoken = of("output_audio_tokens");
        let femto = (of("input_tokens") - cached - written - heard) * input
            + cached * rate("cache_read_mtok").unwrap_or(input)
            + written * rate("cache_write_mtok").unwrap_or(input)
            + heard * rate("input_audio_mtok").unwrap_or(input)
            + (of("output_tokens") - spoken) * output
            + spoken * rate("output_audio_mtok").unwrap_or(output);
        i64::try_from((femto + 500_000).div_euclid(1_000_000)).ok()
    }
}

/// Provider in the list, form of its usage, and dialect of a recording.
fn speaks(row: &Value) -> Option<(&'static str, &'static str, Dialect)> {
    Some(match (row["provider"].as_str()?, row["kind"].as_str()?) {
        ("openai", "chat") => ("openai", "chat", Dialect::OpenAi),
        ("openai", "responses") => ("openai", "responses", Dialect::Responses),
        ("azure", "chat") => ("azure", "chat", Dialect::Azure),
        ("azure", "responses") => ("azure", "responses", Dialect::AzureResponses),
        ("anthropic", "chat") => ("anthropic", "default", Dialect::Anthropic),
        ("gemini", "chat") => ("google", "default", Dialect::Gemini),
        ("vertex", "chat") if row["model"].as_str()?.contains("gemini") => {
            ("google", "default", Dialect::Vertex)
        }
        ("bedrock", "chat") => ("aws", "default", Dialect::Bedrock),
        ("groq", "chat") => ("groq", "default", Dialect::OpenAi),
        ("mistral", "chat") => ("mistral", "default", Dialect::OpenAi),
        ("openrouter", "chat") => ("openrouter", "chat", Dialect::OpenAi),
        ("deepseek", "chat") => ("deepseek", "chat", Dialect::OpenAi),
        ("cohere", "chat") => ("cohere", "default", Dialect::Cohere),
        _ => return None,
    })
}

#[test]
fn recorded_answers_cost_the_same_by_two_computations() {
    let (Ok(rows), Ok(list)) = (
        fs::read_to_string(data().join("wire/pydantic_ai.jsonl")),
        fs::read_to_string(data().join("prices/genai_prices_data.json")),
    ) else {
        println!("SKIPPED: recorded costs: set SIGNALBOX_DATA to the folder with wire/ and prices/");
        return;
    };
    let list: Value = serde_json::from_str(&list).unwrap();
    let at: jiff::Timestamp = AT.parse().unwrap();
    let (mut compared, mut differ) = (BTreeMap::<String, usize>::new(), Vec::new());
    for line in rows.lines() {
        let mut row: Value = serde_json::from_str(line).unwrap();
        if let Some(Ok(parsed)) = row["response"].as_str().map(serde_json::from_str) {
            row["response"] = parsed;
        }
        if row["format"] != "json" || row["status"] != 200 {
            continue;
        }
        let Some((provider, flavor, dialect)) = speaks(&row) else { continue };
        // OpenRouter counts one token as read from Gemini's cache and as written to it: the two computations bound that differently.
        let details = &row["response"]["usage"]["prompt_tokens_details"];
        let both = [&details["cached_tokens"], &details["cache_write_tokens"]];
        if both.iter().filter_map(|count| count.as_u64()).sum::<u64>()
            > row["response"]["usage"]["prompt_tokens"].as_u64().unwrap_or(u64::MAX)
        {
            continue;
        }
        let Some(theirs) = theirs::cost(&list, provider, flavor, &row) else { continue };
        let ours = ours(&row, provider, dialect, at.as_millisecond());
        *compared.entry(format!("{provider} {flavor}")).or_default() += 1;
        // No counts at all cost nothing either way.
        if ours.unwrap_or_default() != theirs {
            differ.push(format!("{} {}: {ours:?}, not {theirs}", row["id"], row["model"]));
        }
    }
    println!("compared: {compared:?}");
    assert!(compared.values().sum::<usize>() > 500 && compared.len() > 8, "{compared:?}");
    assert!(differ.is_empty(), "{} differ: {:#?}", differ.len(), &differ[..differ.len().min(20)]);
}
