//! Street addresses and written-out dates, by patterns: both need what comes after them, so streams do without.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::{Regex, RegexSet, RegexSetBuilder};

use super::{
    Detected,
    context::{self, Context, Words},
    kinds::Kind,
    locales::Locales,
};

/// A capitalised word.
const CAP: &str = r"\p{Lu}[\p{L}'’.-]*";
/// What may follow a street: a flat, a town, a region, a postcode.
const FLAT: &str =
    r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl|Room|Rm|No)\.? ?#?\w{1,6}|,? #\w{1,6})";
const POSTCODE: &str =
    r"(?:[A-Z]{2,3},? )?(?:\d{5}(?:-\d{4})?|\d{4}|[A-Z]\d[A-Z] ?\d[A-Z]\d|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2})";

/// Ways as the Postal Service's Publication 28 lists them, and the Commonwealth's own.
pub(super) const WAYS: &str = "Alley|Annex|Arcade|Avenue|Ave|Bayou|Beach|Bend|Bluff|Bottom|Boulevard|Blvd|Branch|Bridge|Brook|Brooks|Burg|Bypass|Camp|Canyon|Cape|Causeway|Center|Centers|Centre|Chase|Circle|Circles|Circuit|Cliff|Cliffs|Close|Club|Common|Copse|Corner|Corners|Course|Court|Courts|Cove|Coves|Creek|Crescent|Crest|Crossing|Crossroad|Curve|Dale|Dam|Divide|Drive|Drives|Esplanade|Estate|Estates|Expressway|Extension|Fall|Falls|Ferry|Field|Fields|Flat|Flats|Ford|Fords|Forest|Forge|Forges|Fork|Forks|Fort|Freeway|Garden|Gardens|Gate|Gateway|Glen|Glens|Green|Greens|Grove|Groves|Harbor|Harbors|Haven|Heights|Highway|Hill|Hills|Hollow|Inlet|Island|Islands|Isle|Junction|Junctions|Key|Keys|Knoll|Knolls|Lake|Lakes|Land|Landing|Lane|Ln|Light|Lights|Loaf|Lock|Locks|Lodge|Loop|Mall|Manor|Manors|Meadow|Meadows|Mews|Mill|Mills|Mission|Motorway|Mount|Mountain|Mountains|Neck|Orchard|Oval|Overpass|Parade|Park|Parks|Parkway|Parkways|Pass|Passage|Path|Pike|Pine|Pines|Place|Plain|Plains|Plaza|Point|Points|Port|Ports|Prairie|Promenade|Quadrant|Quay|Radial|Ramp|Ranch|Rapid|Rapids|Rest|Ridge|Ridges|Rise|River|Road|Roads|Rd|Route|Row|Rue|Run|Shoal|Shoals|Shore|Shores|Skyway|Spring|Springs|Spur|Spurs|Square|Squares|Station|Stravenue|Stream|Street|Streets|St|Summit|Terrace|Throughway|Trace|Track|Trafficway|Trail|Trailer|Tunnel|Turnpike|Underpass|Union|Unions|Vale|Valley|Valleys|Via|Viaduct|View|Views|Village|Villages|Ville|Vista|Walk|Walks|Walkway|Wall|Way|Ways|Well|Wells";

