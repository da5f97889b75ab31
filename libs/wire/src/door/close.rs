//! Whether a text that grows is a whole JSON value by now.

/// Counts brackets. Of a text that is no JSON it says something that does no harm: a call is closed earlier or later.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    depth: u32,
    in_text: bool,
    escaped: bool,
    whole: bool,
}

impl Balance {
    pub(crate) fn add(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.whole = self.depth == 0;
                }
                _ => {}
            }
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_whole_at_its_last_bracket() {
        let mut balance = Balance::default();
        for piece in [r#"{"a":"}\"#, r#""{","b":[{}"#, "]"] {
            balance.add(piece);
            assert!(!balance.is_whole(), "{piece}");
        }
        balance.add("}");
        assert!(balance.is_whole());
    }
}
