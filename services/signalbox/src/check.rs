//! `signalbox config check`: a file as all services will read it.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use signalbox_config::{ConfigError, Document};

use crate::{Ended, print};

/// Arguments of `signalbox config check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file.
    file: PathBuf,
}

/// Checks and prints; every problem with its line and key.
pub(crate) fn run(args: &Args) -> Ended {
    let name = args.file.display().to_string();
    let text = std::fs::read_to_string(&args.file).map_err(|error| format!("{name}: {error}"))?;
    let problems = problems(&text, &name);
    if problems.is_empty() {
        print::line(&format!("{name}: valid"));
        return Ok(());
    }
    problems.iter().for_each(|problem| print::aside(&problem.to_string()));
    Err(format!("{name}: {} problem{} found", problems.len(), if problems.len() == 1 { "" } else { "s" }))
}

/// All problems of a file, at most one a service's section.
pub(crate) fn problems(text: &str, name: &str) -> Vec<ConfigError> {
    let document = match Document::parse(text, name) {
        Ok(document) => document,
        Err(error) => return vec![error],
    };
    let mut problems = document.shared_problems();
    let shared = document.shared().unwrap_or_default();
    problems.extend(check(&document, signalbox_mesh::SECTION, |c: &signalbox_mesh::Config| {
        c.validate().map_err(|error| error.to_string())
    }));
    problems.extend(check(&document, signalbox_embed::SECTION, |_: &signalbox_embed::EmbedConfig| Ok(())));
    let mesh: signalbox_mesh::Config = document.section(signalbox_mesh::SECTION).unwrap_or_default();
    problems.extend(check(&document, signalbox_gateway::SECTION, |gateway: &signalbox_gateway::Config| {
        gateway.validate()?;
        let found = gateway.peers.check(&mesh);
        found.map_err(|error| format!("gateway.peers: {error}"))
    }));
    problems.extend(check(&document, signalbox_guard::SECTION, signalbox_guard::Config::validate));
    problems.extend(check(&document, signalbox_cache::SECTION, signalbox_cache::Config::validate));
    problems.extend(check(&document, signalbox_router::SECTION, |c: &signalbox_router::Config| {
        signalbox_router::check(&shared, c)
    }));
    problems.extend(check(&document, signalbox_executor::SECTION, signalbox_executor::Config::check));
    problems.extend(check(&document, signalbox_metering::SECTION, signalbox_metering::Config::validate));
    problems
}

fn check<T: DeserializeOwned + Default>(
    document: &Document,
    section: &str,
    validate: impl FnOnce(&T) -> Result<(), String>,
) -> Option<ConfigError> {
    match document.section::<T>(section) {
        Err(error) => Some(error),
        Ok(config) => validate(&config).err().map(|message| ConfigError { place: None, message }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        problems(text, "f.toml").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_wrong_key_in_any_section_is_named_with_its_line() {
        for section in
            ["telemetry", "mesh", "embed", "gateway", "guard", "cache", "router", "executor", "metering"]
        {
            let found = found(&format!("# a comment\n[{section}]\nno_such_key = 1\n"));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with("f.toml:3:1:") && found[0].contains("`no_such_key`"), "{found:?}");
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let found = found(
            "[models.a]\ntargets = []\n[guard]\nlisten = 7\n[router]\nauto = ['b']\n[gateway]\ndeadline_ms = 0\n",
        );
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn addresses_are_checked_and_need_their_registry() {
        let peers =
            "[gateway.peers]\nguard = ['consul://signalbox-guard?tag=blue']\ncache = ['dns://cache:8082']\n";
        assert_eq!(found(&format!("{peers}[mesh.consul]\n")), [] as [String; 0]);
        let lacking = found(peers);
        assert!(lacking.len() == 1 && lacking[0].contains("[mesh.consul]"), "{lacking:?}");
        let wrong = found("[gateway.peers]\nrouter = ['dns://router']\n");
        assert!(wrong.len() == 1 && wrong[0].contains("dns://name:port"), "{wrong:?}");
        let consul = found("[mesh.consul]\naddress = '127.0.0.1:8500'\n");
        assert!(consul.len() == 1 && consul[0].contains("mesh.consul.address"), "{consul:?}");
    }

    #[test]
    fn the_readmes_example_is_valid() {
        let readme = include_str!("../../../README.md");
        let example = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert_eq!(found(example), [] as [String; 0]);
    }
}
