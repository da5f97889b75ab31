//! Chunks that differ from the one before in their words alone, as most of a stream do: they need not be read again.
//!
//! What stands before the words and behind them is compared byte by byte. Where it is the same, and the words are a JSON string without
//! escapes, the chunk says what the one before said, in other words. OpenAI pads each chunk with random letters, which say nothing.

use std::borrow::Cow;

use memchr::{memchr2, memrchr};
use signalbox_proto::common::v1::Delta;
use signalbox_proto::common::v1::delta::Content as Out;

use super::chunk::{Chunk, Content, Scalar};

/// The longest frame that is kept, in bytes.
const LONGEST: usize = 4 << 10;
/// What stands before the padding.
const PADDING: &str = "\"obfuscation\":\"";

/// Is what stood around the last chunk's words.
#[derive(Debug, Default)]
pub(super) struct Alike {
    /// Up to the opening quote. Empty: there was no such chunk.
    before: String,
    /// From the closing quote on; as far as the padding, where there is some.
    after: String,
    /// From the padding's closing quote on. Empty: there is none.
    end: String,
}

impl Alike {
    /// Returns the words of a chunk that is like the one before.
    pub(super) fn words<'a>(&self, text: &'a str) -> Option<&'a str> {
        if self.before.is_empty() {
            return None;
        }
        let mut rest = text.strip_prefix(self.before.as_str())?.strip_suffix(self.end.as_str())?;
        if !self.end.is_empty() {
            let (others, padding) = rest.split_at(memrchr(b'"', rest.as_bytes())? + 1);
            rest = is_plain(padding).then_some(others)?;
        }
        rest.strip_suffix(self.after.as_str()).filter(|words| is_plain(words))
    }

    /// Remembers a chunk that was read and gave one piece: if that is all that it said.
    pub(super) fn learn(&mut self, text: &str, chunk: &Chunk<'_>, gave: Option<&Delta>) {
        for part in [&mut self.before, &mut self.after, &mut self.end] {
            part.clear();
        }
        let plain = gave.is_some_and(|delta| {
            matches!(delta.content, Some(Out::Text(_))) && delta.logprobs.is_none() && delta.extra.is_none()
        });
        let ended = |word: &Scalar<'_>| !word.0.is_empty();
        let Some(choice) =
            chunk.choice.as_ref().filter(|choice| !choice.finish_reason.as_ref().is_some_and(ended))
        else {
            return;
        };
        let Some(Content::Text(Cow::Borrowed(words))) = choice.delta.as_ref().map(|body| &body.content)
        else {
            return;
        };
        if !plain || chunk.usage.is_some() || text.len() - words.len() > LONGEST {
            return;
        }
        // Words without escapes are a view into the text.
        let Some(begin) = (words.as_ptr() as usize).checked_sub(text.as_ptr() as usize) else { return };
        let (Some(before), Some(after)) = (text.get(..begin), text.get(begin + words.len()..)) else {
            return;
        };
        self.before.push_str(before);
        match padded(after) {
            Some((after, end)) => {
                self.after.push_str(after);
                self.end.push_str(end);
            }
            None => self.after.push_str(after),
        }
    }
}

/// Whether it stands for itself within a JSON string.
fn is_plain(text: &str) -> bool {
    memchr2(b'"', b'\\', text.as_bytes()).is_none() && text.bytes().all(|byte| byte >= b' ')
}

/// Takes the padding out of what stands behind the words.
fn padded(after: &str) -> Option<(&str, &str)> {
    let (after, rest) = after.split_at(after.find(PADDING)? + PADDING.len());
    let (padding, end) = rest.split_at(rest.find('"')?);
    is_plain(padding).then_some((after, end))
}
