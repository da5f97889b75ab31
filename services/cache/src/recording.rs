//! An answer on its way into the cache, and out of it again.

use std::sync::Arc;

use prost::{Message as _, bytes::Bytes};
use signalbox_proto::{
    cache::v1::CachedEvents,
    common::v1::{
        CacheInfo, Delta, FinishReason, Finished, GenerateEvent, RouteInfo, Seam, Started, Timings, Usage,
        UsageSource, delta, generate_event::Kind, seam,
    },
};
use tokio::time::Instant;

/// Events in one message of a replay; the replay's own `started` comes on top of the first.
const BATCH: usize = 63;

/// The number of the field `events` in [`CachedEvents`].
const EVENTS: u32 = 1;
/// Number of the field `offsets_ms`.
const OFFSETS: u32 = 2;

/// Why an answer is not kept (C2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// No `finished`, no known finish reason, or cut off by a limit that is not the request's own.
    Incomplete,
    /// The model, the provider, the guard or the budget ended it.
    Refused,
    /// It began again: what was recorded is not what its reader kept.
    Restarted,
    /// Longer than the configured limit.
    TooLarge,
    /// It says nothing.
    Empty,
    /// Events out of order, or of a kind that this build does not know.
    Malformed,
    /// What it answers was invalidated meanwhile.
    Invalidated,
}

impl Flaw {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Refused => "refused",
            Self::Restarted => "restarted",
            Self::TooLarge => "too_large",
            Self::Empty => "empty",
            Self::Malformed => "malformed",
            Self::Invalidated => "invalidated",
        }
    }
}

/// A complete answer in its stored form.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Encoded [`CachedEvents`]: a tenth of the memory of the decoded ones.
    batches: Vec<Bytes>,
    /// Who wrote it, as `provider/model`; several when it has seams. The first opened it.
    pub(crate) models: Vec<Arc<str>>,
    /// How its first model was chosen. Absent: nobody said.
    pub(crate) route: Option<RouteInfo>,
    /// Ended by the request's own output limit: right for this request, too short for a similar one.
    pub(crate) cut_by_request: bool,
}

impl Answer {
    /// An answer that was stored: its batches as [`Self::stored`] gave them.
    pub(crate) fn restore(batches: Vec<Bytes>, models: Vec<Arc<str>>, cut_by_request: bool) -> Self {
        Self { batches, models, route: None, cut_by_request }
    }

    /// The same, with how its first model was chosen.
    pub(crate) fn with_route(self, route: Option<RouteInfo>) -> Self {
        Self { route, ..self }
    }

    /// Encoded [`CachedEvents`], in order.
    pub(crate) fn stored(&self) -> &[Bytes] {
        &self.batches
    }

    pub(crate) fn size(&self) -> usize {
        let models: usize = self.models.iter().map(|model| 2 * model.len() + 96).sum();
        self.batches.iter().map(|batch| batch.len() + size_of::<Bytes>()).sum::<usize>() + models
    }

    /// How many messages a replay has.
    pub(crate) fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Events after the first so many, some of them at a time; none at the end.
    pub(crate) fn events_from(&self, seen: usize) -> Vec<GenerateEvent> {
        self.batches.get(seen / BATCH).map(|batch| decoded(batch, seen % BATCH)).unwrap_or_default()
    }

    /// How long it took from its first event to its last, in milliseconds; 0 where that is unknown.
    pub(crate) fn length_ms(&self) -> u32 {
        let last = self.batches.last().and_then(|batch| CachedEvents::decode(batch.clone()).ok());
        last.and_then(|batch| batch.offsets_ms.last().copied()).unwrap_or(0)
    }

    /// Its text, as far as it goes; a character is never cut.
    pub(crate) fn text(&self, most_bytes: usize) -> String {
        let mut text = String::new();
        for batch in &self.batches {
            for event in decoded(batch, 0) {
                if let Some(Kind::Delta(Delta { content: Some(delta::Content::Text(piece)), .. })) =
                    event.kind
                {
                    if text.len() + piece.len() > most_bytes {
                        return text;
                    }
                    text.push_str(&piece);
                }
            }
        }
        text
    }

