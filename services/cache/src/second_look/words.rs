//! Word lists of the second look: English, and the negations of its neighbours.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

/// Words that say nothing about the subject; order and overlap are judged without them.
const STOP: &str = "a an the is are was were be been being am do does did done doing can could may might must shall should will \
    would have has had having i you he she it we they me him her us them my your his its our their this that these those there \
    here what which who whom whose when where why how of in on at by for with about as into onto to from and or but if then so \
    please tell explain describe give show define mean means meaning some any just also very really quite s t re ve ll d m \
    work works working way ways thing things one get got make makes made use used using let say said";

/// Words that say nothing when two wordings are aligned: what they shade is looked at apart.
const NIL: &str = "a an the is are was were be been being am do does did doing done have has had having to of that there it its and or so \
    then please also very really quite just actually exactly ever even some any this these those which what who whom whose when where why \
    how in on at by for with about as into onto from if but than s t re ve ll d m would could can may might must shall should will i me my \
    mine we us our you your he him his she her they them their myself yourself one ones someone somebody anyone anybody people person \
    etc like hi hello thanks thank tell explain describe give say said mean means meaning let know here versus";

/// Words that say little.
const LIGHT: &str = "make get use go take work do thing way something need want help kind type sort lot good best better great top well \
    right proper main major certain various different several real ideal perfect effective efficient easy simple possible other";

/// Words that say of how much, how often, which of them.
const QUANTITIES: &str = "only all every each more less fewer few many much both either neither none no almost too enough still yet again \
    already never always often sometimes rarely usually else another same own instead together alone most least half twice once first \
    last next not without per except everyone everybody everything free";

const PREPOSITION: &str = "in on at by for with about into onto to from of and or but if than versus between per during since until \
    through over under against across around near without before after";

/// Negations. `no` is Spanish and Italian as well.
const NEGATIONS: &str = "not no never none nothing nobody nowhere neither nor cannot without except excluding excludes exclude \
    lacks lack lacking unless hardly barely rarely seldom instead dont doesnt didnt isnt arent wasnt werent cant couldnt wont \
    wouldnt shouldnt nicht kein keine keinen keinem keiner keines nie niemals ohne pas jamais aucun aucune sans nunca jamás sin \
    não nem sem non niente mai senza nooit niet geen zonder inte aldrig utan ikke uden";

/// Numbers in words. `one` is left out: it is a pronoun as often as not, and the other side's number shows the difference.
const NUMBERS: &str = "zero=0 two=2 three=3 four=4 five=5 six=6 seven=7 eight=8 nine=9 ten=10 eleven=11 twelve=12 thirteen=13 \
    fourteen=14 fifteen=15 sixteen=16 seventeen=17 eighteen=18 nineteen=19 twenty=20 thirty=30 forty=40 fifty=50 sixty=60 \
    seventy=70 eighty=80 ninety=90 hundred=100 thousand=1000 million=1000000 billion=1000000000 trillion=1000000000000 dozen=12 \
    half=1/2 third=3rd quarter=1/4 fourth=4th fifth=5th sixth=6th seventh=7th eighth=8th ninth=9th tenth=10th twice=2 double=2 \
    thrice=3 triple=3 single=1 once=1 both=2 pair=2 couple=2 hundreds=100 thousands=1000 millions=1000000 billions=1000000000";

/// Units: what stands behind a number, each line one unit.
const UNITS: &[&str] = &[
    "% percent pct percentage",
    "$ usd dollar dollars bucks",
    "€ eur euro euros",
    "£ gbp pound-sterling quid",
    "¥ jpy yen",
    "₹ inr rupee rupees",
    "cent cents",
    "ms millisecond milliseconds",
    "µs us microsecond microseconds",
    "s sec secs second seconds",
    "min mins minute minutes",
    "h hr hrs hour hours",
    "day days",
    "week weeks",
    "month months",
    "yr yrs year years",
    "am a.m",
    "pm p.m",
    "mm millimeter millimeters millimetre millimetres",
    "cm centimeter centimeters centimetre centimetres",
    "m meter meters metre metres",
    "km kilometer kilometers kilometre kilometres",
    "mile miles mi",
    "ft foot feet",
    "inch inches",
    "yard yards yd",
    "mg milligram milligrams",
    "g gram grams",
    "kg kilogram kilograms kilo kilos",
    "lb lbs pound pounds",
    "oz ounce ounces",
    "ton tons tonne tonnes",
    "ml milliliter milliliters millilitre millilitres",
    "l liter liters litre litres",
    "gallon gallons gal",
    "cup cups",
    "tablespoon tablespoons tbsp",
    "teaspoon teaspoons tsp",
    "c °c celsius",
    "f °f fahrenheit",
    "k kelvin",
    "degree degrees °",
    "b byte bytes",
    "kb kilobyte kilobytes",
    "mb megabyte megabytes",
    "gb gigabyte gigabytes",
    "tb terabyte terabytes",
    "bit bits",
    "w watt watts",
    "kw kilowatt kilowatts",
    "kwh",
    "v volt volts",
    "a amp amps ampere amperes",
    "hz hertz",
    "mph",
    "kmh km/h kph",
];

