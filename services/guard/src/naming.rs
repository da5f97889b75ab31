//! What stands in for a value: a placeholder, or a mask of the same form.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{contents::Values, policy::Mask, seal::Sealer};

/// Letters and digits that a value needs to be masked in its own form: a shorter mask would stand in many a text by chance.
const FORM: usize = 6;
/// Placeholders of a conversation are numbered below this, while there are few.
const NUMBERS: u32 = 1_000_000;
const CROWDED: usize = 10_000;

/// Gives out stand-ins for the values of one request.
///
/// Without a conversation, placeholders are numbered by first appearance, which is stable while the whole history is sent. In a
/// conversation the number is a keyed hash of the value: the same in every turn, also of a history that is cut.
pub(crate) struct Naming {
    sealer: Arc<Sealer>,
    tenant: String,
    /// The conversation; empty: none.
    conversation: String,
    /// What masks are the same for.
    scope: String,
    /// By value.
    given: HashMap<String, String>,
    /// By stand-in.
    pub(crate) values: Values,
    /// By word, the number given last.
    counts: HashMap<String, u32>,
    /// Placeholders that the prompt itself holds: what was there is not ours to put back.
    taken: HashSet<String>,
}

impl Naming {
    pub(crate) fn new(sealer: Arc<Sealer>, tenant: &str, request: &str, conversation: Option<&str>) -> Self {
        let conversation = conversation.unwrap_or_default();
        Self {
            sealer,
            tenant: tenant.to_owned(),
            scope: if conversation.is_empty() { request } else { conversation }.to_owned(),
            conversation: conversation.to_owned(),
            given: HashMap::new(),
            values: Values::new(),
            counts: HashMap::new(),
            taken: HashSet::new(),
        }
    }

    /// Notes the placeholders of a text that is part of the prompt. Linear in its length.
    pub(crate) fn avoid(&mut self, text: &str) {
        for (word, number, whole) in placeholders(text) {
            let count = self.counts.entry(word.to_owned()).or_default();
            *count = (*count).max(number);
            self.taken.insert(whole.to_owned());
        }
    }

    /// What stands in for a value; the same value has the same.
    pub(crate) fn stand_in(&mut self, word: &str, value: &str, mask: Mask) -> String {
        if let Some(known) = self.given.get(value) {
            return known.clone();
        }
        let formed = if mask == Mask::Format { self.formed(value) } else { None };
        let stand_in = formed.unwrap_or_else(|| self.placeholder(word, value));
        self.given.insert(value.to_owned(), stand_in.clone());
        self.values.insert(stand_in.clone(), value.to_owned());
        stand_in
    }

    fn placeholder(&mut self, word: &str, value: &str) -> String {
        if self.conversation.is_empty() {
            let count = self.counts.entry(word.to_owned()).or_default();
            *count = count.saturating_add(1);
            return format!("<{word}_{count}>");
        }
        let hash = self.sealer.hash(
            &self.tenant,
            "placeholder",
            &[self.conversation.as_bytes(), word.as_bytes(), value.as_bytes()],
        );
        // A prompt of very many values needs more numbers, or most of them would meet.
        let crowded = self.values.len() + self.taken.len() > CROWDED;
        let hash = u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]);
        let mut number = if crowded { hash } else { hash % NUMBERS };
        // Two values of one number are told apart by who comes first.
        loop {
            let placeholder = format!("<{word}_{number}>");
            if !self.values.contains_key(&placeholder) && !self.taken.contains(&placeholder) {
                return placeholder;
            }
            number = number.wrapping_add(1);
        }
    }

    /// Other letters and digits in the same places; `None` for a value that has too few of them.
    fn formed(&self, value: &str) -> Option<String> {
        // An address keeps its last part: a mask of it would be no address.
        let (masked, kept) = match value.rfind('.').filter(|_| value.contains('@')) {
            Some(dot) => value.split_at(dot),
            None => (value, ""),
        };
        if !value.is_ascii() || masked.bytes().filter(u8::is_ascii_alphanumeric).count() < FORM {
            return None;
        }
        (0u8..8).find_map(|attempt| {
            let mut mask = self.mask(masked, attempt);
            mask.push_str(kept);
            (mask != value && !self.values.contains_key(&mask) && !self.given.contains_key(&mask))
                .then_some(mask)
        })
    }

    fn mask(&self, value: &str, attempt: u8) -> String {
        let mut stream = Vec::new();
        let mut block = 0u32;
        let mut next = || {
            if stream.is_empty() {
                let parts: [&[u8]; 4] =
                    [self.scope.as_bytes(), value.as_bytes(), &[attempt], &block.to_le_bytes()];
                stream.extend(self.sealer.hash(&self.tenant, "mask", &parts));
                block += 1;
            }
            stream.pop().unwrap_or_default()
        };
        let mut first = true;
        let other = |c: char| {
            let replaced = match c {
                // A number that begins with 0 is another kind of number.
                '1'..='9' if first => b'1' + next() % 9,
                '0'..='9' if !first => b'0' + next() % 10,
                'a'..='z' => b'a' + next() % 26,
                'A'..='Z' => b'A' + next() % 26,
                _ => return c,
            };
            first = !replaced.is_ascii_digit();
            char::from(replaced)
        };
        value.chars().map(other).collect()
    }
}