    /// Decodes one message of a replay, with its events' times. `None` if there is no such message, or it cannot be decoded.
    pub(crate) fn batch(
        &self,
        index: usize,
        opening: impl FnOnce() -> (String, CacheInfo),
    ) -> Option<CachedEvents> {
        let mut batch = CachedEvents::decode(self.batches.get(index)?.clone()).ok()?;
        if index == 0 {
            let (request_id, cache) = opening();
            let model = self.models.first().map(ToString::to_string).unwrap_or_default();
            let started = Started {
                request_id,
                model,
                cache: Some(cache),
                route: self.route.clone(),
                ..Started::default()
            };
            batch.events.insert(0, GenerateEvent { sequence: 1, kind: Some(Kind::Started(started.into())) });
            if !batch.offsets_ms.is_empty() {
                batch.offsets_ms.insert(0, 0);
            }
        }
        Some(batch)
    }
}

/// Takes the events of an answer as they come. Memory: the encoded answer, bounded.
#[derive(Debug)]
pub(crate) struct Recording {
    most_bytes: usize,
    /// The request's own output limit.
    max_output_tokens: Option<u32>,
    bytes: usize,
    sequence: u64,
    pending: Pending,
    batches: Vec<Bytes>,
    models: Vec<Arc<str>>,
    route: Option<RouteInfo>,
    /// When its first event came.
    began: Option<Instant>,
    finished: Option<Finished>,
    says_something: bool,
    /// Another leader goes on: its `started` is no new answer.
    goes_on: bool,
}

