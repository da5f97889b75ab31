//! Compiles `proto/` with protox, so that no protoc is needed.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    // Asked now, not when this was compiled: clones that share a build folder share this program.
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();

    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        // What is rare and large stands apart, so that the usual is not moved with room for it.
        .boxed(".signalbox.common.v1.GenerateEvent.kind.started")
        .boxed(".signalbox.common.v1.GenerateEvent.kind.finished")
        .boxed(".signalbox.common.v1.Delta.content.citation")
        .boxed(".signalbox.common.v1.Delta.content.media")
        .boxed(".signalbox.executor.v1.ExecuteResponse.kind.attempt")
        .boxed(".signalbox.gateway.v1.CompleteResponse.started")
        .boxed(".signalbox.gateway.v1.CompleteResponse.finished")
        .boxed(".signalbox.cache.v1.LookupResult.judge_needed")
        .boxed(".signalbox.guard.v1.InspectResponse.judge_needed")
        // The ledger keeps it as JSON, and a replay reads that.
        .type_attribute(
            "signalbox.common.v1.RouteRecord",
            "#[derive(serde::Serialize, serde::Deserialize)] #[serde(default)]",
        )
        .field_attribute(
            ".signalbox.common.v1.RouteRecord",
            "#[serde(skip_serializing_if = \"crate::is_default\")]",
        )
        .field_attribute(".signalbox.common.v1.RouteRecord.learning", "#[serde(skip)]")
        .codec_path("crate::codec::ProstCodec")
        .compile_fds(descriptors)?;
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        println!("cargo:rerun-if-changed={}", path.display());
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
