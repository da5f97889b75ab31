//! JSON that comes in pieces: whether what came so far can be the beginning of a JSON text.
//!
//! Source: RFC 8259. A state and a stack of open brackets, so that a fault is known at the byte that makes it.

/// Open brackets at most.
const DEPTH: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    /// A value; `bool`: or the end of an array that has none yet.
    Value(bool),
    /// A key; `bool`: or the end of an object that has none yet.
    Key(bool),
    Colon,
    /// A comma, or the end of what is open.
    Next,
    /// Inside a string; `bool`: it is a key.
    Text(bool),
    /// Behind a backslash.
    Escape(bool),
    /// So many hexadecimal digits.
    Hex(bool, u8),
    /// The rest of `true`, `false`, `null`.
    Word(&'static [u8]),
    Number(Digits),
    Nothing,
}

/// Where in a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digits {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

/// A text under way.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    wants: Wants,
    /// `{` and `[`.
    open: Vec<u8>,
    /// Whether the whole must be an object.
    object: bool,
    at: usize,
}

impl Scan {
    pub(crate) fn new(object: bool) -> Self {
        Self { wants: Wants::Value(false), open: Vec::new(), object, at: 0 }
    }

    /// Reads on.
    ///
    /// # Errors
    /// The place of the first byte that no JSON text has there.
    pub(crate) fn read(&mut self, text: &str) -> Result<(), usize> {
        for byte in text.bytes() {
            if !self.byte(byte) {
                return Err(self.at);
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Whether the text may end here.
    pub(crate) fn may_end(&self) -> bool {
        self.open.is_empty()
            && match self.wants {
                Wants::Nothing => true,
                Wants::Number(digits) => digits.may_end(),
                _ => false,
            }
    }

    fn byte(&mut self, b: u8) -> bool {
        match self.wants {
            Wants::Text(key) => match b {
                b'"' => self.wants = if key { Wants::Colon } else { self.behind_a_value() },
                b'\\' => self.wants = Wants::Escape(key),
                0..0x20 => return false,
                _ => {}
            },
            Wants::Escape(key) => match b {
                b'u' => self.wants = Wants::Hex(key, 4),
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.wants = Wants::Text(key),
                _ => return false,
            },
            Wants::Hex(key, left) => {
                if !b.is_ascii_hexdigit() {
                    return false;
                }
                self.wants = if left == 1 { Wants::Text(key) } else { Wants::Hex(key, left - 1) };
            }
            Wants::Word(rest) => {
                if rest.first() != Some(&b) {
                    return false;
                }
                self.wants = if rest.len() == 1 { self.behind_a_value() } else { Wants::Word(&rest[1..]) };
            }
            Wants::Number(digits) => match digits.next(b) {
                Some(digits) => self.wants = Wants::Number(digits),
                None if digits.may_end() => {
                    self.wants = self.behind_a_value();
                    return self.byte(b);
                }
                None => return false,
            },
            _ if matches!(b, b' ' | b'\t' | b'\n' | b'\r') => {}
            Wants::Value(may_end) => return self.value(b, may_end),
            Wants::Key(may_end) => match b {
                b'"' => self.wants = Wants::Text(true),
                b'}' if may_end => return self.close(b'{'),
                _ => return false,
            },
            Wants::Colon => {
                self.wants = Wants::Value(false);
                return b == b':';
            }
            Wants::Next => match (b, self.open.last()) {
                (b',', Some(b'{')) => self.wants = Wants::Key(false),
                (b',', Some(_)) => self.wants = Wants::Value(false),
                (b'}', _) => return self.close(b'{'),
                (b']', _) => return self.close(b'['),
                _ => return false,
            },
            Wants::Nothing => return false,
        }
        true
    }

    fn value(&mut self, b: u8, may_end: bool) -> bool {
        if self.object && self.open.is_empty() && b != b'{' {
            return false;
        }
        self.wants = match b {
            b'{' | b'[' => {
                if self.open.len() == DEPTH {
                    return false;
                }
                self.open.push(b);
                if b == b'{' { Wants::Key(true) } else { Wants::Value(true) }
            }
            b'"' => Wants::Text(false),
            b't' => Wants::Word(b"rue"),
            b'f' => Wants::Word(b"alse"),
            b'n' => Wants::Word(b"ull"),
            b'-' => Wants::Number(Digits::Minus),
            b'0' => Wants::Number(Digits::Zero),
            b'1'..=b'9' => Wants::Number(Digits::Whole),
            b']' if may_end => return self.close(b'['),
            _ => return false,
        };
        true
    }

    fn close(&mut self, bracket: u8) -> bool {
        let closes = self.open.pop() == Some(bracket);
        self.wants = self.behind_a_value();
        closes
    }

    fn behind_a_value(&self) -> Wants {
        if self.open.is_empty() { Wants::Nothing } else { Wants::Next }
    }
}

impl Digits {
    const fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Power)
    }

    const fn next(self, b: u8) -> Option<Self> {
        Some(match (self, b) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Zero | Self::Whole, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::Sign,
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Self::Power,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_json(text: &str) -> bool {
        let mut scan = Scan::new(false);
        scan.read(text).is_ok() && scan.may_end()
    }

    #[test]
    fn a_fault_is_known_at_its_byte() {
        for (text, at) in [
            ("Sure: {}", 0),
            ("{\"a\":1,}", 7),
            ("[1,2}", 4),
            ("{} x", 3),
            ("\"a\nb\"", 2),
            ("01", 1),
            ("1.e", 2),
        ] {
            assert_eq!(Scan::new(false).read(text), Err(at), "{text}");
        }
        assert_eq!(Scan::new(true).read("[1]"), Err(0));
        assert_eq!(Scan::new(false).read(&"[".repeat(1_000)), Err(DEPTH));
    }

    proptest! {
        /// It takes what `serde_json` takes, in any pieces.
        #[test]
        fn agrees_with_serde_json(
            text in "([\\[\\]{},: \n]|\"(a|\\\\[nu\"]|00e9|é){0,3}\"|true|null|fals|-?[0-9]{1,2}(\\.[0-9]?)?(e[+-]?[0-9]?)?){0,12}",
            cut in 0usize..60,
        ) {
            // Lone surrogates are a matter of the text, not of its form.
            let expected = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            prop_assert_eq!(is_json(&text), expected, "{}", text);
            let (first, second) = text.split_at(text.floor_char_boundary(cut.min(text.len())));
            let mut scan = Scan::new(false);
            let pieces = scan.read(first).and_then(|()| scan.read(second)).is_ok() && scan.may_end();
            prop_assert_eq!(pieces, expected);
        }
    }
}
