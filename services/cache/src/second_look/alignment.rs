//! How far two questions that stand the rules are from each other, in numbers for the calibrated model.
//!
//! Words are aligned one by one: the same word in any form or spelling, one that is derived from it or means the same, or the one
//! closest in meaning by a small table of words. What is left over on either side, weighed by how rare it is, says more than a
//! cosine of the whole. Beside it stand the little words that shade a question, each group by itself.

use std::collections::HashMap;

use super::{
    lexicon::{self, Class, Relation},
    word_table,
    wording::{Asked, Content, FIRST_AND_SECOND, Wording},
};

/// Numbers of a pair. Changing them means training anew; `SIGN` of `scripts/train_cache.py` says what each may do.
pub(crate) const COUNT: usize = 37;

/// Compares two questions. The same for both orders.
pub(crate) fn numbers(a: &Wording, b: &Wording) -> [f32; COUNT] {
    let (left, right) = (LeftOver::of(a, b), LeftOver::of(b, a));
    let (small, large) = (left.smaller(&right), left.larger(&right));
    let (total, shared) = (weight(a) + weight(b), shared(a, b));
    let contents = (a.content.len() as f32, b.content.len() as f32);
    let lengths = (a.words.len().max(1) as f32, b.words.len().max(1) as f32);
    let persons = a.persons ^ b.persons;
    let modal = |bit: u32| flag((a.modals ^ b.modals) & (1 << bit) != 0);
    let (inverted, steps_back) = inversions(a, b);
    let mut out = [0.0; COUNT];
    let (sides, whole) = out.split_at_mut(2 * LeftOver::COUNT);
    for (at, (large, small)) in large.0.into_iter().zip(small.0).enumerate() {
        (sides[2 * at], sides[2 * at + 1]) = (large, small);
    }
    whole.copy_from_slice(&[
        if total > 0.0 { (2.0 * shared / total).min(1.0) } else { 1.0 },
        contents.0.max(contents.1).ln_1p(),
        contents.0.min(contents.1).ln_1p(),
        (lengths.0 / lengths.1).ln().abs(),
        counts(a, b),
        quantities(a, b),
        (a.prepositions ^ b.prepositions).count_ones() as f32,
        (persons & FIRST_AND_SECOND).count_ones() as f32,
        (persons & !FIRST_AND_SECOND).count_ones() as f32,
        modal(0),
        modal(1),
        modal(2),
        modal(3),
        f32::from(a.sentences.abs_diff(b.sentences)),
        flag(a.asked == b.asked),
        flag(alike_asked(a.asked, b.asked)),
        flag((a.asked == Asked::YesOrNo) != (b.asked == Asked::YesOrNo)),
        overlap(a.words.windows(2), b.words.windows(2)),
        overlap(letters(a).windows(3), letters(b).windows(3)),
        inverted,
        steps_back,
        together(a, b),
        overlap(a.words.iter(), b.words.iter()),
    ]);
    out
}

/// Whether one side says the opposite of what the other says.
pub(super) fn opposed(a: &Wording, b: &Wording) -> bool {
    let over = |here: &Wording, there: &Wording| -> Vec<usize> {
        let left = here.content.iter().filter(|one| !has(there, &one.word));
        left.filter_map(|one| one.index.map(lexicon::base)).collect()
    };
    let (left, right) = (over(a, b), over(b, a));
    left.iter().any(|x| right.iter().any(|y| lexicon::relation(*x, *y) == Relation::Opposite))
}

/// What one side says and the other does not: residue, worst residue, weight, number of names, nouns, verbs, and contrast.
struct LeftOver([f32; LeftOver::COUNT]);

impl LeftOver {
    const COUNT: usize = 7;

    fn of(here: &Wording, there: &Wording) -> Self {
        let [mut residue, mut worst, mut weight, mut names, mut nouns, mut verbs, mut contrast] = [0.0f32; 7];
        for one in here.content.iter().filter(|one| !has(there, &one.word)) {
            let (near, opposed) = nearest(one, here, there);
            let left = one.weight * (1.0 - near);
            residue += left;
            worst = worst.max(left);
            weight += one.weight;
            contrast = contrast.max(opposed * one.weight);
            if one.name {
                names += left;
            }
            match lexicon::class(one.index) {
                Class::Noun => nouns += left,
                Class::Verb => verbs += left,
                Class::Quality | Class::Unknown => {}
            }
        }
        Self([residue, worst, weight, names, nouns, verbs, contrast])
    }

    fn by(&self, other: &Self, choose: fn(f32, f32) -> f32) -> Self {
        let mut out = self.0;
        out.iter_mut().zip(other.0).for_each(|(own, other)| *own = choose(*own, other));
        Self(out)
    }

    fn smaller(&self, other: &Self) -> Self {
        self.by(other, f32::min)
    }

    fn larger(&self, other: &Self) -> Self {
        self.by(other, f32::max)
    }
}

fn flag(holds: bool) -> f32 {
    f32::from(u8::from(holds))
}

fn has(wording: &Wording, word: &str) -> bool {
    wording.words.iter().any(|known| **known == *word)
}

fn weight(wording: &Wording) -> f32 {
    wording.content.iter().map(|one| one.weight).sum()
}

fn shared(a: &Wording, b: &Wording) -> f32 {
    let sum = |here: &Wording, there: &Wording| -> f32 {
        here.content.iter().filter(|one| has(there, &one.word)).map(|one| one.weight).sum()
    };
    (sum(a, b) + sum(b, a)) / 2.0
}

