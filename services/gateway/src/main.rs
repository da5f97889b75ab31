//! `signalbox-gateway`: the gateway as a process of its own.

use std::process::ExitCode;

use signalbox_gateway::{Config, Parts, SECTION, build};
use signalbox_launch::{Built, Context, Failure};

fn main() -> ExitCode {
    signalbox_launch::main("gateway", async |context: Context| {
        let mut config: Config = context.section(SECTION)?;
        config.listen = context.listen(&config.listen);
        let (listen, tls) = (config.listen.clone(), config.tls.clone());
        let parts = channels(&context, &config)?;
        let part = build(context.shared, config, parts, context.environment)?;
        Ok(Built::door(part, listen, tls))
    })
}

fn channels(context: &Context, config: &Config) -> Result<Parts, Failure> {
    let peers = &config.peers;
    Ok(Parts {
        guard: context.channel("guard", &peers.guard)?,
        cache: context.channel("cache", &peers.cache)?,
        router: context.channel("router", &peers.router)?,
        executor: context.channel("executor", &peers.executor)?,
        metering: context.channel("metering", &peers.metering)?,
    })
}
