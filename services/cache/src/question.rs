//! Whether a request may be answered by the meaning of its last turn, and what that turn says.

use std::{collections::HashSet, sync::LazyLock};

use signalbox_proto::common::v1::{ChatRequest, Role, part};

use crate::policy::Terms;

/// Why the semantic tier is not asked; bounded words for `LookupResult.semantic_skipped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skip {
    /// Policy, request or configuration do not want it.
    Off,
    /// There is no embedding model.
    Unavailable,
    /// The guard's digest is missing: the partition would be incomplete.
    NoGuardDigest,
    /// The policy keeps users apart and the request names none.
    NoUser,
    /// Tools may be called.
    Tools,
    /// Answers are meant to differ.
    Temperature,
    /// The last message is not a user's.
    NoQuestion,
    /// The question is not one text.
    NotText,
    /// The question is longer than the model reads.
    TooLong,
    /// The rules of the second look do not know the script.
    Script,
    /// The answer changes with time.
    TimeBound,
    /// The answer is about the asker.
    Personal,
    /// The vector took too long.
    Timeout,
    /// All embedding workers are busy.
    Busy,
    /// The model failed.
    Failed,
}

impl Skip {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Unavailable => "unavailable",
            Self::NoGuardDigest => "no_guard_digest",
            Self::NoUser => "no_user",
            Self::Tools => "tools",
            Self::Temperature => "temperature",
            Self::NoQuestion => "no_question",
            Self::NotText => "not_text",
            Self::TooLong => "too_long",
            Self::Script => "script",
            Self::TimeBound => "time_bound",
            Self::Personal => "personal",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Failed => "failed",
        }
    }
}

/// Temperature up to which two answers to one question are as good as each other.
const TEMPERATURE: f64 = 1.0;

/// Gives the text to compare by meaning.
pub(crate) fn of<'a>(chat: &'a ChatRequest, terms: &Terms, max_text_bytes: usize) -> Result<&'a str, Skip> {
    if !terms.semantic {
        return Err(Skip::Off);
    }
    if !chat.tools.is_empty() {
        return Err(Skip::Tools);
    }
    let temperature = chat.sampling.as_ref().and_then(|sampling| sampling.temperature);
    // Written so that NaN is skipped too.
    if !terms.high_temperature && temperature.is_some_and(|t| t.is_nan() || t > TEMPERATURE) {
        return Err(Skip::Temperature);
    }
    let last = chat.messages.last().filter(|last| last.role() == Role::User).ok_or(Skip::NoQuestion)?;
    let [only] = last.parts.as_slice() else { return Err(Skip::NotText) };
    let Some(part::Kind::Text(text)) = &only.kind else { return Err(Skip::NotText) };
    let text = text.text.trim();
    admits(text, terms, max_text_bytes)?;
    Ok(text)
}

/// Decides whether a question may be compared by meaning.
pub(crate) fn admits(text: &str, terms: &Terms, max_text_bytes: usize) -> Result<(), Skip> {
    if text.is_empty() {
        return Err(Skip::NotText);
    }
    if text.len() > max_text_bytes {
        return Err(Skip::TooLong);
    }
    if text.chars().any(|c| c.is_alphabetic() && !is_latin(c)) {
        return Err(Skip::Script);
    }
    judge(text, terms)
}

