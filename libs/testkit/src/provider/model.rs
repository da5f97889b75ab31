//! Model names: a base, and what is to go wrong or be different.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::fault::{CHUNKS, Fault, OptionError, halves, number};

/// What a model's name promises before its options.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Base {
    /// `sim-small`: a short labelled text.
    Small,
    /// `sim-large`: a longer labelled text.
    Large,
    /// `sim-echo`: the last user message.
    Echo,
    /// `sim-bench`: sixteen fixed chunks.
    Bench,
    /// `sim-embed`: vectors.
    Embed,
    /// Any other name: answers as `sim-small` where the provider is configured to serve it.
    Named(String),
}

/// How an answer differs from the usual one, without being a fault.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `chunks=N`: exactly N content chunks. Generated text is cut or filled to N words; given text is divided
    /// evenly, with empty chunks at its end where it has fewer characters.
    Chunks(u32),
    /// `answer=…`, `answer64=…`: exactly this text.
    Answer(String),
    /// `tools`: calls a tool whenever tools are given.
    Tools,
    /// `json`: a JSON object in any case.
    Json,
    /// `cached=N`: prompt tokens reported as cached, at most.
    Cached(u32),
    /// `reasoning=N`: reasoning tokens.
    Reasoning(u32),
    /// `overlap=N`: asked to go on with its own answer, repeats the last N bytes of it first.
    Overlap(u32),
    /// `again`: asked to go on with its own answer, starts over.
    Again,
    /// `tag=NAME`: nothing but a name of its own.
    Tag(String),
}

/// A model's name, understood.
///
/// ```
/// use signalbox_testkit::provider::{Base, Fault, Model};
///
/// let model = Model::new(Base::Echo).fault(Fault::Cut { after_chunks: 3 });
/// assert_eq!(model.to_string(), "sim-echo+cut=3");
/// assert_eq!("sim-echo+cut=3".parse(), Ok(model));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Model {
    /// What it is without options.
    pub base: Base,
    /// What goes wrong, in the order written.
    pub faults: Vec<Fault>,
    /// What is different, in the order written.
    pub shapes: Vec<Shape>,
}

impl Model {
    /// Names a base without options.
    #[must_use]
    pub fn new(base: Base) -> Self {
        Self { base, faults: Vec::new(), shapes: Vec::new() }
    }

    /// Adds a fault.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Adds a shape.
    #[must_use]
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shapes.push(shape);
        self
    }

    /// Names a `sim-echo` that answers exactly `text`, whatever it is asked.
    #[must_use]
    pub fn answering(text: &str) -> Self {
        Self::new(Base::Echo).shape(Shape::Answer(text.to_owned()))
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Small => "sim-small",
            Self::Large => "sim-large",
            Self::Echo => "sim-echo",
            Self::Bench => "sim-bench",
            Self::Embed => "sim-embed",
            Self::Named(name) => name,
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunks(count) => write!(f, "chunks={count}"),
            Self::Answer(text) => {
                f.write_str("answer=")?;
                percent_encode(text, f)
            }
            Self::Tools => f.write_str("tools"),
            Self::Json => f.write_str("json"),
            Self::Cached(tokens) => write!(f, "cached={tokens}"),
            Self::Reasoning(tokens) => write!(f, "reasoning={tokens}"),
            Self::Overlap(bytes) => write!(f, "overlap={bytes}"),
            Self::Again => f.write_str("again"),
            Self::Tag(name) => write!(f, "tag={name}"),
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.fmt(f)?;
        self.faults.iter().try_for_each(|fault| write!(f, "+{fault}"))?;
        self.shapes.iter().try_for_each(|shape| write!(f, "+{shape}"))
    }
}

impl FromStr for Shape {
    type Err = OptionError;

    fn from_str(option: &str) -> Result<Self, OptionError> {
        let (name, value) = halves(option);
        let wanted =
            |expected: &str| OptionError::Value { name: name.to_owned(), expected: expected.to_owned() };
        Ok(match (name, value) {
            ("chunks", _) => Self::Chunks(number(name, value, CHUNKS)?),
            ("answer", Some(text)) => {
                Self::Answer(percent_decode(text).ok_or_else(|| wanted("percent-encoded UTF-8"))?)
            }
            ("answer64", Some(text)) => {
                let bytes = URL_SAFE_NO_PAD.decode(text).ok();
                let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                Self::Answer(text.ok_or_else(|| wanted("UTF-8 in base64url without padding"))?)
            }
            ("answer" | "answer64", None) => return Err(wanted("a text")),
            ("tools", None) => Self::Tools,
            ("json", None) => Self::Json,
            ("overlap", _) => Self::Overlap(number(name, value, 0..=100_000)?),
            ("again", None) => Self::Again,
            ("tools" | "json" | "again", Some(_)) => return Err(wanted("no value")),
            ("cached", _) => Self::Cached(number(name, value, 0..=u32::MAX)?),
            ("reasoning", _) => Self::Reasoning(number(name, value, 0..=1_000_000)?),
            ("tag", Some(tag)) if !tag.is_empty() => Self::Tag(tag.to_owned()),
            ("tag", _) => return Err(wanted("a name")),
            _ => return Err(OptionError::Unknown(option.to_owned())),
        })
    }
}

