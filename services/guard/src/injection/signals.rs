//! What the words of a window hint at: inputs of the learned head beside the embedding.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::patterns;

/// Groups of words; each is a number in the head's input. Changing them means training anew.
#[rustfmt::skip]
const GROUPS: [&[&str]; 26] = [
    &["ignore", "disregard", "forget", "overrid", "bypass", "neglect", "discard", "circumvent", "nullif", "supersede", "void ", "set aside", "pay no attention", "stop following", "do not follow", "don't follow", "no longer bound"],
    &["instruction", "directive", "guideline", "your rules", "the rules", "all rules", "safeguard", "your programming", "constraints", "content polic", "safety polic", "your polic", "training", "ethic", "moderation", "safety"],
    &["previous", "above", "prior ", "earlier", "preceding", "original", "initial", "former", "so far", "up to now", "before this", "you were given", "you were told", "you have been"],
    &["reveal", "show me your", "show your", "print your", "repeat your", "repeat the", "output your", "leak", "expose", "dump", "disclose", "tell me your", "display your", "verbatim", "word for word", "recite", "list your", "share your", "what are your", "what is your", "what were you"],
    &["system prompt", "system message", "initial prompt", "hidden prompt", "your instruction", "your prompt", "system instruction", "hidden instruction", "secret instruction", "your configuration", "your context", "pre-prompt", "preamble", "developer message", "your system", "your initial", "your guideline"],
    &["you are now", "act as", "pretend", "roleplay", "role-play", "role play", "from now on", "imagine you", "imagine that you", "simulate", "persona", "in character", "assume the role", "take on the role", "play the role", "you will be", "you're now", "become ", "behave as", "respond as", "speak as", "transform into"],
    &[" dan ", "dan.", "dan:", "dan,", "do anything now", "jailbr", "developer mode", "god mode", "stan ", " aim ", "unfiltered", "uncensored", "unrestricted", "amoral", "no limits", "evil ", "freed from", "unlocked", "unchained", "opposite mode", "maximum mode", "anarchy", "rebel"],
    &["as an ai", "language model", "chatgpt", "gpt", "llm", " ai ", "assistant", "openai", "anthropic", "claude", "bot ", "chatbot", "model "],
    &["never refuse", "not refuse", "cannot refuse", "don't refuse", "without refus", "no warning", "no disclaimer", "must comply", "without question", "comply", "never say", "don't apolog", "not apolog", "no moral", "cannot say no", "do not warn", "regardless of", "no matter", "without any filter", "without hesitation", "will answer any", "answer anything", "any question"],
    &["###", "---", "<|", "[inst", "system:", "user:", "assistant:", "</", "```", "[system", "<<sys", "[end", "[start", "begin ", "end of ", "####", "===", "]]", "{{", "<system", "<user", "<admin", "<important", "<instruction"],
    &["admin", "developer of", "authorized", "authorised", "maintenance", "debug mode", "debugging mode", "root ", "sudo", "override code", "security test", "red team", "red-team", "penetration", "emergency", "i am your", "i'm your", "creator", "engineer", "superuser", "privilege", "clearance", "audit", "diagnostic"],
    &["send ", "http://", "https://", "curl", "e-mail", "email", "post ", "upload", "webhook", "exfiltrat", "forward ", "fetch", "append", "attach", "![", "click", "download", "transfer", "delete", "execute", "run the"],
    &["api key", "credential", "password", "database", "secret", "token", "confidential", "private", "sensitive", "internal", "access code", "user data", "customer data", "personal data", "/etc/", "environment variable"],
    &["base64", "rot13", "decode", "encoded", "hexadecimal", "in reverse", "backwards", "cipher", "morse", "leetspeak", "translate the following", "unicode", "obfusc"],
    &["bomb", "weapon", "malware", "hack", "steal", "drug", "kill", "illegal", "exploit", "phishing", "virus", "explosive", "murder", "meth", "poison", "racist", "hate speech", "suicide", "terroris", "ransomware", "counterfeit", "launder", "stalk", "torture", "porn", "sexual", "nsfw", "fraud", "scam"],
    &["how do i", "how can i", "how to", "how does", "how should", "what is the", "what are the", "what does", "why ", "can you explain", "could you explain", "is it ", "is there", "which ", "when ", "where ", "who ", "should i", "what's"],
    &["python", "java", "css", "git ", "docker", "sql", "function", "code", "class", "method", "regex", "linux", "file", "excel", "compiler", "eslint", "react", "api ", "script", "server", "unit test", "bug", "variable", "config", "windows", "database", "array", "loop", "program", "kubernetes", "branch", "commit"],
    &["please", "thank", "could you", "would you", "can you help", "help me", "i need", "i want", "i'd like", "i'm trying", "we are", "my ", "our "],
    &["write a", "create", "generate", "summar", "translat", "explain", "describe", "compose", "draft", "design", "list ", "suggest", "recommend", "compare", "analy", "review", "rewrite", "edit", "improve", "plan "],
    &["instead", "new task", "new instruction", "new rule", "your new", "real task", "actual task", "now do", "now, ", "next, ", "updated instruction", "new role", "new objective", "new goal", "new identity", "change of plan", "first priority", "important:", "attention", "note:", "urgent"],
    &["hypothetical", "fiction", "imagine", "story", "scenario", "game", "thought experiment", "novel", "movie", "screenplay", "dialogue", "character", "dream", "parallel universe", "alternate"],
    &["respond with", "say \"", "only say", "just say", "reply with", "output only", "answer with", "i am ready", "understood", "say '", "respond only", "start with", "begin your", "begin with", "end with", "prefix", "confirm", "acknowledge", "print \"", "print '"],
    &["you must", "you will", "you should", "you can", "you have", "you are", "you do", "you shall", "you cannot", "your response", "your answer", "your output", "your reply", "always ", "never ", "must "],
    &["recipe", "travel", "book", "student", "teacher", "essay", "health", "weather", "history", "music", "garden", "company", "customer", "product", "meeting", "budget", "exercise", "diet", "child", "school", "research", "marketing", "presentation", "interview", "art", "science", "math", "language", "garden", "family", "team", "car ", "house", "dog", "cat "],
    &["ignorier", "vergiss", "anweisung", "ignorez", "oublie", "consigne", "ignora ", "olvida", "instruccion", "istruzion", "dimentica", "ignoriere", "instruções", "esqueça", "negeer", "zignoruj", "игнорир", "инструкц", "忽略", "指令", "指示", "無視", "تجاهل", "무시"],
    &["mean", "definition", "difference between", "concept", "example of", "meaning", "phrase", "word ", "sentence", "term ", "article", "paper", "documentation", "tutorial", "history of", "best practice", "pros and cons", "tips", "ideas", "strategies"],
];

