//! Personal data and secrets: patterns with validators, one segment at a time.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use crate::segment;

/// A detector: its id, its placeholder's word, what it finds.
pub(crate) struct Detector {
    pub(crate) id: &'static str,
    pub(crate) word: &'static str,
    pub(crate) description: &'static str,
    pattern: &'static str,
    valid: fn(&str) -> bool,
}

/// A detection in a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Detected {
    /// Index into [`DETECTORS`].
    pub(crate) detector: usize,
    /// Bytes of the text.
    pub(crate) range: Range<usize>,
    /// How sure it is, from 0 to 1.
    pub(crate) score: f64,
}

impl Detected {
    /// The detector's id.
    pub(crate) fn id(&self) -> &'static str {
        DETECTORS[self.detector].id
    }
}

const fn always(_: &str) -> bool {
    true
}

/// All detectors; where two match at one place, the longer match wins, then the earlier in this list. Patterns hold ASCII only
/// and, but for groups of digits and key blocks, no white space: see [`segment`].
pub(crate) const DETECTORS: [Detector; 18] = [
    secret(
        "secret.private_key",
        "PRIVATE_KEY",
        "a private key block",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s:,-]*?-----END [A-Z ]*PRIVATE KEY-----",
    ),
    secret("secret.anthropic_key", "API_KEY", "an Anthropic key", r"\bsk-ant-[A-Za-z0-9_-]{20,200}"),
    secret("secret.openai_key", "API_KEY", "an OpenAI key", r"\bsk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{20,200}"),
    secret("secret.aws_key", "AWS_KEY", "an AWS access key id", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    secret(
        "secret.github_token",
        "GITHUB_TOKEN",
        "a GitHub token",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b",
    ),
    secret("secret.google_key", "API_KEY", "a Google API key", r"\bAIza[A-Za-z0-9_-]{35}"),
    secret("secret.slack_token", "SLACK_TOKEN", "a Slack token", r"\bxox[abprs]-[A-Za-z0-9-]{10,200}"),
    secret("secret.stripe_key", "STRIPE_KEY", "a Stripe key", r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,200}"),
    secret(
        "secret.signalbox_key",
        "API_KEY",
        "a key of this mesh",
        r"\bsb_[A-Za-z0-9]{4,64}_[A-Za-z0-9]{16,128}",
    ),
    secret(
        "secret.jwt",
        "TOKEN",
        "a JSON web token",
        r"\beyJ[A-Za-z0-9_-]{8,1500}\.eyJ[A-Za-z0-9_-]{8,1500}\.[A-Za-z0-9_-]{8,700}",
    ),
    secret(
        "secret.connection_string",
        "CONNECTION",
        "an address with a password in it",
        r"\b[a-z][a-z0-9+.-]{1,30}://[^\s/:@]{1,100}:[^\s/@]{1,200}@[A-Za-z0-9.-]{1,250}",
    ),
    pii(
        "pii.email",
        "EMAIL",
        "an e-mail address",
        r"\b[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,6}\.[A-Za-z]{2,24}\b",
        always,
    ),
    pii(
        "pii.iban",
        "IBAN",
        "a bank account number, its check digits right",
        r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
        iban,
    ),
    pii(
        "pii.credit_card",
        "CREDIT_CARD",
        "a card number, its check digit right",
        r"\b[2-6][0-9]{3}(?:[ -]?[0-9]{2,6}){2,4}\b",
        card,
    ),
    pii("pii.us_ssn", "SSN", "a US social security number", r"\b[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}\b", ssn),
    pii(
        "pii.phone",
        "PHONE",
        "a phone number in international or American form",
        r"(?:\+[1-9][0-9]{0,2}[ .-]?(?:\([0-9]{1,4}\)[ .-]?)?[0-9]{1,4}(?:[ .-]?[0-9]{2,4}){2,4}\b|\([2-9][0-9]{2}\) ?[0-9]{3}[ .-][0-9]{4}\b|\b[2-9][0-9]{2}[.-][0-9]{3}[.-][0-9]{4}\b)",
        phone,
    ),
    pii(
        "pii.ip_address",
        "IP",
        "an IPv4 address that is not of a local network",
        r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b",
        ip,
    ),
    pii(
        "pii.mac_address",
        "MAC",
        "a hardware address",
        r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}\b",
        always,
    ),
];

const fn secret(
    id: &'static str,
    word: &'static str,
    description: &'static str,
    pattern: &'static str,
) -> Detector {
    Detector { id, word, description, pattern, valid: always }
}

