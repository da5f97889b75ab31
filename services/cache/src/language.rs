//! In which language an answer is wanted: part of the partition, because an answer in another one is none.
//!
//! A question says it by name ("in French") or by the language that it is in. English and what cannot be told are one: a short English question
//! has no word that gives it away, and must not be kept from its longer form. Only little words count, those that English has not.

/// A language that was told; empty for English or what cannot be told.
pub(crate) type Language = &'static str;

/// Languages by code, with their names in themselves and in others, and little words that English does not have.
const LANGUAGES: [(Language, &str, &str); 14] = [
    (
        "de",
        "german deutsch allemand alemán aleman tedesco alemão",
        "der die das und ist nicht ein eine einen einem einer ich wie wo wann warum wer welche welcher welches können kann mit für von zu \
         auf im den dem des sind wird wurde hat haben was gibt es man mein ihr wir sie",
    ),
    (
        "fr",
        "french français francais französisch franzoesisch francés frances francese francês",
        "le la les des du est sont une et que qui quoi quel quelle quels quelles comment pourquoi où quand combien dans pour avec sur je \
         tu il elle nous vous pas ne faire peut sans c'est qu'est l' d' au aux ce cette",
    ),
    (
        "es",
        "spanish español espanol castellano spanisch espagnol spagnolo espanhol",
        "el la los las es son un una y que qué cómo cuál cuáles dónde cuándo quién por para con del al se puede puedo hay está están yo mi \
         su cuánto cuántos de en como",
    ),
    (
        "it",
        "italian italiano italienisch italien",
        "il lo la gli le è sono un una e che cosa come quale quali dove quando chi perché per con del della dei delle nel nella si può posso \
         quanto quanti di non",
    ),
    (
        "pt",
        "portuguese português portugues portugiesisch portugais portoghese",
        "o os as é são um uma e que como qual quais onde quando quem porque para com do da dos das no na se pode posso há está não quanto \
         quantos de em",
    ),
    (
        "nl",
        "dutch nederlands holländisch néerlandais holandés olandese holandês",
        "de het een en van is niet hoe wat waar wanneer waarom wie welke kan kunnen ik je met voor op aan zijn wordt heeft naar bij",
    ),
    (
        "sv",
        "swedish svenska schwedisch suédois sueco svedese",
        "och är inte hur vad var när varför vem vilken vilka kan jag du med för av på att det den ett som till har",
    ),
    (
        "da",
        "danish dansk dänisch danois danés danese dinamarquês",
        "og er ikke hvordan hvad hvor hvornår hvorfor hvem hvilken kan jeg du med af på at det den et som til har",
    ),
    (
        "no",
        "norwegian norsk norwegisch norvégien noruego norvegese norueguês",
        "og er ikke hvordan hva hvor når hvorfor hvem hvilken kan jeg du med av på å det den et som til har",
    ),
    (
        "pl",
        "polish polski polsku polnisch polonais polaco polacco polonês",
        "i jest nie jak co gdzie kiedy dlaczego kto czy się na w z do są można mogę który która jakie jaki",
    ),
    (
        "tr",
        "turkish türkçe turkce türkisch turc turco",
        "ve bir bu nasıl ne nerede zaman neden kim hangi için ile mı mi mu mü değil var yok olarak nedir kaç",
    ),
    (
        "fi",
        "finnish suomi suomeksi finnisch finnois finlandés finlandese",
        "ja on ei miten mikä missä milloin miksi kuka voi voin minä sinä että se ovat kuinka mitä",
    ),
    (
        "cs",
        "czech čeština česky tschechisch tchèque checo ceco",
        "a je není jak co kde kdy proč kdo se na v z do jsou může mohu který která jaký jaké",
    ),
    (
        "ro",
        "romanian română romana rumänisch roumain rumano rumeno",
        "și este nu cum ce unde când cine care pot poate cu pentru din la sunt un o de în",
    ),
];

/// English little words: each speaks against the others.
const ENGLISH: &str = "the is are was were what how why when where who which do does did can could should would will to of in on for \
    with and a an i my you your it this that be have has not from about";
/// What may stand before a language's name when the answer is to be in it.
const IN: &str = "in into to auf ins en em på na po";
/// How many little words of a language more than English ones tell it.
const LEAD: usize = 2;

/// Tells in which language the answer to a question is wanted.
pub(crate) fn of(text: &str) -> Language {
    let lower = text.to_lowercase().replace('’', "'");
    let words: Vec<&str> =
        lower.split(|c: char| !(c.is_alphanumeric() || c == '\'')).filter(|w| !w.is_empty()).collect();
    let has = |list: &str, word: &str| list.split_whitespace().any(|known| known == word);
    // The last word counts: "translate this from German into French".
    let named = words.windows(2).rev().filter(|two| has(IN, two[0])).find_map(|two| {
        let named = LANGUAGES.iter().find(|(_, names, _)| has(names, two[1]));
        named.map(|(code, ..)| *code).or_else(|| has("english englisch anglais inglés", two[1]).then_some(""))
    });
    if let Some(named) = named {
        return named;
    }
    let count = |list: &str| words.iter().filter(|word| has(list, word)).count();
    let english = count(ENGLISH);
    let (code, most) = LANGUAGES.iter().map(|(code, _, little)| (*code, count(little))).fold(
        ("", 0),
        // The first of equals: neighbours such as Danish and Norwegian share their words.
        |best, one| if one.1 > best.1 { one } else { best },
    );
    if most >= english + LEAD { code } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_says_its_language() {
        let cases = [
            ("Why is the sky blue?", ""),
            ("python sort list", ""),
            ("What does die Verwandlung mean?", ""),
            ("Wie kann ich mein Passwort ändern?", "de"),
            ("Comment est-ce que je peux changer la langue ?", "fr"),
            ("¿Cómo puedo cambiar la contraseña?", "es"),
            ("Come posso cambiare la password del mio account?", "it"),
            ("Como posso mudar a senha da minha conta?", "pt"),
            ("Hoe kan ik mijn wachtwoord wijzigen?", "nl"),
            ("Hur kan jag byta lösenord på mitt konto?", "sv"),
            ("", ""),
        ];
        for (text, code) in cases {
            assert_eq!(of(text), code, "{text}");
        }
    }

    #[test]
    fn one_that_is_named_counts() {
        assert_eq!(of("Explain gravity in French"), "fr");
        assert_eq!(of("Explain gravity, please in german."), "de");
        assert_eq!(of("Translate this from German into Spanish"), "es");
        assert_eq!(of("Wie heißt das auf Englisch?"), "");
        assert_eq!(of("Who taught you French?"), "");
    }
}
