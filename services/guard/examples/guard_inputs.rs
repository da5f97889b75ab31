//! The learned head's inputs for texts, for `scripts/train_guard.py`.
//!
//! Reads a line of JSON for each text (`text`, `channel`) from standard input; writes to standard output for each the number of
//! windows (u32) and their numbers (f32), little endian.

use std::io::{BufRead as _, Write as _};

use signalbox_embed::{EmbedConfig, Embedder};
use signalbox_guard::eval::inputs;

#[derive(serde::Deserialize)]
struct Line {
    text: String,
    channel: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let embedder = Embedder::load(EmbedConfig::default())?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line: Line = serde_json::from_str(&line?)?;
        let rows = inputs(&line.text, &line.channel, &embedder).await.ok_or("the embedding model failed")?;
        out.write_all(&u32::try_from(rows.len())?.to_le_bytes())?;
        for number in rows.iter().flatten() {
            out.write_all(&number.to_le_bytes())?;
        }
    }
    Ok(out.flush()?)
}
