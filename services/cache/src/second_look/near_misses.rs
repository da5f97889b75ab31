//! Questions that differ in one thing that matters, composed in many forms and languages. Whatever the encoder thinks of them, none may answer
//! the other: each is tried with a cosine that hardly any two different questions reach.

use std::fmt::Write as _;

use super::*;
use crate::config::Config;

/// Near misses are rarely closer to an encoder.
const COSINE: f32 = 0.985;
/// The same for another name in lower case and for a condition more, which an encoder sees: 0.8 to 0.9 mostly.
const SEEN: f32 = 0.95;

/// Tells the pairs that would hit.
fn hits<'a>(cosine: f32, pairs: impl Iterator<Item = (String, String)> + 'a) -> (usize, String) {
    let least = 1.0 - Config::default().semantic.max_error;
    let (mut count, mut told) = (0, String::new());
    for (a, b) in pairs {
        count += 1;
        let probability = right(cosine, &Features::of(&a), &Features::of(&b));
        if a != b && probability.is_some_and(|probability| probability >= least) {
            let _ = writeln!(told, "{probability:?} {a} / {b}");
        }
    }
    (count, told)
}

/// Both fillings in each form.
fn filled<'a>(
    forms: &'a [&'a str],
    fillings: &'a [(&'a str, &'a str)],
) -> impl Iterator<Item = (String, String)> + 'a {
    let fill = |form: &'a str| {
        fillings.iter().map(move |(one, other)| (form.replace("{}", one), form.replace("{}", other)))
    };
    forms.iter().flat_map(move |form| fill(form))
}

fn none_hits(pairs: impl Iterator<Item = (String, String)>, at_least: usize) {
    none_hits_at(COSINE, pairs, at_least);
}

fn none_hits_at(cosine: f32, pairs: impl Iterator<Item = (String, String)>, at_least: usize) {
    let (count, told) = hits(cosine, pairs);
    assert!(count >= at_least, "only {count} pairs");
    assert!(told.is_empty(), "{told}");
}

#[test]
fn changed_numbers() {
    let forms = [
        "How much is {} km in miles?",
        "What is {} plus 7?",
        "A recipe for {} people, please",
        "Anna has {} apples and gives 2 away. How many are left?",
        "A train leaves at noon and drives {} hours. When does it arrive?",
        "Which films were released in the {} most visited countries?",
        "Is {} a prime number?",
        "Explain article {} of the constitution",
        "How do I cook rice for {} persons?",
        "Can I retire with {} dollars a year?",
        "Wie viele Tage haben {} Wochen?",
        "Combien font {} euros en dollars ?",
        "¿Cuánto es {} por siete?",
        "Quanto fa {} diviso tre?",
        "Hoeveel is {} gedeeld door drie?",
        "Quanto são {} metros em pés?",
    ];
    let fillings = [
        ("5", "6"),
        ("12", "21"),
        ("1.5", "15"),
        ("100", "1000"),
        ("1,000", "10,000"),
        ("1990", "1991"),
        ("-3", "3"),
        ("2.50", "2.05"),
        ("50%", "15%"),
        ("three", "four"),
        ("ten", "20"),
        ("1/2", "1/3"),
        ("half", "twice"),
        ("$5", "€5"),
        ("10:30", "11:30"),
        ("1e5", "1e6"),
    ];
    none_hits(filled(&forms, &fillings), 250);
}

#[test]
fn changed_units() {
    let forms = [
        "How long is 5 {}?",
        "Convert 20 {} please",
        "Is 3 {} a lot?",
        "What can I buy for 100 {}?",
        "I need 7 {} by train",
    ];
    let fillings = [
        ("km", "miles"),
        ("kg", "pounds"),
        ("minutes", "hours"),
        ("days", "weeks"),
        ("ml", "l"),
        ("dollars", "euros"),
        ("°C", "°F"),
        ("MB", "GB"),
        ("months", "years"),
        ("inches", "centimeters"),
    ];
    none_hits(filled(&forms, &fillings), 50);
}