/// Pairs of opposites: `up | down`. Lines that begin with `=` must be the same on both sides, those with `+` where both say either; in the
/// others only opposite sides
/// are a difference, because one of two questions often says such a word and the other not.
const OPPOSITES: &[&str] = &[
    "= before prior | after following",
    "= more | less fewer",
    "increase increases increased increasing raise raises raised raising grow growing boost boosting | \
       decrease decreases decreased decreasing reduce reduces reduced reducing shrink shrinking lower lowers lowering cut cutting",
    "= maximum max maximize maximise highest largest biggest longest greatest tallest | \
       minimum min minimize minimise lowest smallest shortest fewest",
    "most | least",
    "many | few",
    "= greater larger bigger longer taller higher exceed exceeds | smaller shorter",
    "above over | below under beneath",
    "= ascending | descending",
    "= sender | receiver recipient",
    "= left | right",
    "= north northern | south southern",
    "= east eastern | west western",
    "= upload uploads uploading | download downloads downloading",
    "= import imports importing imported | export exports exporting exported",
    "= encode encoding encodes serialize serialise compress | decode decoding decodes deserialize deserialise decompress extract",
    "= encrypt encrypts encryption encrypting | decrypt decrypts decryption decrypting",
    "buy buys buying bought purchase purchases purchased purchasing | sell sells selling sold",
    "= borrow borrows borrowing | lend lends lending",
    "= multiply multiplied multiplication | divide divided division",
    "add adds adding added addition plus | subtract subtracts subtracting subtraction minus remove removes removing removed delete \
       deletes deleting deleted erase",
    "= input inputs | output outputs",
    "read reads reading | write writes writing written",
    "= push pushes pushing | pull pulls pulling",
    "= credit credits | debit debits",
    "= plaintiff | defendant",
    "= male males man men boy boys father son brother husband uncle king he | \
       female females woman women girl girls mother daughter sister wife aunt queen she",
    "= always | never",
    "= true | false",
    "and | or",
    "= first | last",
    "= only",
    "= undo",
    "all every | some several any majority",
    "+ best top good great better ideal | worst bad poor worse terrible",
    "+ advantage advantages benefit benefits pro pros upside strengths strength positive positives | disadvantage disadvantages drawback \
       drawbacks con cons downside weaknesses weakness risk risks negative negatives harm harms",
    "enable enables enabling enabled activate activating turn-on on | disable disables disabling disabled deactivate deactivating off",
    "start starts starting started begin begins beginning launch | stop stops stopping stopped end ends ending finish quit cancel",
    "open opens opening opened | close closes closing closed shut",
    "allow allows allowing allowed permit permits permitted legal | forbid forbids forbidden deny block blocks blocking blocked prevent \
       prevents prohibit prohibited ban banned illegal",
    "accept accepts accepting accepted approve approves | reject rejects rejecting rejected decline declines refuse refuses",
    "pass passes passing passed succeed succeeds success | fail fails failing failed failure",
    "win wins winning won winner | lose loses losing lost loser",
    "gain gains gaining | lose loses losing loss",
    "profit profits | loss losses",
    "love loves like likes | hate hates dislike dislikes",
    "hot warm heat heating | cold cool cooling freezing",
    "high | low",
    "long | short",
    "fast quick faster quickly rapid | slow slower slowly",
    "big large huge | small little tiny",
    "new newer | old older",
    "early earlier | late later",
    "up upward upwards rise rises rising rose upgrade upgrading | down downward downwards fall falls falling fell drop drops dropping \
       downgrade downgrading",
    "in inside internal indoor indoors | out outside external outdoor outdoors",
    "login signin | logout signout",
    "birth born | death died die dies dead",
    "total sum | average mean",
    "source origin | destination target",
    "inhale inhales inhaled | exhale exhales exhaled",
    "cause causes caused causing | cure cures cured treat treats treatment prevent prevents prevention",
    "strong stronger | weak weaker",
    "easy easier easily simple | hard harder difficult",
    "expensive costly dear | cheap cheaper inexpensive affordable",
    "horizontal horizontally | vertical vertically",
    "push | pop",
    "lock locks locking locked | unlock unlocks unlocking unlocked",
    "show visible reveal | hide hidden conceal",
    "save saves saving | discard lose spend spends spending waste",
    "connect connects connecting | disconnect disconnects disconnecting",
    "install installs installing | uninstall uninstalls uninstalling",
    "host | guest",
    "client | server",
    "public | private",
    "static | dynamic",
    "synchronous sync | asynchronous async",
    "supply | demand",
    "majority | minority",
    "odd | even",
    "safe safely | dangerous unsafe harmful",
    "healthy | unhealthy",
    "arrive arrives arrival | depart departs departure leave",
    "send sends sending sent | receive receives receiving received",
    "question | answer",
    "acid acidic | alkaline base basic",
    "differ differs different difference differences | similar similarly similarity similarities alike",
];

