//! What a question says beside its subject: numbers, names, negations, directions, kind.

use super::words::{CALENDAR_WORDS, NEGATING, NUMBER_WORDS, STOP_WORDS, Sides, UNIT_WORDS};
use super::{word_table, wording::Wording};

/// A number and what it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) value: Box<str>,
    /// Its one name among synonyms. Empty: none, or none that is known.
    pub(super) unit: Box<str>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An explanation, a fact, a piece of work; also a statement.
    General,
    /// A way to do something.
    Manner,
    Person,
    Time,
    Place,
    Cause,
    /// A number.
    Count,
    /// Yes or no.
    Truth,
    /// One of several.
    Choice,
}

/// What [`agree`](super::agree) compares, taken from a text once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Features {
    pub(super) numbers: Vec<Number>,
    /// `EMAIL_1` of `<EMAIL_1>`, in order.
    pub(super) placeholders: Vec<Box<str>>,
    pub(super) quotes: Vec<Box<str>>,
    /// As written, in order.
    pub(super) identifiers: Vec<Box<str>>,
    /// Capitalised within a sentence, or a month or day; in lower case.
    pub(super) names: Vec<Box<str>>,
    pub(super) negations: usize,
    pub(super) sides: Sides,
    pub(super) kinds: Vec<Kind>,
    /// All words, in lower case and without plural, in order.
    pub(super) words: Vec<Box<str>>,
    /// Those that say something about the subject, as indices into `words`.
    pub(super) content: Vec<usize>,
    /// The same text as the calibrated model looks at it.
    pub(super) wording: Wording,
}

impl Features {
    /// Takes a text apart. A few microseconds for a question.
    pub(crate) fn of(text: &str) -> Self {
        let mut features = Self { quotes: quoted(text), wording: Wording::of(text), ..Self::default() };
        let mut sentence = Sentence::default();
        // A word at the start of a sentence has a capital whatever it is.
        let mut starts = true;
        let mut chunks = text.split_whitespace().peekable();
        while let Some(chunk) = chunks.next() {
            let core = trimmed(chunk);
            if let Some(placeholder) = placeholder(core) {
                features.placeholders.push(placeholder.into());
                features.word(&placeholder.to_lowercase());
            } else if core.contains(char::is_numeric) && numeral(core) {
                features.number(core, chunks.peek().copied());
            } else if let Some(words) = choice(core) {
                // `his/her`, `and/or`: words, not a path.
                for word in words {
                    features.plain(word, starts, None);
                    sentence.word(word);
                }
            } else if is_identifier(core) {
                let lower = core.trim_end_matches('/').to_lowercase();
                // `MasterCard` is a name that some write as `Mastercard`.
                let list = if lower.chars().all(char::is_alphabetic) {
                    &mut features.names
                } else {
                    &mut features.identifiers
                };
                list.push(if lower.chars().all(char::is_alphabetic) { lower.as_str() } else { core }.into());
                features.word(&lower);
            } else if !core.is_empty() {
                features.plain(core, starts, chunks.peek().copied());
                sentence.word(core);
            }
            starts = ends_sentence(chunk);
            if starts {
                features.kinds.extend(sentence.end(chunk.contains('?')));
            }
        }
        features.kinds.extend(sentence.end(false));
        features
    }

    /// Roughly, in bytes.
    pub(crate) fn size(&self) -> usize {
        let words = self.words.iter().chain(&self.names).chain(&self.identifiers).chain(&self.quotes);
        let text: usize = words.map(|word| word.len() + size_of::<Box<str>>()).sum();
        size_of::<Self>()
            + text
            + 48 * self.numbers.len()
            + 8 * self.content.len()
            + 4 * self.sides.count()
            + self.wording.size()
    }

    fn word(&mut self, lower: &str) {
        let stem = stem(lower);
        if !STOP_WORDS.contains(lower) {
            self.content.push(self.words.len());
        }
        self.words.push(stem.into());
    }

