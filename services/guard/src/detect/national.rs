//! National identity and tax numbers, by their check digits.
//!
//! A form that little else has (`756.…`, `12345678Z`) speaks for itself. Bare digits that satisfy one check digit do so one time
//! in ten by chance, so they count only where a word before them says what they are.

use super::{
    checks::{is_date, is_short_date, luhn, mod_11_10, number, verhoeff, weighted},
    locales::{Country, Locales},
};

/// How sure a number is: in a form of its own, or only with a word before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sure {
    /// The form and the check are enough.
    Alone,
    /// A word must say so.
    WithContext,
}

/// Judges digits written in groups of these lengths (one group: nothing between them), by the rules of some countries.
pub(crate) fn digits(d: &[u8], groups: &[usize], locales: Locales) -> Option<Sure> {
    use Country::*;
    let alone = |ok: bool| ok.then_some(Sure::Alone);
    let context = |ok: bool| ok.then_some(Sure::WithContext);
    let of = |countries: &[Country]| countries.iter().any(|country| locales.has(*country));
    let grouped = groups.len() > 1;
    match d.len() {
        9 if groups == [3, 3, 3] => alone(of(&[Ca]) && luhn(d)).or_else(|| context(nine(d, locales))),
        9 => context(nine(d, locales) || of(&[Ca, Il]) && luhn(d)),
        10 if groups == [6, 4] => alone(
            of(&[Se]) && is_short_date(d, false)
                || of(&[Dk]) && is_short_date(d, true)
                || of(&[Cz, Sk]) && czech(d),
        ),
        10 if groups == [4, 6] => alone(of(&[At]) && austria(d)),
        10 => context(
            of(&[At]) && austria(d)
                || of(&[Gb]) && nhs(d)
                || of(&[Se]) && is_short_date(d, false) && luhn(d)
                || of(&[Cz, Sk]) && czech(d)
                || of(&[Bg]) && bulgaria(d)
                || of(&[Ua]) && ukraine(d),
        ),
        11 if groups == [3, 3, 3, 2] => alone(of(&[Br]) && cpf(d) || of(&[Ru]) && snils(d)),
        11 if groups == [2, 2, 2, 3, 2] => alone(of(&[Be]) && belgium(d)),
        11 => alone(
            (!grouped || groups == [6, 5])
                && (of(&[Pl]) && pesel(d)
                    || of(&[No]) && norway(d)
                    || of(&[Be]) && belgium(d)
                    || of(&[Ee, Lt]) && baltic(d)
                    || of(&[Lv]) && is_short_date(d, true) && luhn(d)),
        )
        .or_else(|| {
            context(
                of(&[Br]) && cpf(d)
                    || of(&[Pl]) && pesel(d)
                    || of(&[No]) && norway(d)
                    || of(&[Ee, Lt]) && baltic(d)
                    || of(&[Tr]) && turkey(d)
                    || of(&[De]) && german_tax(d)
                    || of(&[Hr, De]) && mod_11_10(d)
                    || of(&[Ru]) && snils(d)
                    || of(&[Au]) && abn(d),
            )
        }),
        12 if groups == [8, 4] => alone(of(&[Se]) && luhn(&d[2..]) && century_date(d)),
        12 if groups == [6, 2, 4] => alone(of(&[My]) && is_short_date(d, false)),
        12 if groups == [4, 4, 4] => alone(of(&[In]) && verhoeff(d) && d[0] > 1),
        12 => context(
            of(&[Se]) && luhn(&d[2..]) && century_date(d)
                || of(&[In]) && verhoeff(d) && d[0] > 1
                || of(&[Jp]) && japan(d),
        ),
        13 => {
            let swiss = of(&[Ch]) && d.starts_with(&[7, 5, 6]) && ean13(d);
            let thai = of(&[Th]) && thailand(d);
            alone(swiss || of(&[Kr]) && korea(d, groups) || grouped && thai).or_else(|| {
                context(
                    thai || of(&[Ro]) && romania(d)
                        || of(&[Za]) && is_short_date(d, false) && luhn(d)
                        || of(&[Rs, Si, Hr]) && emso(d),
                )
            })
        }
        14 if groups == [2, 3, 3, 4, 2] => alone(of(&[Br]) && cnpj(d)),
        14 => context(of(&[Br]) && cnpj(d)),
        15 => alone(of(&[Fr]) && french(d)),
        18 => alone(of(&[Cn]) && chinese(d, None)),
        _ => None,
    }
}

