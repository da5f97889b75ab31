//! What a prompt's text says about how much thinking it asks for. Cheap, and not bound to any task.

use std::sync::LazyLock;

use regex::Regex;

/// As much of a text as is looked at, in bytes.
const MOST: usize = 16 * 1024;
/// How many features there are.
pub(crate) const COUNT: usize = 12;

/// The features by name, in the order of [`of`]; `scripts/train_router.py` writes them with the weights.
#[cfg(test)]
pub(crate) const NAMES: [&str; COUNT] = [
    "numbers",
    "operators",
    "latex",
    "code_signs",
    "conditions",
    "quantities",
    "mathematics",
    "tasks",
    "code_words",
    "sentence_length",
    "length",
    "numeric_options",
];

/// Words of a group; sorted, lower case.
const CONDITIONS: &[&str] = &[
    "assume",
    "because",
    "given",
    "hence",
    "if",
    "otherwise",
    "since",
    "suppose",
    "then",
    "therefore",
    "thus",
    "unless",
    "when",
    "whether",
];
const QUANTITIES: &[&str] = &[
    "average",
    "bought",
    "buy",
    "cost",
    "difference",
    "double",
    "each",
    "fewer",
    "half",
    "less",
    "many",
    "more",
    "much",
    "per",
    "percent",
    "price",
    "product",
    "rate",
    "ratio",
    "remaining",
    "sold",
    "spend",
    "spent",
    "sum",
    "times",
    "total",
    "triple",
    "twice",
];
const MATHEMATICS: &[&str] = &[
    "angle",
    "area",
    "circle",
    "derivative",
    "equation",
    "function",
    "graph",
    "integer",
    "integral",
    "matrix",
    "mean",
    "modulo",
    "polynomial",
    "positive",
    "prime",
    "probability",
    "radius",
    "real",
    "root",
    "set",
    "square",
    "theorem",
    "triangle",
    "variance",
    "vector",
    "volume",
];
const TASKS: &[&str] = &[
    "calculate",
    "compute",
    "derive",
    "determine",
    "estimate",
    "evaluate",
    "express",
    "find",
    "prove",
    "simplify",
    "solve",
];
const CODE_WORDS: &[&str] = &[
    "algorithm",
    "api",
    "array",
    "assert",
    "class",
    "code",
    "def",
    "function",
    "html",
    "import",
    "integer",
    "java",
    "javascript",
    "list",
    "program",
    "python",
    "return",
    "sql",
    "string",
];

#[expect(clippy::expect_used, reason = "a pattern of ours, which every test compiles")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a legal pattern")
}

static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9]+(?:[.,][0-9]+)*"));
static LATEX: LazyLock<Regex> = LazyLock::new(|| pattern(r"\\[a-zA-Z]+|\$"));
static CODE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?m)```|^[ \t]*(?:def|class|import|from|return|for|while|if|elif|else|public|function|var|let|const)\b|[{};]|[A-Za-z0-9_]\(|==|->|=>|\[[0-9]",
    )
});
/// A choice among several: `A. …`, `(b) …`, `1) …`.
static OPTION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?m)^[ \t]*(?:\(?[A-Ja-j][.):]|\(?[0-9][.)])[ \t]*\S[^\n]*"));

/// Fewer lines that look like choices are none.
const CHOICES: usize = 3;
/// What stands before the choices is the question, if it has this many bytes.
const QUESTION: usize = 20;

/// Measures a text, in the order of `NAMES`; counts as `ln(1 + n)`.
pub(crate) fn of(text: &str) -> [f64; COUNT] {
    let text = &text[..text.floor_char_boundary(MOST)];
    let choices: Vec<_> = OPTION.find_iter(text).collect();
    let choices = if choices.len() >= CHOICES { choices } else { Vec::new() };
    let question = choices.first().map_or(text.len(), regex::Match::start);
    let question = if question > QUESTION { &text[..question] } else { text };
    let numeric = choices.iter().filter(|choice| NUMBER.is_match(past_label(choice.as_str()))).count();
    let groups = [CONDITIONS, QUANTITIES, MATHEMATICS, TASKS, CODE_WORDS];
    let (mut counts, mut words) = ([0_usize; 5], 0_usize);
    for word in question.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
        words += 1;
        // The longest word of a group has eleven letters.
        if word.len() <= 12 {
            let word = word.to_ascii_lowercase();
            for (count, group) in counts.iter_mut().zip(groups) {
                *count += usize::from(group.binary_search(&&*word).is_ok());
            }
        }
    }
    let log = |count: usize| (count as f64).ln_1p();
    let [conditions, quantities, mathematics, tasks, code_words] = counts.map(log);
    [
        log(NUMBER.find_iter(question).count()),
        log(text.chars().filter(|c| "=+*/^<>≤≥×÷±√∑∫".contains(*c)).count()),
        log(LATEX.find_iter(text).count()),
        log(CODE.find_iter(text).count()),
        conditions,
        quantities,
        mathematics,
        tasks,
        code_words,
        (words as f64 / sentences(question) as f64).ln_1p(),
        log(question.chars().count()),
        numeric as f64 / choices.len().max(1) as f64,
    ]
}

fn past_label(choice: &str) -> &str {
    choice.trim_start().split_once(['.', ')', ':']).map_or("", |(_, rest)| rest)
}

/// At least 1.
fn sentences(text: &str) -> usize {
    let mut ends = 0;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let full = matches!(character, '。' | '？' | '！');
        let before_space = characters.peek().is_none_or(|next| next.is_whitespace());
        ends += usize::from(full || (matches!(character, '.' | '!' | '?') && before_space));
    }
    ends.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(text: &str, name: &str) -> f64 {
        of(text)[NAMES.iter().position(|known| *known == name).unwrap()]
    }

    #[test]
    fn counts_what_the_names_say() {
        let ln = |count: f64| count.ln_1p();
        let sum = "If 3 pens cost 1.50 each, how many can I buy for 20?";
        assert_eq!(feature(sum, "numbers"), ln(3.0));
        assert_eq!(feature(sum, "quantities"), ln(4.0), "cost, each, many, buy");
        assert_eq!(feature(sum, "conditions"), ln(1.0));
        assert_eq!(feature("Solve $x^2 = 4$ for \\alpha", "latex"), ln(3.0));
        assert_eq!(feature("Solve x^2 = 4", "operators"), ln(2.0));
        assert_eq!(feature("def f(x):\n    return x[0];", "code_signs"), ln(5.0));
        assert_eq!(feature("", "length"), 0.0);
    }

    #[test]
    fn choices_are_not_the_question() {
        let asked = "What is the sum of the first primes?\nA. 17 and 1\nB. none\nC. 19\nD. 21\nAnswer:";
        assert_eq!(feature(asked, "numbers"), 0.0);
        assert_eq!(feature(asked, "numeric_options"), 0.75);
        assert_eq!(feature("A. 1\nB. 2", "numeric_options"), 0.0, "two lines are no choice");
    }

    #[test]
    fn any_text_is_read() {
        for text in ["\u{feff}", "日本語。どう？", "\n\n\n", "((((((", &"é".repeat(MOST)] {
            assert!(of(text).iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn groups_can_be_searched() {
        for group in [CONDITIONS, QUANTITIES, MATHEMATICS, TASKS, CODE_WORDS] {
            assert!(group.is_sorted());
        }
    }
}
