//! Keys, tokens and passwords: by the prefix that a provider gives them, or by the name that a value is given.
//!
//! Identifiers, hashes and signatures look as random as keys: without a prefix or a name that says so, nothing is a secret.

use std::{ops::Range, sync::LazyLock};

use aho_corasick::{AhoCorasick, MatchKind};

use super::{
    Detected,
    context::Context,
    forms::{FORMS, Form, OPEN_ENDS, OPEN_NAMES, PROVIDERS, SECRET_NAMES, word},
    kinds::Kind,
    tokens::is_blank,
};

/// Marks that stand in the middle of a key.
const MIDDLES: [&str; 7] = ["Q~", ".atlasv1.", "_mmk", "T3BlbkFJ", ".acc-", ".acc_", "|"];

static PREFIXES: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(FORMS.iter().map(|form| form.prefix))
        .ok()
});

/// Keys by their prefix, in one word.
pub(super) fn by_prefix(context: Context<'_>, range: Range<usize>, found: &mut Vec<Detected>) {
    let Some(prefixes) = &*PREFIXES else { return };
    let bytes = context.text.as_bytes();
    let mut from = range.start;
    while from < range.end {
        let Some(hit) = prefixes.find(&bytes[from..range.end]) else { break };
        let form = &FORMS[hit.pattern().as_usize()];
        let (start, rest) = (from + hit.start(), from + hit.end());
        from = start + 1;
        let own = form.prefix.as_bytes()[0];
        if own.is_ascii_alphanumeric() && bytes[..start].last().is_some_and(u8::is_ascii_alphanumeric) {
            continue;
        }
        let length =
            bytes[rest..range.end].iter().take(form.most + 1).take_while(|b| (form.rest)(**b)).count();
        let length = if bytes[rest..rest + length].ends_with(b".") { length - 1 } else { length };
        // One byte more than the longest: it is something else, or it goes on.
        if length < form.least || (length > form.most && form.most == form.least) {
            continue;
        }
        let end = rest + length.min(form.most);
        let named_file = FILES.iter().any(|ending| bytes[end..range.end].starts_with(ending.as_bytes()));
        if random(&bytes[rest..end], form) && !named_file {
            found.push(Detected { detector: form.kind.index(), range: start..end, score: 0.97 });
            from = end;
        }
    }
    middle(context, range.clone(), found);
    bot(context, range, found);
}

/// Keys of bots, told by the lengths of their parts: Discord's (24 to 26, 6 and 27 or more) and Telegram's (digits, colon, 35).
fn bot(context: Context<'_>, range: Range<usize>, found: &mut Vec<Detected>) {
    if !(44..=160).contains(&range.len()) {
        return;
    }
    let text = &context.text[range.clone()];
    let is_key = |part: &str| part.bytes().all(word);
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    let quoted: &[char] = &['.', ':', '-'];
    let mut from = 0;
    for piece in text.split(|c| !inner(c)) {
        let at = range.start + from + (piece.len() - piece.trim_start_matches(quoted).len());
        from += piece.len() + text[from + piece.len()..].chars().next().map_or(0, char::len_utf8);
        let piece = piece.trim_matches(quoted);
        let parts: Vec<&str> = piece.splitn(4, '.').collect();
        let discord = matches!(parts.as_slice(), [a, b, c]
            if a.starts_with(['M', 'N', 'O']) && (24..=26).contains(&a.len()) && b.len() == 6 && (27..=38).contains(&c.len())
                && parts.iter().all(|part| is_key(part)));
        let telegram = piece.strip_prefix("bot").unwrap_or(piece).split_once(':').is_some_and(|(id, key)| {
            (8..=10).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_digit())
                && key.starts_with("AA")
                && key.len() == 35
                && is_key(key)
        });
        if (discord || telegram) && entropy(piece.as_bytes()) >= 3.8 {
            let range = at..at + piece.len();
            found.push(Detected { detector: Kind::ProviderKey.index(), range, score: 0.95 });
        }
    }
}

