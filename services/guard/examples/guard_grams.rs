//! Texts' windows and their features for the word pairs, for `scripts/train_guard.py`; needs no embedding model.
//!
//! Reads a line of JSON for each text (`text`, `channel`) from standard input and writes one: each window and the list of its features.

use std::io::{BufRead as _, Write as _};

use signalbox_guard::eval::grams;

#[derive(serde::Deserialize)]
struct Line {
    text: String,
    channel: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line: Line = serde_json::from_str(&line?)?;
        serde_json::to_writer(&mut out, &grams(&line.text, &line.channel))?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}