/// Judges a run of letters and digits without anything between them.
pub(crate) fn letters(token: &[u8], locales: Locales) -> Option<Sure> {
    use Country::*;
    let upper: Vec<u8> = token.iter().map(u8::to_ascii_uppercase).collect();
    let is_upper = token.iter().all(|b| !b.is_ascii_lowercase());
    let t = upper.as_slice();
    let shape = |pattern: &[u8]| {
        t.len() == pattern.len()
            && t.iter()
                .zip(pattern)
                .all(|(b, p)| if *p == b'9' { b.is_ascii_digit() } else { b.is_ascii_uppercase() })
    };
    let d: Vec<u8> = t.iter().filter(|b| b.is_ascii_digit()).map(|b| b - b'0').collect();
    let alone = |country, ok: bool| (ok && is_upper && locales.has(country)).then_some(Sure::Alone);
    match t.len() {
        9 if shape(b"99999999A") => alone(Es, dni(number(&d)) == t[8]),
        9 if shape(b"A9999999A") => match t[0] {
            b'X' | b'Y' | b'Z' => alone(Es, dni(u64::from(t[0] - b'X') * 10_000_000 + number(&d)) == t[8]),
            b'S' | b'T' | b'F' | b'G' | b'M' => alone(Sg, singapore(t, &d)),
            _ => None,
        },
        9 if shape(b"AA999999A") => alone(Gb, nino(t)),
        8 | 9 if shape(b"9999999A") || shape(b"9999999AA") => alone(Ie, ireland(t, &d)),
        10 if shape(b"AAAAA9999A") => {
            alone(In, matches!(t[3], b'P' | b'C' | b'H' | b'A' | b'B' | b'G' | b'J' | b'L' | b'F' | b'T'))
        }
        10 if shape(b"A999999999") => alone(Tw, taiwan(t[0], &d)),
        16 if shape(b"AAAAAA99A99A999A") => alone(It, codice_fiscale(t)),
        18 if shape(b"AAAA999999AAAAAA99") || shape(b"AAAA999999AAAAAAA9") => alone(Mx, curp(t)),
        18 if t[17] == b'X' && d.len() == 17 => alone(Cn, chinese(&d, Some(10))),
        _ => None,
    }
}

/// The Finnish form: date, a sign for the century, a number, a check character.
pub(crate) fn finnish(token: &[u8]) -> bool {
    const CHECK: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let Some((date, rest)) = token.split_at_checked(6) else { return false };
    if rest.len() != 5 || !matches!(rest[0], b'-' | b'+' | b'A'..=b'F' | b'U'..=b'Y') {
        return false;
    }
    let value = |bytes: &[u8]| -> Option<Vec<u8>> {
        bytes.iter().map(|b| b.is_ascii_digit().then(|| b - b'0')).collect()
    };
    let (Some(date), Some(serial)) = (value(date), value(&rest[1..4])) else { return false };
    let whole = number(&date) * 1_000 + number(&serial);
    is_short_date(&date, true) && CHECK.get(usize::try_from(whole % 31).unwrap_or(0)) == Some(&rest[4])
}

/// Chile's form: up to eight digits, a hyphen, a check character.
pub(crate) fn chilean(d: &[u8], check: u8) -> bool {
    let sum: u32 =
        d.iter().rev().zip([2, 3, 4, 5, 6, 7].iter().cycle()).map(|(d, w)| u32::from(*d) * w).sum();
    let expected = match 11 - sum % 11 {
        11 => b'0',
        10 => b'K',
        n => b'0' + u8::try_from(n).unwrap_or(0),
    };
    (7..=8).contains(&d.len()) && check.to_ascii_uppercase() == expected
}

/// Hong Kong's form: one or two letters, six digits, a check character in brackets.
pub(crate) fn hong_kong(letters: &[u8], d: &[u8], check: u8) -> bool {
    let value = |b: &u8| u32::from(b - b'A') + 10;
    let lead = match letters {
        [one] => 36 * 9 + value(one) * 8,
        [one, two] => value(one) * 9 + value(two) * 8,
        _ => return false,
    };
    let check = if check == b'A' { 10 } else { u32::from(check.wrapping_sub(b'0')) };
    d.len() == 6 && (lead + weighted(d, &[7, 6, 5, 4, 3, 2]) + check).is_multiple_of(11)
}

