//! The simulator's tokens: a rule simple enough to count by hand.

/// Counts the tokens of `text`: each run of letters and digits is one, each other character that is not white
/// space is one, white space is none.
///
/// `"Hello, world!"` has four. An answer's `completion_tokens` are the tokens of its text (or of its tool call's
/// name and arguments) plus any `+reasoning=N`. `prompt_tokens` are, over all messages, 3 per message plus the
/// tokens of its text, tool-call names and arguments, plus 85 per part that is not text, plus 3 for the reply,
/// plus the tokens of `tools` as compact JSON.
#[must_use]
pub fn count_tokens(text: &str) -> u64 {
    starts(text).count() as u64
}

/// Yields the byte offset at which each token starts.
pub(super) fn starts(text: &str) -> impl Iterator<Item = usize> + '_ {
    let mut in_word = false;
    text.char_indices().filter_map(move |(at, character)| {
        let word = character.is_alphanumeric();
        let begins = if word { !in_word } else { !character.is_whitespace() };
        in_word = word;
        begins.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stated_rule_holds() {
        for (text, expected) in
            [("", 0), ("  \n", 0), ("Hello, world!", 4), ("a1b2 c", 2), ("<EMAIL_1>", 5), ("日本 語", 2)]
        {
            assert_eq!(count_tokens(text), expected, "{text:?}");
        }
    }
}