    fn plain(&mut self, core: &str, starts: bool, next: Option<&str>) {
        let lower = core.to_lowercase().replace('’', "'");
        let capital = core.starts_with(char::is_uppercase);
        let shouted =
            core.chars().filter(|c| c.is_alphabetic()).count() > 1 && !core.contains(char::is_lowercase);
        let first_person = lower == "i" || lower.starts_with("i'");
        // Also as some write it: `does't`, `do n't`.
        let negated = lower.ends_with("n't") || lower.len() > 3 && lower.ends_with("'t");
        for part in lower.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()) {
            if let Some(value) = NUMBER_WORDS.get(part) {
                let unit = next.map_or("", unit_of);
                self.numbers.push(Number { value: (*value).into(), unit: unit.into() });
            }
            self.negations += usize::from(NEGATING.contains(part));
            self.sides.note(part);
            let named = (capital && !starts) || shouted || CALENDAR_WORDS.contains(part);
            if named && !first_person && part.len() > 1 && !STOP_WORDS.contains(part) {
                self.names.push(stem(part).into());
            }
            // `Plan B`, `Star S`: a letter tells one from the other. Not so in `Take A Walk`.
            let article = core == "A" && next.is_some_and(|next| next.starts_with(char::is_uppercase));
            if core.chars().count() == 1 && capital && !starts && !first_person && !article {
                self.identifiers.push(core.into());
            }
            self.word(part);
        }
        self.negations += usize::from(negated);
    }

    /// The numbers in something like `5`, `$1,000.50`, `10-20`, `5km`, `3rd`, `50%`.
    fn number(&mut self, core: &str, next: Option<&str>) {
        let bytes = core.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if !bytes[at].is_ascii_digit() {
                at += 1;
                continue;
            }
            let from = at;
            while at < bytes.len()
                && (bytes[at].is_ascii_digit()
                    || (matches!(bytes[at], b'.' | b',')
                        && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)))
            {
                at += 1;
            }
            let negative =
                core[..from].ends_with(['-', '−']) && !core[..from].contains(char::is_alphanumeric);
            let rest = core[at..].trim_start_matches(['-', ' ']);
            let suffix: &str = rest.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default();
            let unit = if let Some(currency) = currency(&core[..from]) {
                currency.to_owned()
            } else if suffix.is_empty() {
                next.map_or("", unit_of).to_owned()
            } else {
                let suffix = suffix.to_lowercase();
                UNIT_WORDS.get(suffix.as_str()).map_or(suffix.clone(), |unit| (*unit).to_owned())
            };
            let value = plain_number(&core[from..at], negative);
            self.numbers.push(Number { value: value.into(), unit: unit.into() });
        }
        self.word(&core.to_lowercase());
    }
}

/// The one name of a unit, if the word is one.
fn unit_of(word: &str) -> &'static str {
    let lower = trimmed(word).to_lowercase();
    UNIT_WORDS.get(lower.as_str()).copied().unwrap_or_default()
}

fn currency(before: &str) -> Option<&'static str> {
    let sign = before.chars().next_back()?;
    ["$", "€", "£", "¥", "₹"].into_iter().find(|known| known.starts_with(sign))
}

/// `1,000.50` as `1000.5`, so that spelling does not make a difference but value does.
fn plain_number(digits: &str, negative: bool) -> String {
    let mut groups = digits.split('.').next().unwrap_or_default().split(',').skip(1).peekable();
    let thousands = groups.peek().is_some() && groups.all(|group| group.len() == 3);
    let mut plain = if thousands { digits.replace(',', "") } else { digits.to_owned() };
    // A version (1.2.0) is no decimal.
    if plain.matches('.').count() == 1 {
        plain.truncate(plain.trim_end_matches('0').trim_end_matches('.').len());
    }
    if negative {
        plain.insert(0, '-');
    }
    plain
}

/// Removes quotes, brackets and marks around a word.
fn trimmed(chunk: &str) -> &str {
    let chunk = chunk
        .trim_start_matches(['"', '\'', '“', '”', '‘', '’', '«', '»', '(', '[', '{', '*', '`', '¿', '¡']);
    let marks =
        ['.', ',', ';', ':', '!', '?', ')', ']', '}', '"', '\'', '”', '“', '’', '‘', '«', '»', '*', '`', '…'];
    // `foo()` is a function's name.
    if chunk.trim_end_matches(['.', ',', ';', ':', '!', '?']).ends_with("()") {
        return chunk.trim_end_matches(['.', ',', ';', ':', '!', '?']);
    }
    chunk.trim_end_matches(marks)
}

fn ends_sentence(chunk: &str) -> bool {
    let bare = chunk.trim_end_matches(['"', '\'', ')', ']', '”', '’', '»']);
    bare.ends_with(['.', '?', '!', ':'])
        && !matches!(bare, "e.g." | "i.e." | "vs." | "Mr." | "Mrs." | "Dr." | "St.")
}

/// `EMAIL_1` in `<EMAIL_1>`, also with other brackets or marks around it.
fn placeholder(core: &str) -> Option<&str> {
    let open = core.find('<')?;
    let close = open + core[open..].find('>')?;
    let name = &core[open + 1..close];
    let (kind, number) = name.rsplit_once('_')?;
    let upper =
        !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    (upper && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(name)
}

/// Whether digits make a number, rather than a part of a name (`gpt4`, `H2O`).
fn numeral(core: &str) -> bool {
    let first = core.trim_start_matches(|c: char| !c.is_alphanumeric());
    first.starts_with(|c: char| c.is_ascii_digit()) && !core.contains('_')
}

/// Whether a word looks like code: `snake_case`, `camelCase`, `a.b`, `a::b`, `f()`, `--flag`, `C++`, `gpt4`, `@x`, a path.
fn is_identifier(core: &str) -> bool {
    // A face made of marks is none.
    if !core.contains(char::is_alphanumeric) {
        return false;
    }
    let inner = |c: char| {
        matches!(
            c,
            '_' | '(' | '<' | '>' | '=' | '@' | '#' | '\\' | '/' | '+' | '$' | '{' | '|' | '^' | '~' | '&'
        )
    };
    if core.starts_with("--") || core.contains(inner) || core.contains(char::is_numeric) {
        return true;
    }
    let chars = || core.chars().zip(core.chars().skip(1));
    let hump = chars().any(|(a, b)| a.is_lowercase() && b.is_uppercase());
    let dotted = core.split('.').count() > 1 && core.split('.').all(|part| part.chars().count() > 1);
    hump || dotted || core.contains("::")
}

/// The words that a stroke stands between.
fn choice(core: &str) -> Option<impl Iterator<Item = &str>> {
    let known = |word: &str| word.len() > 1 && word_table::find(word).is_some();
    (core.contains('/') && core.split('/').all(known)).then(|| core.split('/'))
}

/// What stands in quotation marks, backticks included.
fn quoted(text: &str) -> Vec<Box<str>> {
    let mut quotes = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find(['"', '“', '«', '`']) {
        let mark = rest[open..].chars().next().unwrap_or('"');
        let close = match mark {
            '“' => '”',
            '«' => '»',
            mark => mark,
        };
        let inside = &rest[open + mark.len_utf8()..];
        let Some(end) = inside.find(close) else { break };
        if !inside[..end].trim().is_empty() {
            quotes.push(inside[..end].trim().into());
        }
        rest = &inside[end + close.len_utf8()..];
    }
    quotes
}

/// Cuts plural and possessive: `friends` and `friend` are the same word to an order.
fn stem(lower: &str) -> &str {
    match lower.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with(['s', 'u', 'i']) => stem,
        _ => lower,
    }
}

