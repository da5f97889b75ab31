//! `signalbox-guard`: the guard as a process of its own.

use std::process::ExitCode;

use signalbox_guard::{Config, SECTION, build};
use signalbox_launch::{Built, Context};
use signalbox_mesh::ContextTrust;

fn main() -> ExitCode {
    signalbox_launch::main("guard", async |context: Context| {
        let config: Config = context.section(SECTION)?;
        let listen = context.listen(&config.listen);
        let embed = context.section(signalbox_embed::SECTION)?;
        // Half a second of loading, before anything is served.
        let loaded = tokio::task::spawn_blocking(move || signalbox_embed::Embedder::load(embed)).await?;
        let part = build(context.shared, config, loaded.ok(), context.environment).await?;
        Ok(Built { part, listen, trust: ContextTrust::Mesh })
    })
}
