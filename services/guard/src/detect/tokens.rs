//! Single words with a form of their own: e-mail addresses, accounts, identity numbers with letters, wallets, addresses of
//! machines.

use std::{net::Ipv6Addr, ops::Range};

use ring::digest::{SHA256, digest};

use super::{
    Detected, checks,
    context::{Context, Words},
    kinds::Kind,
    locales::Country,
    national,
};

type Found = Vec<Detected>;

fn push(found: &mut Found, kind: Kind, range: Range<usize>, score: f64) {
    found.push(Detected { detector: kind.index(), range, score });
}

/// E-mail addresses in a word with an at sign.
pub(super) fn email(context: Context<'_>, word: Range<usize>, found: &mut Found) {
    let bytes = context.text.as_bytes();
    let local = |b: &u8| b.is_ascii_alphanumeric() || b"._%+'-&#".contains(b) || !b.is_ascii();
    let domain = |b: &u8| b.is_ascii_alphanumeric() || b".-".contains(b) || !b.is_ascii();
    for at in word.clone().filter(|at| bytes[*at] == b'@') {
        let reach =
            bytes[at.saturating_sub(64).max(word.start)..at].iter().rev().take_while(|b| local(b)).count();
        let mut start = at - reach;
        while start < at && bytes[start].is_ascii() && !bytes[start].is_ascii_alphanumeric() {
            start += 1;
        }
        let reach = bytes[at + 1..word.end].iter().take(254).take_while(|b| domain(b)).count();
        let name = context.text.get(at + 1..at + 1 + reach).unwrap_or_default().trim_end_matches(['.', '-']);
        let top = name.rsplit('.').next().unwrap_or_default();
        let named = name.contains('.')
            && !name.contains("..")
            && !name.starts_with(['.', '-'])
            && (2..=24).contains(&top.chars().count())
            && top.chars().all(char::is_alphabetic);
        // The password of a connection string can look like the front of an address.
        let in_url = bytes[word.start..start].ends_with(b"//")
            || (start > 0 && bytes[start - 1] == b':' && context.text[word.clone()].contains("://"));
        if start < at && named && !in_url && context.text.is_char_boundary(start) {
            push(found, Kind::Email, start..at + 1 + name.len(), 0.98);
        }
    }
}

/// An address with user and password.
pub(super) fn connection(context: Context<'_>, word: Range<usize>, found: &mut Found) {
    let text = &context.text[word.clone()];
    for (mark, _) in text.match_indices("://").take(16) {
        let scheme = text[..mark]
            .bytes()
            .rev()
            .take(24)
            .take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
            .count();
        let rest = &text[mark + 3..];
        let authority = &rest[..rest.find(['/', '?', '#', '"', '\'', '<', '>', '`']).unwrap_or(rest.len())];
        // A password may hold anything; the host is behind the last at sign.
        let Some((login, host)) = authority.rsplit_once('@') else { continue };
        let Some((_, password)) = login.split_once(':') else { continue };
        let host_length = host.bytes().take_while(|b| b.is_ascii_alphanumeric() || b".-".contains(b)).count();
        if scheme > 0 && host_length > 0 && !is_blank(password) {
            let start = word.start + mark - scheme;
            let end = word.start + mark + 3 + login.len() + 1 + host_length;
            push(found, Kind::Connection, start..end, 0.95);
        }
    }
}

/// Whether a value is left open: a variable, a placeholder, stars.
pub(super) fn is_blank(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    value.len() < 3
        || value.contains(['$', '{', '}', '<', '>', '[', ']', '*', '(', ')', '%', '`'].as_slice())
            && !mixed(value)
        || value.contains("${")
        || value.contains("{{")
        || value.contains("$(")
        || value.starts_with(['$', '<', '{', '[', '%'])
        || [
            "xxx",
            "your",
            "example",
            "placeholder",
            "changeme",
            "redacted",
            "****",
            "####",
            "....",
            "todo",
            "fixme",
            "insert",
            "dummy",
        ]
        .iter()
        .any(|blank| lower.contains(blank))
        || matches!(
            lower.as_str(),
            // How a secret is written or hashed, not what it is.
            "base64"
                | "base32"
                | "utf-8"
                | "latin1"
                | "sha-1"
                | "sha256"
                | "sha512"
                | "sha-256"
                | "sha-512"
                | "hs256"
                | "rs256"
                | "bcrypt"
                | "password"
                | "passwd"
                | "pass"
                | "pwd"
                | "secret"
                | "token"
                | "test"
                | "user"
                | "null"
                | "none"
                | "true"
                | "false"
                | "undefined"
                | "yyy"
                | "apikey"
                | "api_key"
                | "string"
                | "value"
                | "key"
        )
        || value.bytes().all(|b| b == value.as_bytes()[0])
}

