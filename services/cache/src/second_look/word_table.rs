//! Which words are close in meaning, and how rare each is: `models/words.bin`, see the card beside it.

use std::{collections::HashMap, sync::LazyLock};

static TABLE: LazyLock<Table> =
    LazyLock::new(|| Table::read(include_bytes!("../../models/words.bin")).unwrap_or_default());

/// Words in order of how common they are, and a short vector for each.
#[derive(Debug, Default)]
struct Table {
    index: HashMap<&'static str, usize>,
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
        let index: HashMap<_, _> =
            std::str::from_utf8(text).ok()?.lines().enumerate().map(|(at, word)| (word, at)).collect();
        (index.len() == words && vectors.len() == words * width).then_some(Self {
            index,
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

/// How close two words are, from 0 to 1.
pub(super) fn cosine(a: usize, b: usize) -> f32 {
    let table = &*TABLE;
    let of =
        |index: usize| table.vectors.get(index * table.width..(index + 1) * table.width).unwrap_or_default();
    let sum: i32 =
        of(a).iter().zip(of(b)).map(|(x, y)| i32::from(x.cast_signed()) * i32::from(y.cast_signed())).sum();
    (sum as f32 * table.scale * table.scale).clamp(0.0, 1.0)
}

/// From 0 for the commonest word to nearly 1 for the rarest of the table.
pub(super) fn rarity(index: usize) -> f32 {
    let most = (TABLE.index.len() as f32 + 100.0).ln();
    (((index as f32 + 100.0).ln() - 100f32.ln()) / (most - 100f32.ln())).clamp(0.0, 0.98)
}
