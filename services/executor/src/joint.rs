//! Where one model's text goes on from another's: nothing is repeated, nothing is lost.
//!
//! A model that is asked to go on does one of four things, told apart as its text comes:
//!
//! - it goes on: its text is passed on;
//! - it repeats the last words before it goes on: they are left out;
//! - it starts over in the same words: nothing is passed on until it is past what was delivered;
//! - it starts over in other words: its text is of no use, see [`Joined::StartedOver`].
//!
//! Text is held back only while it could still be a repetition.

/// How far back from the end of the delivered text a repetition may begin, in bytes.
const REACH: usize = 512;
/// A repetition of this many bytes is no coincidence, wherever in a word it begins, if it is no pattern such as `-----`.
const NO_COINCIDENCE: usize = 6;
/// The fewest different characters of what is no pattern.
const DIFFERENT: usize = 4;
/// The shortest single word that counts as repeated: shorter ones are said twice, as in "ha ha".
const WORD: usize = 3;
/// A text that begins with this many bytes of the delivered one is that text again.
const SAME_BEGINNING: usize = 24;

/// Joins a text, piece by piece, to what was delivered before.
#[derive(Debug)]
pub(crate) struct Joint {
    delivered: String,
    /// White space at the end of what was delivered that the model was not shown.
    hidden: String,
    came: String,
    settled: bool,
}

/// Is what becomes of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// It is held back: it may be a repetition.
    Held,
    /// This goes on from what was delivered.
    On(String),
    /// The model started over in other words.
    StartedOver,
}

impl Joint {
    /// Joins to a text, of which the model was shown all but `hidden` bytes of white space at the end.
    pub(crate) fn new(delivered: &str, hidden: usize) -> Self {
        let (shown, hidden) = delivered.split_at(delivered.len() - hidden);
        Self {
            delivered: shown.to_owned(),
            hidden: hidden.to_owned(),
            came: String::new(),
            settled: delivered.is_empty(),
        }
    }

    /// Whether all that comes is passed on from here.
    pub(crate) fn settled(&self) -> bool {
        self.settled
    }

    /// Takes a piece.
    pub(crate) fn push(&mut self, text: &str) -> Joined {
        if self.settled {
            return Joined::On(text.to_owned());
        }
        self.came.push_str(text);
        self.settle(false)
    }

    /// Says that nothing follows.
    pub(crate) fn end(&mut self) -> Joined {
        if self.settled { Joined::On(String::new()) } else { self.settle(true) }
    }

    fn settle(&mut self, last: bool) -> Joined {
        let verdict = match look(&self.delivered, &self.came, last) {
            Look::Unclear => return Joined::Held,
            Look::StartedOver => Joined::StartedOver,
            Look::On(skip) => {
                let on = &self.came[skip..];
                // The white space that was delivered but not shown comes a second time now, or not at all.
                if on.len() < self.hidden.len() && self.hidden.starts_with(on) && !last {
                    return Joined::Held;
                }
                let twice = common(on, &self.hidden);
                Joined::On(on[twice..].to_owned())
            }
        };
        self.settled = true;
        self.came = String::new();
        verdict
    }
}

enum Look {
    Unclear,
    StartedOver,
    /// From this byte on it is new.
    On(usize),
}

fn look(delivered: &str, came: &str, last: bool) -> Look {
    // A model that starts over may begin with white space that is not in what was delivered.
    let indent =
        if delivered.starts_with(char::is_whitespace) { 0 } else { came.len() - came.trim_start().len() };
    let again = &came[indent..];
    let same = common(delivered, again);
    if same == delivered.len() && again_is_telling(delivered) {
        return Look::On(indent + same);
    }
    let all_same = same == again.len();
    if all_same && !last {
        return Look::Unclear;
    }
    if same >= SAME_BEGINNING || (!all_same && indent == 0 && same_sentence(delivered, again)) {
        return Look::StartedOver;
    }
    if all_same && same > 0 && last && same >= WORD {
        // It ended within what was delivered already.
        return Look::StartedOver;
    }
    let mut longest = 0;
    for (at, _) in tail(delivered).char_indices() {
        let repeated = &tail(delivered)[at..];
        if repeated.len() > came.len() {
            if repeated.starts_with(came) && !last {
                return Look::Unclear;
            }
        } else if came.starts_with(repeated) && is_repetition(delivered, repeated) {
            longest = repeated.len();
            break;
        }
    }
    Look::On(longest)
}

/// Returns the last bytes of a text, from a character on.
fn tail(text: &str) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(REACH))..]
}

/// Counts the bytes that two texts begin with in common, in whole characters.
fn common(a: &str, b: &str) -> usize {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    b.floor_char_boundary(same)
}

/// Whether repeating all of a text is no coincidence: `1` may well be followed by `1`.
fn again_is_telling(delivered: &str) -> bool {
    delivered.chars().filter(|c| c.is_alphabetic()).count() >= WORD
}

/// Whether the end of the delivered text, found again at the beginning of what came, is a repetition.
fn is_repetition(delivered: &str, repeated: &str) -> bool {
    if repeated.len() >= NO_COINCIDENCE {
        let mut seen = [char::MAX; DIFFERENT];
        let mut different = 0;
        for c in repeated.chars() {
            if !seen[..different].contains(&c) {
                seen[different] = c;
                different += 1;
                if different == DIFFERENT {
                    return true;
                }
            }
        }
    }
    // A whole word: "the cat" and then "cat sat" cannot be meant as "catcat".
    let before = delivered[..delivered.len() - repeated.len()].chars().next_back();
    let begins_word = before.is_none_or(|c| !c.is_alphanumeric());
    let word = repeated.trim_end();
    begins_word && word.chars().count() >= WORD && word.chars().all(char::is_alphabetic)
}

