//! How far two questions that stand the rules are from each other, in numbers for the calibrated model.
//!
//! Words are aligned one by one: the same word, one that is written alike, or the one closest in meaning by a small table of
//! words. What is left over on either side, weighed by how rare it is, says more than a cosine of the whole.

use std::collections::{HashMap, HashSet};

use super::{features::Features, word_table};

/// Numbers of a pair. Changing them means training anew.
pub(crate) const COUNT: usize = 22;

/// Little words whose change can change the question, by group.
const LITTLE: [&str; 4] = [
    "in on at by for with about into onto to from of and or but if than vs versus between per during since until through over under \
     against across around near",
    "i me my mine we us our you your he him his she her they them their it its someone anyone people person",
    "what which who whom whose when where why how",
    "was were did had been|will would going shall|should must need ought|can could may might able|is are do does am have has",
];

/// Compares two questions. The same for both orders.
pub(crate) fn numbers(similarity: f32, a: &Features, b: &Features) -> [f32; COUNT] {
    let (left, right) = (Side::of(a), Side::of(b));
    let (over_left, over_right) = (left.left_over(&right), right.left_over(&left));
    let shared: f32 = left.content.iter().filter(|w| right.all.contains(*w)).map(|w| rarity(w)).sum();
    let total = (left.rarity + right.rarity) / 2.0;
    let lengths = (a.words.len().max(1) as f32, b.words.len().max(1) as f32);
    let little = |group: usize| differing(LITTLE[group].split_whitespace(), &left, &right);
    let same_kind = a.kinds.last() == b.kinds.last();
    let contents = (left.content.len() as f32, right.content.len() as f32);
    [
        similarity,
        -(1.0 - similarity.min(1.0) + 0.02).ln(),
        over_left.rarity.max(over_right.rarity),
        over_left.rarity.min(over_right.rarity),
        over_left.residue.max(over_right.residue),
        over_left.residue.min(over_right.residue),
        over_left.worst.max(over_right.worst),
        over_left.worst.min(over_right.worst),
        if total > 0.0 { (shared / total).min(1.0) } else { 1.0 },
        contents.0.max(contents.1).ln_1p(),
        contents.0.min(contents.1).ln_1p(),
        over_left.unknown.max(over_right.unknown),
        f32::from(u8::from(same_kind)),
        (lengths.0 / lengths.1).ln().abs(),
        little(0),
        little(1),
        little(2),
        tenses(&left, &right),
        overlap(&pairs(a), &pairs(b)),
        overlap(&trigrams(a), &trigrams(b)),
        over_left.count.max(over_right.count),
        over_left.count.min(over_right.count),
    ]
}

struct Side<'a> {
    all: HashSet<&'a str>,
    content: Vec<&'a str>,
    rarity: f32,
}

#[derive(Default)]
struct LeftOver {
    count: f32,
    rarity: f32,
    /// Rarity that nothing on the other side accounts for.
    residue: f32,
    worst: f32,
    /// Words that are in no table: mostly names.
    unknown: f32,
}

impl<'a> Side<'a> {
    fn of(features: &'a Features) -> Self {
        let mut seen = HashSet::new();
        let content: Vec<&str> = features
            .content
            .iter()
            .map(|&index| &*features.words[index])
            .filter(|w| seen.insert(*w))
            .collect();
        let rarity = content.iter().map(|word| rarity(word)).sum();
        Self { all: features.words.iter().map(|word| &**word).collect(), content, rarity }
    }

    /// What this side says and the other does not.
    fn left_over(&self, other: &Self) -> LeftOver {
        let mut over = LeftOver::default();
        for word in self.content.iter().filter(|word| !other.all.contains(*word)) {
            let (near, rarity) = (nearest(word, other), rarity(word));
            let residue = rarity * (1.0 - near);
            over.count += 1.0;
            over.rarity += rarity;
            over.residue += residue;
            over.worst = over.worst.max(residue);
            over.unknown += f32::from(u8::from(word_table::find(word).is_none() && near == 0.0));
        }
        over
    }
}

/// How close the closest word of the other side comes, from 0 to 1.
fn nearest(word: &str, other: &Side<'_>) -> f32 {
    let alike = other.content.iter().any(|there| written_alike(word, there));
    if alike {
        return 0.9;
    }
    let Some(index) = word_table::find(word) else { return 0.0 };
    let near = other.content.iter().filter_map(|there| word_table::find(there));
    near.map(|there| word_table::cosine(index, there)).fold(0.0, f32::max)
}

/// Whether two words are forms, or one a misspelling, of one word.
fn written_alike(a: &str, b: &str) -> bool {
    let common = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let (short, long) = (a.len().min(b.len()), a.len().max(b.len()));
    if short < 4 || a.bytes().chain(b.bytes()).any(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let form = common + 1 >= short && common >= 4 && long - common <= 3;
    let end = a.bytes().rev().zip(b.bytes().rev()).take_while(|(x, y)| x == y).count();
    // One letter more, less or other, or two exchanged, in a word that is in no table.
    let misspelt = short >= 6
        && common + end + 2 >= long
        && long - short <= 1
        && (word_table::find(a).is_none() || word_table::find(b).is_none());
    form || misspelt
}

/// From 0 for the commonest to 1 for a word in no table.
fn rarity(word: &str) -> f32 {
    word_table::find(word).map_or(1.0, word_table::rarity)
}

/// How many of some words only one side has.
fn differing<'a>(words: impl Iterator<Item = &'a str>, left: &Side<'_>, right: &Side<'_>) -> f32 {
    words.filter(|word| left.all.contains(word) != right.all.contains(word)).count() as f32
}

fn tenses(left: &Side<'_>, right: &Side<'_>) -> f32 {
    let has = |side: &Side<'_>, group: &str| group.split_whitespace().any(|word| side.all.contains(word));
    LITTLE[3].split('|').filter(|group| has(left, group) != has(right, group)).count() as f32
}

fn pairs(features: &Features) -> HashMap<(&str, &str), usize> {
    let mut pairs = HashMap::new();
    for two in features.words.windows(2) {
        *pairs.entry((&*two[0], &*two[1])).or_default() += 1;
    }
    pairs
}

fn trigrams(features: &Features) -> HashMap<[char; 3], usize> {
    let mut trigrams = HashMap::new();
    let letters: Vec<char> =
        features.words.iter().flat_map(|word| [' '].into_iter().chain(word.chars())).collect();
    for three in letters.windows(3) {
        *trigrams.entry([three[0], three[1], three[2]]).or_default() += 1;
    }
    trigrams
}

/// Dice's share of what both have; 1 where there is nothing.
fn overlap<K: std::hash::Hash + Eq>(a: &HashMap<K, usize>, b: &HashMap<K, usize>) -> f32 {
    let (in_a, in_b): (usize, usize) = (a.values().sum(), b.values().sum());
    let both: usize = a.iter().map(|(key, count)| b.get(key).map_or(0, |there| *there.min(count))).sum();
    if in_a + in_b == 0 { 1.0 } else { 2.0 * both as f32 / (in_a + in_b) as f32 }
}