impl Recording {
    pub(crate) fn new(most_bytes: usize, max_output_tokens: Option<u32>) -> Self {
        Self {
            most_bytes,
            max_output_tokens,
            bytes: 0,
            sequence: 1,
            pending: Pending::default(),
            batches: Vec::new(),
            models: Vec::new(),
            route: None,
            began: None,
            finished: None,
            says_something: false,
            goes_on: false,
        }
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// A flaw, as soon as it is certain that the answer cannot be kept.
    pub(crate) fn push(&mut self, event: GenerateEvent) -> Result<(), Flaw> {
        let kind = event.kind.ok_or(Flaw::Malformed)?;
        if self.finished.is_some() {
            return Err(Flaw::Malformed);
        }
        match kind {
            // A replay has a `started` of its own.
            Kind::Started(started) if self.sequence == 1 && self.models.is_empty() => {
                self.model(&started.model);
                self.bytes += started.route.as_ref().map_or(0, prost::Message::encoded_len);
                self.route = started.route;
            }
            Kind::Started(started) if self.goes_on => {
                self.goes_on = false;
                self.model(&started.model);
            }
            Kind::Started(_) => return Err(Flaw::Malformed),
            // About the first request, not about the answer.
            Kind::Notice(_) => {}
            Kind::Delta(delta) => {
                self.says_something |= judge(&delta)?;
                self.record(Kind::Delta(delta))?;
            }
            Kind::Seam(seam) => {
                if seam.kind() != seam::Kind::Continued {
                    return Err(Flaw::Restarted);
                }
                let Seam { from_model, to_model, .. } = &seam;
                self.model(from_model);
                self.model(to_model);
                self.record(Kind::Seam(seam))?;
            }
            Kind::Finished(finished) => {
                self.judge_end(&finished)?;
                self.model(&finished.model);
                self.finished = Some(*finished);
            }
        }
        Ok(())
    }

    pub(crate) fn limit(&mut self, max_output_tokens: Option<u32>) {
        self.max_output_tokens = max_output_tokens;
    }

    /// Who wrote it so far.
    pub(crate) fn models(&self) -> &Vec<Arc<str>> {
        &self.models
    }

    /// Another leader goes on where the last one ended.
    pub(crate) fn go_on(&mut self) {
        self.goes_on = true;
        self.finished = None;
    }

    /// Events recorded after the first so many, some of them at a time. None when there are no more yet.
    pub(crate) fn events_from(&self, seen: usize) -> Vec<GenerateEvent> {
        match self.batches.get(seen / BATCH) {
            Some(batch) => decoded(batch, seen % BATCH),
            None => self.pending.events_from(seen % BATCH),
        }
    }

    /// Completes the answer, which cost that much.
    ///
    /// # Errors
    /// A flaw of the whole.
    pub(crate) fn complete(mut self, cost_nanousd: i64) -> Result<Answer, Flaw> {
        let finished = self.finished.take().ok_or(Flaw::Incomplete)?;
        if !self.says_something {
            return Err(Flaw::Empty);
        }
        let cut_by_request = finished.finish_reason() == FinishReason::Length;
        let usage = finished.usage.map(|usage| Usage { source: UsageSource::Cached.into(), ..usage });
        self.record(Kind::Finished(Box::new(Finished {
            usage,
            cost_nanousd: 0,
            saved_nanousd: cost_nanousd,
            attempts: 0,
            timings: Some(Timings::default()),
            ..finished
        })))?;
        self.seal();
        let Self { batches, models, route, .. } = self;
        Ok(Answer { batches, models, route, cut_by_request })
    }

    fn judge_end(&self, finished: &Finished) -> Result<(), Flaw> {
        if finished.skipped_chunks > 0 {
            return Err(Flaw::Incomplete);
        }
        match finished.finish_reason() {
            FinishReason::Stop | FinishReason::ToolCalls => Ok(()),
            // Any other limit (the model's, a budget's) says nothing of what the next asker would get.
            FinishReason::Length => {
                let used = finished.usage.map_or(0, |usage| usage.output_tokens);
                let own = self.max_output_tokens.is_some_and(|most| used >= most.into());
                if own { Ok(()) } else { Err(Flaw::Incomplete) }
            }
            FinishReason::Unspecified => Err(Flaw::Incomplete),
            FinishReason::ContentFilter
            | FinishReason::Guard
            | FinishReason::Budget
            | FinishReason::Refusal => Err(Flaw::Refused),
        }
    }

    fn model(&mut self, model: &str) {
        if !model.is_empty() && !self.models.iter().any(|known| **known == *model) {
            self.bytes += model.len();
            self.models.push(model.into());
        }
    }

    fn record(&mut self, kind: Kind) -> Result<(), Flaw> {
        self.sequence += 1;
        let event = GenerateEvent { sequence: self.sequence, kind: Some(kind) };
        self.bytes += event.encoded_len();
        if self.bytes > self.most_bytes {
            return Err(Flaw::TooLarge);
        }
        let now = Instant::now();
        let offset = now.saturating_duration_since(*self.began.get_or_insert(now)).as_millis();
        self.pending.push(&event, u32::try_from(offset).unwrap_or(u32::MAX));
        if self.pending.ends.len() == BATCH {
            self.seal();
        }
        Ok(())
    }

    fn seal(&mut self) {
        if !self.pending.ends.is_empty() {
            self.batches.push(std::mem::take(&mut self.pending).whole().into());
        }
    }
}

/// The events since the last batch: encoded at once, because a decoded event takes ten times the memory of its text.
#[derive(Debug, Default)]
struct Pending {
    /// An encoded [`CachedEvents`].
    bytes: Vec<u8>,
    /// Where in it each event ends.
    ends: Vec<usize>,
    /// When each event came, in milliseconds after the first.
    offsets_ms: Vec<u32>,
}

impl Pending {
    fn push(&mut self, event: &GenerateEvent, offset_ms: u32) {
        prost::encoding::message::encode(EVENTS, event, &mut self.bytes);
        self.ends.push(self.bytes.len());
        self.offsets_ms.push(offset_ms);
    }

    /// The batch: events, and when they came.
    fn whole(mut self) -> Vec<u8> {
        prost::encoding::uint32::encode_packed(OFFSETS, &self.offsets_ms, &mut self.bytes);
        self.bytes
    }

