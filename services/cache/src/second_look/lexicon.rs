//! What a dictionary knows of common words: base forms, parts of speech, synonyms, opposites. `models/lexicon.bin`, made of WordNet by
//! `scripts/cache_lexicon.py`, which describes the file; its words are those of [`word_table`].

use std::sync::LazyLock;

use super::word_table;

static LEXICON: LazyLock<Lexicon> =
    LazyLock::new(|| Lexicon::read(include_bytes!("../../models/lexicon.bin")).unwrap_or_default());

/// What a word mostly is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Noun,
    Verb,
    /// An adjective or an adverb.
    Quality,
    /// In no dictionary: mostly a name.
    Unknown,
}

/// How two words relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Opposite,
    /// One is derived from the other: `invest`, `investment`.
    Derived,
    Synonym,
    Similar,
    /// One is a kind of the other.
    KindOf,
    /// Both are kinds of the same: `cat`, `dog`.
    Sibling,
    None,
}

/// Lists of a word: senses, those above them, similar ones, derived words, opposites.
const LISTS: usize = 5;

#[derive(Debug, Default)]
struct Lexicon {
    bases: Vec<u16>,
    classes: Vec<u8>,
    /// Where each list ends in `numbers`, list by list and word by word.
    ends: Vec<u32>,
    numbers: Vec<u16>,
}

impl Lexicon {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (count, mut rest) = bytes.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let mut lexicon = Self::default();
        for _ in 0..count {
            let ([low, high, class], behind) = rest.split_first_chunk::<3>()?;
            lexicon.bases.push(u16::from_le_bytes([*low, *high]));
            lexicon.classes.push(*class);
            rest = behind;
        }
        for _ in 0..count * LISTS {
            let (length, behind) = rest.split_first()?;
            let (list, behind) = behind.split_at_checked(2 * usize::from(*length))?;
            lexicon.numbers.extend(list.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]])));
            lexicon.ends.push(u32::try_from(lexicon.numbers.len()).ok()?);
            rest = behind;
        }
        rest.is_empty().then_some(lexicon)
    }

    /// One of a word's lists, sorted.
    fn list(&self, word: usize, list: usize) -> &[u16] {
        let at = word * LISTS + list;
        let end = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        let from = at.checked_sub(1).map_or(0, end);
        self.numbers.get(from..end(at)).unwrap_or_default()
    }
}

/// The quality that a word is more or the most of, by its ending (`er`, `est`): `big` of `bigger`, `cheap` of `cheapest`.
pub(super) fn quality_of(word: &str, ending: &str) -> Option<String> {
    let stem = word.strip_suffix(ending).filter(|stem| stem.len() > 2)?;
    let mut forms = vec![stem.to_owned(), format!("{stem}e")];
    forms.extend(stem.strip_suffix('i').map(|stem| format!("{stem}y")));
    // `biggest`, but not `farmer`.
    let single = stem
        .chars()
        .next_back()
        .and_then(|last| stem.strip_suffix(last).filter(|short| short.ends_with(last)));
    forms.extend(single.map(str::to_owned));
    forms.into_iter().find(|form| word_table::find(form).is_some_and(|at| class(Some(at)) == Class::Quality))
}

/// The base form of a word of the table.
pub(super) fn base(index: usize) -> usize {
    LEXICON.bases.get(index).map_or(index, |base| usize::from(*base))
}

pub(super) fn class(index: Option<usize>) -> Class {
    match index.and_then(|index| LEXICON.classes.get(index)) {
        Some(1) => Class::Noun,
        Some(2) => Class::Verb,
        Some(3) => Class::Quality,
        _ => Class::Unknown,
    }
}

/// How two base forms relate; the first that holds.
pub(super) fn relation(a: usize, b: usize) -> Relation {
    let [senses, above, similar, derived, opposites]: [usize; LISTS] = [0, 1, 2, 3, 4];
    let lexicon = &*LEXICON;
    let names = |list: usize, of: usize, other: usize| {
        u16::try_from(other).is_ok_and(|other| lexicon.list(of, list).binary_search(&other).is_ok())
    };
    let meet = |list: usize, other: usize| {
        let there = lexicon.list(b, other);
        lexicon.list(a, list).iter().any(|one| there.binary_search(one).is_ok())
    };
    let either = |list: usize, other: usize| meet(list, other) || meet(other, list);
    if names(opposites, a, b) || names(opposites, b, a) {
        Relation::Opposite
    } else if names(derived, a, b) || names(derived, b, a) {
        Relation::Derived
    } else if meet(senses, senses) {
        Relation::Synonym
    } else if either(similar, senses) {
        Relation::Similar
    } else if either(above, senses) {
        Relation::KindOf
    } else if meet(above, above) {
        Relation::Sibling
    } else {
        Relation::None
    }
}

/// The base form of any word, in lower case: of the table, or by its ending.
pub(super) fn base_of(word: &str) -> &str {
    if let Some(index) = word_table::exactly(word) {
        return word_table::word(base(index)).unwrap_or(word);
    }
    const ENDINGS: [(&str, &str); 8] = [
        ("ies", "y"),
        ("es", "e"),
        ("s", ""),
        ("ing", ""),
        ("ing", "e"),
        ("ed", ""),
        ("ed", "e"),
        ("ly", ""),
    ];
    for (ending, instead) in ENDINGS {
        let Some(stem) = word.strip_suffix(ending).filter(|stem| stem.len() >= 3) else { continue };
        let found = if instead.is_empty() {
            word_table::exactly(stem)
        } else {
            word_table::exactly(&format!("{stem}{instead}"))
        };
        if let Some(known) = found {
            return word_table::word(base(known)).unwrap_or(word);
        }
    }
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with(['s', 'u', 'i']) => stem,
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(a: &str, b: &str) -> Relation {
        relation(word_table::exactly(a).unwrap(), word_table::exactly(b).unwrap())
    }

    #[test]
    fn words_relate() {
        assert_eq!(of("buy", "sell"), Relation::Opposite);
        assert_eq!(of("invest", "investment"), Relation::Derived);
        assert_eq!(of("buy", "purchase"), Relation::Synonym);
        assert_eq!(of("germany", "france"), Relation::Sibling);
        assert_eq!(of("moon", "window"), Relation::None);
    }

    #[test]
    fn words_have_base_forms() {
        for (word, base) in [
            ("learning", "learn"),
            ("bought", "buy"),
            ("children", "child"),
            ("cities", "city"),
            ("blogs", "blog"),
            ("xyzzys", "xyzzy"),
            ("gas", "gas"),
            ("", ""),
        ] {
            assert_eq!(base_of(word), base);
        }
        assert_eq!(class(word_table::exactly("learn")), Class::Verb);
        assert_eq!(class(word_table::exactly("city")), Class::Noun);
        assert_eq!(class(None), Class::Unknown);
    }

    #[test]
    fn a_file_of_another_form_is_refused() {
        let whole = include_bytes!("../../models/lexicon.bin");
        assert_eq!(LEXICON.ends.len(), LEXICON.bases.len() * LISTS);
        assert!(Lexicon::read(&whole[..whole.len() - 1]).is_none());
        assert!(Lexicon::read(&[]).is_none());
    }
}
