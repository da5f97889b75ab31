//! `signalbox-cache`: the cache as a process of its own.

use std::process::ExitCode;

use signalbox_cache::{Config, SECTION, build, embedder};
use signalbox_launch::{Built, Context};

fn main() -> ExitCode {
    signalbox_launch::main("cache", async |context: Context| {
        let config: Config = context.section(SECTION)?;
        let listen = context.listen(&config.listen);
        let embedding = embedder(config.semantic.enabled, context.section(signalbox_embed::SECTION)?).await;
        let part = build(context.shared, config, embedding, context.environment).await?;
        Ok(Built::service(part, listen))
    })
}