/// The patterns together, which tell at once whether any matches, and each by itself, which tells where.
static PATTERNS: LazyLock<Option<(RegexSet, Vec<Regex>)>> = LazyLock::new(|| {
    let town = format!(r"{CAP}(?:[ -]{CAP}){{0,3}}");
    let patterns = [
        // 12 Main Street Apt. 3, Springfield, IL 62704: a number, and a postcode at the end.
        format!(r"\b\d{{1,6}}(?:[A-Za-z]|/\d{{1,3}})?,? (?:{CAP},? ){{0,4}}{CAP}{FLAT}?,? (?:{town},? )?{POSTCODE}\b"),
        // 12 Main Street, Springfield
        format!(r"\b\d{{1,6}}(?:[A-Za-z]|/\d{{1,3}})?,? (?:{CAP} ){{1,3}}(?:{WAYS})\b\.?{FLAT}?(?:,? {town}(?:,? {POSTCODE}\b)?)?"),
        r"\b(?:PSC|Unit|USNS|USS|USCGC|USNV|CMR) [\w ]{1,24}(?:, ?| )(?:Box \d{1,6}, ?)?(?:APO|FPO|DPO),? [A-Z]{2} \d{5}\b".to_owned(),
        // Flat 8, Andrews Square, Leeds, S3 7LZ
        format!(r"\b(?:Flat|Studio|Suite|Apartment|Unit|Level) \w{{1,5}},? (?:\d{{1,5}}[A-Za-z]?,? )?(?:{CAP},? ){{1,7}}{POSTCODE}\b"),
        // Hauptstraße 12, 1010 Wien; Storgatan 3, 111 22 Stockholm
        format!(r"\b(?:{CAP}[ -]){{0,2}}\p{{Lu}}\p{{L}}*(?:straße|strasse|str\.|gasse|weg|ring|platz|allee|damm|ufer|steig|zeile|hof|vägen|gatan|stigen|gränden|gränd|torget|backen|allén|laan|straat|plein|gracht|singel|kade|dreef|steeg|gata|veien|vegen|svingen|bakken|stien|lyngen|grenda|faret|tunet|åsen|vej|gade|stræde|vænget|allé|katu|tie|kuja|polku|tori) ?\d{{1,4}} ?[a-z]?\b(?:[/-]\d{{1,4}}\w?)*(?:,? (?:[A-Z]{{1,2}}-)?\d{{3,5}}(?:[ -]\d{{2,3}})? {town})?"),
        // Any street with number, postcode and town in the continental order.
        format!(r"\b(?:{CAP} ){{0,3}}{CAP} \d{{1,4}}[a-z]?(?:/\d{{1,4}})*, (?:[A-Z]{{1,2}}-)?(?:\d{{4,5}}|\d{{2}}-\d{{3}}|\d{{3}} \d{{2}}) {town}"),
        // ul. Długa 3/4, 00-238 Warszawa; 12 rue de la Paix, 75002 Paris
        format!(r"(?:\b\d{{1,4}}(?: ?(?:bis|ter))?,? )?\b(?:ul\.|ulica|al\.|aleja|pl\.|plac|os\.|rue|[Rr]uelle|boulevard|chemin|impasse|allée|quai|calle|avenida|paseo|rua|carrer|viale|piazza)(?: (?:de|du|des|la|le|les|del|della|di|da|do|dos|d'|l'|świętego|św\.))* ?(?:{CAP}|\d{{1,2}})(?:[ -](?:{CAP}|de|du|des|la|\d{{1,2}}(?: \p{{Lu}}\p{{L}}*))){{0,4}}(?:,? \d{{1,4}}[a-z]?\b(?:/\d{{1,4}})*)?(?:,? \d{{2,5}}(?:-\d{{3}})? {town}(?:-\p{{L}}+)*)?"),
        // Via Roma, 12, 00184 Roma; Calle Mayor 3 Piso 2; Travessa do Carmo, 36; Aleea Florilor Nr. 8
        format!(r"\b(?:Via|Viale|Strada|Piazza|Corso|Vicolo|Borgo|Contrada|Calle|Avenida|Av\.|Paseo|Plaza|Camino|Carretera|Ronda|Rambla|Travessa|Alameda|Praça|Largo|Rua|Estrada|Aleea|Bulevardul|Calea|[SȘ]oseaua|Intrarea|Rue|Avenue|Boulevard|Impasse|Chemin|Quai)(?: (?:de|du|des|da|do|dos|das|del|della|dei|di|la|le|les|los|las|el|y|e))* ?{CAP}(?:[ -](?:{CAP}|de|du|des|da|do|dos|del|della|di|la|y)){{0,5}},? (?:n[º°]? ?|Nr\. ?|No\. ?)?\d{{1,5}}[a-zA-Z]?\b(?:,? (?:Piano|Appartamento|Interno|Piso|Local|Apt\.?|Puerta) \w{{1,4}})*(?:, ?\d{{4,6}}(?:-\d{{3}})?,? {town})?"),
        // 5, avenue Foch; 707 allée Stéphane Apt. 3
        format!(r"\b\d{{1,5}}(?: ?(?:bis|ter))?,? (?:avenue|allée?|rang|montée|place|cours|route|chemin|impasse|passage|voie|côte|ruelle|boulevard|rue)(?: (?:de|du|des|la|le|les))* ?(?:d'|l')?{CAP}(?:[ -](?:{CAP}|de|du|des|la)){{0,4}}{FLAT}?(?:, (?:\d{{5}} )?{town}(?:,? {POSTCODE}\b)?)?"),
        // Petőfi Sándor utca 12
        format!(r"\b{CAP}(?: {CAP})? (?:utca|út|tér|köz|sugárút) \d{{1,4}}\b"),
        // 12 Connell Street C57 89WW Dublin
        format!(r"\b\d{{1,5}} (?:{CAP} ){{1,3}}[A-Z]\d[\dW] ?[A-Z0-9]{{4}}(?: {town})?"),
        r"\b(?:P\.? ?O\.? Box|Postfach|Boîte postale|Apartado) \d{1,6}\b".to_owned(),
    ];
    let each = patterns.iter().map(|pattern| Regex::new(pattern).ok()).collect::<Option<_>>()?;
    Some((RegexSetBuilder::new(&patterns).dfa_size_limit(AUTOMATON).build().ok()?, each))
});
/// Bytes for the automaton of all patterns, so that it is not built anew again and again.
const AUTOMATON: usize = 16 << 20;