impl FromStr for Model {
    type Err = OptionError;

    fn from_str(name: &str) -> Result<Self, OptionError> {
        let mut parts = name.split('+');
        let mut model = Self::new(match parts.next().unwrap_or_default() {
            "sim-small" => Base::Small,
            "sim-large" => Base::Large,
            "sim-echo" => Base::Echo,
            "sim-bench" => Base::Bench,
            "sim-embed" => Base::Embed,
            other => Base::Named(other.to_owned()),
        });
        let mut seen: Vec<&str> = Vec::new();
        for option in parts {
            let (key, _) = halves(option);
            if seen.contains(&key) {
                return Err(OptionError::Twice(key.to_owned()));
            }
            seen.push(key);
            match option.parse::<Fault>() {
                Ok(fault) => model.faults.push(fault),
                Err(OptionError::Unknown(_)) => model.shapes.push(option.parse()?),
                Err(error) => return Err(error),
            }
        }
        Ok(model)
    }
}

/// Writes all but unreserved characters (RFC 3986) as `%XX`.
fn percent_encode(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            write!(f, "{}", char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

/// Reads `%XX`; `None` where an escape or the UTF-8 behind it is broken.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            rest = tail;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault() -> impl Strategy<Value = Fault> {
        let delay = 0..=600_000u32;
        let chunks = 0..=100_000u32;
        prop_oneof![
            proptest::option::of(0..=86_400u32)
                .prop_map(|retry_after_s| Fault::RateLimited { retry_after_s }),
            (400..=599u16).prop_map(Fault::Status),
            Just(Fault::Reset),
            Just(Fault::Silence),
            Just(Fault::Html),
            Just(Fault::Error200),
            any::<u32>().prop_map(|requests| Fault::FailFirst { requests }),
            any::<u32>().prop_map(|requests| Fault::OnlyFirst { requests }),
            delay.clone().prop_map(|delay_ms| Fault::SlowFirst { delay_ms }),
            delay.prop_map(|delay_ms| Fault::Drip { delay_ms }),
            chunks.clone().prop_map(|after_chunks| Fault::Cut { after_chunks }),
            chunks.clone().prop_map(|after_chunks| Fault::Stall { after_chunks }),
            chunks.prop_map(|after_chunks| Fault::ErrorEvent { after_chunks }),
            (1..=100_000u32).prop_map(|chunk| Fault::Malformed { chunk }),
            Just(Fault::NoFinish),
            Just(Fault::NoDone),
            Just(Fault::WholeOnly),
            (1..=1u32 << 20).prop_map(|bytes| Fault::Split { bytes }),
        ]
    }

    fn shape() -> impl Strategy<Value = Shape> {
        prop_oneof![
            (0..=100_000u32).prop_map(Shape::Chunks),
            any::<String>().prop_map(Shape::Answer),
            Just(Shape::Tools),
            Just(Shape::Json),
            any::<u32>().prop_map(Shape::Cached),
            (0..=1_000_000u32).prop_map(Shape::Reasoning),
            (0..=100_000u32).prop_map(Shape::Overlap),
            Just(Shape::Again),
            "[a-z0-9]{1,8}".prop_map(Shape::Tag),
        ]
    }

    proptest! {
        #[test]
        fn a_fault_reads_back_as_written(fault in fault()) {
            prop_assert_eq!(fault.to_string().parse(), Ok(fault));
        }

        #[test]
        fn a_model_reads_back_as_written(fault in fault(), shape in shape()) {
            let model = Model::new(Base::Small).fault(fault).shape(shape);
            prop_assert_eq!(model.to_string().parse(), Ok(model));
        }

        #[test]
        fn no_name_panics(name in any::<String>()) {
            let _ = name.parse::<Model>();
        }
    }

    #[test]
    fn every_example_is_in_the_grammar() {
        for fault in Fault::EXAMPLES {
            let text = fault.to_string();
            let name = text.split('=').next().unwrap();
            assert!(super::super::GRAMMAR.contains(&format!("`+{name}")), "{name} is not documented");
        }
    }

    #[test]
    fn wrong_options_say_what_to_change() {
        let error = |name: &str| name.parse::<Model>().unwrap_err().to_string();
        assert_eq!(error("sim-small+bogus"), "unknown option `+bogus`");
        assert_eq!(error("sim-small+cut"), "option `+cut` needs a whole number from 0 to 100000");
        assert_eq!(error("sim-small+status=200"), "option `+status` needs a whole number from 400 to 599");
        assert_eq!(error("sim-small+reset=1"), "option `+reset` needs no value");
        assert_eq!(error("sim-small+cut=1+cut=2"), "option `+cut` is given twice");
        assert_eq!(error("sim-small+answer=%zz"), "option `+answer` needs percent-encoded UTF-8");
    }

    #[test]
    fn both_encodings_of_an_answer_agree() {
        let percent: Model = "sim-echo+answer=a%2Bb%20c".parse().unwrap();
        let base64: Model = "sim-echo+answer64=YStiIGM".parse().unwrap();
        assert_eq!(percent, base64);
    }
}
