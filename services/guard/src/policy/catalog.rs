//! All that a policy can name: values, attacks, and what is found in answers alone.

use std::sync::LazyLock;

use crate::{detect::DETECTORS, injection::FAMILIES};

/// Where something is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Prompt,
    Answer,
    Both,
}

impl Place {
    /// Whether it is looked for in answers (or in prompts).
    pub(crate) fn is_in(self, output: bool) -> bool {
        self == Self::Both || (self == Self::Answer) == output
    }
}

/// Something that can be found.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) id: &'static str,
    /// What a placeholder is called.
    pub(crate) word: &'static str,
    pub(crate) description: &'static str,
    pub(crate) place: Place,
    /// Whether it is a stretch of text that can be replaced.
    pub(crate) is_value: bool,
}

/// What is found beside values and the patterns of attacks.
const OTHERS: [Known; 9] = [
    other("injection.classifier", "reads like an attack to the configured classifier", Place::Prompt, ""),
    other("injection.judge", "is an attack in the words of the judge model", Place::Prompt, ""),
    other("injection.unjudged", "could not be judged, and the policy is closed", Place::Prompt, ""),
    other(
        "leak.system_prompt",
        "repeats a long stretch of the system prompt",
        Place::Answer,
        "SYSTEM_PROMPT",
    ),
    other("leak.canary", "holds the mark that the guard hid in the system prompt", Place::Answer, "CANARY"),
    other(
        "link.image",
        "an image at a host that is not allowed: showing it tells the host",
        Place::Answer,
        "LINK",
    ),
    other("link.data", "a link that carries data to a host that is not allowed", Place::Answer, "LINK"),
    other("tool.undeclared", "a call of a tool that the request does not declare", Place::Answer, ""),
    other("tool.denied", "a call of a tool that the policy does not allow", Place::Answer, ""),
];

const fn other(id: &'static str, description: &'static str, place: Place, word: &'static str) -> Known {
    Known { id, word, description, place, is_value: !word.is_empty() }
}

/// Everything: [`DETECTORS`], [`FAMILIES`], then the others.
pub(crate) static CATALOG: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let values = DETECTORS.iter().map(|d| Known {
        id: d.id,
        word: d.word,
        description: d.description,
        place: Place::Both,
        is_value: true,
    });
    let attacks = FAMILIES.iter().map(|f| other(f.id, f.description, Place::Prompt, ""));
    values.chain(attacks).chain(OTHERS).collect()
});

/// The place of an attack's family in [`CATALOG`].
pub(crate) const fn family(index: usize) -> usize {
    DETECTORS.len() + index
}

const fn at(index: usize) -> usize {
    DETECTORS.len() + FAMILIES.len() + index
}

pub(crate) const CLASSIFIER: usize = at(0);
pub(crate) const JUDGE: usize = at(1);
pub(crate) const UNJUDGED: usize = at(2);
pub(crate) const SYSTEM_PROMPT: usize = at(3);
pub(crate) const CANARY: usize = at(4);
pub(crate) const IMAGE: usize = at(5);
pub(crate) const DATA: usize = at(6);
pub(crate) const UNDECLARED: usize = at(7);
pub(crate) const DENIED: usize = at(8);

/// The group of an id: what stands before its dot.
pub(crate) fn group(id: &str) -> &str {
    id.split('.').next().unwrap_or(id)
}

/// What the built-in policies do: blocks, replaces, reports, or nothing, by name of policy and id.
pub(crate) fn built_in(base: super::Base, known: &Known, output: bool) -> super::ActionName {
    use super::{ActionName as Does, Base};
    let strict = match base {
        Base::Off => return Does::Allow,
        Base::Strict => true,
        Base::Default => false,
    };
    let or = |strictly, else_| if strict { strictly } else { else_ };
    match (known.id, group(known.id)) {
        // One of a hundred harmless prompts looks like an attack to the learned head: it blocks where asked to.
        ("injection.learned", _) => or(Does::Block, Does::Flag),
        (_, "injection") => Does::Block,
        (_, "secret") if output => or(Does::Block, Does::Redact),
        (_, "pii") if output => or(Does::Redact, Does::Flag),
        // Names are what questions are about: replacing them by default would spoil the answers.
        ("pii.organization" | "pii.location", _) => Does::Allow,
        ("pii.person", _) => or(Does::Redact, Does::Allow),
        (_, "secret" | "pii") => Does::Redact,
        ("leak.canary" | "tool.denied", _) => Does::Block,
        ("leak.system_prompt" | "tool.undeclared", _) => or(Does::Block, Does::Flag),
        ("link.image", _) => or(Does::Redact, Does::Flag),
        _ => or(Does::Redact, Does::Allow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_name_what_they_say() {
        assert_eq!(CATALOG.len(), DENIED + 1);
        for (place, id) in [
            (CLASSIFIER, "injection.classifier"),
            (JUDGE, "injection.judge"),
            (UNJUDGED, "injection.unjudged"),
            (SYSTEM_PROMPT, "leak.system_prompt"),
            (CANARY, "leak.canary"),
            (IMAGE, "link.image"),
            (DATA, "link.data"),
            (UNDECLARED, "tool.undeclared"),
            (DENIED, "tool.denied"),
        ] {
            assert_eq!(CATALOG[place].id, id);
        }
    }
}
