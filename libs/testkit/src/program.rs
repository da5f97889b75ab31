//! Programs that tests start.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

/// A port of the loopback address that is free now.
#[must_use]
pub fn free_port() -> Option<u16> {
    free_ports::<1>().map(|[port]| port)
}

/// So many, each another: all are held until the last is found, for one that was let go may be given again.
#[must_use]
pub fn free_ports<const N: usize>() -> Option<[u16; N]> {
    let held: Vec<_> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().ok()?;
    let ports: Vec<_> = held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>().ok()?;
    ports.iter().map(SocketAddr::port).collect::<Vec<_>>().try_into().ok()
}

/// Finds a program: on the path, or where `scripts/setup.sh` unpacks it.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let home = |rest: &str| std::env::var_os("HOME").map(|home| Path::new(&home).join(rest));
    let cache = std::env::var_os("SIGNALBOX_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| home(".cache/signalbox"));
    let cache = cache.iter().flat_map(|cache| [cache.join("apt/usr/bin"), cache.join(name)]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(cache);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ports = free_ports::<300>().unwrap();
        assert_eq!(std::collections::BTreeSet::from(ports).len(), ports.len());
    }
}
