//! The periods after which budgets start anew, on the calendar of a time zone.

use jiff::{SignedDuration, Timestamp, ToSpan as _, ZonedDateTime, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// How long a budget lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Period {
    /// For ever.
    Total,
    /// A clock hour.
    Hour,
    /// A calendar day.
    Day,
    /// From Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
    /// From a moment on, so long; repeated, or once.
    Span { start_unix_ms: i64, length_ms: i64, repeats: bool },
}

/// A stretch of time in Unix milliseconds: `start <= t < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Window {
    const ALWAYS: Self = Self { start: 0, end: i64::MAX };
}

impl Period {
    /// The period that holds `now`. A time that no calendar reaches is in a period without end.
    pub(crate) fn window(self, zone: &TimeZone, now: i64) -> Window {
        if let Self::Span { start_unix_ms, length_ms, repeats } = self {
            let passed =
                if repeats { now.saturating_sub(start_unix_ms).div_euclid(length_ms.max(1)) } else { 0 };
            let start = start_unix_ms.saturating_add(passed.saturating_mul(length_ms));
            return Window { start, end: start.saturating_add(length_ms) };
        }
        self.bounds(zone, now).unwrap_or(Window::ALWAYS)
    }

    fn bounds(self, zone: &TimeZone, now: i64) -> Option<Window> {
        let now = Timestamp::from_millisecond(now).ok()?.to_zoned_datetime(zone.clone());
        let today = now.date();
        let dates = |start: Date, end: Date| {
            let at =
                |date: Date| Some(millis(&date.to_zoned_datetime(zone.clone()).ok()?.start_of_day().ok()?));
            Some(Window { start: at(start)?, end: at(end)? })
        };
        match self {
            Self::Total => Some(Window::ALWAYS),
            Self::Span { .. } => None,
            Self::Hour => {
                let into = i64::from(now.minute()) * 60_000 + i64::from(now.second()) * 1_000;
                let whole = millis(&now).div_euclid(1_000) * 1_000;
                let start = whole - into;
                Some(Window { start, end: start + SignedDuration::from_hours(1).as_secs() * 1_000 })
            }
            Self::Day => dates(today, today.tomorrow().ok()?),
            Self::Week => {
                let monday =
                    today.checked_sub(i64::from(today.weekday().to_monday_zero_offset()).days()).ok()?;
                dates(monday, monday.checked_add(7.days()).ok()?)
            }
            Self::Month => {
                let first = today.first_of_month();
                dates(first, first.checked_add(1.month()).ok()?)
            }
        }
    }

    /// Whether a request at this time counts: always, but for a span that does not repeat.
    pub(crate) fn applies(self, now: i64) -> bool {
        match self {
            Self::Span { start_unix_ms, length_ms, repeats: false } => {
                (start_unix_ms..start_unix_ms.saturating_add(length_ms)).contains(&now)
            }
            _ => true,
        }
    }

    /// A name for people, and for budgets that have none.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Span { .. } => "span",
        }
    }
}

/// The time zone of an IANA name; UTC for none. The database of zones is built in.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() { Some(TimeZone::UTC) } else { TimeZone::get(name).ok() }
}

fn millis(at: &ZonedDateTime) -> i64 {
    at.timestamp().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn window(period: Period, zone_name: &str, now: &str) -> (String, String) {
        let window = period.window(&zone(zone_name).unwrap(), at(now));
        let text = |ms| Timestamp::from_millisecond(ms).unwrap().to_string();
        (text(window.start), text(window.end))
    }

    #[test]
    fn periods_follow_the_calendar() {
        let now = "2026-02-28T23:59:59.999Z";
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(window(Period::Hour, "", now), pair("2026-02-28T23:00:00Z", "2026-03-01T00:00:00Z"));
        assert_eq!(window(Period::Day, "", now), pair("2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z"));
        assert_eq!(window(Period::Week, "", now), pair("2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z"));
        assert_eq!(window(Period::Month, "", now), pair("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"));
        assert_eq!(Period::Total.window(&TimeZone::UTC, at(now)), Window::ALWAYS);
    }

    #[test]
    fn a_day_in_a_zone_is_as_long_as_its_clocks_say() {
        let (start, end) = window(Period::Day, "Europe/Berlin", "2026-03-29T12:00:00Z");
        assert_eq!(
            (start.as_str(), end.as_str()),
            ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            "23 hours"
        );
        let (start, _) = window(Period::Hour, "Asia/Kolkata", "2026-01-01T00:10:00Z");
        assert_eq!(start, "2025-12-31T23:30:00Z", "half-hour offsets");
        assert!(zone("Mars/Olympus").is_none());
    }

    #[test]
    fn a_span_is_as_long_as_it_says_once_or_again_and_again() {
        let span = |repeats| Period::Span { start_unix_ms: 1_000, length_ms: 500, repeats };
        let at = |repeats, now| {
            let window = span(repeats).window(&TimeZone::UTC, now);
            (window.start, window.end)
        };
        assert_eq!(
            [at(true, 999), at(true, 1_000), at(true, 1_499), at(true, 2_000)],
            [(500, 1_000), (1_000, 1_500), (1_000, 1_500), (2_000, 2_500)]
        );
        assert_eq!([at(false, 0), at(false, 9_000)], [(1_000, 1_500), (1_000, 1_500)]);
        assert_eq!(
            [999, 1_000, 1_499, 1_500].map(|now| span(false).applies(now)),
            [false, true, true, false]
        );
        assert!(span(true).applies(0));
    }

    #[test]
    fn the_end_of_a_period_is_the_start_of_the_next() {
        for period in [Period::Hour, Period::Day, Period::Week, Period::Month] {
            for zone_name in ["", "America/New_York", "Pacific/Apia"] {
                let zone = zone(zone_name).unwrap();
                let mut window = period.window(&zone, at("2026-03-07T08:30:00Z"));
                for _ in 0..40 {
                    let next = period.window(&zone, window.end);
                    assert_eq!(next.start, window.end, "{period:?} {zone_name}");
                    assert_eq!(period.window(&zone, window.end - 1), window, "{period:?} {zone_name}");
                    window = next;
                }
            }
        }
    }
}
