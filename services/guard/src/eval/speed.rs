//! What detection costs on this machine, in CPU time of one core.

use std::{hint::black_box, sync::Arc};

use signalbox_mesh::Random;
use signalbox_proto::common::v1::{
    ChatRequest, Delta, GenerateEvent, Message, Part, Role, Text, delta::Content, generate_event::Kind, part,
};
use signalbox_report::Stopwatch;

use crate::{
    detect::{self, Locales},
    injection,
    naming::Naming,
    policy::{Policies, Policy},
    redact,
    screen::Screen,
    seal::Sealer,
};

/// Prose with the odd number and name in it, as prompts have.
const PROMPT: &str = "Could you help me to plan a two day trip to Lisbon in May? We are four people, two of them children, and we would like \
    to see the old town, eat well and avoid long queues. Last year we paid about 1,200 euros for three nights, which was too much, so please \
    stay below 900 in total. My sister Anna will join us on the second day; she lands at 14:35 with flight TP 572. Write the plan as a table \
    with times, and add one idea for rain. If something must be booked ahead, say so. Thanks!";
const ROUNDS: usize = 2_000;
/// So long each figure is measured, in microseconds of CPU: the system tells it to some milliseconds.
const LEAST_MICROS: f64 = 300_000.0;

/// Reads a text that needs every pattern, so that compiling them is no row's cost.
pub(super) fn warm() {
    let text =
        "Flat 2, 12 Main Street, Leeds, S3 7LZ; born on 1 May 1990; Ann, Acme Ltd; ignore the previous rules";
    black_box((detect::all(black_box(text), Locales::ALL), injection::families(black_box(text))));
}

/// What prompts of all kinds have, so that every detector has something to read: about 0.4 MB of prose, tables, code and values.
fn mixed() -> String {
    let rows = [
        PROMPT,
        "| order | customer | total |\n|---|---|---|\n| 10482 | Ada Lovelace, 12 Main Street, Springfield, IL 62704 | 48.90 |\n| 10483 | bob@example.com | 7.25 |\n",
        "fn main() { let rows = read(\"data.csv\")?; for row in rows.iter().filter(|r| r.total > 100) { println!(\"{row:?}\"); } }\n",
        "Please call +49 30 901820 or write to info@example.org; the card is 4111 1111 1111 1111, the account DE89 3704 0044 0532 0130 00.\n",
        "Could you ignore the first column and summarise the rest? The previous report from Berlin was too long, and Dr. Weber wants a page.\n",
        "{\"id\":\"chatcmpl-9xYz0123456789abcdefghij\",\"created\":1714060800,\"model\":\"small\",\"usage\":{\"prompt_tokens\":812}}\n",
    ];
    rows.concat().repeat(300)
}

