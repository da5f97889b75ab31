//! What stands before a candidate.

use std::{collections::BTreeMap, sync::LazyLock};

use aho_corasick::AhoCorasick;

use super::locales::Locales;

/// Bytes before a candidate in which a word may say what it is. Streams keep as many.
pub(crate) const REACH: usize = 64;

/// A text and what stood before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) before: &'a str,
    pub(crate) text: &'a str,
    pub(crate) locales: Locales,
}

impl Context<'_> {
    /// What stands before a place, in lower case, at most [`REACH`] bytes.
    pub(crate) fn window(&self, at: usize) -> String {
        let mut window = self.written(at);
        if window.is_ascii() {
            window.make_ascii_lowercase();
            window
        } else {
            window.to_lowercase()
        }
    }

    /// The same as it is written.
    pub(crate) fn written(&self, at: usize) -> String {
        let near = &self.text[..at];
        let from = near.ceil_char_boundary(near.len().saturating_sub(REACH));
        let mut window = String::with_capacity(REACH + 8);
        let missing = REACH.saturating_sub(near.len());
        if missing > 0 {
            let before = self.before;
            window.push_str(&before[before.ceil_char_boundary(before.len().saturating_sub(missing))..]);
        }
        window.push_str(&near[from..]);
        window
    }

    /// Which lists have a word that stands before a place, at a word's beginning.
    pub(crate) fn mentions(&self, at: usize) -> Mentions {
        Mentions::of(&self.window(at))
    }

    /// Whether a word of a list stands before a place, at a word's beginning.
    pub(crate) fn names(&self, at: usize, words: Words) -> bool {
        self.mentions(at).has(words)
    }

    /// The byte before a place; none at the beginning and behind an escaped end of line.
    pub(crate) fn byte_before(&self, at: usize) -> Option<u8> {
        let byte = |back: usize| match at.checked_sub(back) {
            Some(at) => self.text.as_bytes().get(at).copied(),
            None => self.before.as_bytes().iter().rev().nth(back - 1 - at).copied(),
        };
        byte(1).filter(|b| !(matches!(b, b'n' | b't' | b'r') && byte(2) == Some(b'\\')))
    }
}

/// Lists of words that say what comes after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    Phone,
    /// Words of phones that other numbers do not have beside them.
    Calls,
    Card,
    Account,
    Ssn,
    National,
    Passport,
    License,
    Birth,
    Wallet,
    /// Says that an address of a local network is meant.
    Machine,
    /// Says that four numbers are a version.
    Version,
}

const LISTS: [(Words, &[&str]); 12] = [
    (Words::Phone, PHONE),
    (Words::Calls, &["phone", "call", "tel", "mobile"]),
    (Words::Card, CARD),
    (Words::Account, ACCOUNT),
    (Words::Ssn, SSN),
    (Words::National, NATIONAL),
    (Words::Passport, PASSPORT),
    (Words::License, LICENSE),
    (Words::Birth, BIRTH),
    (Words::Wallet, WALLET),
    (Words::Machine, &["ip address", "ip:"]),
    (Words::Version, &["version", "release"]),
];

/// All words, with the lists that have them.
static ALL: LazyLock<Option<(AhoCorasick, Vec<u16>)>> = LazyLock::new(|| {
    let mut lists: BTreeMap<&str, u16> = BTreeMap::new();
    for (list, words) in LISTS {
        words.iter().for_each(|word| *lists.entry(word).or_default() |= 1 << list as u16);
    }
    Some((AhoCorasick::new(lists.keys()).ok()?, lists.into_values().collect()))
});

/// Which lists have a word in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mentions(u16);

impl Mentions {
    /// Reads a text in lower case; words count at a word's beginning.
    fn of(text: &str) -> Self {
        let Some((words, lists)) = &*ALL else { return Self(0) };
        let bytes = text.as_bytes();
        let free = |b: Option<&u8>| !b.is_some_and(u8::is_ascii_alphanumeric);
        let mut found = 0;
        for hit in words.find_overlapping_iter(text) {
            let begins = text[..hit.start()].ends_with("\\n") || free(bytes[..hit.start()].last());
            // Short words are the beginnings of too many others.
            let short = hit.len() <= 4 && bytes[hit.end() - 1].is_ascii_alphanumeric();
            if begins && (!short || free(bytes.get(hit.end()))) {
                found |= lists[hit.pattern().as_usize()];
            }
        }
        Self(found)
    }

    pub(crate) const fn has(self, words: Words) -> bool {
        self.0 & 1 << words as u16 != 0
    }
}

