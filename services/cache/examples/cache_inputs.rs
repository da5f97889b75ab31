//! What the calibrated model sees, for `scripts/train_cache.py`.
//!
//! Reads lines of JSON from standard input. For `{"text"}` it writes the text's vector, for `{"a", "b"}` 1 if the rules let the pair
//! pass (else minus the number of a rule) and its numbers, all as f32, little endian.

use std::io::{BufRead as _, Write as _};

use signalbox_cache::eval::inputs;
use signalbox_embed::{EmbedConfig, Embedder};

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Line {
    Text { text: String },
    Pair { a: String, b: String },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut embedder = None;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let numbers = match serde_json::from_str(&line?)? {
            Line::Text { text } => {
                let embedder = match &mut embedder {
                    Some(embedder) => embedder,
                    none => none.insert(Embedder::load(EmbedConfig::default())?),
                };
                embedder.embed(text).await?.to_vec()
            }
            Line::Pair { a, b } => inputs(&a, &b),
        };
        for number in numbers {
            out.write_all(&number.to_le_bytes())?;
        }
    }
    Ok(out.flush()?)
}