/// The kind of one sentence, from its words as they come.
#[derive(Debug, Default)]
struct Sentence {
    words: Vec<String>,
}

/// Enough words to find what is asked.
const LOOKED_AT: usize = 48;

impl Sentence {
    fn word(&mut self, core: &str) {
        if self.words.len() < LOOKED_AT {
            self.words.push(core.to_lowercase().replace('’', "'"));
        }
    }

    /// Judges the sentence and begins another. `None` for a statement.
    fn end(&mut self, asks: bool) -> Option<Kind> {
        let words = std::mem::take(&mut self.words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut rest = impolite(&words);
        if let Some(kind) = asked(rest) {
            return Some(kind);
        }
        if !asks {
            return None;
        }
        if rest.first().is_some_and(|word| AUXILIARIES.contains(word)) {
            return Some(Kind::Truth);
        }
        while let Some((_, behind)) = rest.split_first() {
            if let Some(kind) = asked(behind) {
                return Some(kind);
            }
            rest = behind;
        }
        Some(Kind::General)
    }
}

const AUXILIARIES: [&str; 30] = [
    "is",
    "are",
    "was",
    "were",
    "am",
    "do",
    "does",
    "did",
    "can",
    "could",
    "will",
    "would",
    "should",
    "shall",
    "may",
    "might",
    "must",
    "has",
    "have",
    "had",
    "isn't",
    "aren't",
    "doesn't",
    "don't",
    "didn't",
    "can't",
    "couldn't",
    "won't",
    "wasn't",
    "shouldn't",
];

/// What begins a request without changing it.
const POLITE: [&[&str]; 14] = [
    &["please"],
    &["can", "you"],
    &["could", "you"],
    &["would", "you"],
    &["will", "you"],
    &["tell", "me"],
    &["do", "you", "know"],
    &["i", "want", "to", "know"],
    &["i'd", "like", "to", "know"],
    &["i", "would", "like", "to", "know"],
    &["explain"],
    &["describe"],
    &["hi"],
    &["hello"],
];

fn impolite<'a, 'b>(mut words: &'b [&'a str]) -> &'b [&'a str] {
    while let Some(polite) = POLITE.iter().find(|polite| words.starts_with(polite)) {
        words = &words[polite.len()..];
    }
    words
}

/// The kind that a question word at the beginning gives.
fn asked(words: &[&str]) -> Option<Kind> {
    let second = words.get(1).copied().unwrap_or_default();
    Some(match *words.first()? {
        "who" | "whom" | "whose" | "who's" => Kind::Person,
        "when" | "when's" => Kind::Time,
        "where" | "where's" => Kind::Place,
        "why" | "why's" => Kind::Cause,
        "which" => Kind::Choice,
        "how"
            if matches!(
                second,
                "many"
                    | "much"
                    | "long"
                    | "far"
                    | "old"
                    | "often"
                    | "tall"
                    | "big"
                    | "fast"
                    | "high"
                    | "deep"
                    | "large"
                    | "heavy"
                    | "wide"
                    | "soon"
                    | "late"
                    | "early"
            ) =>
        {
            Kind::Count
        }
        "how" if second == "come" => Kind::Cause,
        "how" => Kind::Manner,
        "what" | "what's" => match second {
            "makes" | "made" | "causes" | "caused" => Kind::Cause,
            "time" | "year" | "date" | "day" | "month" => Kind::Time,
            "is" if words.iter().skip(2).take(3).any(|word| matches!(*word, "time" | "year" | "date")) => {
                Kind::Time
            }
            _ if words
                .iter()
                .take(6)
                .any(|word| matches!(*word, "reason" | "reasons" | "cause" | "causes")) =>
            {
                Kind::Cause
            }
            _ => Kind::General,
        },
        _ => return None,
    })
}