/// Whether what follows a prefix is no word and no placeholder.
fn random(rest: &[u8], form: &Form) -> bool {
    let has = |test: fn(&u8) -> bool| rest.iter().any(test);
    let kinds = u8::from(has(u8::is_ascii_digit))
        + u8::from(has(u8::is_ascii_lowercase))
        + u8::from(has(u8::is_ascii_uppercase));
    let mixed = match form.kind {
        Kind::GoogleKey if form.least == 35 => {
            kinds == 3 && !is_alphabet(std::str::from_utf8(rest).unwrap_or_default())
        }
        Kind::AwsKey => entropy(rest) >= 2.7,
        Kind::Jwt => {
            let dots: Vec<usize> =
                rest.iter().enumerate().filter(|(_, b)| **b == b'.').map(|(at, _)| at).collect();
            dots.len() >= 2
                && rest.get(dots[0] + 1..dots[0] + 3) == Some(b"ey")
                && dots[1] + 9 < rest.len() + 1
        }
        Kind::SignalboxKey => rest.contains(&b'_') && has(u8::is_ascii_digit),
        // Letters alone, as many as they always are.
        _ if form.prefix == "hf_" => kinds >= 2 && entropy(rest) >= 4.0,
        _ if form.prefix.len() <= 3 => kinds >= 2 && has(u8::is_ascii_digit),
        _ => kinds >= 2,
    };
    mixed
        && entropy(rest) >= 2.5
        && !rest.to_ascii_lowercase().windows(4).any(|w| w == b"xxxx")
        && !is_filled_in(rest)
}

/// Whether a value only says where one goes: `…TokenHere`, or one character for a long stretch that is a good part of it.
fn is_filled_in(value: &[u8]) -> bool {
    let tail = &value[value.len().saturating_sub(10)..];
    let here = tail.to_ascii_lowercase().ends_with(b"here") && tail.iter().all(u8::is_ascii_alphabetic);
    here || value.chunk_by(|a, b| a == b).any(|run| run.len() >= 10 && 3 * run.len() >= value.len())
}

/// Keys by a mark in their middle: Azure's, Terraform's, MaxMind's, old ones of OpenAI, Authress', those of applications at Facebook.
fn middle(context: Context<'_>, range: Range<usize>, found: &mut Vec<Detected>) {
    // The shortest: Azure's.
    if range.len() < 37 {
        return;
    }
    let text = &context.text[range.clone()];
    for (mark, at) in MIDDLES.iter().flat_map(|mark| text.match_indices(mark).map(|(at, mark)| (mark, at))) {
        let key = |b: &u8| word(*b) || matches!(b, b'.' | b'~');
        let bytes = text.as_bytes();
        let start = at - bytes[..at].iter().rev().take(60).take_while(|b| key(b)).count();
        let rest = at + mark.len();
        let end = rest + bytes[rest..].iter().take(160).take_while(|b| key(b) || **b == b'=').count();
        let (before, after) = (at - start, end - rest);
        let fits = match mark {
            "|" => {
                (15..=16).contains(&before)
                    && bytes[start..at].iter().all(u8::is_ascii_digit)
                    && (27..=40).contains(&after)
                    && bytes[rest..end].iter().any(u8::is_ascii_digit)
            }
            ".acc-" | ".acc_" => {
                ["sc_", "ext_", "scauth_", "authress_"].iter().any(|own| text[start..].starts_with(own))
                    && after >= 40
            }
            "Q~" => before == 4 && bytes[at - 1].is_ascii_digit() && (31..=34).contains(&after),
            ".atlasv1." => before == 14 && after >= 60,
            "_mmk" => before == 36 && after == 0,
            _ => before >= 20 && after >= 20,
        };
        if fits && entropy(&bytes[start..end]) >= 3.2 {
            let range = range.start + start..range.start + end;
            found.push(Detected { detector: Kind::ProviderKey.index(), range, score: 0.95 });
        }
    }
}

/// A private key block that begins at `at`; returns its end.
pub(super) fn private_key(context: Context<'_>, at: usize, found: &mut Vec<Detected>) -> Option<usize> {
    const LONGEST: usize = 16_384;
    let rest = &context.text[at..];
    let rest = &rest[..rest.floor_char_boundary(LONGEST)];
    let begin = "-----BEGIN".len();
    let head = rest.find("-----\n").or_else(|| rest.get(begin..)?.find("-----").map(|at| at + begin))?;
    if !rest[..head].contains("PRIVATE KEY") {
        return None;
    }
    let tail = head + 5 + rest[head + 5..].find("-----END ")?;
    let close = tail + 9 + rest[tail + 9..].find("-----")? + 5;
    let body = &rest[head + 5..tail];
    if body.trim().len() < 3 || !rest[tail..close].contains("PRIVATE KEY") {
        return None;
    }
    found.push(Detected { detector: Kind::PrivateKey.index(), range: at..at + close, score: 0.99 });
    Some(at + close)
}