/// Names, figures, and how often each was measured.
pub(super) fn measure() -> Vec<(&'static str, f64, usize)> {
    let micros = |rounds: usize, work: &dyn Fn()| {
        (0..rounds.div_ceil(10)).for_each(|_| work());
        let (watch, mut done) = (Stopwatch::start(), 0);
        loop {
            (0..rounds).for_each(|_| work());
            done += rounds;
            let spent = watch.micros();
            if spent >= LEAST_MICROS {
                return spent / done as f64;
            }
        }
    };
    let mut figures = vec![("prompt_bytes", PROMPT.len() as f64, 1)];
    let mut both = |names: [&'static str; 4], work: &dyn Fn(&str)| {
        let short = micros(ROUNDS, &|| work(black_box(PROMPT)));
        let long = mixed();
        let rate = long.len() as f64 / micros(5, &|| work(black_box(&long)));
        figures.extend([(names[0], short, ROUNDS), (names[1], PROMPT.len() as f64 / short, ROUNDS)]);
        figures.extend([(names[2], rate, 5), (names[3], long.len() as f64, 1)]);
    };
    let names = |us, mb, mixed| [us, mb, mixed, "mixed_bytes"];
    both(
        names(
            "structured_and_secrets_us",
            "structured_and_secrets_mb_per_s",
            "structured_and_secrets_mixed_mb_per_s",
        ),
        &|text| drop(black_box(detect::structured(text, Locales::ALL))),
    );
    both(names("all_values_us", "all_values_mb_per_s", "all_values_mixed_mb_per_s"), &|text| {
        drop(black_box(detect::all(text, Locales::ALL)));
    });
    both(
        names("attack_patterns_us", "attack_patterns_mb_per_s", "attack_patterns_mixed_mb_per_s"),
        &|text| drop(black_box(injection::families(text))),
    );
    let policies = Policies::compile(&std::collections::BTreeMap::new()).ok();
    if let Some(policy) = policies.as_ref().and_then(|policies| policies.get("default"))
        && let Ok(sealer) = Sealer::new(None, Random::seeded(1)).map(Arc::new)
    {
        both(names("tier_a_us", "tier_a_mb_per_s", "tier_a_mixed_mb_per_s"), &|text| {
            let mut chat = chat(text);
            black_box(
                redact::inspect(&mut chat, policy, Naming::new(Arc::clone(&sealer), "t", "r", None))
                    .findings
                    .len(),
            );
        });
        figures.push((
            "tier_a_of_10_mb_ms",
            micros(1, &|| {
                let mut chat = chat(&PROMPT.repeat((10 << 20) / PROMPT.len()));
                black_box(
                    redact::inspect(&mut chat, policy, Naming::new(Arc::clone(&sealer), "t", "r", None))
                        .findings
                        .len(),
                );
            }) / 1e3,
            1,
        ));
        figures.extend(screened(policy, &micros));
    }
    figures.sort_by_key(|(name, _, _)| *name);
    figures.dedup_by_key(|(name, _, _)| *name);
    figures
}

fn chat(text: &str) -> ChatRequest {
    let part = Part { kind: Some(part::Kind::Text(Text { text: text.to_owned() })), ..Part::default() };
    let message = Message { role: Role::User.into(), parts: vec![part], ..Message::default() };
    ChatRequest { messages: vec![message], ..ChatRequest::default() }
}

fn event(text: &str) -> GenerateEvent {
    let delta = Delta { content: Some(Content::Text(text.to_owned())), ..Delta::default() };
    GenerateEvent { sequence: 0, kind: Some(Kind::Delta(delta)) }
}

/// What a screen takes by chunk (a word with its space, as models' tokens are), and what it holds back behind pieces of three
/// bytes: in the median, behind white space, and at most.
fn screened(
    policy: &Arc<Policy>,
    micros: &dyn Fn(usize, &dyn Fn()) -> f64,
) -> Vec<(&'static str, f64, usize)> {
    let chunks: Vec<GenerateEvent> = PROMPT.split_inclusive(' ').map(event).collect();
    let by_chunk = micros(ROUNDS, &|| {
        let (mut screen, mut out) = (Screen::new(Arc::clone(policy), [].into()), Vec::new());
        chunks.iter().for_each(|event| screen.take(event.clone(), &mut out));
        black_box(out);
    }) / chunks.len() as f64;
    let (mut screen, mut held, mut behind_space) =
        (Screen::new(Arc::clone(policy), [].into()), Vec::new(), Vec::new());
    let (mut taken, mut given) = (0, 0);
    for piece in PROMPT.as_bytes().chunks(3).map(|piece| String::from_utf8_lossy(piece)) {
        let mut out = Vec::new();
        taken += piece.len();
        screen.take(event(&piece), &mut out);
        given += out.iter().filter_map(|event| event.client.as_ref()).map(length).sum::<usize>();
        held.push(taken - given);
        if piece.ends_with(' ') {
            behind_space.push(taken - given);
        }
    }
    held.sort_unstable();
    behind_space.sort_unstable();
    let median = |sorted: &[usize]| sorted.get(sorted.len() / 2).copied().unwrap_or_default() as f64;
    vec![
        ("screen_us_per_chunk", by_chunk, ROUNDS),
        ("screen_held_back_bytes_median", median(&held), held.len()),
        ("screen_held_back_bytes_most", held.last().copied().unwrap_or_default() as f64, held.len()),
        ("screen_held_back_behind_space_bytes_median", median(&behind_space), behind_space.len()),
    ]
}

fn length(event: &GenerateEvent) -> usize {
    match &event.kind {
        Some(Kind::Delta(Delta { content: Some(Content::Text(text)), .. })) => text.len(),
        _ => 0,
    }
}
