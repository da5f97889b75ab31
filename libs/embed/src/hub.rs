//! The model from its public hub, by fastembed's own download.

use std::path::{Path, PathBuf};

use fastembed::{EmbeddingModel, TextEmbedding, TextInitOptions};

use crate::EmbedError;
use crate::location::check_model;

/// Downloads the model once into `cache` and gives the folder with its files.
///
/// fastembed's rules hold: `HF_HOME` replaces the folder, `HF_ENDPOINT` the hub.
pub(crate) fn fetch(cache: &Path, runtime: &Path) -> Result<PathBuf, EmbedError> {
    let unavailable = |reason: String| EmbedError::Unavailable {
        what: format!("the embedding model could not be fetched from its hub: {reason}"),
        remedy: "run `make setup`, or set `model_dir` in `[embed]`".to_owned(),
    };
    let cache = std::env::var_os("HF_HOME").map_or_else(|| cache.to_owned(), PathBuf::from);
    let model = EmbeddingModel::AllMiniLML6V2;
    let code = TextEmbedding::get_model_info(&model)
        .map(|info| info.model_code.replace('/', "--"))
        .map_err(|error| unavailable(error.to_string()))?;
    let repository = cache.join(format!("models--{code}"));
    if let Some(folder) = snapshot(&repository) {
        return Ok(folder);
    }
    let options = TextInitOptions::new(model)
        .with_environment(crate::runtime::environment(runtime)?)
        .with_cache_dir(cache)
        .with_show_download_progress(false);
    // Only for its downloads: the session is opened from the folder, as for every other model.
    TextEmbedding::try_new(options).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
        unavailable(format!("{error}{}", cause.unwrap_or_default()))
    })?;
    snapshot(&repository)
        .ok_or_else(|| unavailable("its files are not where the hub's cache has them".to_owned()))
}

/// Finds the complete folder of the newest revision in the hub's cache layout: `refs/main` names it.
fn snapshot(repository: &Path) -> Option<PathBuf> {
    let revision = std::fs::read_to_string(repository.join("refs").join("main")).ok()?;
    let folder = repository.join("snapshots").join(revision.trim());
    check_model(&folder).is_ok().then_some(folder)
}
