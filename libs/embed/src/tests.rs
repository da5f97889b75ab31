//! The real model on the real runtime; skipped visibly where `scripts/setup.sh` has not put them.

use crate::{EmbedConfig, EmbedError, Embedder, MAX_TEXT_BYTES};

fn real() -> Option<Embedder> {
    match Embedder::load(EmbedConfig::default()) {
        Ok(embedder) => Some(embedder),
        Err(EmbedError::Unavailable { what, .. }) => {
            println!("SKIPPED: embedding model: {what}");
            None
        }
        Err(other) => panic!("the embedding model is there and does not work: {other}"),
    }
}

#[tokio::test]
async fn a_paraphrase_is_closer_than_another_question() {
    let Some(embedder) = real() else { return };
    let mut vectors = Vec::new();
    for text in [
        "How do I reset my password?",
        "I forgot my password, how can I set a new one?",
        "What is the capital of France?",
    ] {
        vectors.push(embedder.embed(text).await.unwrap());
    }
    let (same, other) = (vectors[0].cosine(&vectors[1]), vectors[0].cosine(&vectors[2]));
    assert!(same > 0.7, "paraphrase at {same}");
    assert!(other < 0.2, "other question at {other}");
}

#[tokio::test]
async fn vectors_have_length_one_and_do_not_depend_on_their_neighbours() {
    let Some(embedder) = real() else { return };
    let alone = embedder.embed("a signal box").await.unwrap();
    let long = "the railway's points and signals ".repeat(40);
    let among = embedder.embed_all(vec![long, "a signal box".to_owned(), String::new()]).await.unwrap();
    assert_eq!(alone, among[1]);
    assert_eq!(alone.len(), embedder.dimensions());
    assert_eq!(embedder.dimensions(), 384);
    for vector in &among {
        assert!((vector.cosine(vector) - 1.0).abs() < 1e-5);
    }
}

#[tokio::test]
async fn what_lies_beyond_the_limits_does_not_count() {
    let Some(embedder) = real() else { return };
    let long = "é word ".repeat(MAX_TEXT_BYTES);
    let longer = format!("{long} and more");
    assert_eq!(embedder.embed(long).await.unwrap(), embedder.embed(longer).await.unwrap());
}

#[tokio::test]
async fn the_hash_is_stable_and_two_embedders_agree() {
    let (Some(one), Some(two)) = (real(), real()) else { return };
    assert_eq!(one.model_hash(), two.model_hash());
    assert_eq!(one.embed("same").await.unwrap(), two.embed("same").await.unwrap());
}

#[tokio::test]
async fn many_callers_share_two_workers() {
    let config =
        EmbedConfig { workers: std::num::NonZeroU8::MIN.saturating_add(1), ..EmbedConfig::default() };
    let Some(embedder) = real().and_then(|_| Embedder::load(config).ok()) else { return };
    let expected = embedder.embed("text 7").await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..32 {
        let embedder = embedder.clone();
        callers.spawn(async move { (number, embedder.embed(format!("text {number}")).await.unwrap()) });
    }
    while let Some(done) = callers.join_next().await {
        let (number, vector) = done.unwrap();
        assert_eq!(vector == expected, number == 7);
    }
}

#[tokio::test]
async fn changes_are_taken_only_by_the_model_that_they_belong_to() {
    let Some(embedder) = real() else { return };
    assert!(matches!(embedder.changed(&[0; 32]), Err(EmbedError::Broken { .. })));
    let none = embedder.changed(embedder.model_hash().as_bytes()).unwrap();
    assert_eq!(none.embed("the same text").await.unwrap(), embedder.embed("the same text").await.unwrap());
}
