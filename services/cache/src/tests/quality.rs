//! How often questions hit, and how often wrongly, on labelled pairs with the real model.

use std::{collections::BTreeMap, path::PathBuf};

use signalbox_embed::MAX_TEXTS;

use super::world::*;
use crate::{
    config::Config,
    second_look::{self, Features},
};

#[derive(serde::Deserialize)]
struct Pair {
    a: String,
    b: String,
    label: u8,
    kind: String,
}

/// Pairs of one kind that are close enough, and of them those that stand the second look.
#[derive(Debug, Default)]
struct Counts {
    pairs: usize,
    close: usize,
    hits: usize,
}

fn pairs(test: &str) -> Option<Vec<Pair>> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let folder = std::env::var_os("SIGNALBOX_DATA").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(folder.join("cache/pairs.jsonl")) else {
        println!("SKIPPED: {test}: no cache/pairs.jsonl in $SIGNALBOX_DATA");
        return None;
    };
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[tokio::test]
async fn labelled_pairs() {
    let Some(pairs) = pairs("labelled pairs") else { return };
    // The same answer kinds without their texts being judged need no model.
    let near: Vec<&Pair> = pairs.iter().filter(|pair| pair.kind == "near_miss_number").collect();
    assert!(near.len() >= 1_000);
    for pair in near {
        let look = second_look::agree(&Features::of(&pair.a), &Features::of(&pair.b));
        assert!(look.is_err(), "{} / {}", pair.a, pair.b);
    }
    let Some(embedding) = real_model("labelled pairs") else { return };
    let (model, config) = (embedding.embedder().unwrap(), Config::default());
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and 1")]
    let threshold = config.semantic.threshold as f32;
    let mut by_kind: BTreeMap<(String, u8), Counts> = BTreeMap::new();
    let fits = |text: &str| text.len() <= config.semantic.max_text_bytes;
    let short: Vec<&Pair> = pairs.iter().filter(|pair| fits(&pair.a) && fits(&pair.b)).collect();
    for some in short.chunks(MAX_TEXTS / 2) {
        let texts = some.iter().flat_map(|pair| [pair.a.clone(), pair.b.clone()]).collect();
        let vectors = model.embed_all(texts).await.unwrap();
        for (pair, vectors) in some.iter().zip(vectors.chunks_exact(2)) {
            let counts = by_kind.entry((pair.kind.clone(), pair.label)).or_default();
            counts.pairs += 1;
            if vectors[0].cosine(&vectors[1]) >= threshold {
                counts.close += 1;
                let (a, b) = (Features::of(&pair.a), Features::of(&pair.b));
                let right = second_look::right(vectors[0].cosine(&vectors[1]), &a, &b);
                let hit = right.is_some_and(|right| right >= 1.0 - config.semantic.max_error);
                counts.hits += usize::from(hit);
                if hit && pair.label == 0 {
                    println!("wrong: {} / {}", pair.a, pair.b);
                }
            }
        }
    }
    println!("at similarity {threshold}: kind, label, pairs, close enough, hits within the stated error");
    for ((kind, label), Counts { pairs, close, hits }) in &by_kind {
        println!("{kind} {label} {pairs} {close} {hits}");
    }
    let of = |label: u8, count: fn(&Counts) -> usize| -> usize {
        by_kind.iter().filter(|((_, of), _)| *of == label).map(|(_, counts)| count(counts)).sum()
    };
    let (right, wrong) = (of(1, |c| c.hits), of(0, |c| c.hits));
    println!("hits {right} of {} right pairs; wrong {wrong} of {} hits", of(1, |c| c.pairs), right + wrong);
    assert_eq!(by_kind[&("near_miss_number".to_owned(), 0)].hits, 0);
    assert!(
        by_kind[&("near_miss_number".to_owned(), 0)].close > 900,
        "the threshold alone stops few of them"
    );
    assert!(wrong * 100 <= right + wrong, "at most 1 % wrong on these pairs");
    assert!(
        right * 100 >= 2 * of(1, |c| c.pairs),
        "these are statements: few of their rewrites share their words"
    );
}