#[test]
fn negations() {
    let forms = [
        "Is it {} to run on wet grass?",
        "Why is it {} to swim after lunch?",
        "Which plants are {} for dogs?",
        "What makes a contract {}?",
        "When is a marriage {}?",
        "Are these forms {} abroad?",
    ];
    let adjectives = [
        ("safe", "not safe"),
        ("safe", "unsafe"),
        ("legal", "illegal"),
        ("possible", "impossible"),
        ("healthy", "unhealthy"),
        ("valid", "invalid"),
        ("responsible", "irresponsible"),
        ("honest", "dishonest"),
        ("useful", "useless"),
        ("harmful", "harmless"),
        ("advised", "never advised"),
        ("allowed", "forbidden"),
    ];
    let whole = [
        ("Which foods contain gluten?", "Which foods do not contain gluten?"),
        ("Which foods contain gluten?", "Which foods don't contain gluten?"),
        ("Should I eat before a run?", "Shouldn't I eat before a run?"),
        ("How do I bake bread with yeast?", "How do I bake bread without yeast?"),
        ("Can I travel with a visa?", "Can I travel without a visa?"),
        ("Why do cats purr?", "Why do cats never purr?"),
        ("What can everybody learn?", "What can nobody learn?"),
        ("Which birds can fly?", "Which birds cannot fly?"),
        ("Which birds can fly?", "Which birds can't fly?"),
        ("Ist Backpulver giftig?", "Ist Backpulver nicht giftig?"),
        ("Welche Vögel haben Federn?", "Welche Vögel haben keine Federn?"),
        ("Pourquoi le ciel est bleu ?", "Pourquoi le ciel n'est pas bleu ?"),
        ("¿Es peligroso nadar?", "¿No es peligroso nadar?"),
        ("È pericoloso nuotare?", "Non è pericoloso nuotare?"),
        ("É perigoso nadar?", "Não é perigoso nadar?"),
        ("Is zwemmen gevaarlijk?", "Is zwemmen niet gevaarlijk?"),
        ("Är det farligt?", "Är det inte farligt?"),
    ];
    let whole = whole.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    none_hits(filled(&forms, &adjectives).chain(whole), 80);
}

#[test]
fn directions() {
    let forms = [
        "How do I convert {a} to {b}?",
        "How do I get from {a} to {b}?",
        "To {b} from {a}: how long does it take?",
        "Is {a} better than {b}?",
        "Why did {a} attack {b}?",
        "Does {a} cause {b}?",
        "How much does {a} owe {b}?",
        "How do I import {a} into {b}?",
        "Can {a} eat {b}?",
        "Is {a} the parent of {b}?",
        "Copy everything from {a} to {b}",
        "Translate this from {a} into {b}",
        "Who is older than {a} but younger than {b}?",
        "What does {a} think about {b}?",
        "Why does {a} need {b}?",
        "Can {a} run on {b}?",
        "How do I replace {a} with {b}?",
        "Subtract {a} from {b}",
        "Did {a} come before {b}?",
        "Who sold {a} to {b}?",
        "Is {a} made of {b}?",
        "How do I mirror {a} on {b}?",
        "What happens to {a} when {b} leaves?",
        "Wie komme ich von {a} nach {b}?",
        "Comment aller de {a} à {b} ?",
        "¿Cómo llego de {a} a {b}?",
        "Come vado da {a} a {b}?",
        "Hoe kom ik van {a} naar {b}?",
        "Como vou de {a} para {b}?",
    ];
    let pairs = [
        ("paris", "london"),
        ("Paris", "London"),
        ("json", "yaml"),
        ("Germany", "France"),
        ("cats", "dogs"),
        ("smoking", "stress"),
        ("my landlord", "my bank"),
        ("Linux", "Windows"),
        ("the king", "the queen"),
        ("Anna", "Bob"),
        ("JPEG", "PNG"),
        ("water", "wine"),
    ];
    let swapped = forms.iter().flat_map(|form| {
        pairs.iter().map(move |(a, b)| {
            let with = |a: &str, b: &str| form.replace("{a}", a).replace("{b}", b);
            (with(a, b), with(b, a))
        })
    });
    let verbs = [
        ("increase", "decrease"),
        ("raise", "lower"),
        ("upload", "download"),
        ("import", "export"),
        ("encrypt", "decrypt"),
        ("buy", "sell"),
        ("lend", "borrow"),
        ("open", "close"),
        ("start", "stop"),
        ("install", "uninstall"),
        ("enable", "disable"),
        ("add", "remove"),
        ("lock", "unlock"),
        ("push", "pull"),
        ("win", "lose"),
        ("accept", "reject"),
        ("connect", "disconnect"),
        ("load", "unload"),
        ("follow", "unfollow"),
        ("do", "undo"),
    ];
    let acts = [
        "How do I {} it?",
        "Why should I {} a file?",
        "What is the best way to {} a device?",
        "When can we {} a share?",
    ];
    none_hits(swapped.chain(filled(&acts, &verbs)), 400);
}