    /// Events after the first so many.
    fn events_from(&self, seen: usize) -> Vec<GenerateEvent> {
        let begin = seen.checked_sub(1).map_or(Some(0), |last| self.ends.get(last).copied());
        let rest = begin.and_then(|begin| self.bytes.get(begin..)).unwrap_or_default();
        CachedEvents::decode(rest).map(|batch| batch.events).unwrap_or_default()
    }
}

fn decoded(batch: &Bytes, skip: usize) -> Vec<GenerateEvent> {
    let events = CachedEvents::decode(batch.clone()).map(|batch| batch.events).unwrap_or_default();
    events.into_iter().skip(skip).collect()
}

/// Bytes of answer text in an event.
pub(crate) fn text_bytes(event: &GenerateEvent) -> u64 {
    match &event.kind {
        Some(Kind::Delta(Delta { content: Some(delta::Content::Text(text)), .. })) => text.len() as u64,
        _ => 0,
    }
}

/// Whether a piece says something.
fn judge(delta: &Delta) -> Result<bool, Flaw> {
    use delta::Content;
    match &delta.content {
        None => Err(Flaw::Malformed),
        Some(Content::Refusal(_)) => Err(Flaw::Refused),
        Some(Content::Text(text)) => Ok(!text.trim().is_empty()),
        Some(Content::ToolCall(_) | Content::Media(_)) => Ok(true),
        Some(Content::Reasoning(_) | Content::Citation(_)) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::{Notice, ReasoningText, ToolCallDelta};

    use super::*;

    fn event(kind: Kind) -> GenerateEvent {
        GenerateEvent { sequence: 99, kind: Some(kind) }
    }

    fn started() -> GenerateEvent {
        event(Kind::Started(Box::new(Started {
            request_id: "first".into(),
            model: "p/m".into(),
            ..Started::default()
        })))
    }

    fn piece(content: delta::Content) -> GenerateEvent {
        event(Kind::Delta(Delta { content: Some(content), ..Delta::default() }))
    }

    fn text(text: &str) -> GenerateEvent {
        piece(delta::Content::Text(text.into()))
    }

    fn finished(reason: FinishReason, output_tokens: u64) -> GenerateEvent {
        event(Kind::Finished(Box::new(Finished {
            finish_reason: reason.into(),
            cost_nanousd: 5,
            attempts: 2,
            model: "p/m".into(),
            usage: Some(Usage { output_tokens, source: UsageSource::Reported.into(), ..Usage::default() }),
            ..Finished::default()
        })))
    }

    fn with_gaps() -> GenerateEvent {
        event(Kind::Finished(Box::new(Finished {
            finish_reason: FinishReason::Stop.into(),
            skipped_chunks: 1,
            ..Finished::default()
        })))
    }

    fn record(events: impl IntoIterator<Item = GenerateEvent>) -> Result<Answer, Flaw> {
        let mut recording = Recording::new(10_000, Some(10));
        for event in events {
            recording.push(event)?;
        }
        recording.complete(5)
    }

    #[test]
    fn an_answer_comes_out_as_it_went_in() {
        let notice = event(Kind::Notice(Notice::default()));
        let pieces = (0..200).map(|i| text(&i.to_string()));
        let end = finished(FinishReason::Stop, 200);
        let answer = record([started(), notice].into_iter().chain(pieces).chain([end])).unwrap();
        let cache = CacheInfo { age_ms: Some(3), ..CacheInfo::default() };
        let batches: Vec<_> = (0..answer.batches())
            .map(|i| answer.batch(i, || ("second".into(), cache.clone())).unwrap().events)
            .collect();
        assert!(batches.iter().all(|batch| (1..=64).contains(&batch.len())));
        let events: Vec<_> = batches.concat();
        assert!(events.iter().map(|event| event.sequence).eq(1..=202));
        let Some(Kind::Started(opening)) = &events[0].kind else { panic!() };
        assert_eq!((&*opening.request_id, &*opening.model), ("second", "p/m"));
        assert_eq!(opening.cache.as_ref().unwrap().age_ms, Some(3));
        let said: String = events
            .iter()
            .filter_map(|event| match &event.kind {
                Some(Kind::Delta(Delta { content: Some(delta::Content::Text(text)), .. })) => {
                    Some(text.as_str())
                }
                _ => None,
            })
            .collect();
        assert_eq!(said, (0..200).map(|i| i.to_string()).collect::<String>());
        let Some(Kind::Finished(end)) = &events[201].kind else { panic!() };
        assert_eq!((end.cost_nanousd, end.saved_nanousd, end.attempts), (0, 5, 0));
        assert_eq!(end.usage.unwrap().source(), UsageSource::Cached);
        assert_eq!(end.usage.unwrap().output_tokens, 200);
    }

    #[test]
    fn followers_read_from_anywhere_while_it_is_recorded() {
        let mut recording = Recording::new(10_000, None);
        for count in 1..=2 * BATCH + 3 {
            recording.push(text(&count.to_string())).unwrap();
            for seen in 0..=count {
                let found = recording.events_from(seen);
                // A batch at most at a time, and the rest of it.
                let expected = (seen..count).take(BATCH - seen % BATCH);
                let expected: Vec<_> = expected.map(|index| index as u64 + 2).collect();
                assert_eq!(found.iter().map(|event| event.sequence).collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn nothing_incomplete_or_refused_is_kept() {
        let seam = |kind: seam::Kind| event(Kind::Seam(Seam { kind: kind.into(), ..Seam::default() }));
        let stop = || finished(FinishReason::Stop, 1);
        let refused = [
            (vec![started(), text("a")], Flaw::Incomplete),
            (vec![], Flaw::Incomplete),
            (vec![text("a"), finished(FinishReason::Unspecified, 1)], Flaw::Incomplete),
            (vec![text("a"), finished(FinishReason::Length, 9)], Flaw::Incomplete),
            (vec![text("a"), with_gaps()], Flaw::Incomplete),
            (vec![text("a"), finished(FinishReason::ContentFilter, 1)], Flaw::Refused),
            (vec![text("a"), finished(FinishReason::Guard, 1)], Flaw::Refused),
            (vec![text("a"), finished(FinishReason::Budget, 1)], Flaw::Refused),
            (vec![text("a"), finished(FinishReason::Refusal, 1)], Flaw::Refused),
            (vec![piece(delta::Content::Refusal("no".into())), stop()], Flaw::Refused),
            (vec![text("a"), seam(seam::Kind::Restarted), text("b"), stop()], Flaw::Restarted),
            (vec![text("a"), seam(seam::Kind::Unspecified), text("b"), stop()], Flaw::Restarted),
            (vec![started(), stop()], Flaw::Empty),
            (vec![text(" \n"), stop()], Flaw::Empty),
            (vec![piece(delta::Content::Reasoning(ReasoningText::default())), stop()], Flaw::Empty),
            (vec![text("a"), stop(), text("b")], Flaw::Malformed),
            (vec![text("a"), stop(), stop()], Flaw::Malformed),
            (vec![started(), text("a"), started(), stop()], Flaw::Malformed),
            (vec![text("a"), GenerateEvent::default(), stop()], Flaw::Malformed),
            (vec![event(Kind::Delta(Delta::default())), stop()], Flaw::Malformed),
            (vec![text(&"a".repeat(10_000)), stop()], Flaw::TooLarge),
        ];
        for (events, flaw) in refused {
            assert_eq!(record(events.clone()).unwrap_err(), flaw, "{events:?}");
        }
    }

    #[test]
    fn complete_answers_of_every_kind_are_kept() {
        let seam = Seam { kind: seam::Kind::Continued.into(), to_model: "q/n".into(), ..Seam::default() };
        let two = record([
            started(),
            text("a"),
            event(Kind::Seam(seam)),
            text("b"),
            finished(FinishReason::Stop, 1),
        ]);
        assert_eq!(two.unwrap().models.iter().map(|model| &**model).collect::<Vec<_>>(), ["p/m", "q/n"]);
        let call = piece(delta::Content::ToolCall(ToolCallDelta::default()));
        assert!(!record([call, finished(FinishReason::ToolCalls, 1)]).unwrap().cut_by_request);
        assert!(record([text("a"), finished(FinishReason::Length, 10)]).unwrap().cut_by_request);
    }
}
