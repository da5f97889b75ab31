//! `signalbox-guard`: the guard as a process of its own.

use std::process::ExitCode;

use signalbox_guard::{Config, SECTION, build};
use signalbox_launch::{Built, Context};

fn main() -> ExitCode {
    signalbox_launch::main("guard", async |context: Context| {
        let config: Config = context.section(SECTION)?;
        let listen = context.listen(&config.listen);
        let embed = context.section(signalbox_embed::SECTION)?;
        let model = if config.learned {
            // Half a second of loading, before anything is served.
            tokio::task::spawn_blocking(move || signalbox_embed::Embedder::load(embed)).await?.ok()
        } else {
            None
        };
        let part = build(context.shared, config, model, context.environment).await?;
        Ok(Built::service(part, listen))
    })
}
