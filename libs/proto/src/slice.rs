//! How long a first slice of output is, and when more is asked for: agreed between metering, which grants, and gateways, which extend.

/// Tokens of less than which no slice is asked for: about a line of text.
pub const LEAST: u64 = 16;

/// How many tokens of a first slice are left when more is asked for: an eighth, 16 at least, half of a short one. They pass while
/// metering answers.
#[must_use]
pub const fn left(slice: u64) -> u64 {
    let eighth = if slice / 8 < LEAST { LEAST } else { slice / 8 };
    if eighth > slice / 2 { slice / 2 } else { eighth }
}

/// A first slice of which an answer of `tokens` never asks for more. What passes is counted with a token for four bytes; one for four and a
/// half, as English has, is counted an eighth too often.
#[must_use]
pub const fn with_room(tokens: u64) -> u64 {
    let (two_sevenths, short) = (tokens.saturating_mul(2) / 7, tokens / 8 + LEAST);
    let room = if two_sevenths < short { short } else { two_sevenths };
    tokens.saturating_add(room).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_needs_as_much_as_was_expected_never_asks_for_more() {
        for tokens in 1..20_000 {
            let slice = with_room(tokens);
            assert!(tokens * 9 / 8 < slice - left(slice), "{tokens} of {slice}");
            assert!(slice <= tokens * 9 / 7 + 20, "{tokens} of {slice}: and little more is reserved");
        }
        assert_eq!((left(0), left(1), with_room(u64::MAX)), (0, 0, u64::MAX));
    }
}