/// Placeholders in a text: word, number, and the whole.
pub(crate) fn placeholders(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let open = rest.find('<')?;
            let tail = &rest[open..];
            rest = &tail[1..];
            if let Some(length) = placeholder(tail) {
                let whole = &tail[..length];
                if let Some((word, number)) = whole[1..length - 1].rsplit_once('_')
                    && let Ok(number) = number.parse()
                {
                    return Some((word, number, whole));
                }
            }
        }
    })
}

/// The length of a placeholder at a text's beginning: `<`, capitals, digits and `_`, `>`.
pub(crate) fn placeholder(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('<')?.bytes().take(64);
    let length = inner.take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_').count();
    (length > 0 && text.as_bytes().get(length + 1) == Some(&b'>')).then_some(length + 2)
}

#[cfg(test)]
mod tests {
    use signalbox_mesh::Random;

    use super::*;

    fn naming(conversation: Option<&str>) -> Naming {
        let sealer = Arc::new(Sealer::new(None, Random::seeded(1)).unwrap());
        Naming::new(sealer, "acme", "r", conversation)
    }

    #[test]
    fn numbers_go_by_first_appearance_and_avoid_those_of_the_prompt() {
        let mut naming = naming(None);
        naming.avoid("keep <EMAIL_7>, <EMAIL_x>, <PHONE_> and <");
        let mut name = |word, value| naming.stand_in(word, value, Mask::Placeholder);
        assert_eq!(name("EMAIL", "a@b.co"), "<EMAIL_8>");
        assert_eq!(name("PHONE", "1"), "<PHONE_1>");
        assert_eq!(name("EMAIL", "a@b.co"), "<EMAIL_8>");
    }

    #[test]
    fn in_a_conversation_a_value_keeps_its_placeholder() {
        let mut whole = naming(Some("c-1"));
        whole.stand_in("EMAIL", "first@b.co", Mask::Placeholder);
        let second = whole.stand_in("EMAIL", "second@b.co", Mask::Placeholder);
        let mut cut = naming(Some("c-1"));
        assert_eq!(cut.stand_in("EMAIL", "second@b.co", Mask::Placeholder), second);
        assert_eq!(placeholder(&second), Some(second.len()));
        assert_ne!(naming(Some("c-2")).stand_in("EMAIL", "second@b.co", Mask::Placeholder), second);
        let mut meets = naming(Some("c-1"));
        meets.avoid(&second);
        assert_ne!(
            meets.stand_in("EMAIL", "second@b.co", Mask::Placeholder),
            second,
            "it stands in the prompt"
        );
    }

    #[test]
    fn masks_have_the_form_of_what_they_stand_for() {
        for value in
            ["4111 1111 1111 1111", "ada.lovelace@example.com", "AKIAIOSFODNN7EXAMPLE", "+1 415 555 2671"]
        {
            let mask = naming(None).stand_in("X", value, Mask::Format);
            let form = |text: &str| -> Vec<char> {
                let class = |c: char| match c {
                    '0'..='9' => '9',
                    'a'..='z' => 'a',
                    'A'..='Z' => 'A',
                    c => c,
                };
                text.chars().map(class).collect()
            };
            assert_eq!(form(&mask), form(value));
            assert_ne!(mask, value);
            assert_eq!(naming(None).stand_in("X", value, Mask::Format), mask, "the same each time");
        }
        assert!(naming(None).stand_in("EMAIL", "ada@example.com", Mask::Format).ends_with(".com"));
        assert_eq!(naming(None).stand_in("PIN", "1234", Mask::Format), "<PIN_1>");
    }
}
