//! `signalbox guard eval` without the rest of the mesh: builds in seconds while the guard is worked on.
//!
//! `cargo run --release -p signalbox-guard --example guard_eval -- DATA [PREDICTIONS]`

#![expect(clippy::print_stdout, reason = "its result")]

use signalbox_embed::{EmbedConfig, Embedder};
use signalbox_guard::eval::{Options, run};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let data = arguments.next().ok_or("name the folder with guard/ and pii/")?.into();
    let options = Options { data, predictions: arguments.next().map(Into::into) };
    let embedder = Embedder::load(EmbedConfig::default()).ok();
    println!("{}", run(&options, embedder.as_ref()).await?.text());
    Ok(())
}
