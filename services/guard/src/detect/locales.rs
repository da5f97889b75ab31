//! Countries whose own numbers are looked for.

/// Countries by their ISO 3166 codes, in the order of the codes.
macro_rules! countries {
    ($($name:ident $code:literal)*) => {
        /// A country that has numbers of its own form.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Country { $($name),* }

        /// The codes of all, in lower case.
        pub(crate) const CODES: &[&str] = &[$($code),*];
        const COUNTRIES: &[Country] = &[$(Country::$name),*];
    };
}

countries! {
    At "at" Au "au" Be "be" Bg "bg" Br "br" Ca "ca" Ch "ch" Cl "cl" Cn "cn" Cz "cz" De "de" Dk "dk" Ee "ee" Es "es" Fi "fi" Fr "fr"
    Gb "gb" Hk "hk" Hr "hr" Ie "ie" Il "il" In "in" It "it" Jp "jp" Kr "kr" Lt "lt" Lv "lv" Mx "mx" My "my" Nl "nl" No "no" Pl "pl"
    Pt "pt" Ro "ro" Rs "rs" Ru "ru" Se "se" Sg "sg" Si "si" Sk "sk" Th "th" Tr "tr" Tw "tw" Ua "ua" Us "us" Za "za"
}

const _: () = assert!(CODES.len() <= 64);

/// A set of countries: what has a form of its own elsewhere (identity and tax numbers, phone numbers as they are written at home)
/// is looked for only in these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Locales(u64);

impl Locales {
    /// Everywhere.
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// Those of these codes, in any letter case; none: everywhere. Unknown codes are no country's.
    pub(crate) fn of<'a>(codes: impl IntoIterator<Item = &'a str>) -> Self {
        let mut found = Self(0);
        let mut any = false;
        for code in codes {
            any = true;
            let known = COUNTRIES.iter().zip(CODES).find(|(_, known)| code.eq_ignore_ascii_case(known));
            found.0 |= known.map_or(0, |(country, _)| country.bit());
        }
        if any { found } else { Self::ALL }
    }

    pub(crate) const fn has(self, country: Country) -> bool {
        self.0 & country.bit() != 0
    }

    /// Whether phone numbers are written at home as in North America.
    pub(crate) const fn american(self) -> bool {
        self.has(Country::Us) || self.has(Country::Ca)
    }

    /// Whether there is a country besides those of North America.
    pub(crate) const fn others(self) -> bool {
        self.0 & !(Country::Us.bit() | Country::Ca.bit()) != 0
    }
}

impl Country {
    const fn bit(self) -> u64 {
        1 << (self as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_choose_countries_and_none_means_all() {
        let some = Locales::of(["DE", "us"]);
        assert!(some.has(Country::De) && some.has(Country::Us) && !some.has(Country::Fr));
        assert!(some.american() && some.others());
        assert!(!Locales::of(["us"]).others() && !Locales::of(["de"]).american());
        assert_eq!(Locales::of([]), Locales::ALL);
    }

    #[test]
    fn codes_are_sorted_and_unique() {
        assert!(CODES.is_sorted() && CODES.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
