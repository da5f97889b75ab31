//! What the complexity model sees, for `scripts/train_router.py`: a JSON text a line in, numbers of four bytes out: the features, or with
//! the argument `vectors` the text's vector.

use std::io::{BufRead as _, Write as _};

use signalbox_embed::{EmbedConfig, Embedder};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let vectors = std::env::args().nth(1).is_some_and(|word| word == "vectors");
    let embedder = if vectors { Some(Embedder::load(EmbedConfig::default())?) } else { None };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if let Some(embedder) = &embedder {
        writeln!(std::io::stderr().lock(), "{}", embedder.model_hash())?;
    }
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        #[expect(clippy::cast_possible_truncation, reason = "counts of a text")]
        let numbers: Vec<f32> = match &embedder {
            Some(embedder) => embedder.embed(&text).await?.to_vec(),
            None => signalbox_router::eval::inputs(&text).into_iter().map(|value| value as f32).collect(),
        };
        for number in numbers {
            out.write_all(&number.to_le_bytes())?;
        }
    }
    Ok(out.flush()?)
}
