//! `signalbox-executor`: the executor as a process of its own.

use std::process::ExitCode;

use signalbox_executor::{Config, SECTION, build};
use signalbox_launch::{Built, Context};

fn main() -> ExitCode {
    signalbox_launch::main("executor", async |context: Context| {
        let config: Config = context.section(SECTION)?;
        let listen = context.listen(&config.listen);
        let part = build(context.shared, config, context.environment).await?;
        Ok(Built::service(part, listen))
    })
}
