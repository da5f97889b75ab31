//! W3C trace context: one trace id from the first hop to the last.
//!
//! Format: <https://www.w3.org/TR/trace-context/> (version 00).

use std::fmt;

use http::{HeaderMap, HeaderValue};

use crate::{
    Random,
    metadata::{TRACEPARENT, TRACESTATE},
};

/// Longest `tracestate` that is passed along, in bytes: what the recommendation asks vendors to keep.
const TRACESTATE_MOST: usize = 512;

/// Where a call stands in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    parent_id: u64,
    flags: u8,
    state: Option<HeaderValue>,
}

impl TraceContext {
    /// Begins a trace.
    #[must_use]
    pub fn root(random: &Random, sampled: bool) -> Self {
        // Zero is the one value that the format forbids.
        let trace_id = (u128::from(random.u64()) << 64 | u128::from(random.u64())).max(1);
        Self { trace_id, span_id: random.u64().max(1), parent_id: 0, flags: u8::from(sampled), state: None }
    }

    /// Continues this trace one hop further down, under a new span.
    #[must_use]
    pub fn child(&self, random: &Random) -> Self {
        Self { span_id: random.u64().max(1), parent_id: self.span_id, ..self.clone() }
    }

    /// Continues this trace for a step of this span: its id follows from the step's number, so that whoever tells of the step later
    /// knows it without having kept it.
    #[must_use]
    pub fn step(&self, number: u8) -> Self {
        // SplitMix64's finisher: different numbers, different ids.
        let mut id = self.span_id.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(number) + 1));
        id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self { span_id: (id ^ (id >> 31)).max(1), parent_id: self.span_id, ..self.clone() }
    }

    /// Parses a `traceparent`; `None` for one that the recommendation calls invalid.
    #[must_use]
    pub fn parse(traceparent: &[u8]) -> Option<Self> {
        let version = hex(traceparent.get(..2)?)?;
        let well_formed = match version {
            0 => traceparent.len() == 55,
            // Later versions may append fields behind another dash.
            1..=0xfe => traceparent.len() == 55 || traceparent.get(55) == Some(&b'-'),
            _ => false,
        };
        let dashes = [2, 35, 52].iter().all(|at| traceparent.get(*at) == Some(&b'-'));
        if !(well_formed && dashes) {
            return None;
        }
        let trace_id = hex(traceparent.get(3..35)?)?;
        let span_id = u64::try_from(hex(traceparent.get(36..52)?)?).ok()?;
        let flags = u8::try_from(hex(traceparent.get(53..55)?)?).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            parent_id: 0,
            // Only the flag we know is passed on.
            flags: flags & 1,
            state: None,
        })
    }

    /// The id of the whole trace.
    #[must_use]
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The id of this span.
    #[must_use]
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// The id of the span that this one continues; 0 for the first of a trace.
    #[must_use]
    pub fn parent_id(&self) -> u64 {
        self.parent_id
    }

    /// Whether the trace is to be recorded.
    #[must_use]
    pub fn sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// Decides whether the trace is to be recorded.
    pub fn set_sampled(&mut self, sampled: bool) {
        self.flags = u8::from(sampled);
    }

    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut trace = Self::parse(headers.get(TRACEPARENT)?.as_bytes())?;
        trace.state = headers.get(TRACESTATE).filter(|state| state.len() <= TRACESTATE_MOST).cloned();
        Some(trace)
    }

    /// Writes `traceparent` and `tracestate`, for whoever is called.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_bytes(&self.format()) {
            headers.insert(TRACEPARENT, value);
        }
        match &self.state {
            Some(state) => headers.insert(TRACESTATE, state.clone()),
            None => headers.remove(TRACESTATE),
        };
    }

    fn format(&self) -> [u8; 55] {
        let mut text = [b'-'; 55];
        put_hex(&mut text[0..2], 0);
        put_hex(&mut text[3..35], self.trace_id);
        put_hex(&mut text[36..52], u128::from(self.span_id));
        put_hex(&mut text[53..55], u128::from(self.flags));
        text
    }
}

/// The `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digits and dashes.
        f.write_str(std::str::from_utf8(&self.format()).map_err(|_| fmt::Error)?)
    }
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            // Capitals are invalid in a traceparent.
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

fn put_hex(text: &mut [u8], number: u128) {
    for (place, digit) in text.iter_mut().rev().enumerate() {
        let nibble = usize::try_from(number >> (4 * place) & 0xf).unwrap_or(0);
        *digit = b"0123456789abcdef"[nibble];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn reads_and_writes_the_example_of_the_recommendation() {
        let trace = TraceContext::parse(EXAMPLE.as_bytes()).unwrap();
        assert!(trace.sampled());
        assert_eq!(trace.to_string(), EXAMPLE);
        assert_eq!(trace.format(), EXAMPLE.as_bytes());
    }

    #[test]
    fn refuses_what_the_recommendation_calls_invalid() {
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4bf92f3577b34da6a3ce929d0e0e4736x00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
        let later = format!("01{}-extra", &EXAMPLE[2..]);
        assert!(TraceContext::parse(later.as_bytes()).is_some(), "a later version may be longer");
    }

    #[test]
    fn a_child_keeps_the_trace_and_names_its_parent() {
        let random = Random::seeded(1);
        let root = TraceContext::root(&random, true);
        let child = root.child(&random);
        assert_eq!(child.trace_id(), root.trace_id());
        assert_eq!(child.parent_id(), root.span_id());
        assert_ne!(child.span_id(), root.span_id());
        assert!(child.sampled());
    }

    #[test]
    fn a_step_has_the_same_id_whoever_asks() {
        let random = Random::seeded(1);
        let request = TraceContext::root(&random, true);
        let ids: std::collections::HashSet<u64> = (0..8).map(|step| request.step(step).span_id()).collect();
        assert_eq!(ids.len(), 8);
        assert!(!ids.contains(&request.span_id()));
        assert_eq!(request.step(3), request.clone().step(3));
        assert_eq!(request.step(3).parent_id(), request.span_id());
    }

    #[test]
    fn drops_a_tracestate_that_is_too_long() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(EXAMPLE));
        headers.insert(TRACESTATE, HeaderValue::from_str(&format!("a={}", "x".repeat(510))).unwrap());
        assert!(TraceContext::read(&headers).unwrap().state.is_some());
        headers.insert(TRACESTATE, HeaderValue::from_str(&format!("a={}", "x".repeat(511))).unwrap());
        assert!(TraceContext::read(&headers).unwrap().state.is_none());
    }

    proptest! {
        #[test]
        fn parse_never_panics_and_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
            let _parsed = TraceContext::parse(&bytes);
        }

        #[test]
        fn every_valid_context_round_trips(trace_id in 1u128.., span_id in 1u64.., sampled: bool) {
            let trace = TraceContext { trace_id, span_id, parent_id: 0, flags: u8::from(sampled), state: None };
            prop_assert_eq!(TraceContext::parse(trace.to_string().as_bytes()), Some(trace.clone()));
            prop_assert_eq!(trace.to_string().into_bytes(), trace.format().to_vec());
        }

        #[test]
        fn what_parses_is_kept(text in "0[0-9a-f]-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}") {
            if let Some(trace) = TraceContext::parse(text.as_bytes()) {
                let written = trace.to_string();
                prop_assert_eq!(&written[3..52], &text[3..52]);
            }
        }
    }
}
