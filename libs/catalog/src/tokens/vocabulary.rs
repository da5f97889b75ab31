//! Vocabularies: how a model cuts text into tokens.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
};

use splintr::{AnyTokenizer, SpecialMode, from_json_path, pretrained::from_pretrained};
use tiktoken_rs::{CoreBPE, p50k_base_singleton, p50k_edit_singleton, r50k_base_singleton};

/// Longest text that is handed to an engine at once, in bytes. Longer ones are cut where every vocabulary begins a new token.
const SLICE: usize = 64 << 10;
/// Where no such place is found, a text is cut all the same after so many bytes.
const UNBROKEN: usize = 1 << 20;

/// A vocabulary that is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vocabulary {
    /// GPT-2 and GPT-3.
    R50k,
    /// Codex and text-davinci-003.
    P50k,
    /// The edit models.
    P50kEdit,
    /// GPT-3.5, GPT-4 and the embedding models.
    Cl100k,
    /// GPT-4o and all later ones of OpenAI.
    O200k,
    /// gpt-oss: `o200k_base` with the marks of the harmony format.
    Harmony,
    /// Llama 3 to 3.3.
    Llama3,
    /// Mistral's Tekken, of all models since Nemo.
    Mistral,
    /// Gemma 3 and 4, and Gemini.
    Gemma,
    /// Qwen 2 and 3.
    Qwen,
    /// DeepSeek V3, R1 and later.
    DeepSeek,
    /// GLM-4 and later.
    Glm,
    /// Kimi K2.
    Kimi,
}

/// Why a vocabulary cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct VocabularyError {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A loaded vocabulary.
enum Engine {
    Old(&'static CoreBPE),
    New(Box<AnyTokenizer>),
}

impl Vocabulary {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::R50k,
        Self::P50k,
        Self::P50kEdit,
        Self::Cl100k,
        Self::O200k,
        Self::Harmony,
        Self::Llama3,
        Self::Mistral,
        Self::Gemma,
        Self::Qwen,
        Self::DeepSeek,
        Self::Glm,
        Self::Kimi,
    ];

    /// Returns the name: OpenAI's own for theirs, else the family's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::R50k => "r50k_base",
            Self::P50k => "p50k_base",
            Self::P50kEdit => "p50k_edit",
            Self::Cl100k => "cl100k_base",
            Self::O200k => "o200k_base",
            Self::Harmony => "o200k_harmony",
            Self::Llama3 => "llama3",
            Self::Mistral => "mistral",
            Self::Gemma => "gemma",
            Self::Qwen => "qwen",
            Self::DeepSeek => "deepseek",
            Self::Glm => "glm",
            Self::Kimi => "kimi",
        }
    }

    /// Finds a vocabulary by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "gpt2" => Some(Self::R50k),
            _ => Self::ALL.into_iter().find(|vocabulary| vocabulary.name() == name),
        }
    }

    /// What the engine calls it; `None`: another engine's.
    const fn key(self) -> Option<&'static str> {
        match self {
            Self::R50k | Self::P50k | Self::P50kEdit => None,
            Self::Cl100k => Some("cl100k_base"),
            Self::O200k => Some("o200k_base"),
            Self::Harmony => Some("gpt-oss"),
            Self::Llama3 => Some("llama3"),
            Self::Mistral => Some("mistral_v3"),
            Self::Gemma => Some("gemma4"),
            Self::Qwen => Some("qwen3"),
            Self::DeepSeek => Some("deepseek_v3"),
            Self::Glm => Some("glm4"),
            Self::Kimi => Some("kimi_k2"),
        }
    }

    /// Loads the vocabulary if that has not been done yet, which takes a tenth of a second, Gemma's half a second.
    pub fn load(self) {
        self.engine();
    }

    fn engine(self) -> Option<&'static Engine> {
        static ENGINES: [OnceLock<Option<Engine>>; Vocabulary::ALL.len()] =
            [const { OnceLock::new() }; Vocabulary::ALL.len()];
        let place = Self::ALL.iter().position(|vocabulary| *vocabulary == self)?;
        let load = || {
            Some(match (self, self.key()) {
                (_, Some(key)) => Engine::New(Box::new(from_pretrained(key).ok()?)),
                (Self::R50k, _) => Engine::Old(r50k_base_singleton()),
                (Self::P50k, _) => Engine::Old(p50k_base_singleton()),
                (_, None) => Engine::Old(p50k_edit_singleton()),
            })
        };
        ENGINES.get(place)?.get_or_init(load).as_ref()
    }

    /// Counts a text; marks of the chat format in it are text like any other, as providers take them. Takes about 1 µs for ten
    /// bytes, at worst (one letter repeated) 2 µs for one: long texts do not belong on asynchronous threads.
    #[must_use]
    pub fn count(self, text: &str) -> u64 {
        self.engine().map_or(0, |engine| engine.count(text))
    }

    /// Cuts a text into tokens. With `special` the format's marks, like `<|endoftext|>`, are tokens, not text.
    #[must_use]
    pub fn encode(self, text: &str, special: bool) -> Vec<u32> {
        self.engine().map_or_else(Vec::new, |engine| engine.encode(text, special))
    }
}