#[test]
fn comparisons_and_quantities() {
    let pairs = [
        ("more", "less"),
        ("more", "fewer"),
        ("most", "least"),
        ("all", "some"),
        ("all", "no"),
        ("every", "no"),
        ("only", "also"),
        ("always", "sometimes"),
        ("always", "rarely"),
        ("both", "neither"),
        ("many", "few"),
        ("first", "last"),
        ("first", "second"),
        ("before", "after"),
        ("above", "below"),
        ("biggest", "smallest"),
        ("cheapest", "fastest"),
        ("best", "worst"),
        ("highest", "lowest"),
        ("oldest", "newest"),
        ("left", "right"),
        ("northern", "southern"),
        ("male", "female"),
        ("maximum", "minimum"),
        ("easy", "difficult"),
        ("young", "old"),
    ];
    let forms = [
        "Which birds in Europe eat {} insects?",
        "Are {} houses in this street for sale?",
        "Why do {} people like rain?",
        "What are the {} rivers of Asia?",
    ];
    none_hits(filled(&forms, &pairs), 100);
}

#[test]
fn names_and_times() {
    let names = [
        ("France", "Germany"),
        ("Toyota", "Honda"),
        ("Python", "Java"),
        ("Einstein", "Newton"),
        ("New York", "New Jersey"),
        ("iPhone 14", "iPhone 15"),
        ("Spiderman", "Batman"),
        ("Mars", "Venus"),
        ("March", "April"),
        ("Monday", "Friday"),
        ("Christmas", "Easter"),
        ("aspirin", "ibuprofen"),
    ];
    let forms = [
        "Who is the head of {}?",
        "What should I know about {} before I decide?",
        "How much does {} cost on average?",
        "Why is {} so popular?",
        "tell me about {}",
        "Was kostet {} im Durchschnitt?",
        "Pourquoi {} est si populaire ?",
    ];
    none_hits_at(SEEN, filled(&forms, &names), 80);
}

#[test]
fn what_is_asked_for() {
    let asked = [("How", "Why"), ("How", "When"), ("When", "Where"), ("Where", "Why"), ("Why", "When")];
    let forms = [
        "{} do birds sing?",
        "{} did Rome fall?",
        "{} can I renew a passport?",
        "{} should we plant tomatoes?",
    ];
    let whole = [
        ("Can I eat raw eggs?", "Should I eat raw eggs?"),
        ("How do I learn to swim?", "Should I learn to swim?"),
        ("How do I learn to swim?", "How long does it take to learn to swim?"),
        ("Who wrote Hamlet?", "When was Hamlet written?"),
        ("What is a mortgage?", "How do I get a mortgage?"),
        ("How many moons does Mars have?", "Which moons does Mars have?"),
        ("Did Rome fall?", "Will Rome fall?"),
        ("What is the capital of Peru?", "What is the currency of Peru?"),
        ("What are the causes of asthma?", "What are the symptoms of asthma?"),
        (
            "What are the advantages of solar power?",
            "What are the advantages and disadvantages of solar power?",
        ),
    ];
    let whole = whole.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    none_hits(filled(&forms, &asked).chain(whole), 30);
}

#[test]
fn what_is_added() {
    let added = [
        "in India",
        "for beginners",
        "without sugar",
        "for free",
        "at night",
        "for children",
        "on Windows",
        "in the 1990s",
        "with diabetes",
        "under water",
        "by hand",
        "in winter",
        "while pregnant",
        "after surgery",
        "as a student",
    ];
    let questions = [
        "How do I bake bread",
        "What is the best way to learn chess",
        "How can I lose weight",
        "Which books should I read",
        "What is the average income",
        "How do plants grow",
    ];
    let pairs = questions.iter().flat_map(|question| {
        added.iter().map(move |added| (format!("{question}?"), format!("{question} {added}?")))
    });
    none_hits_at(SEEN, pairs, 90);
}
