//! Times and durations as people write them.

use std::{str::FromStr, time::SystemTime};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// A length of time: `90s`, `15m`, `12h`, `30d`, `2w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) ms: i64,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no length of time; write it as 90s, 15m, 12h, 30d or 2w");
        let unit = text.chars().last().ok_or_else(wrong)?;
        let of_unit = match unit {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            'w' => 7 * 86_400_000,
            _ => return Err(wrong()),
        };
        let number: i64 = text[..text.len() - 1].parse().ok().filter(|n| *n >= 0).ok_or_else(wrong)?;
        number.checked_mul(of_unit).map(|ms| Self { ms }).ok_or_else(wrong)
    }
}

/// A point in time: a date or a time of day in UTC, or a distance from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    At { unix_ms: i64 },
    Apart(Span),
}

impl When {
    /// The time, where a distance is one ahead.
    pub(crate) fn ahead(self) -> i64 {
        match self {
            Self::At { unix_ms } => unix_ms,
            Self::Apart(span) => now_unix_ms().saturating_add(span.ms),
        }
    }

    /// The time, where a distance is one back.
    pub(crate) fn back(self) -> i64 {
        match self {
            Self::At { unix_ms } => unix_ms,
            Self::Apart(span) => now_unix_ms().saturating_sub(span.ms),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = text.parse() {
            return Ok(Self::Apart(span));
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At { unix_ms: at.as_millisecond() });
        }
        let day = text.parse::<Date>().ok().and_then(|date| date.to_zoned_datetime(TimeZone::UTC).ok());
        day.map(|day| Self::At { unix_ms: day.timestamp().as_millisecond() }).ok_or_else(|| {
            format!("`{text}` is no time; write 2026-01-31, 2026-01-31T12:00:00Z, or a distance such as 30d")
        })
    }
}

/// Now, in milliseconds since 1970.
pub(crate) fn now_unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Writes a time so that it is read back as the same.
pub(crate) fn exact(unix_ms: i64) -> String {
    Timestamp::from_millisecond(unix_ms).map_or_else(|_| unix_ms.to_string(), |at| at.to_string())
}

/// Writes a time in UTC, to the minute; midnight as its day alone.
pub(crate) fn show(unix_ms: i64) -> String {
    let Ok(at) = Timestamp::from_millisecond(unix_ms) else { return unix_ms.to_string() };
    let text = at.strftime("%Y-%m-%d %H:%MZ").to_string();
    text.strip_suffix(" 00:00Z").map_or_else(|| text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write_and_says_how_to_write_it() {
        let ms = |text: &str| text.parse::<Span>().map(|span| span.ms);
        assert_eq!((ms("90s"), ms("2w")), (Ok(90_000), Ok(1_209_600_000)));
        for wrong in ["", "d", "5", "5y", "-5d", "1.5h", "99999999999999d"] {
            assert!(ms(wrong).unwrap_err().contains("30d"), "{wrong}");
        }
        let at = |text: &str| text.parse::<When>();
        assert_eq!(at("1970-01-02"), Ok(When::At { unix_ms: 86_400_000 }));
        assert_eq!(at("1970-01-01T00:00:01Z"), Ok(When::At { unix_ms: 1_000 }));
        assert_eq!(at("1h"), Ok(When::Apart(Span { ms: 3_600_000 })));
        assert!(at("tomorrow").unwrap_err().contains("2026-01-31"));
    }

    #[test]
    fn writes_times_in_utc() {
        assert_eq!((show(0), show(60_000)), ("1970-01-01".to_owned(), "1970-01-01 00:01Z".to_owned()));
        assert_eq!(exact(1_001).parse::<When>(), Ok(When::At { unix_ms: 1_001 }));
    }
}
