//! What detection costs on this machine, on one core.

use std::{hint::black_box, time::Instant};

use signalbox_proto::common::v1::{Delta, GenerateEvent, delta::Content, generate_event::Kind};

use crate::{detect, injection, policy::Policies, screen::Screen};

/// Prose with the odd number and name in it, as prompts have.
const PROMPT: &str = "Could you help me to plan a two day trip to Lisbon in May? We are four people, two of them children, and we would like \
    to see the old town, eat well and avoid long queues. Last year we paid about 1,200 euros for three nights, which was too much, so please \
    stay below 900 in total. My sister Anna will join us on the second day; she lands at 14:35 with flight TP 572. Write the plan as a table \
    with times, and add one idea for rain. If something must be booked ahead, say so. Thanks!";
const ROUNDS: usize = 2_000;

/// Reads a text that needs every pattern, so that compiling them is no row's cost.
pub(super) fn warm() {
    let text =
        "Flat 2, 12 Main Street, Leeds, S3 7LZ; born on 1 May 1990; Ann, Acme Ltd; ignore the previous rules";
    black_box((detect::all(black_box(text)), injection::families(black_box(text))));
}

/// Names, figures, and how often each was measured.
pub(super) fn measure() -> Vec<(&'static str, f64, usize)> {
    let micros = |work: &dyn Fn()| {
        (0..200).for_each(|_| work());
        let began = Instant::now();
        (0..ROUNDS).for_each(|_| work());
        began.elapsed().as_secs_f64() * 1e6 / ROUNDS as f64
    };
    let rate = |micros: f64| PROMPT.len() as f64 / micros;
    let structured = micros(&|| drop(black_box(detect::in_segment("", black_box(PROMPT)))));
    let all = micros(&|| drop(black_box(detect::all(black_box(PROMPT)))));
    let patterns = micros(&|| drop(black_box(injection::families(black_box(PROMPT)))));
    let chunks: Vec<GenerateEvent> = PROMPT
        .split_inclusive(' ')
        .map(|word| {
            let delta = Delta { content: Some(Content::Text(word.to_owned())), ..Delta::default() };
            GenerateEvent { sequence: 0, kind: Some(Kind::Delta(delta)) }
        })
        .collect();
    let policies = Policies::compile(&std::collections::BTreeMap::new()).ok();
    let policy = policies.as_ref().and_then(|policies| policies.get("default"));
    let screened = policy.map(|policy| {
        micros(&|| {
            let (mut screen, mut out) = (Screen::new(policy.clone(), [].into()), Vec::new());
            chunks.iter().for_each(|event| screen.take(event.clone(), &mut out));
            black_box(out);
        }) / chunks.len() as f64
    });
    vec![
        ("prompt_bytes", PROMPT.len() as f64, 1),
        ("structured_and_secrets_us", structured, ROUNDS),
        ("structured_and_secrets_mb_per_s", rate(structured), ROUNDS),
        ("patterns_us", patterns, ROUNDS),
        ("patterns_mb_per_s", rate(patterns), ROUNDS),
        ("with_names_and_addresses_us", all, ROUNDS),
        ("with_names_and_addresses_mb_per_s", rate(all), ROUNDS),
        ("all_tiers_without_embedding_us", all + patterns, ROUNDS),
        ("screen_us_per_chunk", screened.unwrap_or(0.0), ROUNDS),
    ]
}
