//! `signalbox-gateway`: the gateway as a process of its own.

use std::process::ExitCode;

use signalbox_gateway::{Config, Parts, SECTION, build};
use signalbox_launch::{Built, Context, Failure};
use signalbox_mesh::{Channel, Connector, ContextTrust, Discovery};

fn main() -> ExitCode {
    signalbox_launch::main("gateway", async |context: Context| {
        let mut config: Config = context.section(SECTION)?;
        config.listen = context.listen(&config.listen);
        let listen = config.listen.clone();
        let parts = channels(&context, &config)?;
        let part = build(context.shared, config, parts, context.environment)?;
        Ok(Built { part, listen, trust: ContextTrust::Public })
    })
}

fn channels(context: &Context, config: &Config) -> Result<Parts, Failure> {
    let connector = Connector::tcp();
    let discovery = Discovery::new(&context.mesh, &context.environment.random);
    let channel = |label: &str, peers: &[String]| {
        let (client, environment) = (&context.mesh.client, &context.environment);
        Channel::discovered(label, peers, client, environment, &connector, &discovery)
    };
    Ok(Parts {
        guard: channel("guard", &config.peers.guard)?,
        cache: channel("cache", &config.peers.cache)?,
        router: channel("router", &config.peers.router)?,
        executor: channel("executor", &config.peers.executor)?,
        metering: channel("metering", &config.peers.metering)?,
    })
}
