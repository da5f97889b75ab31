use super::*;

fn found(text: &str) -> Vec<(&'static str, &str)> {
    all(text).into_iter().map(|d| (DETECTORS[d.detector].id, &text[d.range])).collect()
}

#[test]
fn finds_what_is_valid() {
    for (text, id, value) in [
        ("Mail ada.lovelace@example.com, please.", "pii.email", "ada.lovelace@example.com"),
        ("card 4111 1111 1111 1111 now", "pii.credit_card", "4111 1111 1111 1111"),
        ("to DE89 3704 0044 0532 0130 00 today", "pii.iban", "DE89 3704 0044 0532 0130 00"),
        ("call +1 415 555 2671 now", "pii.phone", "+1 415 555 2671"),
        ("call (415) 555-2671 now", "pii.phone", "(415) 555-2671"),
        ("ssn 536-22-1234.", "pii.us_ssn", "536-22-1234"),
        ("from 8.8.8.8:53", "pii.ip_address", "8.8.8.8"),
        (
            "key sk-proj-abcdefghijklmnopqrstuvwx1 end",
            "secret.openai_key",
            "sk-proj-abcdefghijklmnopqrstuvwx1",
        ),
        ("AKIAIOSFODNN7EXAMPLE", "secret.aws_key", "AKIAIOSFODNN7EXAMPLE"),
        ("db postgres://bob:hunter2@db:5432/x", "secret.connection_string", "postgres://bob:hunter2@db"),
    ] {
        assert_eq!(found(text), [(id, value)], "{text}");
    }
}

#[test]
fn leaves_what_only_looks_alike() {
    for text in [
        "card 4111 1111 1111 1112 now",
        "DE00 3704 0044 0532 0130 00",
        "version 1.2.3.4 and 192.168.0.1",
        "id chatcmpl-9xYz0123456789abcdefghij",
        "order 1234567890123456",
        "000-12-3456",
        "Tell me @ noon about 2024-05-06 12:30:45",
    ] {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn response_ids_of_recordings_are_no_secrets() {
    let data = std::env::var("SIGNALBOX_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").into());
    let Ok(rows) = std::fs::read_to_string(format!("{data}/pii/benign_ids_from_wire.jsonl")) else {
        println!("SKIPPED: benign ids: set SIGNALBOX_DATA to the folder with pii/benign_ids_from_wire.jsonl");
        return;
    };
    let is_hit = |row: &str| all(row).iter().any(|d| DETECTORS[d.detector].id.starts_with("secret."));
    let (hits, total) = (rows.lines().filter(|row| is_hit(row)).count(), rows.lines().count());
    println!("{hits} of {total} ids taken for secrets");
    assert!(hits * 100 <= total, "{hits} of {total}");
}
