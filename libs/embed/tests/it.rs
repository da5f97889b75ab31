//! What happens without a usable runtime. A process of its own: once the real library is loaded, none can fail.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use signalbox_embed::{EmbedConfig, EmbedError, Embedder};

/// A model folder whose files exist and whose contents are never reached.
fn config(folder: &Path, runtime: PathBuf) -> EmbedConfig {
    for name in
        ["model.onnx", "tokenizer.json", "config.json", "special_tokens_map.json", "tokenizer_config.json"]
    {
        std::fs::write(folder.join(name), "{}").unwrap();
    }
    EmbedConfig { model_dir: Some(folder.to_owned()), runtime_path: Some(runtime), ..EmbedConfig::default() }
}

fn refusal(folder: &Path, runtime: PathBuf) -> String {
    let error = Embedder::load(config(folder, runtime)).unwrap_err();
    assert!(matches!(error, EmbedError::Unavailable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("make setup") && !text.contains('\n'), "{text}");
    text
}

#[test]
fn a_missing_library_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so");
    let text = refusal(folder.path(), path.clone());
    assert!(text.contains(path.to_str().unwrap()), "{text}");
}

#[test]
fn a_file_that_is_no_library_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so");
    std::fs::write(&path, "no library").unwrap();
    assert!(refusal(folder.path(), path).contains("cannot be loaded"));
}

#[test]
fn an_old_library_is_an_error_that_names_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (folder.path().join("old.c"), folder.path().join("libonnxruntime.so"));
    // The only two entries that are read before the version is refused.
    std::fs::write(
        &source,
        "static const void *api(unsigned v) { return 0; }\n\
         static const char *version(void) { return \"1.23.2\"; }\n\
         static struct { const void *(*api)(unsigned); const char *(*version)(void); } base = { api, version };\n\
         const void *OrtGetApiBase(void) { return &base; }\n",
    )
    .unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&path).arg(&source).status().unwrap();
    assert!(built.success());
    let text = refusal(folder.path(), path);
    assert!(text.contains("1.23.2") && text.contains("1.24"), "{text}");
}