const fn pii(
    id: &'static str,
    word: &'static str,
    description: &'static str,
    pattern: &'static str,
    valid: fn(&str) -> bool,
) -> Detector {
    Detector { id, word, description, pattern, valid }
}

/// Compiled patterns. `(?-u)` keeps classes to ASCII. A pattern that does not compile is left out; a test sees that all do.
static PATTERNS: LazyLock<Vec<(usize, Regex)>> = LazyLock::new(|| {
    let compile = |(index, d): (usize, &Detector)| {
        Some((index, Regex::new(&d.pattern.replace(r"\b", r"(?-u:\b)")).ok()?))
    };
    DETECTORS.iter().enumerate().filter_map(compile).collect()
});

/// Finds everything in a whole text, in order, without overlaps.
pub(crate) fn all(text: &str) -> Vec<Detected> {
    segment::all(text)
        .flat_map(|(offset, part)| {
            in_segment(part)
                .into_iter()
                .map(move |d| Detected { range: d.range.start + offset..d.range.end + offset, ..d })
        })
        .collect()
}

/// Finds everything in one segment.
pub(crate) fn in_segment(text: &str) -> Vec<Detected> {
    // Most words of most texts: nothing below matches without one of these.
    if !text.bytes().any(|b| b == b'@' || b.is_ascii_digit()) && !text.starts_with("-----BEGIN") {
        return Vec::new();
    }
    let mut found: Vec<Detected> = Vec::new();
    for (detector, pattern) in PATTERNS.iter() {
        let valid = DETECTORS[*detector].valid;
        let matches = pattern.find_iter(text).filter(|m| valid(m.as_str()));
        found.extend(matches.map(|m| Detected { detector: *detector, range: m.range(), score: 1.0 }));
    }
    found.sort_by_key(|d| (std::cmp::Reverse(d.range.len()), d.detector));
    let mut kept: Vec<Detected> = Vec::new();
    for one in found {
        if kept.iter().all(|k| one.range.end <= k.range.start || k.range.end <= one.range.start) {
            kept.push(one);
        }
    }
    kept.sort_by_key(|d| d.range.start);
    kept
}

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

/// Luhn's check digit, and a length that cards have.
fn card(text: &str) -> bool {
    let digits = digits(text);
    if !(13..=19).contains(&digits.len()) {
        return false;
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, d)| if place % 2 == 0 { *d } else { d * 2 / 10 + d * 2 % 10 })
        .sum();
    sum.is_multiple_of(10)
}

/// ISO 13616: the first four characters moved behind, letters as numbers, modulo 97 is 1.
fn iban(text: &str) -> bool {
    let compact: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
    if !(15..=34).contains(&compact.len()) {
        return false;
    }
    let value = |b: u8| (b as char).to_digit(36).unwrap_or(0);
    let rest = compact.iter().skip(4).chain(compact.iter().take(4)).fold(0u32, |rest, b| {
        let value = value(*b);
        if value < 10 { (rest * 10 + value) % 97 } else { (rest * 100 + value) % 97 }
    });
    rest == 1
}

/// Areas 000, 666 and 900–999, group 00 and serial 0000 are never given out.
fn ssn(text: &str) -> bool {
    !text.starts_with("000") && !text.starts_with("666") && &text[4..6] != "00" && !text.ends_with("0000")
}

fn phone(text: &str) -> bool {
    (9..=15).contains(&digits(text).len())
}

/// Four numbers below 256, and no address that says nothing about a person.
fn ip(text: &str) -> bool {
    text.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| {
        !(ip.is_private()
            || ip.is_loopback()
            || ip.is_unspecified()
            || ip.is_broadcast()
            || ip.octets()[0] < 2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&'static str, &str)> {
        all(text).into_iter().map(|d| (DETECTORS[d.detector].id, &text[d.range])).collect()
    }

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(PATTERNS.len(), DETECTORS.len());
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
            println!(
                "SKIPPED: benign ids: set SIGNALBOX_DATA to the folder with pii/benign_ids_from_wire.jsonl"
            );
            return;
        };
        let is_hit = |row: &str| all(row).iter().any(|d| DETECTORS[d.detector].id.starts_with("secret."));
        let (hits, total) = (rows.lines().filter(|row| is_hit(row)).count(), rows.lines().count());
        println!("{hits} of {total} ids taken for secrets");
        assert!(hits * 100 <= total, "{hits} of {total}");
    }
}