/// Digits, small and capital letters: a password that may well hold a bracket or a dollar.
fn mixed(value: &str) -> bool {
    value.bytes().any(|b| b.is_ascii_digit())
        && value.bytes().any(|b| b.is_ascii_lowercase())
        && !value.contains(['{', '}', '<', '[', '('].as_slice())
}

/// Addresses of hardware and of version 6, in a word with colons or hyphens.
pub(super) fn machine(context: Context<'_>, word: Range<usize>, found: &mut Found) {
    let bytes = context.text.as_bytes();
    let in_address = |b: &u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'-' | b'.');
    let mut at = word.start;
    while at < word.end {
        let length = bytes[at..word.end].iter().take_while(|b| in_address(b)).count();
        let free = |b: Option<&u8>| !b.is_some_and(u8::is_ascii_alphanumeric);
        let end = at + length;
        let text = context.text.get(at..end).unwrap_or_default().trim_end_matches(['.', ':', '-']);
        if length >= 6 && free(at.checked_sub(1).and_then(|b| bytes.get(b))) && free(bytes.get(end)) {
            if is_mac(text) {
                push(found, Kind::Mac, at..at + text.len(), 0.95);
            } else if text.len() >= 8
                && text.bytes().filter(|b| *b == b':').count() >= 3
                && text.parse::<Ipv6Addr>().is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified())
            {
                push(found, Kind::Ip, at..at + text.len(), 0.95);
            }
        }
        at = end.max(at) + 1;
    }
}

fn is_mac(text: &str) -> bool {
    let pairs = |mark: char| text.split(mark).count() == 6 && text.split(mark).all(|p| p.len() == 2);
    let cisco =
        text.split('.').count() == 3 && text.split('.').all(|p| p.len() == 4 && !p.contains([':', '-']));
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'-' | b'.'));
    hex && (pairs(':') || pairs('-') || (cisco && text.bytes().any(|b| b.is_ascii_alphabetic())))
        && text.bytes().any(|b| b != b'0' && b.is_ascii_hexdigit())
}

/// A word with letters and digits: accounts, identity numbers, wallets, and what words before it name.
pub(super) fn letters_and_digits(context: Context<'_>, word: Range<usize>, found: &mut Found) {
    let bytes = context.text.as_bytes();
    let mut at = word.start;
    while at < word.end {
        let length = bytes[at..word.end].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        if (4..=110).contains(&length) {
            token(context, at..at + length, found);
        }
        at += length + 1;
    }
}

fn token(context: Context<'_>, token: Range<usize>, found: &mut Found) {
    let bytes = context.text.as_bytes();
    let t = &bytes[token.clone()];
    let digits = t.iter().filter(|b| b.is_ascii_digit()).count();
    if digits == 0 || digits == t.len() && t.len() != 6 {
        return;
    }
    if let Some(end) = iban(context, token.clone()) {
        return push(found, Kind::Iban, token.start..end, 0.98);
    }
    let before = context.byte_before(token.start);
    let after = bytes.get(token.end).copied();
    let bare = before != Some(b'_') && after != Some(b'_');
    if t.len() >= 26 {
        if bare && wallet(context, t, token.start) {
            push(found, Kind::Wallet, token, 0.95);
        }
        return;
    }
    if after == Some(b'-') || after == Some(b'+') || t.len() == 11 && digits >= 9 {
        let whole = bytes.get(token.start..token.start + 11).unwrap_or_default();
        let free = !bytes.get(token.start + 11).is_some_and(u8::is_ascii_alphanumeric);
        if free && context.locales.has(Country::Fi) && national::finnish(whole) {
            return push(found, Kind::NationalId, token.start..token.start + 11, 0.9);
        }
    }
    let hyphened = matches!(before, Some(b'-' | b'_' | b'/')) || matches!(after, Some(b'-' | b'_'));
    if !hyphened && t.len() <= 18 && national::letters(t, context.locales).is_some() {
        return push(found, Kind::NationalId, token, 0.85);
    }
    if (1..=2).contains(&(t.len() - digits))
        && digits == 6
        && after == Some(b'(')
        && context.locales.has(Country::Hk)
        && hong_kong(bytes, &token)
    {
        return push(found, Kind::NationalId, token.start..token.end + 3, 0.9);
    }
    if (6..=20).contains(&t.len()) && digits >= 4 && t.iter().all(|b| !b.is_ascii_lowercase()) {
        let mentions = context.mentions(token.start);
        for (words, kind) in [
            (Words::Passport, Kind::Passport),
            (Words::License, Kind::DriverLicense),
            (Words::National, Kind::NationalId),
        ] {
            if mentions.has(words) {
                return push(found, kind, token, 0.7);
            }
        }
    }
}