const PHONE: &[&str] = &[
    "phone",
    "telephone",
    "telefon",
    "téléphone",
    "teléfono",
    "calling",
    "called",
    "tel",
    "call",
    "mobile",
    "cell",
    "fax",
    "dial",
    "contact",
    "reach",
    "whatsapp",
    "signal",
    "text me",
    "sms",
    "ring me",
    "hotline",
    "number is",
    "desk",
    "office",
    "handy",
    "mobil",
    "ruf",
    "anruf",
    "portable",
    "appel",
    "numéro",
    "llám",
    "móvil",
    "numero",
    "cellulare",
    "chiam",
    "zadzwoń",
    "numer",
    "ring",
    "stop receiving messages",
    "voicemail",
    "helpline",
    "landline",
    "extension",
    "answering at",
    "number to",
];
const CARD: &[&str] = &[
    "card",
    "credit",
    "debit",
    "visa",
    "mastercard",
    "amex",
    "maestro",
    "cc",
    "karte",
    "carte",
    "tarjeta",
    "carta",
    "kort",
    "charge",
    "payment",
    "billing",
    "pay",
];
const ACCOUNT: &[&str] =
    &["iban", "account", "bank", "wire", "transfer", "refund", "konto", "compte", "cuenta", "conto", "conta"];
const SSN: &[&str] = &["ssn", "social security", "social sec", "ss#", "ss #", "soc sec"];
const NATIONAL: &[&str] = &[
    "ssn",
    "social security",
    "social insurance",
    "national id",
    "national insurance",
    "national identi",
    "identity number",
    "identity card",
    "id number",
    "id card",
    "id no",
    "id-number",
    "identification number",
    "personal number",
    "personal id",
    "tax id",
    "tax number",
    "taxpayer",
    "tax file",
    "tin",
    "tfn",
    "abn",
    "sin",
    "nino",
    "ni number",
    "nhs",
    "medicare",
    "pps",
    "ppsn",
    "steuer",
    "sozialversicherung",
    "svnr",
    "sv-nummer",
    "ausweis",
    "idnr",
    "personnummer",
    "personennummer",
    "henkilötunnus",
    "hetu",
    "fødselsnummer",
    "cpr",
    "bsn",
    "burgerservice",
    "sofi",
    "rijksregister",
    "registre national",
    "nir",
    "sécurité sociale",
    "insee",
    "ahv",
    "avs",
    "nif",
    "nie",
    "dni",
    "cédula",
    "cedula",
    "curp",
    "rfc",
    "cpf",
    "cnpj",
    "rut",
    "run",
    "codice fiscale",
    "partita iva",
    "pesel",
    "nip",
    "rodné",
    "rodne",
    "oib",
    "jmbg",
    "emšo",
    "cnp",
    "egn",
    "iin",
    "inn",
    "snils",
    "aadhaar",
    "aadhar",
    "pan",
    "nik",
    "nric",
    "fin",
    "hkid",
    "my number",
    "resident",
    "kimlik",
    "tc no",
    "amka",
    "afm",
    "teudat",
    "government id",
    "citizen",
    "社会",
    "身份证",
    "マイナンバー",
];
const PASSPORT: &[&str] = &[
    "passport",
    "reisepass",
    "pasaporte",
    "passeport",
    "passaporto",
    "paszport",
    "paspoort",
    "pass no",
    "pass-nr",
];
const LICENSE: &[&str] = &[
    "driver",
    "driving lic",
    "licence number",
    "license number",
    "licence no",
    "license no",
    "dl number",
    "dl no",
    "dl#",
    "dl:",
    "führerschein",
    "fuehrerschein",
    "permis de conduire",
    "carnet de conducir",
    "licencia de conducir",
    "patente",
    "prawo jazdy",
    "körkort",
    "rijbewijs",
];
pub(crate) const BIRTH: &[&str] = &[
    "born",
    "birth",
    "dob",
    "d.o.b",
    "bday",
    "geboren",
    "geburt",
    "geb.",
    "né le",
    "née le",
    "naissance",
    "nacid",
    "nacimiento",
    "nato il",
    "nata il",
    "nascita",
    "nascid",
    "nascimento",
    "urodz",
    "født",
    "född",
    "geboorte",
    "syntynyt",
];
const WALLET: &[&str] =
    &["wallet", "sol", "solana", "crypto", "address", "monero", "xmr", "send to", "deposit"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_at_their_beginning_and_across_pieces() {
        let context = Context { before: "my social ", text: "security number is 1", locales: Locales::ALL };
        assert!(context.names(19, Words::Ssn));
        assert!(!Mentions::of("the hotel is").has(Words::Phone), "`tel` ends another word");
        let far = Context { text: &format!("ssn {}1", "x ".repeat(40)), before: "", ..context };
        assert!(!far.names(far.text.len() - 1, Words::Ssn));
    }
}
