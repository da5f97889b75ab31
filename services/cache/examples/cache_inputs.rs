//! What the calibrated model sees, for `scripts/train_cache.py`.
//!
//! Reads lines of JSON from standard input. For `{"text"}` it writes the text's vector, for `{"a", "b"}` whether the rules let the pair
//! pass (0 or 1) and its numbers, all as f32, little endian.

use std::{
    collections::HashMap,
    io::{BufRead as _, Write as _},
};

use signalbox_cache::eval::inputs;
use signalbox_embed::{EmbedConfig, Embedder, Vector};

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Line {
    Text { text: String },
    Pair { a: String, b: String },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let embedder = Embedder::load(EmbedConfig::default())?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut known: HashMap<String, Vector> = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let numbers = match serde_json::from_str(&line?)? {
            Line::Text { text } => embedder.embed(text).await?.to_vec(),
            Line::Pair { a, b } => {
                for text in [&a, &b] {
                    if !known.contains_key(text) {
                        known.insert(text.clone(), embedder.embed(text.clone()).await?);
                    }
                }
                let similarity = known.get(&a).zip(known.get(&b)).map_or(0.0, |(a, b)| a.cosine(b));
                let (agreed, numbers) = inputs(&a, &b, similarity);
                std::iter::once(f32::from(u8::from(agreed))).chain(numbers).collect()
            }
        };
        for number in numbers {
            out.write_all(&number.to_le_bytes())?;
        }
    }
    Ok(out.flush()?)
}
