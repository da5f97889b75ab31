//! Small faults of JSON, mended: code fences and words around it, trailing and missing commas, other quotes, comments, names
//! without quotes, words of other languages, missing ends.
//!
//! What is there is kept byte by byte; only what no JSON text has is changed. A text that needs more than [`EDITS`] changes is not
//! mended: it was no JSON.

/// Changes at most.
pub(crate) const EDITS: usize = 64;
/// Open brackets at most.
const DEPTH: usize = 64;

/// Returns a JSON text, or nothing where the faults are too many or too large. Linear in the text's length.
pub(crate) fn repair(text: &str) -> Option<String> {
    let start = text.find(['{', '['])?;
    let mut mender = Mender { rest: &text[start..], out: String::with_capacity(text.len() + 8), edits: 0 };
    mender.value(0)?;
    serde_json::from_str::<serde::de::IgnoredAny>(&mender.out).ok()?;
    Some(mender.out)
}

struct Mender<'a> {
    rest: &'a str,
    out: String,
    edits: usize,
}

impl Mender<'_> {
    fn edit(&mut self) -> Option<()> {
        self.edits += 1;
        (self.edits <= EDITS).then_some(())
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn keep(&mut self, bytes: usize) {
        let (kept, rest) = self.rest.split_at(bytes);
        self.out.push_str(kept);
        self.rest = rest;
    }

    /// White space is kept, comments are left out.
    fn space(&mut self) -> Option<()> {
        loop {
            let space = self.rest.len() - self.rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            self.keep(space);
            let comment = if self.rest.starts_with("//") {
                self.rest.find('\n').unwrap_or(self.rest.len())
            } else if self.rest.starts_with("/*") {
                self.rest.find("*/").map_or(self.rest.len(), |end| end + 2)
            } else {
                return Some(());
            };
            self.edit()?;
            self.skip(comment);
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        self.space()?;
        match self.rest.as_bytes().first() {
            Some(b'{' | b'[') if depth == DEPTH => None,
            Some(b'{') => self.list(b'}', depth),
            Some(b'[') => self.list(b']', depth),
            Some(_) if self.quote().is_some() => self.text(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.word(),
            None => {
                self.edit()?;
                self.out.push_str("null");
                Some(())
            }
        }
    }

    /// An object or an array, from its bracket on.
    fn list(&mut self, close: u8, depth: usize) -> Option<()> {
        self.keep(1);
        let mut empty = true;
        loop {
            self.space()?;
            match self.rest.as_bytes().first() {
                Some(b) if *b == close => {
                    self.keep(1);
                    return Some(());
                }
                // A comma that nothing follows, or too many of them.
                Some(b',') => {
                    self.edit()?;
                    self.skip(1);
                    continue;
                }
                Some(b'}' | b']') | None => {
                    self.edit()?;
                    self.out.push(char::from(close));
                    return Some(());
                }
                Some(_) => {}
            }
            if !empty {
                self.comma();
            }
            empty = false;
            if close == b'}' {
                self.key()?;
            }
            self.value(depth + 1)?;
            self.space()?;
            match self.rest.as_bytes().first() {
                Some(b',') => self.skip(1),
                Some(b) if *b == close => {}
                // Nothing between two values, or the end.
                _ => self.edit()?,
            }
        }
    }

    /// The comma between two values stands before the space that follows the first.
    fn comma(&mut self) {
        let at = self.out.trim_end_matches([' ', '\t', '\n', '\r']).len();
        self.out.insert(at, ',');
    }

    fn key(&mut self) -> Option<()> {
        if self.quote().is_some() {
            self.text()?;
        } else {
            let length = self.name();
            if length == 0 {
                return None;
            }
            self.edit()?;
            self.out.push('"');
            self.keep(length);
            self.out.push('"');
        }
        self.space()?;
        match self.rest.as_bytes().first() {
            Some(b':') => self.keep(1),
            Some(b'=') => {
                self.edit()?;
                self.skip(1);
                self.out.push(':');
            }
            Some(_) => return None,
            None => {
                self.edit()?;
                self.out.push(':');
            }
        }
        Some(())
    }

    fn name(&self) -> usize {
        self.rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$')).count()
    }

    /// The mark that closes the text which begins here.
    fn quote(&self) -> Option<char> {
        match self.rest.chars().next()? {
            '"' => Some('"'),
            '\'' => Some('\''),
            '“' | '”' => Some('”'),
            '‘' | '’' => Some('’'),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<()> {
        let close = self.quote()?;
        if close != '"' {
            self.edit()?;
        }
        self.skip(self.rest.chars().next()?.len_utf8());
        self.out.push('"');
        loop {
            let Some(c) = self.rest.chars().next() else {
                self.edit()?;
                break;
            };
            let length = c.len_utf8();
            match c {
                c if c == close => {
                    self.skip(length);
                    break;
                }
                '\\' => self.escape()?,
                '"' => {
                    self.skip(1);
                    self.out.push_str("\\\"");
                }
                c if c < ' ' => {
                    self.edit()?;
                    self.skip(1);
                    self.out.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                _ => self.keep(length),
            }
        }
        self.out.push('"');
        Some(())
    }

    fn escape(&mut self) -> Option<()> {
        let bytes = self.rest.as_bytes();
        match bytes.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.keep(2),
            Some(b'u') if bytes.len() >= 6 && bytes[2..6].iter().all(u8::is_ascii_hexdigit) => self.keep(6),
            Some(b'\'') => {
                self.edit()?;
                self.skip(1);
                self.keep(1);
            }
            None => {
                self.edit()?;
                self.skip(1);
            }
            Some(_) => {
                self.edit()?;
                self.skip(1);
                self.out.push_str("\\\\");
            }
        }
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let in_number = |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.rest.bytes().take_while(|b| in_number(b)).count();
        let number = &self.rest[..length];
        if serde_json::from_str::<serde_json::Number>(number).is_ok() {
            self.keep(length);
            return Some(());
        }
        // Cut off in the middle: what is whole of it.
        self.edit()?;
        let whole = number.trim_end_matches(['-', '+', '.', 'e', 'E']);
        serde_json::from_str::<serde_json::Number>(whole).ok()?;
        self.keep(whole.len());
        self.skip(length - whole.len());
        Some(())
    }

    fn word(&mut self) -> Option<()> {
        let length = self.name();
        let (right, edit) = match &self.rest[..length] {
            "true" => ("true", false),
            "false" => ("false", false),
            "null" => ("null", false),
            "True" | "TRUE" => ("true", true),
            "False" | "FALSE" => ("false", true),
            "None" | "NULL" | "undefined" | "NaN" | "nil" => ("null", true),
            _ => return None,
        };
        if edit {
            self.edit()?;
        }
        self.skip(length);
        self.out.push_str(right);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_faults_are_mended() {
        for (text, mended) in [
            ("```json\n{\"a\": 1}\n```", "{\"a\": 1}"),
            ("Here you are: {\"a\": 1} Enjoy!", "{\"a\": 1}"),
            ("{\"a\": 1, \"b\": [1, 2,],}", "{\"a\": 1, \"b\": [1, 2]}"),
            ("{'a': 'it\\'s \"x\"'}", "{\"a\": \"it's \\\"x\\\"\"}"),
            ("{a: True, b: None}", "{\"a\": true, \"b\": null}"),
            ("{\"a\": 1 \"b\": 2}", "{\"a\": 1, \"b\": 2}"),
            ("{\"a\": [1, {\"b\": \"c", "{\"a\": [1, {\"b\": \"c\"}]}"),
            (
                "{\"a\": 1.5, // note\n \"b\": 12345678901234567890123}",
                "{\"a\": 1.5, \n \"b\": 12345678901234567890123}",
            ),
            ("{\"a\": \"two\nlines\"}", "{\"a\": \"two\\u000alines\"}"),
        ] {
            assert_eq!(repair(text).as_deref(), Some(mended), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_left_alone() {
        for text in ["no braces here", "{what is this}", "{\"a\" 1}", &"[".repeat(10_000), &"{a:".repeat(100)]
        {
            assert_eq!(repair(text), None, "{}", &text[..text.len().min(20)]);
        }
    }

    proptest! {
        #[test]
        fn json_is_kept_as_it_is(text in "\\{\"[a-z]{1,3}\": (-?(0|[1-9][0-9]{0,2})|\"[a-zé ]{0,5}\"|\\[1, true, \\{\\}\\]|null)\\}") {
            prop_assert_eq!(repair(&text), Some(text.clone()));
        }

        #[test]
        fn what_comes_out_is_json(text in "([\\[\\]{},:'\"\\\\ a1-]|\\PC){0,60}") {
            if let Some(mended) = repair(&text) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&mended).is_ok());
            }
        }
    }
}