/// Prefixes that turn a word into its opposite.
pub(super) const REVERSING: &[&str] =
    &["un", "in", "im", "il", "ir", "dis", "non", "de", "mis", "anti", "a", "counter"];

/// Months and days: names of times, also in lower case.
const CALENDAR: &str = "january february march april june july august september october november december monday tuesday \
    wednesday thursday friday saturday sunday christmas easter";

/// What joins two things as equals.
pub(super) const JOINTS: [&str; 4] = ["and", "or", "versus", "vs"];
/// What may stand before a word and its preposition, and does not change its part.
pub(super) const ARTICLES: &str = "a an the my your his her its our their this that these those some any";

/// Whether a word is in a list with spaces between.
pub(super) fn is(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}

fn set(words: &'static str) -> HashSet<&'static str> {
    words.split_whitespace().collect()
}

pub(super) static NIL_WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| set(NIL));
pub(super) static LIGHT_WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| set(LIGHT));
pub(super) static QUANTITY_WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| set(QUANTITIES));
/// Each with a number of its own, below 64.
pub(super) static PREPOSITIONS: LazyLock<HashMap<&str, u32>> =
    LazyLock::new(|| PREPOSITION.split_whitespace().zip(0..64).collect());

/// One bit for each that holds, the first the lowest.
pub(super) fn bits(holds: impl Iterator<Item = bool>) -> u32 {
    holds.take(32).zip(0..).fold(0, |bits, (holds, at)| bits | u32::from(holds) << at)
}

pub(super) static STOP_WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| set(STOP));
pub(super) static NEGATING: LazyLock<HashSet<&str>> = LazyLock::new(|| set(NEGATIONS));
pub(super) static CALENDAR_WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| set(CALENDAR));
pub(super) static NUMBER_WORDS: LazyLock<HashMap<&str, &str>> =
    LazyLock::new(|| NUMBERS.split_whitespace().filter_map(|pair| pair.split_once('=')).collect());
pub(super) static UNIT_WORDS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    let line = |line: &'static str| {
        let name = line.split_whitespace().next().unwrap_or_default();
        line.split_whitespace().map(move |word| (word, name))
    };
    UNITS.iter().flat_map(|unit| line(unit)).collect()
});

/// How often a text mentions either side of each pair of opposites: the pair, its left, its right, by pair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sides(Vec<(u8, u8, u8)>);

/// The pairs of a word, with the side on which it is; true: left. There are words in several pairs.
static SIDES: LazyLock<HashMap<&str, Vec<(u8, bool)>>> = LazyLock::new(|| {
    let mut sides: HashMap<&str, Vec<(u8, bool)>> = HashMap::new();
    for (pair, line) in (0..=u8::MAX).zip(OPPOSITES) {
        let (left, right) = line.split_once('|').unwrap_or((line, ""));
        for (words, is_left) in [(left.trim_start_matches(['=', '+']), true), (right, false)] {
            for word in words.split_whitespace() {
                sides.entry(word).or_default().push((pair, is_left));
            }
        }
    }
    sides
});

impl Sides {
    pub(super) fn note(&mut self, word: &str) {
        for (pair, is_left) in SIDES.get(word).into_iter().flatten() {
            let at = self.0.binary_search_by_key(pair, |(pair, ..)| *pair).unwrap_or_else(|at| {
                self.0.insert(at, (*pair, 0, 0));
                at
            });
            let (_, left, right) = &mut self.0[at];
            let side = if *is_left { left } else { right };
            *side = side.saturating_add(1);
        }
    }

    /// Whether no word stands for its opposite, and the same sides are mentioned where that must be so.
    pub(super) fn agree(&self, other: &Self) -> bool {
        let of = |sides: &Self, pair: u8| {
            let at = sides.0.binary_search_by_key(&pair, |(pair, ..)| *pair);
            at.map_or((0, 0), |at| (sides.0[at].1, sides.0[at].2))
        };
        self.0.iter().chain(&other.0).all(|(pair, ..)| {
            let (here, there) = (of(self, *pair), of(other, *pair));
            // "What goes up and comes down" mentions both; with two downs it is another question.
            let turned = (here.0 > there.0 && here.1 < there.1) || (here.0 < there.0 && here.1 > there.1);
            let line = OPPOSITES[usize::from(*pair)];
            let said = |(left, right): (u8, u8)| left > 0 || right > 0;
            let strict = line.starts_with('=') || (line.starts_with('+') && said(here) && said(there));
            let mentioned = |(left, right): (u8, u8)| (left > 0, right > 0);
            !turned && (!strict || mentioned(here) == mentioned(there))
        })
    }

    /// How many pairs are mentioned.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_a_number() {
        assert!(OPPOSITES.len() <= 256);
    }
}