impl Engine {
    fn encode(&self, text: &str, special: bool) -> Vec<u32> {
        match self {
            Self::Old(bpe) if special => bpe.encode_with_special_tokens(text),
            Self::Old(bpe) => bpe.encode_ordinary(text),
            // A sentence-piece vocabulary has marks that are ordinary text: runs of line ends, HTML.
            Self::New(engine) if special || matches!(engine.family(), "Spm") => engine.encode_raw(text),
            Self::New(engine) => ordinary(engine, text),
        }
    }

    fn count(&self, text: &str) -> u64 {
        slices(text).map(|slice| self.encode(slice, false).len() as u64).sum()
    }
}

/// Tokens of a text without what a vocabulary puts before and after each.
fn ordinary(engine: &AnyTokenizer, text: &str) -> Vec<u32> {
    let whole = |text| engine.encode_with(text, &SpecialMode::Ordinary).unwrap_or_default();
    let mut tokens = whole(text);
    let around = engine.policy().apply_single(Vec::new()).len();
    // The only frame that these vocabularies have is a mark at the beginning.
    if around > 0 {
        tokens.drain(..around.min(tokens.len()));
    }
    tokens
}

/// Cuts a long text before spaces between a letter and a letter, where a token begins in every vocabulary.
fn slices(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (slice, after) = rest.split_at(cut(rest));
        rest = after;
        Some(slice)
    })
}

fn cut(text: &str) -> usize {
    if text.len() <= SLICE {
        return text.len();
    }
    let bytes = text.as_bytes();
    let most = text.len().min(UNBROKEN);
    let begins = |at: &usize| {
        bytes[*at] == b' '
            && bytes[at - 1].is_ascii_lowercase()
            && bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase)
    };
    match (SLICE..most).find(begins) {
        Some(at) => at,
        None => text.floor_char_boundary(most),
    }
}

/// Vocabularies of files, loaded once.
static FILES: LazyLock<Mutex<HashMap<PathBuf, Arc<Loaded>>>> = LazyLock::new(Mutex::default);

/// A vocabulary that was read from a `tokenizer.json`.
pub struct Loaded(Engine);

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loaded")
    }
}

impl Loaded {
    /// Reads a `tokenizer.json` as Hugging Face's libraries write it. The same path is read once.
    ///
    /// # Errors
    /// A file that cannot be read or holds no vocabulary.
    pub fn read(path: &Path) -> Result<Arc<Self>, VocabularyError> {
        let files = || FILES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = files().get(path) {
            return Ok(Arc::clone(known));
        }
        let engine = from_json_path(path).map_err(|error| VocabularyError {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        let loaded = Arc::new(Self(Engine::New(Box::new(engine))));
        files().insert(path.to_owned(), Arc::clone(&loaded));
        Ok(loaded)
    }

    /// Counts a text.
    #[must_use]
    pub fn count(&self, text: &str) -> u64 {
        self.0.count(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_vocabulary_loads_and_is_found_by_its_name() {
        for vocabulary in Vocabulary::ALL {
            assert_eq!(Vocabulary::named(vocabulary.name()), Some(vocabulary));
            assert_eq!(vocabulary.count("Hello world"), 2, "{vocabulary:?}");
            assert_eq!(vocabulary.count(""), 0, "{vocabulary:?}");
        }
    }

    #[test]
    fn marks_of_the_format_are_text_unless_asked_for() {
        assert_eq!(Vocabulary::Cl100k.encode("<|endoftext|>", true), [100_257]);
        assert_eq!(Vocabulary::O200k.encode("<|endoftext|>", true), [199_999]);
        for vocabulary in Vocabulary::ALL {
            assert!(vocabulary.encode("<|endoftext|>", false).len() > 2, "{vocabulary:?}");
        }
    }

    #[test]
    fn cutting_long_texts_changes_no_count() {
        let text =
            "The quick brown fox, aged 7, jumps over\n  the lazy dog's tail; été 漢字 😀. ".repeat(3_000);
        assert!(text.len() > 3 * SLICE);
        for vocabulary in [Vocabulary::O200k, Vocabulary::Gemma, Vocabulary::Mistral, Vocabulary::DeepSeek] {
            assert_eq!(
                vocabulary.count(&text),
                vocabulary.encode(&text, false).len() as u64,
                "{vocabulary:?}"
            );
        }
    }

    #[test]
    fn one_letter_a_million_times_ends() {
        assert_eq!(Vocabulary::O200k.count(&"a".repeat(1 << 20)), 131_072);
        assert_eq!(Vocabulary::O200k.count(&" ".repeat(1_000_000)), 7_813);
    }

    #[test]
    fn a_file_that_is_no_vocabulary_says_so() {
        let error = Loaded::read(Path::new("/no/such/tokenizer.json")).unwrap_err();
        assert!(error.to_string().starts_with("/no/such/tokenizer.json: "), "{error}");
    }

    proptest! {
        #[test]
        fn both_engines_agree(text in "\\PC{0,40}|[ \\n\\t]{0,20}|[a-zA-Z0-9 ,.'\\n-]{0,60}") {
            let old = tiktoken_rs::o200k_base_singleton().encode_ordinary(&text);
            prop_assert_eq!(Vocabulary::O200k.encode(&text, false), old);
            let old = tiktoken_rs::cl100k_base_singleton().encode_ordinary(&text);
            prop_assert_eq!(Vocabulary::Cl100k.encode(&text, false), old);
        }
    }
}
