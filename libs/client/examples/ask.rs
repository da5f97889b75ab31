//! Ten lines: `cargo run --example ask -- "Why is the sky blue?"`, against a mesh on 127.0.0.1:8080.

#![expect(clippy::print_stdout, reason = "an example prints")]

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let question = std::env::args().nth(1).unwrap_or_else(|| "Why is the sky blue?".to_owned());
    let client = signalbox_client::Client::new(
        "http://127.0.0.1:8080",
        std::env::var("SIGNALBOX_KEY").ok().as_deref(),
    )?;
    let mut answer = client.ask("auto", &question).await?;
    while let Some(text) = answer.next_text().await? {
        print!("{text}");
    }
    println!("\n{:?}", answer.finished().map(|finished| finished.cost_nanousd));
    Ok(())
}