static OPEN: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| AhoCorasick::new(OPEN_NAMES).ok());
static SECRET: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| AhoCorasick::new(SECRET_NAMES).ok());

/// Whether a name holds one of many.
fn names(name: &str, any: &Option<AhoCorasick>) -> bool {
    any.as_ref().is_some_and(|any| any.is_match(name))
}

/// Bits a byte.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u16; 256];
    for b in bytes.iter().take(1_024) {
        counts[usize::from(*b)] += 1;
    }
    let n = bytes.len().min(1_024) as f64;
    counts.iter().filter(|c| **c > 0).map(|c| f64::from(*c) / n).map(|p| -p * p.log2()).sum()
}

/// A value in a word whose name, before it, says that it is secret: `password=…`, `"token": "…"`, `Bearer …`, `-u user:…`.
pub(super) fn assigned(context: Context<'_>, range: Range<usize>, found: &mut Vec<Detected>) {
    let bytes = context.text.as_bytes();
    // `User ID=a;Password=b`, `?user=a&password=b`: each by itself.
    let (mut from, before) = (range.start, found.len());
    for at in range.clone().filter(|at| matches!(bytes[*at], b';' | b'&' | b'?')) {
        assigned_part(context, from..at, found);
        from = at + 1;
    }
    assigned_part(context, from..range.end, found);
    // Or the mark is a part of the secret.
    if from > range.start && found.len() == before {
        assigned_part(context, range, found);
    }
}

fn assigned_part(context: Context<'_>, range: Range<usize>, found: &mut Vec<Detected>) {
    let bytes = context.text.as_bytes();
    if range.len() < 5 {
        return;
    }
    if bytes[range.clone()].contains(&b':') && login(context, range.clone(), found) {
        return;
    }
    // Behind the first mark of assignment in the word; what stands before it is the name.
    let mark = bytes[range.clone()].iter().take(160).position(|b| matches!(b, b'=' | b':' | b'>'));
    if let Some(mark) = mark.map(|mark| range.start + mark).filter(|mark| *mark + 4 < range.end) {
        let name = &bytes[range.start..mark];
        let inside = !bytes[mark..].starts_with(b"://");
        if inside && name.iter().all(|b| word(*b) || b"\"'.${}[]<(/@#,&?;".contains(b)) {
            // Or no name but the beginning of the value: a digit is in it, or a quotation that is not over.
            let quotation = name.iter().filter(|b| matches!(b, b'"' | b'\'')).count() == 1;
            let of_value = quotation || name.iter().any(u8::is_ascii_digit);
            let before = found.len();
            if of_value && value_at(context, range.clone(), found).is_some_and(|end| end > mark) {
                return;
            }
            found.truncate(before);
            value_at(context, mark + 1..range.end, found);
            return;
        }
    }
    value_at(context, range, found);
}

/// A value at the beginning of a stretch, behind marks, if its name says that it is secret; gives its end.
fn value_at(context: Context<'_>, range: Range<usize>, found: &mut Vec<Detected>) -> Option<usize> {
    let bytes = context.text.as_bytes();
    let mut start = range.start;
    while start < range.end && (b"\"'`=:>({[,".contains(&bytes[start]) || !bytes[start].is_ascii()) {
        start += 1;
    }
    if !context.text.is_char_boundary(start) {
        return None;
    }
    let stop = |b: &u8| matches!(b, b'"' | b'\'' | b'`' | b',' | b';' | b'<' | b'\\' | b'&' | b')');
    let length = bytes[start..range.end].iter().take(512).take_while(|b| !stop(b)).count();
    let value = context
        .text
        .get(start..start + length)
        .unwrap_or_default()
        .trim_end_matches(['.', '}', ']', ':', '?', '!']);
    if value.len() < 5 || value.contains("://") {
        return None;
    }
    let strength = strength(context, start, value)?;
    if is_blank(value) || looks_like_code(value) || is_filled_in(value.as_bytes()) {
        return None;
    }
    // `{API_KEY}` in a template.
    let named = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    if start > 0 && bytes[start - 1] == b'{' && value.bytes().all(named) {
        return None;
    }
    let end = start + value.len();
    found.push(Detected { detector: Kind::Assigned.index(), range: start..end, score: strength });
    Some(end)
}

