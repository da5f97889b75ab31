//! What can go wrong, by name.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// One thing that goes wrong with an answer, written `+name` or `+name=VALUE` behind a model's name.
///
/// Chunks are content chunks: neither the opening delta with the role, nor the closing ones, count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// `429`, `429-retry-after=SECONDS`: the rate limit is reached.
    RateLimited {
        /// Seconds in `Retry-After`; `None` sends no such header.
        retry_after_s: Option<u32>,
    },
    /// `status=CODE`: an error of this HTTP status, 400 to 599.
    Status(u16),
    /// `reset`: the connection is reset (TCP RST) before any header.
    Reset,
    /// `silence`: the request is read and never answered.
    Silence,
    /// `html`: status 200 with a web page, as a misconfigured proxy sends it.
    Html,
    /// `error-200`: status 200 whose body is an error.
    Error200,
    /// `fail-first=N`: the first N requests to this exact model name get a 503, later ones an answer.
    FailFirst {
        /// How many requests fail.
        requests: u32,
    },
    /// `only-first=N`: the other faults strike only the first N requests to this exact model name.
    OnlyFirst {
        /// How many requests are struck.
        requests: u32,
    },
    /// `slow-first=MS`: the first token is late; a stream's headers are not.
    SlowFirst {
        /// Milliseconds of delay.
        delay_ms: u32,
    },
    /// `drip=MS`: every content chunk is late.
    Drip {
        /// Milliseconds before each chunk.
        delay_ms: u32,
    },
    /// `cut=N`: the connection closes in mid-stream.
    Cut {
        /// Content chunks that arrive before.
        after_chunks: u32,
    },
    /// `stall=N`: the stream stays open and says nothing more.
    Stall {
        /// Content chunks that arrive before.
        after_chunks: u32,
    },
    /// `error-event=N`: an error object in mid-stream, then the end without `[DONE]`.
    ErrorEvent {
        /// Content chunks that arrive before.
        after_chunks: u32,
    },
    /// `malformed=N`: the Nth content chunk, counted from 1, is broken JSON.
    Malformed {
        /// Which chunk.
        chunk: u32,
    },
    /// `no-finish`: no chunk carries a finish reason.
    NoFinish,
    /// `no-done`: the stream ends without `data: [DONE]`.
    NoDone,
    /// `whole-only`: a request for a stream is refused.
    WholeOnly,
    /// `split=K`: the answer is written in pieces of K bytes, wherever an event or a character ends.
    Split {
        /// Bytes per write.
        bytes: u32,
    },
}

/// Says why an option behind a model's name is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No option has this name.
    #[error("unknown option `+{0}`")]
    Unknown(String),
    /// The option needs a value, or its value is out of range.
    #[error("option `+{name}` needs {expected}")]
    Value {
        /// The option's name.
        name: String,
        /// What its value must be.
        expected: String,
    },
    /// The option stands in the name more than once.
    #[error("option `+{0}` is given twice")]
    Twice(String),
}

/// Longest delay: ten minutes, longer than any deadline of the mesh.
const DELAY_MS: RangeInclusive<u32> = 0..=600_000;
/// Most chunks of an answer; keeps an answer's text in memory small.
pub(super) const CHUNKS: RangeInclusive<u32> = 0..=100_000;

/// Reads the number behind `=`.
pub(super) fn number(
    name: &str,
    value: Option<&str>,
    range: RangeInclusive<u32>,
) -> Result<u32, OptionError> {
    value.and_then(|text| text.parse().ok()).filter(|number| range.contains(number)).ok_or_else(|| {
        OptionError::Value {
            name: name.to_owned(),
            expected: format!("a whole number from {} to {}", range.start(), range.end()),
        }
    })
}

/// Splits `name=value`.
pub(super) fn halves(option: &str) -> (&str, Option<&str>) {
    option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)))
}

