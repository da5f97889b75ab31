//! Vectors on disk that nobody will read again: those of another embedding model, or of the other engine.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// What the names of files and folders with vectors begin with.
pub(crate) const KINDS: [&str; 2] = ["vectors-", "edge-"];

/// Removes vectors other than `own` to which nothing was added for so long that every one of them has ended. A process that still has them
/// open adds to them. Blocks.
///
/// # Errors
/// The folder cannot be read; what cannot be removed stays.
pub(crate) fn remove(folder: &Path, own: &str, after: Duration, now: SystemTime) -> io::Result<()> {
    // With vectors goes their lock: what has the same name before the dot belongs together.
    let mut others: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if name != own && KINDS.iter().any(|kind| name.starts_with(kind)) {
            others.entry(name.to_owned()).or_default().push(path);
        }
    }
    for (name, paths) in others {
        if !paths.iter().all(|path| is_older(path, now, after)) {
            continue;
        }
        let remove =
            |path: &PathBuf| if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match paths.iter().try_for_each(remove) {
            Ok(()) => tracing::info!(name, "vectors of another model, all of which had ended, were removed"),
            Err(error) => tracing::warn!(name, error = %error.kind(), "old vectors cannot be removed"),
        }
    }
    Ok(())
}

/// Whether nothing in it was written for so long; no, where that cannot be told.
fn is_older(path: &Path, now: SystemTime, than: Duration) -> bool {
    let newest = newest(path);
    newest.is_some_and(|written| now.duration_since(written).is_ok_and(|age| age > than))
}

fn newest(path: &Path) -> Option<SystemTime> {
    let mut newest = path.metadata().ok()?.modified().ok()?;
    if path.is_dir() {
        for entry in fs::read_dir(path).ok()? {
            newest = newest.max(self::newest(&entry.ok()?.path())?);
        }
    }
    Some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_old_and_of_others_goes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for file in ["entries", "vectors-aa", "vectors-aa.lock", "vectors-bb", "vectors-bb.lock"] {
            fs::write(at(file), "x").unwrap();
        }
        fs::create_dir_all(at("edge-aa/segments")).unwrap();
        fs::write(at("edge-aa/segments/one"), "x").unwrap();
        let there = || {
            let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        let day = Duration::from_secs(86_400);
        remove(folder.path(), "vectors-bb", day, SystemTime::now()).unwrap();
        assert_eq!(there().len(), 6, "nothing has ended yet");
        remove(folder.path(), "vectors-bb", day, SystemTime::now() + 2 * day).unwrap();
        assert_eq!(there(), ["entries", "vectors-bb", "vectors-bb.lock"]);
    }
}