/// Whether a text that was cut within a sentence is begun anew: the same first two words, in other words after that.
fn same_sentence(delivered: &str, again: &str) -> bool {
    let within = delivered.trim_end().chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == ',');
    if !within || !again.starts_with(char::is_uppercase) {
        return false;
    }
    let two = |text: &str| -> Option<usize> {
        let first = text.find(char::is_whitespace)?;
        let second = text[first..].trim_start();
        let end = second.find(char::is_whitespace)?;
        Some(text.len() - second.len() + end)
    };
    two(delivered).is_some_and(|end| two(again) == Some(end) && delivered[..end] == again[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Joins a text that comes in pieces of so many characters; `None`: it started over.
    fn join(delivered: &str, came: &str, size: usize) -> Option<String> {
        let mut joint = Joint::new(delivered, 0);
        let mut out = delivered.to_owned();
        let characters: Vec<char> = came.chars().collect();
        let pieces = characters.chunks(size).map(|piece| joint.push(&piece.iter().collect::<String>()));
        let mut joined: Vec<Joined> = pieces.collect();
        joined.push(joint.end());
        for piece in joined {
            match piece {
                Joined::Held => {}
                Joined::On(text) => out.push_str(&text),
                Joined::StartedOver => return None,
            }
        }
        Some(out)
    }

    #[track_caller]
    fn becomes(delivered: &str, came: &str, whole: Option<&str>) {
        for size in [1, 3, 1_000] {
            assert_eq!(join(delivered, came, size).as_deref(), whole, "{delivered} / {came} by {size}");
        }
    }

    #[test]
    fn what_goes_on_is_passed_on() {
        becomes("The sky is", " blue because", Some("The sky is blue because"));
        becomes("It scatt", "ers light.", Some("It scatters light."));
        becomes("10", "0 apples", Some("100 apples"));
        becomes("1", "10", Some("110"));
        becomes("ban", "ana", Some("banana"));
        becomes("ha ha ", "ha!", Some("ha ha ha!"));
        becomes("| a |\n|---", "---|\n", Some("| a |\n|------|\n"));
        becomes("The cat sat. ", "The dog ran.", Some("The cat sat. The dog ran."));
        becomes("", "Hello", Some("Hello"));
        becomes("Done.", "", Some("Done."));
    }

    #[test]
    fn repeated_words_are_left_out() {
        becomes("I saw the cat", "cat sat", Some("I saw the cat sat"));
        becomes("I saw the cat", "the cat sat", Some("I saw the cat sat"));
        becomes("The quick brown fox", "own fox jumps", Some("The quick brown fox jumps"));
        becomes("Es war größ", "größer als", Some("Es war größer als"));
        becomes("one, two, three", "one, two, three, four", Some("one, two, three, four"));
        becomes("天空是蓝色的因为", "蓝色的因为散射", Some("天空是蓝色的因为散射"));
    }

    #[test]
    fn starting_over_in_the_same_words_is_seen() {
        let delivered = "The sky is blue because sunlight is scattered by";
        let whole = "The sky is blue because sunlight is scattered by air.";
        becomes(delivered, whole, Some(whole));
        becomes(delivered, &format!("\n{whole}"), Some(whole));
        becomes(delivered, "The sky is blue because sunlight, which is white, is scattered.", None);
        becomes(delivered, "The sky appears blue", None);
        becomes(delivered, "The sky is blue", None);
    }

    #[test]
    fn white_space_that_was_not_shown_comes_once() {
        for (came, whole) in [(" bar", "foo bar"), ("bar", "foo bar"), ("\nbar", "foo \nbar")] {
            let mut joint = Joint::new("foo ", 1);
            let mut out = "foo ".to_owned();
            for joined in [joint.push(came), joint.end()] {
                if let Joined::On(text) = joined {
                    out.push_str(&text);
                }
            }
            assert_eq!(out, whole);
        }
    }

    /// Texts of different words, so that nothing is repeated by intent.
    fn text() -> impl Strategy<Value = String> {
        prop::collection::btree_set("[a-z]{4,8}[a-zß]", 6..40)
            .prop_map(|words| words.into_iter().collect::<Vec<_>>())
            .prop_shuffle()
            .prop_map(|words| words.join(" "))
    }

    fn cut(text: &str, at: prop::sample::Index) -> usize {
        text.floor_char_boundary(at.index(text.len()))
    }

    proptest! {
        #[test]
        fn any_cut_with_any_repetition_gives_the_whole(
            text in text(), at: prop::sample::Index, back: prop::sample::Index, size in 1usize..20,
        ) {
            let at = cut(&text, at);
            let (delivered, rest) = text.split_at(at);
            prop_assert_eq!(join(delivered, rest, size), Some(text.clone()), "goes on");
            if delivered.len() >= 8 {
                prop_assert_eq!(join(delivered, &text, size), Some(text.clone()), "starts over");
                let back = delivered.floor_char_boundary(back.index(delivered.len() - 7));
                // A pattern of a few characters may be meant.
                let different: std::collections::BTreeSet<char> = delivered[back..].chars().collect();
                prop_assume!(different.len() >= DIFFERENT);
                let repeated = &text[back..];
                prop_assert_eq!(join(delivered, repeated, size), Some(text.clone()), "repeats from {}", back);
            }
        }

        #[test]
        fn nothing_panics(delivered in ".{0,40}", came in ".{0,60}", size in 1usize..8) {
            join(&delivered, &came, size);
        }
    }
}