impl Fault {
    /// One fault of each kind, in the order of the grammar.
    pub const EXAMPLES: [Self; 19] = [
        Self::RateLimited { retry_after_s: None },
        Self::RateLimited { retry_after_s: Some(2) },
        Self::Status(503),
        Self::Reset,
        Self::Silence,
        Self::Html,
        Self::Error200,
        Self::FailFirst { requests: 1 },
        Self::OnlyFirst { requests: 1 },
        Self::SlowFirst { delay_ms: 300 },
        Self::Drip { delay_ms: 20 },
        Self::Cut { after_chunks: 3 },
        Self::Stall { after_chunks: 3 },
        Self::ErrorEvent { after_chunks: 3 },
        Self::Malformed { chunk: 2 },
        Self::NoFinish,
        Self::NoDone,
        Self::WholeOnly,
        Self::Split { bytes: 7 },
    ];
}

impl FromStr for Fault {
    type Err = OptionError;

    fn from_str(option: &str) -> Result<Self, OptionError> {
        let (name, value) = halves(option);
        let bare = |fault| match value {
            None => Ok(fault),
            Some(_) => Err(OptionError::Value { name: name.to_owned(), expected: "no value".to_owned() }),
        };
        let chunks = || number(name, value, CHUNKS);
        Ok(match name {
            "429" => return bare(Self::RateLimited { retry_after_s: None }),
            "429-retry-after" => Self::RateLimited { retry_after_s: Some(number(name, value, 0..=86_400)?) },
            "status" => {
                let code = number(name, value, 400..=599)?;
                Self::Status(u16::try_from(code).unwrap_or(500))
            }
            "reset" => return bare(Self::Reset),
            "silence" => return bare(Self::Silence),
            "html" => return bare(Self::Html),
            "error-200" => return bare(Self::Error200),
            "fail-first" => Self::FailFirst { requests: number(name, value, 0..=u32::MAX)? },
            "only-first" => Self::OnlyFirst { requests: number(name, value, 0..=u32::MAX)? },
            "slow-first" => Self::SlowFirst { delay_ms: number(name, value, DELAY_MS)? },
            "drip" => Self::Drip { delay_ms: number(name, value, DELAY_MS)? },
            "cut" => Self::Cut { after_chunks: chunks()? },
            "stall" => Self::Stall { after_chunks: chunks()? },
            "error-event" => Self::ErrorEvent { after_chunks: chunks()? },
            "malformed" => Self::Malformed { chunk: number(name, value, 1..=*CHUNKS.end())? },
            "no-finish" => return bare(Self::NoFinish),
            "no-done" => return bare(Self::NoDone),
            "whole-only" => return bare(Self::WholeOnly),
            "split" => Self::Split { bytes: number(name, value, 1..=1 << 20)? },
            _ => return Err(OptionError::Unknown(option.to_owned())),
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RateLimited { retry_after_s: None } => f.write_str("429"),
            Self::RateLimited { retry_after_s: Some(seconds) } => write!(f, "429-retry-after={seconds}"),
            Self::Status(code) => write!(f, "status={code}"),
            Self::Reset => f.write_str("reset"),
            Self::Silence => f.write_str("silence"),
            Self::Html => f.write_str("html"),
            Self::Error200 => f.write_str("error-200"),
            Self::FailFirst { requests } => write!(f, "fail-first={requests}"),
            Self::OnlyFirst { requests } => write!(f, "only-first={requests}"),
            Self::SlowFirst { delay_ms } => write!(f, "slow-first={delay_ms}"),
            Self::Drip { delay_ms } => write!(f, "drip={delay_ms}"),
            Self::Cut { after_chunks } => write!(f, "cut={after_chunks}"),
            Self::Stall { after_chunks } => write!(f, "stall={after_chunks}"),
            Self::ErrorEvent { after_chunks } => write!(f, "error-event={after_chunks}"),
            Self::Malformed { chunk } => write!(f, "malformed={chunk}"),
            Self::NoFinish => f.write_str("no-finish"),
            Self::NoDone => f.write_str("no-done"),
            Self::WholeOnly => f.write_str("whole-only"),
            Self::Split { bytes } => write!(f, "split={bytes}"),
        }
    }
}