/// `user:password` behind curl's option.
fn login(context: Context<'_>, range: Range<usize>, found: &mut Vec<Detected>) -> bool {
    let window = context.window(range.start);
    let window = window.trim_end();
    let joined = "--user=";
    let range = if context.text[range.clone()].starts_with(joined) {
        range.start + joined.len()..range.end
    } else if window.ends_with(" -u") || window.ends_with("--user") {
        range
    } else {
        return false;
    };
    if !window.contains("curl") {
        return false;
    }
    let quotes: &[char] = &['"', '\'', '{', '}', '[', ']'];
    let (user, password) = context.text[range.clone()].split_once(':').unwrap_or_default();
    let password = password.trim_matches(quotes);
    let real = |part: &str| part.len() >= 6 && part.bytes().any(|b| b.is_ascii_digit()) && !is_blank(part);
    let is_login = real(password) || (password.is_empty() && real(user.trim_matches(quotes)));
    if is_login {
        found.push(Detected { detector: Kind::Assigned.index(), range, score: 0.9 });
    }
    is_login
}

/// How surely a value is secret by what stands before it; `None` when nothing says so.
fn strength(context: Context<'_>, at: usize, value: &str) -> Option<f64> {
    let window = context.window(at);
    let trimmed = window.trim_end_matches([' ', '"', '\'', '`', '\t', '(', '{', '[']);
    let v = value.as_bytes();
    let digits = v.iter().any(u8::is_ascii_digit);
    let random = digits && v.iter().any(u8::is_ascii_alphabetic);
    for scheme in ["bearer", "basic", "api-token", "ssws", "token", "apikey", "authorization:"] {
        if trimmed.ends_with(scheme)
            && (trimmed.contains("authorization") || matches!(scheme, "bearer" | "api-token" | "ssws"))
        {
            return (v.len() >= 8 && (random || entropy(v) > 3.0)).then_some(0.9);
        }
    }
    let (name, said) = name_before(trimmed)?;
    let prose = said == Said::Sentence;
    let last = name.rsplit([' ', '"', '\'', '<']).next().unwrap_or_default();
    if names(&name, &OPEN) || OPEN_ENDS.iter().any(|end| last.ends_with(end)) {
        return None;
    }
    let varied = digits || v.iter().any(|b| !b.is_ascii_alphanumeric() && !b".-_/".contains(b));
    if is_password(&name, last, said) && v.len() >= 5 && varied && (!prose || random) && !is_path(value) {
        return Some(0.85);
    }
    if !random || is_path(value) || is_identifier(value) || is_alphabet(value) {
        return None;
    }
    if v.len() >= 8 && names(&name, &SECRET) && entropy(v) >= 2.6 {
        return Some(0.8);
    }
    if last.ends_with("key") && v.len() >= 16 && entropy(v) >= 3.3 {
        return Some(0.7);
    }
    let opaque = v.iter().all(|b| word(*b) || b"|:=.+/".contains(b));
    let long = !prose && v.len() >= 14 && opaque && entropy(v) >= 2.9;
    let provider = long
        && PROVIDERS.iter().any(|provider| {
            (last.contains(provider) || name.ends_with(provider))
                && is_word_in(&context.written(at), provider)
        });
    provider.then_some(0.75)
}

/// How a value is given its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// By a sign: `password=…`.
    Sign,
    /// `the password is …`.
    Sentence,
    /// It stands right behind.
    Beside,
}

/// Whether a name (in small letters) is that of a password. Not so what passes, is passed or bypassed; and `pass` alone, which is a verb
/// too, only as the last word before a sign, or at the end of a longer name.
fn is_password(name: &str, last: &str, said: Said) -> bool {
    const MORE: [&str; 6] = ["wo", "wd", "phrase", "code", "key", "ord"];
    // Of bypass, compass, surpass.
    const VERBS: [&str; 7] = ["by", "buy", "com", "encom", "sur", "tres", "over"];
    if ["pwd", "kennwort", "contrase"].iter().any(|other| name.contains(other)) {
        return true;
    }
    name.match_indices("pass").any(|(at, pass)| {
        let (before, after) = (&name[..at], &name[at + pass.len()..]);
        let more = &after[..after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len())];
        let head = before.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        match more {
            "" if VERBS.contains(&head) => false,
            // `requirepass`, in a file that has no signs.
            "" if said == Said::Beside => !head.is_empty() && after.is_empty(),
            "" => last.contains(pass),
            "w" => true,
            // French and Portuguese.
            "e" | "es" => {
                let before = before.trim_end_matches([' ', '-', '_']);
                let before = before.strip_suffix("de").unwrap_or(before).trim_end_matches([' ', '-', '_']);
                ["mot", "mots", "palavra", "frase"].iter().any(|word| before.ends_with(word))
            }
            more => MORE.iter().any(|known| more.starts_with(known)),
        }
    })
}

