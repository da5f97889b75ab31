//! `signalbox-metering`: metering as a process of its own.

use std::process::ExitCode;

use signalbox_launch::{Built, Context};
use signalbox_metering::{Config, SECTION, build};

fn main() -> ExitCode {
    signalbox_launch::main("metering", async |context: Context| {
        let config: Config = context.section(SECTION)?;
        let listen = context.listen(&config.listen);
        let part = build(context.shared, config, context.environment).await?;
        Ok(Built::service(part, listen))
    })
}
