//! `signalbox-router`: the router as a process of its own.

use std::process::ExitCode;

use signalbox_embed::{EmbedConfig, Embedder};
use signalbox_launch::{Built, Context};
use signalbox_router::{Config, SECTION, build};

fn main() -> ExitCode {
    signalbox_launch::main("router", async |context: Context| {
        let config: Config = context.section(SECTION)?;
        let listen = context.listen(&config.listen);
        let embedder = if config.wants_complexity() {
            embedder(context.section(signalbox_embed::SECTION)?).await
        } else {
            None
        };
        let part = build(context.shared, config, embedder, context.environment).await?;
        Ok(Built::service(part, listen))
    })
}

/// The embedding model; without one the features of a prompt decide alone.
async fn embedder(config: EmbedConfig) -> Option<Embedder> {
    match tokio::task::spawn_blocking(|| Embedder::load(config)).await.ok()? {
        Ok(embedder) => Some(embedder),
        Err(error) => {
            tracing::warn!(%error, "no embedding model; complexity is judged by features alone");
            None
        }
    }
}