/// The name that a value is given in its line, and how.
fn name_before(window: &str) -> Option<(String, Said)> {
    let signs: &[char] = &['=', ':', '>', '|', ','];
    let line = window.rsplit('\n').next().unwrap_or_default();
    let stripped = line.trim_end_matches(signs);
    let (rest, said) = if stripped.len() < line.len() {
        (stripped, Said::Sign)
    } else {
        let verbs = [" is", " was", " ist", " est", " es", " è", " is set to", " to"];
        match verbs.iter().find_map(|verb| line.strip_suffix(verb)) {
            Some(rest) => (rest, Said::Sentence),
            // A provider's name right before its key.
            None => (line.rsplit(' ').next().unwrap_or_default(), Said::Beside),
        }
    };
    let rest = rest.trim_end_matches([' ', '"', '\'', '`', '\t', ')', ']']);
    let from = rest.rfind([';', '{', '}', '(', '&', '?', ',', '.']).map_or(0, |at| at + 1);
    let name = &rest[from..];
    // Only the last words: what is said long before is about something else.
    let from = name.len().saturating_sub(if said == Said::Sentence { 28 } else { 36 });
    let name = name[name.ceil_char_boundary(from)..].trim();
    (name.len() > 1).then(|| (name.to_owned(), said))
}

/// Whether the last that is written of a name is a word by itself or one of a `camelCase` name: `oktaToken`, not `rookTable` or `sumOf`.
fn is_word_in(before: &str, name: &str) -> bool {
    let before = before.as_bytes();
    let Some(at) = before.to_ascii_lowercase().windows(name.len()).rposition(|part| part == name.as_bytes())
    else {
        return true;
    };
    let (head, rest) = before.split_at(at);
    let (word, tail) = rest.split_at(name.len());
    let begins = !head.last().is_some_and(u8::is_ascii_alphabetic) || word[0].is_ascii_uppercase();
    let next_word =
        word.last().is_some_and(u8::is_ascii_uppercase) && word.iter().any(u8::is_ascii_lowercase);
    begins && !(next_word && tail.first().is_some_and(u8::is_ascii_lowercase))
}

/// How the names of files end.
const FILES: [&str; 15] = [
    ".json", ".png", ".pem", ".cer", ".key", ".js", ".py", ".go", ".html", ".java", ".txt", ".yml", ".yaml",
    ".css", ".svg",
];

fn is_path(value: &str) -> bool {
    value.starts_with(['/', '.', '~']) && value.contains('/')
        // A port, as in the list of services.
        || value.ends_with("/tcp")
        || value.ends_with("/udp")
        || value.contains("./")
        || value.matches('/').count() > 2 && !value.ends_with('=') && value.len() < 80
        || FILES.iter().any(|ending| value.ends_with(ending))
}

/// Words joined as programs join them, numbers of versions and behind two words those of accounts and times among them.
fn is_identifier(value: &str) -> bool {
    let (mut parts, mut words) = (0, 0);
    value.split(['_', '-', '.', ':', '=']).filter(|part| !part.is_empty()).all(|part| {
        parts += 1;
        let letters = part.bytes().take_while(u8::is_ascii_alphabetic).count();
        let digits = part.bytes().skip(letters).take_while(u8::is_ascii_digit).count();
        let tail = part.bytes().skip(letters + digits).all(|b| b.is_ascii_alphabetic());
        words += usize::from(letters > 0);
        (digits <= 5 || digits == part.len() && part.len() <= 13 && words >= 2)
            && tail
            && (part.len() <= 12 || digits == 0 || digits == part.len() || letters >= 6)
    }) && parts > 1
}

/// The letters in their order, which programs write down.
fn is_alphabet(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    ["abcdefgh", "12345678", "0123456789"].iter().any(|run| lower.contains(run))
}

fn looks_like_code(value: &str) -> bool {
    value.contains(['(', '{', '<', '['])
        // Of `[A-Za-z0-9]` in an expression.
        || value.contains("A-Z")
        || value.contains("a-z")
        || value.contains("::")
        || value.contains("->")
        || value.contains("==")
        || value.starts_with(['$', '%', '@', '/'])
        || is_uuid_of_zeros(value)
}

fn is_uuid_of_zeros(value: &str) -> bool {
    value.bytes().all(|b| matches!(b, b'0' | b'1' | b'-' | b'x' | b'X'))
}