/// British national insurance: prefixes that are never given out are left out.
pub(crate) fn nino(t: &[u8]) -> bool {
    let bad = |b: u8| matches!(b, b'D' | b'F' | b'I' | b'Q' | b'U' | b'V');
    !bad(t[0])
        && !bad(t[1])
        && t[1] != b'O'
        && !matches!(&t[..2], b"BG" | b"GB" | b"NK" | b"KN" | b"TN" | b"NT" | b"ZZ")
        && matches!(t[8], b'A'..=b'D')
}

/// Nine digits: Dutch, Portuguese, Australian, Israeli (Luhn, elsewhere).
fn nine(d: &[u8], locales: Locales) -> bool {
    let dutch = (weighted(&d[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) + 11 * 9 - u32::from(d[8])).is_multiple_of(11);
    let sum = weighted(&d[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    let portuguese = u32::from(d[8]) == if sum < 2 { 0 } else { 11 - sum };
    let australian = weighted(d, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11);
    locales.has(Country::Nl) && dutch
        || locales.has(Country::Pt) && portuguese
        || locales.has(Country::Au) && australian
}

fn austria(d: &[u8]) -> bool {
    let sum = weighted(d, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]) % 11;
    // Months 13 to 15 stand for numbers that ran out.
    let month = number(&d[6..8]);
    sum == u32::from(d[3]) && (1..=15).contains(&month) && (1..=31).contains(&number(&d[4..6]))
}

fn nhs(d: &[u8]) -> bool {
    let check = 11 - weighted(&d[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    check % 11 == u32::from(d[9]) && check != 10
}

fn czech(d: &[u8]) -> bool {
    let month = number(&d[2..4]) % 50;
    let month = if month > 20 { month - 20 } else { month };
    number(d).is_multiple_of(11) && is_date(2000 + number(&d[..2]), month, number(&d[4..6]))
}

fn bulgaria(d: &[u8]) -> bool {
    let month = number(&d[2..4]) % 20;
    is_date(2000 + number(&d[..2]), month, number(&d[4..6]))
        && weighted(&d[..9], &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10 == u32::from(d[9])
}

fn ukraine(d: &[u8]) -> bool {
    let plus = weighted(&d[..9], &[0, 5, 7, 9, 4, 6, 10, 5, 7]) + 10 * u32::from(d[0]);
    plus % 11 % 10 == u32::from(d[9])
}

fn cpf(d: &[u8]) -> bool {
    let check = |count: usize| {
        let weights: Vec<u32> = (2..=10 + u32::from(count == 10)).rev().collect();
        weighted(&d[..count], &weights) * 10 % 11 % 10 == u32::from(d[count])
    };
    d.iter().any(|digit| *digit != d[0]) && check(9) && check(10)
}

fn cnpj(d: &[u8]) -> bool {
    let check = |count: usize| {
        let weights = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
        let rest = weighted(&d[..count], &weights[13 - count..]) % 11;
        u32::from(d[count]) == if rest < 2 { 0 } else { 11 - rest }
    };
    check(12) && check(13)
}

fn snils(d: &[u8]) -> bool {
    weighted(&d[..9], &[9, 8, 7, 6, 5, 4, 3, 2, 1]) % 101 % 100
        == u32::try_from(number(&d[9..])).unwrap_or(100)
}

fn belgium(d: &[u8]) -> bool {
    let (whole, check) = (number(&d[..9]), number(&d[9..]));
    let month = number(&d[2..4]);
    (97 - whole % 97 == check || 97 - (2_000_000_000 + whole) % 97 == check)
        && is_date(2000 + number(&d[..2]), month, number(&d[4..6]))
}

fn pesel(d: &[u8]) -> bool {
    let month = number(&d[2..4]) % 20;
    (10 - weighted(&d[..10], &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10) % 10 == u32::from(d[10])
        && is_date(2000 + number(&d[..2]), month, number(&d[4..6]))
}

fn norway(d: &[u8]) -> bool {
    let first = weighted(&d[..10], &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]);
    let second = weighted(d, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]);
    first.is_multiple_of(11) && second.is_multiple_of(11) && is_short_date(d, true)
}

/// Estonia and Lithuania.
fn baltic(d: &[u8]) -> bool {
    let mut check = weighted(&d[..10], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11;
    if check == 10 {
        check = weighted(&d[..10], &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10;
    }
    (1..=6).contains(&d[0]) && is_short_date(&d[1..], false) && check == u32::from(d[10])
}

fn turkey(d: &[u8]) -> bool {
    let sum = |from: usize, to: usize, step: usize| -> u32 {
        d[from..to].iter().step_by(step).map(|digit| u32::from(*digit)).sum()
    };
    d[0] != 0
        && (sum(0, 9, 2) * 7 + 80 - sum(1, 8, 2)) % 10 == u32::from(d[9])
        && sum(0, 10, 1) % 10 == u32::from(d[10])
}

fn german_tax(d: &[u8]) -> bool {
    let repeated = (0..10u8).map(|digit| d[..10].iter().filter(|x| **x == digit).count()).max();
    d[0] != 0 && matches!(repeated, Some(2 | 3)) && mod_11_10(d)
}

fn abn(d: &[u8]) -> bool {
    d[0] > 0 && (weighted(d, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]) - 10).is_multiple_of(89)
}

fn century_date(d: &[u8]) -> bool {
    let year = number(&d[..4]);
    (1900..=2030).contains(&year) && is_date(year, number(&d[4..6]), number(&d[6..8]))
}

fn japan(d: &[u8]) -> bool {
    let rest = weighted(&d[..11], &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    u32::from(d[11]) == if rest < 2 { 0 } else { 11 - rest }
}

fn ean13(d: &[u8]) -> bool {
    weighted(d, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
}

fn korea(d: &[u8], groups: &[usize]) -> bool {
    // Since October 2020 the last digits are random: the form must do.
    groups == [6, 7] && is_short_date(d, false) && (1..=8).contains(&d[6])
}

fn thailand(d: &[u8]) -> bool {
    let sum = weighted(&d[..12], &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
    d[0] > 0 && (11 - sum % 11) % 10 == u32::from(d[12])
}

fn romania(d: &[u8]) -> bool {
    let check = weighted(&d[..12], &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
    is_short_date(&d[1..], false) && (if check == 10 { 1 } else { check }) == u32::from(d[12])
}

/// The states of former Yugoslavia.
fn emso(d: &[u8]) -> bool {
    let check = 11 - weighted(&d[..12], &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    (1..=31).contains(&number(&d[..2]))
        && (1..=12).contains(&number(&d[2..4]))
        && check % 11 == u32::from(d[12])
}

fn french(d: &[u8]) -> bool {
    let month = number(&d[3..5]);
    (1..=4).contains(&d[0])
        && ((1..=12).contains(&month) || (20..=42).contains(&month))
        && 97 - number(&d[..13]) % 97 == number(&d[13..])
}

fn chinese(d: &[u8], check: Option<u32>) -> bool {
    let sum = weighted(&d[..17], &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    let check = check.or_else(|| d.get(17).map(|d| u32::from(*d)));
    let year = number(&d[6..10]);
    check == Some((12 - sum % 11) % 11)
        && (1900..=2030).contains(&year)
        && is_date(year, number(&d[10..12]), number(&d[12..14]))
}

fn dni(number: u64) -> u8 {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    LETTERS[usize::try_from(number % 23).unwrap_or(0)]
}

fn singapore(t: &[u8], d: &[u8]) -> bool {
    let sum = weighted(d, &[2, 7, 6, 5, 4, 3, 2])
        + match t[0] {
            b'T' | b'G' => 4,
            b'M' => 3,
            _ => 0,
        };
    let letters: &[u8; 11] = match t[0] {
        b'S' | b'T' => b"JZIHGFEDCBA",
        b'M' => b"XWUTRQPNJLK",
        _ => b"XWUTRQPNMLK",
    };
    letters[usize::try_from(sum % 11).unwrap_or(0)] == t[8]
}

fn ireland(t: &[u8], d: &[u8]) -> bool {
    let extra = t.get(8).map_or(0, |b| if *b == b'W' { 0 } else { u32::from(b - b'A') + 1 });
    let sum = (weighted(d, &[8, 7, 6, 5, 4, 3, 2]) + extra * 9) % 23;
    t[7] == if sum == 0 { b'W' } else { b'A' + u8::try_from(sum - 1).unwrap_or(0) }
}

fn taiwan(letter: u8, d: &[u8]) -> bool {
    const VALUES: &[u8; 26] = b"ABCDEFGHJKLMNPQRSTUVXYWZIO";
    let Some(place) = VALUES.iter().position(|b| *b == letter) else { return false };
    let value = u32::try_from(place).unwrap_or(0) + 10;
    let sum = value / 10 + value % 10 * 9 + weighted(d, &[8, 7, 6, 5, 4, 3, 2, 1, 1]);
    matches!(d[0], 1 | 2 | 8 | 9) && sum.is_multiple_of(10)
}

fn codice_fiscale(t: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let value = |b: u8| usize::from(if b.is_ascii_digit() { b - b'0' } else { b - b'A' });
    let sum: u32 = t[..15]
        .iter()
        .enumerate()
        .map(|(place, b)| if place % 2 == 0 { ODD[value(*b)] } else { u32::try_from(value(*b)).unwrap_or(0) })
        .sum();
    u32::from(t[15] - b'A') == sum % 26
}

fn curp(t: &[u8]) -> bool {
    const ORDER: &[u8; 37] = b"0123456789ABCDEFGHIJKLMN#OPQRSTUVWXYZ";
    let value = |b: &u8| u32::try_from(ORDER.iter().position(|o| o == b).unwrap_or(0)).unwrap_or(0);
    let sum: u32 = t[..17].iter().zip((2..=18).rev()).map(|(b, w): (&u8, u32)| value(b) * w).sum();
    (10 - sum % 10) % 10 == u32::from(t[17] - b'0') && matches!(t[10], b'H' | b'M' | b'X')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Option<Sure> {
        let groups: Vec<usize> =
            text.split(|c: char| !c.is_ascii_digit()).filter(|g| !g.is_empty()).map(str::len).collect();
        let d: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).map(|b| b - b'0').collect();
        digits(&d, &groups, Locales::ALL)
    }

    /// Published examples, one a country at least.
    #[test]
    fn numbers_of_many_countries_are_known() {
        for text in [
            "529.982.247-25",
            "756.9217.0769.85",
            "44051401359",
            "811218-9876",
            "85.07.30-033.28",
            "01010750160",
            "1237 010180",
            "2 55 08 14 168 025 38",
            "110105199003070009",
            "112-233-445 95",
            "37605030299",
            "046 454 286",
        ] {
            assert_eq!(judged(text), Some(Sure::Alone), "{text}");
        }
        for text in ["111222333", "9434765919", "10000000146", "86095742719", "51824753556", "7523169263"] {
            assert_eq!(judged(text), Some(Sure::WithContext), "{text}");
        }
        for text in [
            "12345678Z",
            "X1234567L",
            "S1234567D",
            "1234567T",
            "A123456789",
            "RSSMRA85T10A562S",
            "ABCPE1234F",
            "AB123456C",
            "HEGG560427MVZRRL04",
            "11010519491231002X",
        ] {
            assert_eq!(letters(text.as_bytes(), Locales::ALL), Some(Sure::Alone), "{text}");
        }
        assert!(finnish(b"131052-308T") && !finnish(b"131052-308A"));
        assert!(chilean(&[1, 2, 3, 4, 5, 6, 7, 8], b'5') && !chilean(&[1, 2, 3, 4, 5, 6, 7, 8], b'4'));
        assert!(hong_kong(b"G", &[1, 2, 3, 4, 5, 6], b'A'));
    }

    #[test]
    fn one_wrong_digit_is_seen() {
        for text in
            ["529.982.247-26", "756.9217.0769.84", "44051401358", "85.07.30-033.29", "110105199003070000"]
        {
            assert_eq!(judged(text), None, "{text}");
        }
        assert_eq!(letters(b"12345678A", Locales::ALL), None);
        assert_eq!(letters(b"RSSMRA85T10A562T", Locales::ALL), None);
    }
}
