//! Which words are close in meaning, and how rare each is: `models/words.bin`, see the card beside it.

use std::{collections::HashMap, sync::LazyLock};

static TABLE: LazyLock<Table> =
    LazyLock::new(|| Table::read(include_bytes!("../../models/words.bin")).unwrap_or_default());

/// Words in order of how common they are, and a short vector for each.
#[derive(Debug, Default)]
struct Table {
    index: HashMap<&'static str, usize>,
    words: Vec<&'static str>,
    width: usize,
    vectors: &'static [u8],
    scale: f32,
}

impl Table {
    /// Reads the number of words, the width of a vector, the bytes of text (u32) and one unit's value (f32), the words by line, and
    /// the vectors (i8), all little endian.
    fn read(bytes: &'static [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(16)?;
        let number = |at: usize| head[at..at + 4].try_into().ok().map(u32::from_le_bytes);
        let size = |at: usize| number(at).and_then(|n| usize::try_from(n).ok());
        let (words, width, text) = (size(0)?, size(4)?, size(8)?);
        let scale = f32::from_bits(number(12)?);
        let (text, vectors) = rest.split_at_checked(text)?;
        let list: Vec<&str> = std::str::from_utf8(text).ok()?.lines().collect();
        let index: HashMap<_, _> = list.iter().enumerate().map(|(at, word)| (*word, at)).collect();
        (index.len() == words && vectors.len() == words * width).then_some(Self {
            index,
            words: list,
            width,
            vectors,
            scale,
        })
    }
}

/// The place of a word, or of its plural.
pub(super) fn find(word: &str) -> Option<usize> {
    let table = &*TABLE;
    table.index.get(word).or_else(|| table.index.get(&*format!("{word}s"))).copied()
}

/// The place of just this word.
pub(super) fn exactly(word: &str) -> Option<usize> {
    TABLE.index.get(word).copied()
}

pub(super) fn word(index: usize) -> Option<&'static str> {
    TABLE.words.get(index).copied()
}

/// The short vector of a word, in units that cancel out in a cosine.
pub(super) fn vector(index: usize) -> impl Iterator<Item = f32> {
    row(index).iter().map(|value| f32::from(value.cast_signed()))
}

fn row(index: usize) -> &'static [u8] {
    let table = &*TABLE;
    table.vectors.get(index * table.width..(index + 1) * table.width).unwrap_or_default()
}

/// How close two words are, from 0 to 1.
pub(super) fn cosine(a: usize, b: usize) -> f32 {
    let table = &*TABLE;
    let sum: i32 =
        row(a).iter().zip(row(b)).map(|(x, y)| i32::from(x.cast_signed()) * i32::from(y.cast_signed())).sum();
    (sum as f32 * table.scale * table.scale).clamp(0.0, 1.0)
}

/// From 0 for the commonest word to nearly 1 for the rarest of the table.
pub(super) fn rarity(index: usize) -> f32 {
    let most = (TABLE.index.len() as f32 + 100.0).ln();
    (((index as f32 + 100.0).ln() - 100f32.ln()) / (most - 100f32.ln())).clamp(0.0, 0.98)
}