/// Further numbers: families of patterns, lengths and shares of characters.
const OTHERS: usize = 12;
/// The head's inputs beside the embedding.
pub(crate) const COUNT: usize = GROUPS.len() + OTHERS;

struct Words {
    automaton: AhoCorasick,
    groups: Vec<usize>,
}

static WORDS: LazyLock<Option<Words>> = LazyLock::new(|| {
    let all =
        || GROUPS.iter().enumerate().flat_map(|(group, words)| words.iter().map(move |word| (group, *word)));
    let automaton =
        AhoCorasick::builder().match_kind(MatchKind::Standard).build(all().map(|(_, word)| word)).ok()?;
    Some(Words { automaton, groups: all().map(|(group, _)| group).collect() })
});

/// Numbers about a window; `text` is its normalised form, `original` as it came.
pub(crate) fn of(original: &str, text: &str) -> [f32; COUNT] {
    let mut signals = [0.0; COUNT];
    if let Some(words) = &*WORDS {
        for hit in words.automaton.find_overlapping_iter(text) {
            let signal = &mut signals[words.groups[hit.pattern().as_usize()]];
            *signal = (*signal + 1.0f32 / 3.0).min(1.0);
        }
    }
    for family in patterns::families(text) {
        signals[GROUPS.len() + family.min(3)] = 1.0;
    }
    let rest = &mut signals[GROUPS.len() + 4..];
    let bytes = original.len().max(1) as f32;
    let share = |test: fn(&u8) -> bool| original.bytes().filter(test).count() as f32 / bytes;
    rest[0] = (bytes.ln() / 8.0).min(1.0);
    rest[1] = share(|b| !b.is_ascii());
    rest[2] = share(u8::is_ascii_uppercase);
    rest[3] = share(u8::is_ascii_punctuation) * 3.0;
    rest[4] = share(u8::is_ascii_digit);
    rest[5] = f32::from(u8::from(original.contains('?')));
    let yours = text.matches("you").count() as f32;
    rest[6] = (yours * 60.0 / bytes).min(1.0);
    rest[7] = share(|b| *b == b'"' || *b == b'`') * 10.0;
    signals
}
