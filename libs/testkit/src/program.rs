//! Programs that tests start.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
};

/// A port of the loopback address that is free now.
#[must_use]
pub fn free_port() -> Option<u16> {
    Some(TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port())
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