fn hong_kong(bytes: &[u8], token: &Range<usize>) -> bool {
    let t = &bytes[token.clone()];
    let (letters, digits) = t.split_at(t.len() - 6);
    let digits: Option<Vec<u8>> = digits.iter().map(|b| b.is_ascii_digit().then(|| b - b'0')).collect();
    let check = bytes.get(token.end + 1).copied();
    let closed = bytes.get(token.end + 2) == Some(&b')');
    letters.iter().all(u8::is_ascii_uppercase)
        && closed
        && digits.is_some_and(|d| check.is_some_and(|check| national::hong_kong(letters, &d, check)))
}

/// An account number that begins with this token, in one piece or in groups; returns its end.
fn iban(context: Context<'_>, token: Range<usize>) -> Option<usize> {
    let bytes = context.text.as_bytes();
    let t = &bytes[token.clone()];
    let begins = t[..2.min(t.len())].iter().all(u8::is_ascii_alphabetic)
        && t.get(2..4).is_some_and(|check| check.iter().all(u8::is_ascii_digit));
    if !begins {
        return None;
    }
    let mut compact = t.to_ascii_uppercase();
    let mut end = token.end;
    if checks::iban(&compact) {
        return Some(end);
    }
    let mut best = None;
    let mut near = checks::nearly_iban(&compact).then_some(end);
    while t.len() == 4 && compact.len() < 34 {
        if !matches!(bytes.get(end), Some(b' ' | b'-')) {
            break;
        }
        let group = bytes[end + 1..].iter().take(6).take_while(|b| b.is_ascii_alphanumeric()).count();
        if !(1..=4).contains(&group) {
            break;
        }
        compact.extend(bytes[end + 1..end + 1 + group].to_ascii_uppercase());
        end += 1 + group;
        if checks::iban(&compact) {
            best = Some(end);
        } else if checks::nearly_iban(&compact) {
            near = Some(end);
        }
    }
    best.or_else(|| near.filter(|_| context.names(token.start, Words::Account)))
}

fn wallet(context: Context<'_>, t: &[u8], start: usize) -> bool {
    const BITCOIN: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    const RIPPLE: &[u8; 58] = b"rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz";
    match (t[0], t.len()) {
        (b'0', 42) if t[1] == b'x' => t[2..].iter().all(u8::is_ascii_hexdigit),
        (b'b' | b'l' | b't' | b'B', 26..=90) if bech32(t) => true,
        (b'a', 50..=110) if t.starts_with(b"addr1") => bech32(t),
        (b'r', 25..=35) => base58check(t, RIPPLE),
        (b'1' | b'3' | b'L' | b'M' | b'D' | b'A' | b'9' | b'T' | b'X' | b't', 26..=35)
            if base58check(t, BITCOIN) =>
        {
            true
        }
        (b'4' | b'8', 95) => t.iter().all(|b| BITCOIN.contains(b)),
        (_, 32..=44) => {
            t.iter().all(|b| BITCOIN.contains(b))
                && t.iter().any(u8::is_ascii_uppercase)
                && context.names(start, Words::Wallet)
        }
        _ => false,
    }
}

/// Bitcoin's form: a number in base 58 whose last four bytes are a checksum.
fn base58check(t: &[u8], alphabet: &[u8; 58]) -> bool {
    let mut bytes = [0u8; 25];
    for b in t {
        let Some(digit) = alphabet.iter().position(|a| a == b) else { return false };
        let mut carry = digit;
        for byte in bytes.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = u8::try_from(carry % 256).unwrap_or(0);
            carry /= 256;
        }
        if carry > 0 {
            return false;
        }
    }
    let sum = digest(&SHA256, digest(&SHA256, &bytes[..21]).as_ref());
    sum.as_ref()[..4] == bytes[21..]
}

/// BIP 173 and 350.
fn bech32(t: &[u8]) -> bool {
    const SET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let lower = t.to_ascii_lowercase();
    let Some(split) = lower.iter().rposition(|b| *b == b'1').filter(|at| *at > 0) else { return false };
    let (prefix, data) = (&lower[..split], &lower[split + 1..]);
    if !matches!(prefix, b"bc" | b"ltc" | b"tb" | b"addr") || data.len() < 6 {
        return false;
    }
    let high = prefix.iter().map(|b| u32::from(b >> 5));
    let low = prefix.iter().map(|b| u32::from(b & 31));
    let Some(values) = data.iter().map(|b| SET.iter().position(|s| s == b)).collect::<Option<Vec<usize>>>()
    else {
        return false;
    };
    let values = values.into_iter().map(|v| u32::try_from(v).unwrap_or(0));
    let check = high.chain([0]).chain(low).chain(values).fold(1u32, |check, value| {
        let top = check >> 25;
        let base = ((check & 0x1ff_ffff) << 5) ^ value;
        [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3]
            .iter()
            .enumerate()
            .fold(base, |sum, (bit, generator)| if top >> bit & 1 == 1 { sum ^ generator } else { sum })
    });
    matches!(check, 1 | 0x2bc8_30a3)
}
