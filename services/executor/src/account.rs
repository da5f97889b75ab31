//! What an answer used and cost.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::{Attempt, AttemptKind, AttemptOutcome, Delta, Usage, UsageSource};
use tokio::time::Instant;

use crate::target::Target;
use crate::trail::Trail;

/// What an attempt wrote, to count its tokens where the provider reports none. The answer's text is kept elsewhere, once.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Reasoning, tool calls and refusals.
    rest: String,
    most: usize,
    /// Bytes of `rest` beyond `most`.
    beyond: u64,
    /// Where in the delivered text this attempt's begins.
    from: usize,
    /// Bytes of answer text, delivered or left out as repeated.
    text_bytes: u64,
}

/// Bytes per token where text is only measured, not counted.
const BYTES_PER_TOKEN: u64 = 4;

impl Written {
    pub(crate) fn new(most: usize, from: usize) -> Self {
        Self { most, from, ..Self::default() }
    }

    /// Notes a delta on its way to the client, and returns its size in bytes.
    pub(crate) fn note(&mut self, delta: &Delta) -> u64 {
        let text = match &delta.content {
            Some(Content::Text(text)) => {
                self.text_bytes += text.len() as u64;
                return text.len() as u64;
            }
            Some(Content::Reasoning(reasoning)) => &reasoning.text,
            Some(Content::ToolCall(call)) => &call.arguments,
            Some(Content::Refusal(text)) => text,
            Some(Content::Citation(_) | Content::Media(_)) | None => return 1,
        };
        if self.rest.len() + text.len() <= self.most {
            self.rest.push_str(text);
        } else {
            self.beyond += text.len() as u64;
        }
        text.len() as u64
    }

    /// Counts what the provider did not report; `delivered` is all text that the client has.
    pub(crate) fn usage(
        &self,
        target: &Target,
        delivered: &str,
        input_tokens: u64,
        source: UsageSource,
    ) -> Usage {
        let own = delivered.get(self.from..).unwrap_or_default();
        let measured = self.text_bytes.saturating_sub(own.len() as u64) + self.beyond;
        let output_tokens =
            target.tokens(own) + target.tokens(&self.rest) + measured.div_ceil(BYTES_PER_TOKEN);
        Usage { input_tokens, output_tokens, source: source.into(), ..Usage::default() }
    }
}

/// Usage and cost of all attempts of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) usage: Usage,
    pub(crate) cost_nanousd: i64,
    pub(crate) price_unknown: bool,
    /// Attempts made at providers.
    pub(crate) attempts: u32,
}

impl Tally {
    /// Adds an attempt; `made`: something was sent. The weakest source that used anything is the source of the sum.
    pub(crate) fn add(&mut self, attempt: &Attempt, made: bool) {
        self.attempts += u32::from(made);
        let Some(usage) = &attempt.usage else { return };
        let used = usage.input_tokens + usage.output_tokens > 0;
        if used || self.usage.source() == UsageSource::Unspecified {
            let weak = |source: UsageSource| match source {
                UsageSource::Unspecified => 0,
                UsageSource::Reported | UsageSource::Cached => 1,
                UsageSource::Partial => 2,
                UsageSource::Estimated => 3,
            };
            let none_yet = self.usage.input_tokens + self.usage.output_tokens == 0;
            if none_yet || weak(usage.source()) > weak(self.usage.source()) {
                self.usage.set_source(usage.source());
            }
        }
        self.usage += usage;
        self.cost_nanousd = self.cost_nanousd.saturating_add(attempt.cost_nanousd);
        self.price_unknown |= attempt.price_unknown && used;
    }
}

/// Is an attempt under way, as it will be recorded.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) target: Arc<Target>,
    pub(crate) number: u32,
    pub(crate) kind: AttemptKind,
    /// Whether vectors are asked for, not an answer.
    pub(crate) embeds: bool,
    pub(crate) began: Instant,
    pub(crate) unix_ms: i64,
    pub(crate) first_output: Option<Duration>,
    /// Filled in as soon as the provider's headers come, also for an attempt that is cancelled later.
    pub(crate) seen: Arc<OnceLock<Seen>>,
    /// Where it stands in its trace.
    pub(crate) trail: Trail,
}

/// Is what the head of a provider's answer says.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) http_status: u16,
    pub(crate) request_id: Option<String>,
}

impl Record {
    /// Returns what is asked for, as the GenAI conventions call it.
    pub(crate) fn operation(&self) -> &'static str {
        if self.embeds { "embeddings" } else { "chat" }
    }

    /// Whether the provider had begun to answer: then it bills the input.
    pub(crate) fn accepted(&self) -> bool {
        self.seen.get().is_some_and(|seen| (200..300).contains(&seen.http_status))
    }

    /// Ends the attempt.
    pub(crate) fn end(&self, outcome: AttemptOutcome, usage: Usage, error: String) -> Attempt {
        let cost = self.target.cost(&usage);
        let (remaining_requests, remaining_tokens) = self.target.memory.stats.left(Instant::now());
        let attempt = Attempt {
            remaining_requests,
            remaining_tokens,
            number: self.number,
            target_id: self.target.id.clone(),
            provider: self.target.provider.clone(),
            model: self.target.model.clone(),
            outcome: outcome.into(),
            usage: Some(usage),
            cost_nanousd: cost.nanousd,
            price_unknown: cost.unknown,
            started_unix_ms: self.unix_ms,
            duration_ms: millis(self.began.elapsed()),
            first_output_ms: self.first_output.map(millis),
            http_status: self.seen.get().map(|seen| u32::from(seen.http_status)),
            error,
            provider_request_id: self.seen.get().and_then(|seen| seen.request_id.clone()),
            kind: self.kind.into(),
        };
        self.trail.tell(self, Some(&attempt));
        attempt
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // Whoever asked left in the middle of it.
        self.trail.tell(self, None);
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(input: u64, source: UsageSource) -> Attempt {
        let usage = Usage { input_tokens: input, source: source.into(), ..Default::default() };
        Attempt {
            usage: Some(usage),
            cost_nanousd: 5,
            outcome: AttemptOutcome::Ok.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_sum_is_as_good_as_its_weakest_part_that_counts() {
        let mut tally = Tally::default();
        tally.add(&attempt(0, UsageSource::Estimated), true);
        tally.add(&attempt(7, UsageSource::Reported), true);
        assert_eq!((tally.usage.source(), tally.usage.input_tokens), (UsageSource::Reported, 7));
        tally.add(&attempt(1, UsageSource::Partial), true);
        tally.add(&attempt(1, UsageSource::Reported), true);
        assert_eq!((tally.usage.source(), tally.usage.input_tokens), (UsageSource::Partial, 9));
        assert_eq!((tally.attempts, tally.cost_nanousd), (4, 20));
    }
}
