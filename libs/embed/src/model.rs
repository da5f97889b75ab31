//! The model itself: files to sessions, one per worker.

use std::num::NonZeroU8;
use std::path::Path;

use fastembed::{InitOptionsUserDefined, Pooling, TextEmbedding, TokenizerFiles, UserDefinedEmbeddingModel};
use ort::environment::Environment;

use crate::location::{MODEL_FILES, check_model};
use crate::pool::Model;
use crate::{EmbedError, ModelHash, Vector, changes};

/// Tokens of a text that count, those of its frame included: what all-MiniLM-L6-v2 was trained for.
pub const MAX_TOKENS: usize = 256;

/// Bytes of a text that are looked at: four times what 256 tokens take in any common text, so that a text of
/// megabytes costs no more than one of a page.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;

/// What [`load`] gives.
pub(crate) struct Loaded {
    pub(crate) models: Vec<Model<Vector>>,
    pub(crate) hash: ModelHash,
    pub(crate) dimensions: usize,
}

/// Opens one session per worker, with changed weights or as the file has them, and proves each by one text.
pub(crate) fn load(
    folder: &Path,
    changes: Option<&[u8]>,
    environment: &Environment,
    workers: NonZeroU8,
) -> Result<Loaded, EmbedError> {
    check_model(folder)?;
    let broken = |reason: String| EmbedError::Broken {
        what: format!("the embedding model in {}", folder.display()),
        reason,
    };
    let read = |name: &str| {
        std::fs::read(folder.join(name)).map_err(|error| broken(format!("cannot read {name}: {error}")))
    };
    let [graph, tokenizer, config, special_tokens, tokenizer_config] = MODEL_FILES;
    let mut graph = read(graph)?;
    if changes.is_some_and(|changes| !changes::apply(&mut graph, changes)) {
        return Err(broken("the changes to its weights belong to another model".to_owned()));
    }
    let hash = ModelHash(*blake3::hash(&graph).as_bytes());
    let files = TokenizerFiles {
        tokenizer_file: read(tokenizer)?,
        config_file: read(config)?,
        special_tokens_map_file: read(special_tokens)?,
        tokenizer_config_file: read(tokenizer_config)?,
    };
    // Mean, because fastembed's default for own models (the first token) is wrong for this family.
    let definition = UserDefinedEmbeddingModel::new(graph, files).with_pooling(Pooling::Mean);

    let mut models = Vec::new();
    let mut dimensions = 0;
    // `repeat_n` hands the last worker the original: no copy of the 90 MB for a single one.
    for definition in std::iter::repeat_n(definition, usize::from(workers.get())) {
        // One thread per session: more of them on a busy machine make the slowest texts several times slower.
        let options = InitOptionsUserDefined::new()
            .with_environment(environment.clone())
            .with_max_length(MAX_TOKENS)
            .with_intra_threads(1);
        let mut session = TextEmbedding::try_new_from_user_defined(definition, options)
            .map_err(|error| broken(error.to_string()))?;
        let proof = embed(&mut session, "proof").map_err(|error| broken(error.to_string()))?;
        dimensions = proof.len();
        models.push(Box::new(move |text: &str| embed(&mut session, text)) as Model<Vector>);
    }
    Ok(Loaded { models, hash, dimensions })
}

fn embed(session: &mut TextEmbedding, text: &str) -> Result<Vector, EmbedError> {
    let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    // Errors of tokenizer and runtime name shapes and nodes, never the text.
    let mut vectors =
        session.embed([text], None).map_err(|error| EmbedError::Inference(error.to_string()))?;
    let values = vectors.pop().ok_or_else(|| EmbedError::Inference("no vector came back".to_owned()))?;
    Vector::from_unit(values)
}
