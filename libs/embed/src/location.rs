//! Where model and runtime lie: the configuration, else the environment, else the cache folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{EmbedConfig, EmbedError};

/// The files of a model's folder, in the order of `fastembed::TokenizerFiles` after the graph.
pub(crate) const MODEL_FILES: [&str; 5] =
    ["model.onnx", "tokenizer.json", "config.json", "special_tokens_map.json", "tokenizer_config.json"];

/// ONNX Runtime's file as `scripts/setup.sh` names it.
const RUNTIME_FILE: &str = if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else if cfg!(windows) {
    "onnxruntime.dll"
} else {
    "libonnxruntime.so"
};

/// Two paths that exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) model: PathBuf,
    pub(crate) runtime: PathBuf,
}

impl Location {
    /// Finds both; `env` reads an environment variable.
    pub(crate) fn find(
        config: EmbedConfig,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, EmbedError> {
        let set = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = cache(&env);
        let runtime = runtime(config.runtime_path, &env)?;

        let chosen = config.model_dir.or_else(|| set("SIGNALBOX_MODEL_DIR"));
        let usual = || cache.as_ref().map(|cache| cache.join("models").join("all-MiniLM-L6-v2"));
        #[cfg(feature = "hub")]
        if chosen.is_none()
            && let Some(cache) = &cache
            && usual().is_none_or(|folder| check_model(&folder).is_err())
        {
            let model = crate::hub::fetch(&cache.join("hub"), &runtime)?;
            return Ok(Self { model, runtime });
        }
        let model = chosen.or_else(usual).ok_or_else(nowhere)?;
        check_model(&model)?;
        Ok(Self { model, runtime })
    }
}

fn cache(env: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("SIGNALBOX_CACHE").or_else(|| {
        let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        base.map(|base| base.join("signalbox"))
    })
}

/// Finds ONNX Runtime's library: the one given, else by the environment, else in the cache folder.
pub(crate) fn runtime(
    given: Option<PathBuf>,
    env: &impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, EmbedError> {
    let set = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let runtime = given
        .or_else(|| set("ORT_DYLIB_PATH"))
        .or_else(|| cache(env).map(|cache| cache.join("onnxruntime").join(RUNTIME_FILE)))
        .ok_or_else(nowhere)?;
    if !runtime.is_file() {
        return Err(no_runtime(&format!("ONNX Runtime is missing: no file {}", runtime.display())));
    }
    Ok(runtime)
}

/// Checks that every file of the model is there.
pub(crate) fn check_model(folder: &Path) -> Result<(), EmbedError> {
    match MODEL_FILES.iter().find(|name| !folder.join(name).is_file()) {
        None => Ok(()),
        Some(name) => Err(EmbedError::Unavailable {
            what: format!("the embedding model is missing: {} has no {name}", folder.display()),
            remedy: "run `make setup` (`scripts/setup.sh model`), or set `model_dir` in `[embed]` or \
                     SIGNALBOX_MODEL_DIR to a folder that has it"
                .to_owned(),
        }),
    }
}

/// Builds the error for a runtime that is missing or too old.
pub(crate) fn no_runtime(what: &str) -> EmbedError {
    EmbedError::Unavailable {
        what: what.to_owned(),
        remedy: "run `make setup` (`scripts/setup.sh runtime`), or set `runtime_path` in `[embed]` or \
                 ORT_DYLIB_PATH to the library of ONNX Runtime 1.24 or newer"
            .to_owned(),
    }
}

fn nowhere() -> EmbedError {
    EmbedError::Unavailable {
        what: "no cache folder to find the embedding model in: HOME is not set".to_owned(),
        remedy: "set SIGNALBOX_CACHE, or `model_dir` and `runtime_path` in `[embed]`".to_owned(),
    }
}

// With the feature `hub`, a missing folder starts a download.
#[cfg(test)]
#[cfg(not(feature = "hub"))]
mod tests {
    use std::path::Path;

    use super::{Location, MODEL_FILES, RUNTIME_FILE};
    use crate::{EmbedConfig, EmbedError};

    fn lay(folder: &Path) {
        let (model, runtime) = (folder.join("models/all-MiniLM-L6-v2"), folder.join("onnxruntime"));
        std::fs::create_dir_all(&model).unwrap();
        std::fs::create_dir_all(&runtime).unwrap();
        MODEL_FILES.iter().for_each(|name| std::fs::write(model.join(name), "").unwrap());
        std::fs::write(runtime.join(RUNTIME_FILE), "").unwrap();
    }

    fn find(config: EmbedConfig, env: &[(&str, &Path)]) -> Result<Location, EmbedError> {
        Location::find(config, |name| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_os_str().to_owned())
        })
    }

    #[test]
    fn configuration_goes_before_environment_before_cache() {
        let folder = tempfile::tempdir().unwrap();
        let (home, other) = (folder.path().join("home"), folder.path().join("other"));
        let usual = home.join(".cache/signalbox");
        lay(&usual);
        lay(&other);
        let model_of = |base: &Path| base.join("models/all-MiniLM-L6-v2");

        let found = find(EmbedConfig::default(), &[("HOME", &home)]).unwrap();
        assert_eq!(found.model, model_of(&usual));
        let env = [("HOME", home.as_path()), ("SIGNALBOX_MODEL_DIR", &model_of(&other))];
        assert_eq!(find(EmbedConfig::default(), &env).unwrap().model, model_of(&other));
        let config = EmbedConfig { model_dir: Some(model_of(&usual)), ..EmbedConfig::default() };
        assert_eq!(find(config, &env).unwrap().model, model_of(&usual));
        let env = [("HOME", home.as_path()), ("SIGNALBOX_CACHE", &other)];
        assert_eq!(find(EmbedConfig::default(), &env).unwrap().model, model_of(&other));
    }

    #[test]
    fn what_is_missing_is_named_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        lay(folder.path());
        std::fs::remove_file(folder.path().join("models/all-MiniLM-L6-v2/tokenizer.json")).unwrap();
        let env = [("SIGNALBOX_CACHE", folder.path())];
        let error = find(EmbedConfig::default(), &env).unwrap_err().to_string();
        assert!(error.contains("has no tokenizer.json") && error.contains("make setup"), "{error}");

        std::fs::remove_file(folder.path().join("onnxruntime").join(RUNTIME_FILE)).unwrap();
        let error = find(EmbedConfig::default(), &env).unwrap_err().to_string();
        assert!(error.contains(RUNTIME_FILE) && error.contains("setup.sh runtime"), "{error}");
        assert!(matches!(find(EmbedConfig::default(), &[]), Err(EmbedError::Unavailable { .. })));
    }
}