/// ASCII, Latin-1, Latin Extended-A and -B, and Latin Extended Additional.
fn is_latin(c: char) -> bool {
    matches!(c, '\0'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')
}

/// Words after which an answer is true for a while only.
const TIME_WORDS: &str = "today todays tonight tomorrow yesterday now nowadays currently current latest newest recent recently \
    upcoming ongoing breaking forecast weather headlines anymore \
    heute morgen gestern jetzt aktuell aktuelle aktuellen neueste neuesten derzeit wetter \
    aujourd hui demain hier maintenant actuel actuelle actuellement hoy mañana ayer ahora actualmente oggi domani ieri adesso";

/// What follows `this`, `next` or `last` when a time is meant.
const TIMES: &str = "year month week weekend day morning afternoon evening night hour minute quarter season semester \
    monday tuesday wednesday thursday friday saturday sunday summer winter spring autumn fall century decade time";

/// What follows `my` or `our` when the answer depends on who asks.
const OWN_THINGS: &str = "order orders account accounts invoice invoices balance subscription ticket tickets booking bookings \
    reservation reservations package parcel delivery deliveries shipment payment payments refund refunds appointment \
    appointments case claim claims bill bills card cards name email address addresses location profile plan contract salary \
    paycheck files document documents data flight flights trip itinerary schedule calendar meeting meetings inbox messages \
    purchase purchases statement loan mortgage policy prescription prescriptions results grade grades score usage quota \
    history status age birthday phone number team manager boss";

/// Words that are about the asker wherever they stand.
const OWN_WORDS: &str = "mine myself ours ourselves meine meinen mein meiner mes mon mi mis";

static TIME: LazyLock<HashSet<&str>> = LazyLock::new(|| TIME_WORDS.split_whitespace().collect());
static TIMED: LazyLock<HashSet<&str>> = LazyLock::new(|| TIMES.split_whitespace().collect());
static THINGS: LazyLock<HashSet<&str>> = LazyLock::new(|| OWN_THINGS.split_whitespace().collect());
static OWN: LazyLock<HashSet<&str>> = LazyLock::new(|| OWN_WORDS.split_whitespace().collect());

fn judge(text: &str, terms: &Terms) -> Result<(), Skip> {
    let lower = text.to_lowercase();
    // Two words back: "my last order".
    let (mut before, mut before_that) = ("", "");
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if !terms.time_bound {
            let pointed = matches!(before, "this" | "next" | "last" | "past") && TIMED.contains(word);
            if TIME.contains(word) || pointed {
                return Err(Skip::TimeBound);
            }
        }
        if !terms.personal {
            let owned = |word: &str| matches!(word, "my" | "our");
            let thing = THINGS.contains(word) && (owned(before) || owned(before_that));
            let asked_of_self =
                matches!((before, word), ("am" | "was" | "did" | "do" | "have" | "should", "i"));
            let of_own_state =
                asked_of_self && !matches!(before_that, "how" | "what" | "where" | "when" | "why" | "which");
            if thing || OWN.contains(word) || of_own_state {
                return Err(Skip::Personal);
            }
        }
        (before_that, before) = (before, word);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::{Message, Part, Sampling, Text, Tool};

    use super::*;
    use crate::config::Config;

    fn chat(text: &str) -> ChatRequest {
        let kind = Some(part::Kind::Text(Text { text: text.into() }));
        let parts = vec![Part { kind, ..Part::default() }];
        let message = Message { role: Role::User.into(), parts, ..Message::default() };
        ChatRequest { model: "m".into(), messages: vec![message], ..ChatRequest::default() }
    }

    fn terms() -> Terms {
        Terms::of(&Config::default(), "", None).unwrap()
    }

    #[test]
    fn plain_questions_are_compared() {
        for text in [
            "Why is the sky blue?",
            " What makes the sky blue? ",
            "How do I reset my password?",
            "Wie koche ich Nudeln?",
            "What did Napoleon do last?",
        ] {
            assert_eq!(of(&chat(text), &terms(), 768), Ok(text.trim()));
        }
    }

    #[test]
    fn what_changes_with_time_or_asker_is_not() {
        let cases = [
            ("What is the weather in Paris?", Skip::TimeBound),
            ("Who is the current president of France?", Skip::TimeBound),
            ("What is the LATEST version of Rust?", Skip::TimeBound),
            ("Which films come out this week?", Skip::TimeBound),
            ("Where is my order?", Skip::Personal),
            ("Where is my last order?", Skip::Personal),
            ("Am I eligible?", Skip::Personal),
            ("What is the capital of Россия?", Skip::Script),
            ("日本の首都はどこですか", Skip::Script),
            ("", Skip::NotText),
        ];
        for (text, skip) in cases {
            assert_eq!(of(&chat(text), &terms(), 768), Err(skip), "{text}");
        }
        let lax = Terms { time_bound: true, personal: true, ..terms() };
        assert!(of(&chat("Where is my latest order?"), &lax, 768).is_ok());
    }

    #[test]
    fn requests_of_another_shape_are_not() {
        let text = "Why is the sky blue?";
        let mut tools = chat(text);
        tools.tools.push(Tool::default());
        assert_eq!(of(&tools, &terms(), 768), Err(Skip::Tools));
        for (temperature, allowed) in [(1.0, true), (1.1, false), (f64::NAN, false)] {
            let mut hot = chat(text);
            hot.sampling = Some(Sampling { temperature: Some(temperature), ..Sampling::default() });
            assert_eq!(of(&hot, &terms(), 768).is_ok(), allowed, "{temperature}");
        }
        let mut answered = chat(text);
        answered.messages.push(Message { role: Role::Assistant.into(), ..Message::default() });
        assert_eq!(of(&answered, &terms(), 768), Err(Skip::NoQuestion));
        let mut two = chat(text);
        let part = two.messages[0].parts[0].clone();
        two.messages[0].parts.push(part);
        assert_eq!(of(&two, &terms(), 768), Err(Skip::NotText));
        assert_eq!(of(&chat(text), &terms(), 10), Err(Skip::TooLong));
        assert_eq!(of(&chat(text), &Terms { semantic: false, ..terms() }, 768), Err(Skip::Off));
    }
}
