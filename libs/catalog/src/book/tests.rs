use super::*;

fn rates(provider: &str, model: &str) -> Option<(i64, i64)> {
    let known = Book::built_in().find(provider, "", model)?;
    known.tariff?.latest().map(|p| (p.rates.input_nanousd_per_mtok, p.rates.output_nanousd_per_mtok))
}

#[test]
fn the_built_in_book_is_sound() {
    let text = include_str!("../../data/prices.jsonl");
    let book = Book::parse("prices.jsonl", text).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(book.len() + book.providers.len(), lines);
    assert!(book.len() > 1_000 && book.providers.len() > 30);
    for of in book.models.keys() {
        assert!(book.providers.iter().any(|provider| provider.provider == *of), "{of}");
    }
}

#[test]
fn names_never_seen_are_found_by_rule() {
    let same = |provider: &str, known: &str, others: &[&str]| {
        let price = rates(provider, known);
        assert!(price.is_some(), "{provider} {known}");
        for other in others {
            assert_eq!(rates(provider, other), price, "{provider} {other}");
        }
    };
    same("openai", "gpt-4o-mini", &["gpt-4o-mini-2099-01-31", "openai/gpt-4o-mini"]);
    same("anthropic", "claude-sonnet-4-5", &["claude-sonnet-4-5-20990101", "claude-sonnet-4-5-latest"]);
    same("google", "gemini-2.5-pro", &["models/gemini-2.5-pro", "gemini-2.5-pro-2099-01-01"]);
    same("fireworks", "deepseek-v3-0324", &["accounts/fireworks/models/deepseek-v3-0324"]);
    same("aws", "us.amazon.nova-lite-v1:0", &["amazon.nova-lite-v1:0", "eu.amazon.nova-lite-v9:0"]);
    same("mistral", "mistral-large-latest", &["mistral-large"]);
    // A fine-tune has a price of its own where the book has one, else its base's.
    assert_eq!(rates("openai", "ft:gpt-4o-mini-2024-07-18:acme::x1"), Some((300_000_000, 1_200_000_000)));
    assert_eq!(rates("openai", "ft:gpt-4.1-nano:acme::x1"), rates("openai", "gpt-4.1-nano"));
    assert_eq!(rates("openai", "gpt-99-turbo-max"), None);
    assert_eq!(rates("nobody", "gpt-4o"), None, "who serves it decides what it costs");
}

#[test]
fn a_provider_is_found_by_its_address() {
    let book = Book::built_in();
    for (name, url, provider) in [
        ("openai", "", Some("openai")),
        ("amazonaws", "https://bedrock-runtime.us-east-1.amazonaws.com", Some("aws")),
        ("googleapis", "https://generativelanguage.googleapis.com/v1beta", Some("google")),
        ("azure", "https://acme.openai.azure.com/openai/v1", Some("azure")),
        ("x", "https://api.x.ai/v1", Some("x-ai")),
        ("local", "http://127.0.0.1:8000/v1", None),
    ] {
        assert_eq!(book.provider(name, url), provider, "{name} {url}");
    }
    let azure = book.find("azure", "", "gpt-4o-mini").and_then(|known| known.tariff);
    assert!(azure.is_some(), "Azure serves OpenAI's models at its prices");
}

#[test]
fn prices_hold_from_their_day_and_between_their_hours() {
    let line = r#"
        {"provider": "p"}
        {"of": "p", "model": "m", "prices": [
          {"input": "10", "output": "1"}, {"from": "2025-06-10", "input": "2", "output": "1"},
          {"daily": ["16:30", "00:30"], "input": "0.5", "output": "1"}]}"#;
    let joined: String =
        line.lines().map(str::trim).collect::<Vec<_>>().join(" ").replace("} {\"of", "}\n{\"of");
    let tariff = Book::parse("t", &joined).unwrap().find("p", "", "m").unwrap().tariff.unwrap();
    let input = |time: &str| {
        let at: jiff::Timestamp = time.parse().unwrap();
        tariff.at(at.as_millisecond()).unwrap().rates.input_nanousd_per_mtok
    };
    assert_eq!(input("2025-06-09T12:00:00Z"), 10_000_000_000);
    assert_eq!(input("2025-06-10T00:30:00Z"), 2_000_000_000);
    assert_eq!(input("2025-06-10T00:29:59Z"), 500_000_000);
    assert_eq!(input("2020-01-01T16:30:00Z"), 500_000_000);
}

#[test]
fn a_file_of_ones_own_is_laid_over_and_its_faults_are_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let own = r#"
# Our own contract.
{"of": "openai", "model": "gpt-4o", "match": "^gpt-4o", "context_window": 7, "prices": [{"input": "1.23", "output": "4", "request": "0.001"}]}
{"provider": "lab", "match": "^lab"}
{"of": "lab", "model": "m", "prices": [{"input": "0", "output": "0", "long": {"above": 5, "input": "3"}}]}"#;
    std::fs::write(file.path(), own).unwrap();
    let book = Book::read(file.path()).unwrap();
    let price = |provider: &str, model: &str| {
        book.find(provider, "", model).unwrap().tariff.unwrap().latest().unwrap()
    };
    let own = price("openai", "gpt-4o-2024-08-06");
    assert_eq!(
        (own.rates.input_nanousd_per_mtok, own.request_nanousd, own.batch_percent),
        (1_230_000_000, 1_000_000, 50)
    );
    assert_eq!(price("lab-two", "m").long.unwrap().1.input_nanousd_per_mtok, 3_000_000_000);
    assert_eq!(
        book.find("openai", "", "gpt-4").map(|k| k.tariff),
        Book::built_in().find("openai", "", "gpt-4").map(|k| k.tariff)
    );

    for (line, part) in [
        ("{", "line 1: "),
        (r#"{"of": "x", "model": "m", "price": 1}"#, "unknown field `price`"),
        (r#"{"of": "x", "model": "m", "prices": [{"input": "a"}]}"#, "`a` is not an amount"),
        (r#"{"of": "x", "model": "m", "match": "m"}"#, "is no rule"),
        (r#"{"of": "x", "model": "m", "capabilities": ["flying"]}"#, "no capability"),
    ] {
        let error = Book::parse("f.jsonl", line).unwrap_err().to_string();
        assert!(error.starts_with("f.jsonl, line 1: ") && error.contains(part), "{error}");
    }
    assert!(Book::read(Path::new("/no/such")).is_err());
}