/// Words without which no date is one of birth: the pattern is dear.
static BIRTHS: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::builder().ascii_case_insensitive(true).build(context::BIRTH).ok());

static DATES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let month = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|januar|märz|mai|juni|juli|okt|dez|janv|févr|mars|avril|juin|juil|août|déc|ene|abr|ago|dic)[a-zéû]{0,7}";
    let day = r"\d{1,2}(?:st|nd|rd|th)?";
    Regex::new(&format!(
        r"(?i)\b(?:{day}\.?[ -](?:of |de )?{month}\.?,?[ -](?:de )?\d{{4}}|{month}\.? {day},? \d{{4}})\b"
    ))
    .ok()
});

/// Words beside which an address may stand: the patterns read nothing else, for they are dear.
static TRIGGERS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    // Every text is read by it: a table of states, which is not the choice for so many words by itself.
    AhoCorasick::builder()
        .kind(Some(AhoCorasickKind::DFA))
        .build([
            "APO",
            "FPO",
            "DPO",
            "Flat ",
            "Studio ",
            "Suite ",
            "Apartment ",
            "Level ",
            "straße ",
            "strasse ",
            "str. ",
            "gasse ",
            "weg ",
            "ring ",
            "platz ",
            "allee ",
            "damm ",
            "ufer ",
            "steig ",
            "zeile ",
            "hof ",
            "vägen ",
            "gatan ",
            "stigen ",
            "gränd",
            "torget ",
            "backen ",
            "allén ",
            "laan ",
            "straat ",
            "plein ",
            "gracht ",
            "gata ",
            "veien ",
            "vej ",
            "gade ",
            "katu ",
            "tie ",
            "singel ",
            "kade ",
            "dreef ",
            "steeg ",
            "vegen ",
            "svingen ",
            "bakken ",
            "stien ",
            "lyngen ",
            "grenda ",
            "faret ",
            "tunet ",
            "åsen ",
            "stræde ",
            "vænget ",
            "allé ",
            "kuja ",
            "polku ",
            "tori ",
            "Via ",
            "Viale ",
            "Strada ",
            "Piazza ",
            "Corso ",
            "Vicolo ",
            "Borgo ",
            "Contrada ",
            "Calle ",
            "Avenida ",
            "Av. ",
            "Paseo ",
            "Plaza ",
            "Camino ",
            "Carretera ",
            "Ronda ",
            "Rambla ",
            "Travessa ",
            "Alameda ",
            "Praça ",
            "Largo ",
            "Rua ",
            "Estrada ",
            "Aleea ",
            "Bulevardul ",
            "Calea ",
            "oseaua ",
            "Intrarea ",
            "Rue ",
            "Avenue ",
            "Boulevard ",
            "Impasse ",
            "Chemin ",
            "Quai ",
            "avenue ",
            "rang ",
            "montée ",
            "place ",
            "cours ",
            "route ",
            "passage ",
            "voie ",
            "utca ",
            "út ",
            "tér ",
            "ul. ",
            "ulica ",
            "al. ",
            "aleja ",
            "pl. ",
            "plac ",
            "os. ",
            "rue ",
            "uelle ",
            "boulevard ",
            "chemin ",
            "impasse ",
            "allée ",
            "quai ",
            "calle ",
            "avenida ",
            "paseo ",
            "rua ",
            "carrer ",
            "viale ",
            "piazza ",
            " Box ",
            "Postfach ",
            "postale ",
            "Apartado ",
        ])
        .ok()
});
/// Bytes before and after such a word that an address may reach.
const BACK: usize = 80;
const AHEAD: usize = 180;

/// Stretches of the text in which an address may stand.
fn stretches(text: &str) -> Vec<std::ops::Range<usize>> {
    let bytes = text.as_bytes();
    let mut places: Vec<usize> =
        TRIGGERS.iter().flat_map(|t| t.find_iter(text).map(|hit| hit.start())).collect();
    let capital = |at: usize| bytes.get(at).is_some_and(|b| b.is_ascii_uppercase() || *b >= 0xc3);
    let mut at = 0;
    while let Some(digit) = bytes[at..].iter().position(u8::is_ascii_digit).map(|d| at + d) {
        at = digit
            + bytes[digit..]
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b','))
                .count();
        if bytes.get(at) == Some(&b' ')
            && (capital(at + 1) || bytes.get(at + 1).is_some_and(u8::is_ascii_digit))
        {
            places.push(digit);
        }
    }
    places.sort_unstable();
    let mut stretches: Vec<std::ops::Range<usize>> = Vec::new();
    for place in places {
        let start = text.floor_char_boundary(place.saturating_sub(BACK));
        let start = text[start..place].find([' ', '\n']).map_or(place, |space| start + space + 1).min(place);
        let start = if place < BACK { 0 } else { text.floor_char_boundary(start) };
        let end = text.ceil_char_boundary((place + AHEAD).min(text.len()));
        match stretches.last_mut() {
            Some(last) if last.end >= start => last.end = end,
            _ => stretches.push(start..end),
        }
    }
    stretches
}

