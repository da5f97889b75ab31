//! Dollars in configuration, exact.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// An amount of US dollars, kept as nano-dollars. Written in TOML as a decimal string (`"0.15"`) or a whole number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usd(i64);

impl Usd {
    /// Returns the amount in nano-dollars.
    #[must_use]
    pub const fn nanousd(self) -> i64 {
        self.0
    }

    /// Creates an amount from nano-dollars.
    #[must_use]
    pub const fn from_nanousd(nanousd: i64) -> Self {
        Self(nanousd)
    }
}

impl FromStr for Usd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let illegal = || {
            format!("`{text}` is not an amount of dollars; write it as \"12.50\", with at most 9 decimals")
        };
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 9 {
            return Err(illegal());
        }
        let whole: i64 = whole.parse().map_err(|_| illegal())?;
        let part: i64 = format!("{part:0<9}").parse().map_err(|_| illegal())?;
        whole.checked_mul(1_000_000_000).and_then(|n| n.checked_add(part)).map(Self).ok_or_else(illegal)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Amount;
        impl de::Visitor<'_> for Amount {
            type Value = Usd;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of dollars as a decimal string, for example \"12.50\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Usd, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, dollars: i64) -> Result<Usd, E> {
                dollars.to_string().parse().map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, dollars: f64) -> Result<Usd, E> {
                // The shortest decimal that reads back as the same number is what was written in the file.
                dollars.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_exact_and_refuses_what_it_cannot_hold() {
        assert_eq!("0.15".parse(), Ok(Usd(150_000_000)));
        assert_eq!("12".parse(), Ok(Usd(12_000_000_000)));
        assert_eq!("0.000000001".parse(), Ok(Usd(1)));
        for bad in ["", ".5", "-1", "1e3", "1.0000000001", "99999999999999", "1,5", "$1"] {
            assert!(bad.parse::<Usd>().is_err(), "{bad}");
        }
    }
}
