//! Figures about personal data and secrets.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

/// A place in a text with what stands there; offsets are characters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Span {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Counts of one type.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Count {
    /// True spans of which a part was found.
    pub(super) found: usize,
    /// True spans found from first to last character.
    pub(super) exact: usize,
    /// True spans.
    pub(super) there: usize,
    /// Detections.
    pub(super) said: usize,
    /// Detections where something of the type stands.
    pub(super) right: usize,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.found += other.found;
        self.exact += other.exact;
        self.there += other.there;
        self.said += other.said;
        self.right += other.right;
    }

    pub(super) fn precision(&self) -> f64 {
        if self.said == 0 { 1.0 } else { self.right as f64 / self.said as f64 }
    }

    pub(super) fn recall(&self) -> f64 {
        if self.there == 0 { 1.0 } else { self.found as f64 / self.there as f64 }
    }

    /// Recall counted twice: what is missed leaks.
    pub(super) fn f2(&self) -> f64 {
        let (p, r) = (self.precision(), self.recall());
        if p + r == 0.0 { 0.0 } else { 5.0 * p * r / (4.0 * p + r) }
    }
}

/// Everything counted.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) kinds: BTreeMap<String, Count>,
    /// Rows with a secret: found, all.
    pub(super) secrets: (usize, usize),
    /// Rows without: falsely found, all.
    pub(super) harmless: (usize, usize),
    /// Bytes read and the time that it took.
    pub(super) cost: (usize, Duration),
}

/// Types that have a form which can be checked.
const STRUCTURED: [&str; 14] = [
    "CREDIT_CARD",
    "PHONE_NUMBER",
    "EMAIL_ADDRESS",
    "IBAN_CODE",
    "US_SSN",
    "NATIONAL_ID",
    "US_DRIVER_LICENSE",
    "US_PASSPORT",
    "IP_ADDRESS",
    "MAC_ADDRESS",
    "CRYPTO",
    "URL_CREDENTIALS",
    "DATE_OF_BIRTH",
    "SECRET",
];

/// Types that need to know words.
const NAMED: [&str; 4] = ["PERSON", "STREET_ADDRESS", "LOCATION", "ORGANIZATION"];

/// The name that data uses for what a detector finds.
pub(super) fn kind_of(detector: &str) -> &'static str {
    match detector.split_once('.') {
        Some(("secret", "connection_string")) => "URL_CREDENTIALS",
        Some(("secret", _)) => "SECRET",
        Some((_, name)) => match name {
            "email" => "EMAIL_ADDRESS",
            "iban" => "IBAN_CODE",
            "credit_card" => "CREDIT_CARD",
            "us_ssn" => "US_SSN",
            "phone" => "PHONE_NUMBER",
            "ip_address" => "IP_ADDRESS",
            "mac_address" => "MAC_ADDRESS",
            "crypto_wallet" => "CRYPTO",
            "passport" => "US_PASSPORT",
            "driver_license" => "US_DRIVER_LICENSE",
            "birth_date" => "DATE_OF_BIRTH",
            "street_address" => "STREET_ADDRESS",
            "person" => "PERSON",
            "organization" => "ORGANIZATION",
            "location" => "LOCATION",
            _ => "NATIONAL_ID",
        },
        None => "NATIONAL_ID",
    }
}

/// Types that are counted as one: an account number under another country's name is found all the same.
fn alike(a: &str, b: &str) -> bool {
    let group = |kind: &str| match kind {
        "US_SSN" | "NATIONAL_ID" | "US_DRIVER_LICENSE" | "US_PASSPORT" => 1,
        "STREET_ADDRESS" | "LOCATION" | "ZIP_CODE" => 2,
        _ => 0,
    };
    a == b || (group(a) != 0 && group(a) == group(b))
}

impl Values {
    pub(super) fn cost(&mut self, bytes: usize, time: Duration) {
        self.cost.0 += bytes;
        self.cost.1 += time;
    }

    pub(super) fn secret(&mut self, label: bool, found: bool) {
        let counts = if label { &mut self.secrets } else { &mut self.harmless };
        counts.0 += usize::from(found);
        counts.1 += 1;
    }

    /// Compares what is there with what was found. A detection counts as false only where no true span of any type stands:
    /// types that are not looked for (ages, titles) are neither found nor held against it.
    pub(super) fn spans(&mut self, truth: &[Span], found: &[Span]) {
        let meet = |a: &Span, b: &Span| a.start < b.end && b.start < a.end;
        for span in truth {
            let count = self.kinds.entry(span.kind.clone()).or_default();
            let mut same = found.iter().filter(|f| meet(span, f) && alike(&span.kind, &f.kind));
            count.there += 1;
            count.exact += usize::from(same.clone().any(|f| (f.start, f.end) == (span.start, span.end)));
            count.found += usize::from(same.next().is_some());
        }
        for span in found {
            let met: Vec<&Span> = truth.iter().filter(|t| meet(span, t)).collect();
            let right = met.iter().any(|t| alike(&t.kind, &span.kind));
            if !right && met.iter().any(|t| !looked_for(&t.kind)) {
                continue;
            }
            let count = self.kinds.entry(span.kind.clone()).or_default();
            count.said += 1;
            count.right += usize::from(right);
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (kind, count) in &other.kinds {
            self.kinds.entry(kind.clone()).or_default().add(count);
        }
        let sum = |a: &mut (usize, usize), b: (usize, usize)| *a = (a.0 + b.0, a.1 + b.1);
        sum(&mut self.secrets, other.secrets);
        sum(&mut self.harmless, other.harmless);
        self.cost(other.cost.0, other.cost.1);
    }

    /// The counts of types with a form, and of all that are looked for.
    pub(super) fn sums(&self) -> (Count, Count) {
        let (mut structured, mut all) = (Count::default(), Count::default());
        for (kind, count) in &self.kinds {
            if STRUCTURED.contains(&kind.as_str()) {
                structured.add(count);
            }
            if looked_for(kind) {
                all.add(count);
            }
        }
        (structured, all)
    }
}

fn looked_for(kind: &str) -> bool {
    STRUCTURED.contains(&kind) || NAMED.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(kind: &str, start: usize, end: usize) -> Span {
        Span { kind: kind.into(), start, end }
    }

    #[test]
    fn parts_count_as_found_and_wholes_as_exact() {
        let mut values = Values::default();
        values.spans(
            &[span("PERSON", 0, 10), span("PERSON", 20, 30), span("AGE", 40, 42)],
            &[span("PERSON", 0, 4), span("PERSON", 50, 55), span("PHONE_NUMBER", 40, 42)],
        );
        let person = values.kinds["PERSON"];
        assert_eq!((person.found, person.exact, person.there, person.said, person.right), (1, 0, 2, 2, 1));
        assert!(!values.kinds.contains_key("PHONE_NUMBER"), "an age is not looked for");
        assert!((values.sums().1.f2() - 0.5).abs() < 1e-9);
    }
}