/// Adds what is found in a whole text.
pub(super) fn find(text: &str, found: &mut Vec<Detected>) {
    for stretch in stretches(text) {
        let offset = stretch.start;
        streets(&text[stretch], offset, found);
    }
    let whole = Context { before: "", text, locales: Locales::ALL };
    let born = |m: &regex::Match<'_>| whole.names(m.start(), Words::Birth);
    let may_be_dated = BIRTHS.as_ref().is_some_and(|births| births.is_match(text));
    if let Some(dates) = DATES.as_ref().filter(|_| may_be_dated) {
        found.extend(dates.find_iter(text).filter(born).map(|m| Detected {
            detector: Kind::BirthDate.index(),
            range: m.range(),
            score: 0.9,
        }));
    }
}

fn streets(text: &str, offset: usize, found: &mut Vec<Detected>) {
    let Some((all, each)) = &*PATTERNS else { return };
    for pattern in all.matches(text).into_iter().map(|pattern| &each[pattern]) {
        let plausible = |m: &regex::Match<'_>| plausible(m.as_str(), &text[..m.start()]);
        found.extend(pattern.find_iter(text).filter(plausible).map(|m| {
            let end = m.start() + m.as_str().trim_end_matches(['.', ',', '-']).len();
            Detected { detector: Kind::Address.index(), range: offset + m.start()..offset + end, score: 0.9 }
        }));
    }
}

/// English words that end as German streets do, with a number behind: `Spring 5`, `Hiring 3`.
const RINGS: [&str; 48] = [
    "Answering",
    "Authoring",
    "Bearing",
    "Boring",
    "Bring",
    "Buffering",
    "Caring",
    "Catering",
    "Clearing",
    "Clustering",
    "Comparing",
    "Configuring",
    "Considering",
    "During",
    "Engineering",
    "Ensuring",
    "Entering",
    "Exploring",
    "Filtering",
    "Firing",
    "Gathering",
    "Hearing",
    "Hiring",
    "Ignoring",
    "Layering",
    "Manufacturing",
    "Measuring",
    "Mentoring",
    "Monitoring",
    "Numbering",
    "Offering",
    "Ordering",
    "Pairing",
    "Preparing",
    "Refactoring",
    "Registering",
    "Rendering",
    "Repairing",
    "Restoring",
    "Restructuring",
    "Scoring",
    "Sharing",
    "Spring",
    "Steering",
    "Storing",
    "String",
    "Triggering",
    "Wiring",
];

/// Whether it is not something else with a number: a date, a time, a year, a chapter, a standard.
fn plausible(text: &str, before: &str) -> bool {
    const OTHERS: [&str; 20] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
        "Chapter",
        "Section",
        "RFC",
        "ISO",
        "IEEE",
        "CVE",
        "UTC",
        "GMT",
    ];
    let word = text.split(' ').next().unwrap_or_default();
    let line = before.trim_end().rsplit('\n').next().unwrap_or_default();
    let digit = |c: char| c.is_ascii_digit();
    let century = |year: u16| (1900..2100).contains(&year);
    // `29:43 JST 2004`
    let ends_a_time =
        text.starts_with(digit) && before.strip_suffix(':').is_some_and(|before| before.ends_with(digit));
    // `(C) 1987, 1988 Larry Wall`
    let holder = line.trim_end_matches(|c: char| digit(c) || matches!(c, ' ' | ',' | '-' | '–'));
    let holds_copyright = word.parse().is_ok_and(century)
        && ["opyright", "(c)", "(C)", "©"].iter().any(|mark| holder.ends_with(mark));
    // `06 Nov 1994`, in any language.
    let is_date = |dates: &Regex| {
        let date = dates.find(text).filter(|date| date.start() == 0);
        date.and_then(|date| date.as_str().get(date.len() - 4..)?.parse().ok()).is_some_and(century)
    };
    // `et al.`, which is no Polish avenue.
    let are_authors = text.starts_with("al.") && line.ends_with("et");
    let another = ends_a_time
        || holds_copyright
        || are_authors
        || RINGS.contains(&word)
        || DATES.as_ref().is_some_and(is_date)
        || text.split([' ', ',']).any(|word| OTHERS.contains(&word));
    !another && text.len() < 160
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(PATTERNS.as_ref().map(|(_, each)| each.len()), Some(12));
        assert!(DATES.is_some());
    }
}