/// How close the closest word of the other side comes, from 0 to 1, and how much one that is opposed to it weighs.
fn nearest(one: &Content, here: &Wording, there: &Wording) -> (f32, f32) {
    let (mut near, mut contrast) = (0.0f32, 0.0f32);
    for other in &there.content {
        let (mut close, opposed) = closeness(one, other);
        // A name is seldom another word for something, and a word that has its like on this side is taken.
        if one.name != other.name && close < 0.9 {
            close *= 0.8;
        }
        let taken = has(here, &other.word);
        near = near.max(if taken { close * 0.75 } else { close });
        if !taken {
            contrast = contrast.max(opposed);
        }
    }
    (near, contrast)
}

/// How close two words are, and how opposed.
pub(super) fn closeness(a: &Content, b: &Content) -> (f32, f32) {
    if written_alike(a, b) {
        return (0.93, 0.0);
    }
    let (Some(x), Some(y)) = (a.index, b.index) else { return (0.0, 0.0) };
    let cosine = word_table::cosine(x, y);
    match lexicon::relation(lexicon::base(x), lexicon::base(y)) {
        Relation::Opposite => (0.0, 2.0),
        Relation::Derived => (0.92, 0.0),
        Relation::Synonym => (cosine.max(0.85), 0.0),
        Relation::Similar => (cosine.max(0.7), 0.0),
        Relation::KindOf => (cosine.max(0.6), 0.0),
        Relation::Sibling => (cosine.min(0.45), 1.0),
        Relation::None => (cosine, 0.0),
    }
}

/// Whether two words are forms, or one a misspelling, of one word; at least one is in no table.
fn written_alike(a: &Content, b: &Content) -> bool {
    let known = a.index.is_some() && b.index.is_some();
    let (a, b) = (a.word.as_bytes(), b.word.as_bytes());
    let (short, long) = (a.len().min(b.len()), a.len().max(b.len()));
    if known || short < 4 || a.iter().chain(b).any(u8::is_ascii_digit) {
        return false;
    }
    let common = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let form = common + 1 >= short && common >= 4 && long - common <= 3;
    // One letter more, less or other, or two exchanged.
    let misspelt = short >= 5 && common + end + 2 >= long && long - short <= 1;
    form || misspelt
}

/// How often words that both have are said more often on one side.
fn counts(a: &Wording, b: &Wording) -> f32 {
    let twice = |one: &Content| {
        let other = b.content.iter().find(|other| other.word == one.word)?;
        Some(f32::from(one.count.abs_diff(other.count)))
    };
    a.content.iter().filter_map(twice).sum()
}

fn quantities(a: &Wording, b: &Wording) -> f32 {
    let over = |here: &Wording, there: &Wording| -> u16 {
        let of = |word: &str| there.quantities.get(word).copied().unwrap_or(0);
        here.quantities.iter().map(|(word, count)| count.saturating_sub(of(word))).sum()
    };
    f32::from(over(a, b).saturating_add(over(b, a)))
}

fn alike_asked(a: Asked, b: Asked) -> bool {
    use Asked::{How, HowTo, Other, What};
    a == b || matches!((a, b), (How, HowTo) | (HowTo, How) | (What, Other) | (Other, What))
}

/// The share of pairs of shared words that stand in the other order, and how often the order goes back.
fn inversions(a: &Wording, b: &Wording) -> (f32, f32) {
    let mut places: Vec<(u16, u16)> = Vec::new();
    for one in &a.content {
        places.extend(b.content.iter().find(|other| other.word == one.word).map(|other| (one.at, other.at)));
    }
    places.sort_unstable();
    let there: Vec<u16> = places.into_iter().map(|(_, at)| at).collect();
    let back = there.windows(2).filter(|two| two[0] > two[1]).count();
    let behind = |(at, one): (usize, &u16)| there[at + 1..].iter().filter(|later| one > *later).count();
    let inverted: usize = there.iter().enumerate().map(behind).sum();
    let pairs = (there.len() * there.len().saturating_sub(1) / 2).max(1);
    (inverted as f32 / pairs as f32, back as f32)
}

/// Cosine of the sums of the words' vectors; 1 where neither side has any.
fn together(a: &Wording, b: &Wording) -> f32 {
    let sum = |wording: &Wording| {
        let mut sum: Vec<f32> = Vec::new();
        for (index, weight) in wording.content.iter().filter_map(|one| Some((one.index?, one.weight))) {
            sum.resize(sum.len().max(word_table::vector(index).count()), 0.0);
            sum.iter_mut().zip(word_table::vector(index)).for_each(|(sum, value)| *sum += weight * value);
        }
        sum
    };
    let (a, b) = (sum(a), sum(b));
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
    let length = (dot(&a, &a) * dot(&b, &b)).sqrt();
    if length > 0.0 { dot(&a, &b) / length } else { flag(a.is_empty() && b.is_empty()) }
}

fn letters(wording: &Wording) -> Vec<char> {
    wording.words.iter().flat_map(|word| [' '].into_iter().chain(word.chars())).collect()
}

/// Dice's share of what both have; 1 where there is nothing.
fn overlap<K: std::hash::Hash + Eq>(a: impl Iterator<Item = K>, b: impl Iterator<Item = K>) -> f32 {
    let counted = |items: &mut dyn Iterator<Item = K>| {
        let mut counts: HashMap<K, usize> = HashMap::new();
        items.for_each(|item| *counts.entry(item).or_default() += 1);
        counts
    };
    let (mut a, mut b) = (a, b);
    let (a, b) = (counted(&mut a), counted(&mut b));
    let (in_a, in_b): (usize, usize) = (a.values().sum(), b.values().sum());
    let both: usize = a.iter().map(|(key, count)| b.get(key).map_or(0, |there| *there.min(count))).sum();
    if in_a + in_b == 0 { 1.0 } else { 2.0 * both as f32 / (in_a + in_b) as f32 }
}
