//! The cheap path: an answer rendered once, for whoever measures what stands in front of the simulator.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::answer::Answer;
use super::dice::Dice;
use super::model::{Base, Model};
use super::record::Usage;
use super::render::{self, Events, Identity};
use super::request::{Chat, Format, ToolChoice};
use super::script::{Mishaps, Script, Step, Stream};

/// The name whose plain form takes this path.
pub(super) const NAME: &str = "sim-bench";
/// Prompt tokens that are always reported: counting them would cost more than answering.
const PROMPT_TOKENS: u64 = 16;

/// As much of a request as the cheap path reads.
#[derive(Debug, Deserialize)]
pub(super) struct Probe<'a> {
    #[serde(borrow, default)]
    pub(super) model: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<Options>,
}

#[derive(Debug, Deserialize)]
struct Options {
    #[serde(default)]
    include_usage: bool,
}

/// What [`Prepared::script`] gives for a request.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) script: Script,
    /// Announced length; `None` for a stream.
    pub(super) length: Option<u64>,
    /// What the request costs before its first token.
    pub(super) bill: Usage,
}

/// The rendered answer, in its three forms.
#[derive(Debug)]
pub(super) struct Prepared {
    stream: Arc<[Step]>,
    stream_with_usage: Arc<[Step]>,
    whole: Bytes,
    usage: Usage,
}

impl Prepared {
    pub(super) fn new(seed: u64) -> Self {
        let chat = Chat {
            stream: true,
            include_usage: false,
            obfuscation: false,
            last_user: String::new(),
            tool_result: None,
            unfinished: None,
            prompt_tokens: PROMPT_TOKENS,
            tools: Vec::new(),
            choice: ToolChoice::Auto,
            max_tokens: None,
            stop: Vec::new(),
            format: Format::Text,
        };
        let mut dice = Dice(seed);
        let answer = Answer::compose(&chat, &Model::new(Base::Bench), &mut dice);
        let identity = Identity::roll(NAME.to_owned(), &mut dice);
        let usage =
            Usage { prompt_tokens: PROMPT_TOKENS, completion_tokens: answer.tokens(), ..Usage::default() };
        let steps = |usage: Option<Usage>| {
            let events = Events::new(&identity, usage.is_some(), None);
            let stream = Stream::new(answer.clone(), events, usage, Mishaps::default());
            let mut script = Script::Stream(Box::new(stream));
            std::iter::from_fn(|| script.step()).collect()
        };
        Self {
            stream: steps(None),
            stream_with_usage: steps(Some(usage)),
            whole: render::completion(&identity, &answer, &usage),
            usage,
        }
    }

    /// Returns the answer in the form that `probe` asks for.
    pub(super) fn script(&self, probe: &Probe<'_>) -> Ready {
        let bill = Usage { completion_tokens: 0, ..self.usage };
        if !probe.stream.unwrap_or(false) {
            let tokens = self.usage.completion_tokens;
            let (script, length) = Script::whole(self.whole.clone(), tokens, self.usage, &Mishaps::default());
            return Ready { script, length: Some(length), bill };
        }
        let with_usage = probe.stream_options.as_ref().is_some_and(|options| options.include_usage);
        let steps = if with_usage { &self.stream_with_usage } else { &self.stream };
        Ready { script: Script::Prepared(Arc::clone(steps), 0), length: None, bill }
    }
}

/// Reads a request as far as the cheap path needs; `None` where it is not for it.
pub(super) fn probe(body: &Bytes) -> Option<Probe<'_>> {
    serde_json::from_slice::<Probe<'_>>(body).ok().filter(|probe| probe.model.as_deref() == Some(NAME))
}

/// Returns the model's name that a body asks for; empty where there is none.
pub(super) fn model_name(body: &Value) -> &str {
    body.get("model").and_then(Value::as_str).unwrap_or_default()
}
