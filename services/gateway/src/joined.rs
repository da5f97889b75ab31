//! Pieces that are there at once, of an answer that is read as a whole: one event stands for them. Each was counted and paid for by
//! itself before.

use signalbox_proto::common::v1::{Delta, GenerateEvent, delta::Content, generate_event::Kind};

/// An event does not grow beyond this many bytes of text.
const LONG: usize = 16 << 10;

/// Appends an event to one that has not gone on yet; gives it back where it is not simply more of the same.
pub(crate) fn append(last: Option<&mut GenerateEvent>, event: GenerateEvent) -> Option<GenerateEvent> {
    let (Some(Kind::Delta(so_far)), Some(Kind::Delta(delta))) =
        (last.and_then(|last| last.kind.as_mut()), &event.kind)
    else {
        return Some(event);
    };
    let plain = |delta: &Delta| delta.logprobs.is_none() && delta.extra.is_none();
    if so_far.index != delta.index || !plain(so_far) || !plain(delta) {
        return Some(event);
    }
    let (text, more) = match (&mut so_far.content, &delta.content) {
        (Some(Content::Text(text)), Some(Content::Text(more)))
        | (Some(Content::Refusal(text)), Some(Content::Refusal(more))) => (text, more),
        (Some(Content::Reasoning(so_far)), Some(Content::Reasoning(more)))
            if so_far.signature.is_none() && more.signature.is_none() && so_far.provider == more.provider =>
        {
            (&mut so_far.text, &more.text)
        }
        (Some(Content::ToolCall(so_far)), Some(Content::ToolCall(more)))
            if more.id.is_none() && more.name.is_none() =>
        {
            (&mut so_far.arguments, &more.arguments)
        }
        _ => return Some(event),
    };
    if text.len() + more.len() > LONG {
        return Some(event);
    }
    text.push_str(more);
    None
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::{ReasoningText, ToolCallDelta};

    use super::*;
    use crate::bill::output_bytes;

    /// Joins what can be.
    fn joined(deltas: Vec<Delta>) -> Vec<Delta> {
        let event = |kind| GenerateEvent { sequence: 0, kind: Some(kind) };
        let mut events = vec![event(Kind::Started(Box::default()))];
        for delta in deltas {
            let left = append(events.last_mut(), event(Kind::Delta(delta)));
            events.extend(left);
        }
        let delta = |event: GenerateEvent| match event.kind {
            Some(Kind::Delta(delta)) => delta,
            other => panic!("{other:?}"),
        };
        events.into_iter().skip(1).map(delta).collect()
    }

    fn piece(index: u32, content: Content) -> Delta {
        Delta { index, content: Some(content), ..Delta::default() }
    }

    fn text(text: &str) -> Delta {
        piece(0, Content::Text(text.into()))
    }

    fn call(index: u32, id: Option<&str>, arguments: &str) -> Delta {
        let id = id.map(str::to_owned);
        piece(index, Content::ToolCall(ToolCallDelta { name: id.clone(), id, arguments: arguments.into() }))
    }

    #[test]
    fn what_goes_on_becomes_one() {
        assert_eq!(joined(vec![text("a"), text("b"), text("c")]), [text("abc")]);
        let calls =
            vec![call(1, Some("x"), "{"), call(1, None, "}"), call(2, Some("y"), "{"), call(2, None, "}")];
        assert_eq!(joined(calls), [call(1, Some("x"), "{}"), call(2, Some("y"), "{}")]);
    }

    #[test]
    fn what_says_more_than_its_text_stays_itself() {
        let noted = Delta { logprobs: Some(Default::default()), ..text("b") };
        let odd = Delta { extra: Some(Default::default()), ..text("b") };
        for other in [noted, odd, piece(1, Content::Text("b".into())), piece(0, Content::Refusal("b".into()))]
        {
            let all = vec![text("a"), other, text("c")];
            assert_eq!(joined(all.clone()), all);
        }
        let thought = |signature: Option<&str>| {
            let signature = signature.map(str::to_owned);
            piece(0, Content::Reasoning(ReasoningText { text: "t".into(), signature, provider: None }))
        };
        assert_eq!(joined(vec![thought(None), thought(Some("s")), thought(None)]).len(), 3);
        assert_eq!(joined(vec![call(1, Some("x"), "{}"), call(1, Some("y"), "{}")]).len(), 2);
    }

    #[test]
    fn an_event_does_not_grow_for_ever() {
        let found = joined(vec![text(&"x".repeat(1 << 10)); 40]);
        let lengths: Vec<u64> =
            found.iter().filter_map(|delta| delta.content.as_ref()).map(output_bytes).collect();
        assert_eq!(lengths, [16 << 10, 16 << 10, 8 << 10]);
    }
}
