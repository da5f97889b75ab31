//! Check digits and dates.

/// Luhn's check digit (ISO/IEC 7812-1).
pub(crate) fn luhn(digits: &[u8]) -> bool {
    let double = |d: u8| if d > 4 { d * 2 - 9 } else { d * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, d)| u32::from(if place % 2 == 0 { *d } else { double(*d) }))
        .sum();
    !digits.is_empty() && sum.is_multiple_of(10)
}

/// The sum of digits times weights, as far as both go.
pub(crate) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(d, w)| u32::from(*d) * w).sum()
}

/// Digits as a number.
pub(crate) fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, d| number * 10 + u64::from(*d))
}

/// ISO 7064 MOD 11,10: German and Croatian tax numbers.
pub(crate) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((check, rest)) = digits.split_last() else { return false };
    let product = rest.iter().fold(10u32, |product, d| {
        let sum = (u32::from(*d) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == u32::from(*check)
}

/// Verhoeff's check digit: Aadhaar.
pub(crate) fn verhoeff(digits: &[u8]) -> bool {
    const PERMUTED: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    // The dihedral group of order ten.
    let times = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b - 5) % 5,
        (false, true) => 5 + (a - 5 + 5 - b) % 5,
        (false, false) => (a - 5 + 5 - (b - 5)) % 5,
    };
    let fold = |check, (place, d): (usize, &u8)| times(check, PERMUTED[place % 8][usize::from(*d)]);
    digits.iter().rev().enumerate().fold(0, fold) == 0
}

/// ISO 13616: the check digits are right, and the length is the country's.
pub(crate) fn iban(compact: &[u8]) -> bool {
    iban_length(compact) == Some(compact.len()) && mod_97(compact)
}

/// The same with a length that is one off: not all who write account numbers follow the registry.
pub(crate) fn nearly_iban(compact: &[u8]) -> bool {
    iban_length(compact).is_some_and(|length| length.abs_diff(compact.len()) <= 1) && mod_97(compact)
}

/// The length of its country's account numbers.
fn iban_length(compact: &[u8]) -> Option<usize> {
    let country = compact.get(..2)?;
    IBAN_LENGTHS.iter().find(|(c, _)| c.as_bytes() == country).map(|(_, length)| *length)
}

/// The first four characters moved behind, letters as numbers: modulo 97 is 1.
fn mod_97(compact: &[u8]) -> bool {
    let rest = compact.iter().skip(4).chain(compact.iter().take(4)).fold(0u32, |rest, b| {
        let value = (*b as char).to_digit(36).unwrap_or(0);
        if value < 10 { (rest * 10 + value) % 97 } else { (rest * 100 + value) % 97 }
    });
    rest == 1
}

/// The registry of SWIFT, release 99.
const IBAN_LENGTHS: [(&str, usize); 84] = [
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BI", 27),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DJ", 27),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FK", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HN", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MN", 20),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NI", 28),
    ("NL", 18),
    ("NO", 15),
    ("OM", 23),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("RU", 33),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("SO", 23),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TR", 26),
    ("UA", 29),
];

/// Lengths that an issuer's cards have, by their first digits.
pub(crate) fn card_issuer(digits: &[u8]) -> bool {
    let first = |count: usize| digits.get(..count).map_or(0, number);
    let length = digits.len();
    let two = first(2);
    let three = first(3);
    match (digits.first(), first(4)) {
        (Some(4), _) => matches!(length, 13 | 16 | 19),
        (_, 2221..=2720) => length == 16,
        (_, 1800 | 2131) => length == 15,
        (_, 3528..=3589) => (16..=19).contains(&length),
        (_, 6011) => (16..=19).contains(&length),
        _ => match two {
            51..=55 => length == 16,
            34 | 37 => length == 15,
            36 | 38 | 39 => (14..=19).contains(&length),
            30 => (300..=305).contains(&three) && (14..=19).contains(&length),
            // Mir, and the rest of Mastercard's second range.
            22 => length == 16,
            50 | 56..=69 => (12..=19).contains(&length),
            _ => false,
        },
    }
}

/// Whether day and month exist.
pub(crate) fn is_date(year: u64, month: u64, day: u64) -> bool {
    let days = match month {
        2 => {
            28 + u64::from(year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)))
        }
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// Whether six digits are a date, by which part comes first: `yymmdd`, or `ddmmyy`.
pub(crate) fn is_short_date(digits: &[u8], day_first: bool) -> bool {
    let part = |from: usize| digits.get(from..from + 2).map_or(0, number);
    let (year, month, day) =
        if day_first { (part(4), part(2), part(0)) } else { (part(0), part(2), part(4)) };
    is_date(2000 + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().map(|b| b - b'0').collect()
    }

    #[test]
    fn check_digits_of_published_examples() {
        assert!(luhn(&digits("4111111111111111")) && !luhn(&digits("4111111111111112")));
        assert!(mod_11_10(&digits("86095742719")) && !mod_11_10(&digits("86095742718")));
        assert!(verhoeff(&digits("2363")) && !verhoeff(&digits("2364")));
        assert!(iban(b"DE89370400440532013000") && !iban(b"DE89370400440532013001"));
        assert!(!iban(b"DE8937040044053201300"), "too short for Germany");
    }

    #[test]
    fn dates_exist_or_not() {
        assert!(is_date(2024, 2, 29) && !is_date(2023, 2, 29) && !is_date(2023, 4, 31));
        assert!(is_short_date(&digits("840229"), false) && is_short_date(&digits("290284"), true));
    }
}
