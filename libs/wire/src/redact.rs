//! Removal of what looks like a credential from text that others wrote.

/// How many bytes of a provider's words are kept.
pub const MAX_WORDS: usize = 2048;

/// Beginnings of the credentials of well-known providers.
const PREFIXES: [&str; 17] = [
    "sk-", "sk_", "pk-", "rk-", "sb_", "gsk_", "xai-", "AIza", "ya29.", "hf_", "AKIA", "ASIA", "ghp_",
    "pplx-", "csk-", "r8_", "eyJ",
];

/// The length from which a run of mixed letters and digits is taken for a credential.
const OPAQUE: usize = 40;

/// Bounds a text to `max` bytes at a character's edge and masks what looks like a credential.
///
/// A credential is a word with a well-known beginning, the word after `Bearer` or `Basic`, or a run of 40 or more letters and
/// digits mixed. Control characters other than line breaks become spaces.
#[must_use]
pub fn bounded(text: &str, max: usize) -> String {
    // Looking a little past the bound keeps a credential that crosses it from being cut into something unrecognised.
    let window = clip(text, max.saturating_add(256));
    let mut out = String::with_capacity(window.len().min(max));
    let mut rest = window;
    let mut after_scheme = false;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        if is_secret(word, after_scheme) {
            out.push_str("[redacted]");
        } else {
            out.push_str(word);
        }
        if !word.is_empty() {
            after_scheme = word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic");
        }
        let gap = tail.find(is_word).unwrap_or(tail.len());
        out.extend(tail[..gap].chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }));
        rest = &tail[gap..];
    }
    let len = clip(&out, max).len();
    out.truncate(len);
    out
}

/// Masks one known secret wherever it stands, then does what [`bounded`] does.
#[must_use]
pub fn without(text: &str, secret: Option<&str>, max: usize) -> String {
    match secret {
        Some(secret) if secret.len() >= 4 && text.contains(secret) => {
            bounded(&text.replace(secret, "[redacted]"), max)
        }
        _ => bounded(text, max),
    }
}

/// Returns the longest beginning of at most `max` bytes that ends at a character's edge.
#[must_use]
pub fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max.min(text.len()))]
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '*' | '.' | '+' | '=')
}

fn is_secret(word: &str, after_scheme: bool) -> bool {
    if after_scheme && word.len() >= 6 {
        return true;
    }
    if word.len() >= 8 && PREFIXES.iter().any(|prefix| word.starts_with(prefix)) {
        return true;
    }
    word.len() >= OPAQUE
        && word.bytes().any(|b| b.is_ascii_digit())
        && word.bytes().any(|b| b.is_ascii_lowercase() || b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_masked_and_words_stay() {
        let text = "Incorrect API key provided: sk-proj-abcdef123456. See https://platform.openai.com/account/api-keys.";
        let got = bounded(text, 400);
        assert!(!got.contains("abcdef"), "{got}");
        assert!(got.contains("https://platform.openai.com/account/api-keys."), "{got}");
        assert!(!bounded("Authorization: Bearer abc123xyz", 400).contains("abc123xyz"));
        assert!(!without("the key hunter22 is wrong", Some("hunter22"), 400).contains("hunter22"));
    }

    #[test]
    fn the_bound_holds_at_a_character_and_never_shows_half_a_key() {
        assert_eq!(bounded("ééé", 3), "é");
        let text = format!("{} sk-aaaaaaaaaaaaaaaa", "x ".repeat(10));
        for max in 0..text.len() {
            let got = bounded(&text, max);
            assert!(got.len() <= max && !got.contains("sk-a"), "{got}");
        }
    }
}
