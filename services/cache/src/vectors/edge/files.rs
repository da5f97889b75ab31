//! The engine's files: who may read them, and its log, which only grows by itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Makes a folder that only its owner reads: what people asked about can be guessed from vectors.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The closed parts of the engine's log, in order.
pub(super) fn closed_parts(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder.join("wal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut parts = Vec::new();
    for entry in entries {
        let entry = entry?;
        let begins = entry.file_name().to_str().and_then(|name| name.strip_prefix("closed-")?.parse().ok());
        parts.extend(begins.map(|begins| (begins, entry.path())));
    }
    parts.sort_unstable();
    Ok(parts)
}

/// Removes what nobody reads again; the last closed part stays, for the engine counts on from it.
pub(super) fn shorten_log(folder: &Path) -> io::Result<()> {
    let mut parts = closed_parts(folder)?;
    parts.pop();
    parts.into_iter().try_for_each(|(_, path)| fs::remove_file(path))
}

pub(super) fn log_bytes(folder: &Path) -> u64 {
    let parts = closed_parts(folder).unwrap_or_default();
    parts.iter().filter_map(|(_, path)| path.metadata().ok()).map(|file| file.len()).sum()
}
