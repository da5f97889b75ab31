//! Groups of digits: cards, phones, addresses of machines, dates, identity numbers.

use std::{cell::OnceCell, net::Ipv4Addr, ops::Range};

use super::{
    Detected,
    checks::{card_issuer, is_date, luhn, number},
    context::{Context, Mentions, Words},
    kinds::Kind,
    locales::Country,
    national::{self, Sure},
};

/// Groups looked at together; longer runs go on after them.
const GROUPS: usize = 24;
/// Digits that any finding has at most.
const DIGITS: usize = 19;

/// One group of digits.
#[derive(Debug, Clone, Copy)]
struct Group {
    start: usize,
    end: usize,
}

/// Digits with little between them, as they were found.
struct Run<'a> {
    context: Context<'a>,
    groups: Vec<Group>,
}

/// Some groups of a run.
struct Slice<'a> {
    context: Context<'a>,
    groups: &'a [Group],
    digits: Vec<u8>,
    lengths: Vec<usize>,
    /// Whether nothing of the run stands before.
    leads: bool,
    /// From the plus sign or bracket before the first group, if one is there.
    start: usize,
    end: usize,
    /// What stands before, once it was asked for.
    mentions: OnceCell<Mentions>,
}

/// Reads the run that begins at `at` and adds what is found in it; returns where to go on.
pub(super) fn run(context: Context<'_>, at: usize, found: &mut Vec<Detected>) -> usize {
    let (groups, end) = groups(context.text.as_bytes(), at);
    let run = Run { context, groups };
    let mut first = 0;
    while first < run.groups.len() {
        first = match run.best(first) {
            Some((next, one)) => {
                found.push(one);
                next
            }
            None => first + 1,
        };
    }
    end
}

/// Groups of digits from `at` on, and where they end.
fn groups(bytes: &[u8], at: usize) -> (Vec<Group>, usize) {
    let mut groups = Vec::with_capacity(8);
    let mut start = at;
    loop {
        let mut end = start;
        while bytes.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
        groups.push(Group { start, end });
        if groups.len() == GROUPS {
            return (groups, end);
        }
        let mut next = end;
        while next - end < 3
            && bytes.get(next).is_some_and(|b| matches!(b, b' ' | b'-' | b'.' | b'/' | b'(' | b')'))
        {
            next += 1;
        }
        if next == end || !bytes.get(next).is_some_and(u8::is_ascii_digit) {
            return (groups, end);
        }
        start = next;
    }
}

impl<'a> Run<'a> {
    /// The longest finding that begins with a group.
    fn best(&self, first: usize) -> Option<(usize, Detected)> {
        let mut total = 0;
        let fits = self.groups[first..].iter().take_while(|g| {
            total += g.end - g.start;
            total <= DIGITS
        });
        let most = first + fits.count().min(8);
        (first + 1..=most).rev().find_map(|next| {
            let (kind, range, score) = self.slice(first, next)?.judge()?;
            Some((next, Detected { detector: kind.index(), range, score }))
        })
    }

    /// Groups that stand apart from what is around them.
    fn slice(&self, first: usize, next: usize) -> Option<Slice<'_>> {
        let bytes = self.context.text.as_bytes();
        let groups = &self.groups[first..next];
        let (head, tail) = (groups.first()?, groups.last()?);
        let mut start = head.start;
        if start > 0 && bytes[start - 1] == b'(' && bytes[start..].iter().take(8).any(|b| *b == b')') {
            start -= 1;
        }
        if start > 0 && bytes[start - 1] == b'+' {
            start -= 1;
        }
        let free_before = match self.context.byte_before(start) {
            None => true,
            Some(b'-' | b'/' | b'.' | b'_' | b'+' | b'@' | b'$') => false,
            Some(b) => !b.is_ascii_alphanumeric(),
        };
        let after = bytes.get(tail.end).copied();
        let free_after = match after {
            None => true,
            Some(b'-') if matches!(bytes.get(tail.end + 1), Some(b'K' | b'k')) => true,
            Some(b'-' | b'/' | b'.') => !bytes.get(tail.end + 1).is_some_and(u8::is_ascii_alphanumeric),
            // An extension, judged by itself.
            Some(b'x' | b'X') => bytes.get(tail.end + 1).is_some_and(u8::is_ascii_digit),
            Some(b'_' | b'@' | b'%') => false,
            Some(b) => !b.is_ascii_alphabetic(),
        };
        if !(free_before && free_after) {
            return None;
        }
        let digits = groups.iter().flat_map(|g| &bytes[g.start..g.end]).map(|b| b - b'0').collect();
        let lengths = groups.iter().map(|g| g.end - g.start).collect();
        Some(Slice {
            context: self.context,
            groups,
            digits,
            lengths,
            leads: first == 0,
            start,
            end: tail.end,
            mentions: OnceCell::new(),
        })
    }
}

type Judged = Option<(Kind, Range<usize>, f64)>;

impl Slice<'_> {
    fn judge(&self) -> Judged {
        let range = self.groups[0].start..self.end;
        let some = |kind, score| Some((kind, range.clone(), score));
        if self.lengths.len() == 4 && self.separated(".") && self.ip() {
            return some(Kind::Ip, 0.95);
        }
        if let Some(date) = self.date() {
            // A date is nothing else.
            return if date && self.names(Words::Birth) { some(Kind::BirthDate, 0.9) } else { None };
        }
        // Nor is what a day stands in, a version before it: `9.3.1 (2024-02-06`.
        if !self.has_plus() && (0..self.lengths.len()).any(|first| self.dated(first)) {
            return None;
        }
        if self.card() {
            return some(Kind::Card, 0.95);
        }
        if self.lengths == [3, 2, 4] && self.ssn() {
            return some(Kind::Ssn, 0.9);
        }
        if (self.start < self.groups[0].start || self.looks_like_phone())
            && let Some(phone) = self.phone()
        {
            return Some(phone);
        }
        self.identity().or_else(|| self.phone()).or_else(|| self.named())
    }

    fn names(&self, words: Words) -> bool {
        let mentions = || self.context.mentions(self.start);
        self.mentions.get_or_init(mentions).has(words)
    }

    fn has(&self, country: Country) -> bool {
        self.context.locales.has(country)
    }

    fn text(&self) -> &str {
        &self.context.text[self.start..self.end]
    }

    /// Whether every gap is the same one of these characters.
    fn separated(&self, allowed: &str) -> bool {
        let bytes = self.context.text.as_bytes();
        let gap = |pair: &[Group]| {
            pair[1].start - pair[0].end == 1 && bytes[pair[0].end] == bytes[self.groups[0].end]
        };
        self.groups.len() > 1
            && self.groups.windows(2).all(gap)
            && allowed.as_bytes().contains(&bytes[self.groups[0].end])
    }

    fn ip(&self) -> bool {
        let text = &self.context.text[self.groups[0].start..self.end];
        text.parse::<Ipv4Addr>().is_ok_and(|ip| {
            let local = ip.is_private() || ip.is_loopback() || ip.is_broadcast() || ip.octets()[0] < 2;
            !ip.is_unspecified()
                && (!local || (!ip.is_loopback() && self.names(Words::Machine)))
                && !self.names(Words::Version)
        })
    }

    /// Whether it is written as a date; `Some(false)` when that day does not exist but the form is unmistakable.
    fn date(&self) -> Option<bool> {
        let part =
            |at: usize| number(&self.digits[self.lengths[..at].iter().sum::<usize>()..][..self.lengths[at]]);
        let century = |year: u64| (1900..=2099).contains(&year);
        match self.lengths.as_slice() {
            [4, 1 | 2, 1 | 2] if self.separated("-/.") && century(part(0)) => {
                Some(is_date(part(0), part(1), part(2)))
            }
            [1 | 2, 1 | 2, 4] if self.separated("-/.") && century(part(2)) => {
                let (a, b) = (part(0), part(1));
                Some(is_date(part(2), b, a) || is_date(part(2), a, b))
            }
            [1 | 2, 1 | 2, 2] if self.separated("-/.") => {
                let (a, b, year) = (part(0), part(1), 2000 + part(2));
                (is_date(year, b, a) || is_date(year, a, b)).then_some(true)
            }
            _ => None,
        }
    }

    fn card(&self) -> bool {
        let count = self.digits.len();
        let even = || {
            let inner = &self.lengths[..self.lengths.len() - 1];
            self.separated(" -") && inner.iter().all(|l| (4..=6).contains(l)) && self.lengths.len() <= 5
        };
        (12..=19).contains(&count)
            && self.start == self.groups[0].start
            && (self.lengths.len() == 1 || even())
            && luhn(&self.digits)
            && card_issuer(&self.digits)
            && (count > 13 || self.names(Words::Card))
    }

    /// Areas 000, 666 and 900–999, group 00 and serial 0000 are never given out.
    fn ssn(&self) -> bool {
        let part = |range: Range<usize>| number(&self.digits[range]);
        let given = !matches!(part(0..3), 0 | 666 | 900..) && part(3..5) != 0 && part(5..9) != 0;
        let dashed = self.separated("-");
        self.has(Country::Us) && ((dashed && given) || (self.separated("- .") && self.names(Words::Ssn)))
    }

    /// Forms that only phone numbers have.
    fn looks_like_phone(&self) -> bool {
        let text = self.text();
        text.starts_with("00")
            || self.bracketed()
            || matches!(self.lengths.as_slice(), [3, 3, 4] | [1, 3, 3, 4])
    }

    fn phone(&self) -> Judged {
        let count = self.digits.len();
        let text = self.text();
        let one_line = self.lengths.len() <= 7 && !text.contains("//") && !text.contains("..");
        let plain = self.start == self.groups[0].start && !self.leads && (self.digits[0] == 0 || count < 10);
        let plus = self.has_plus();
        if !(7..=16).contains(&count) || !one_line || plain || self.dated(0) {
            return None;
        }
        let locales = self.context.locales;
        let national = locales.others() && self.digits[0] == 0 && self.digits.get(1) != Some(&0);
        let american = match self.lengths.as_slice() {
            _ if !locales.american() => false,
            [3, 3, 4] => self.separated("-. ") || text.contains(") ") || text.contains(')'),
            [1, 3, 3, 4] => self.digits[0] == 1,
            [1, 10] => self.digits[0] == 1 && !text.contains('.'),
            _ => false,
        };
        let score = if plus {
            (8..=15).contains(&count).then_some(0.95)?
        } else if text.starts_with("00") && (10..=16).contains(&count) && self.lengths.len() > 1 {
            0.85
        } else if american {
            0.8
        } else if self.bracketed() && (8..=13).contains(&count) && self.lengths.len() > 1 {
            0.75
        } else if national && (8..=13).contains(&count) && self.grouped_like_phone() {
            0.7
        } else if national && self.lengths.len() == 1 && (10..=11).contains(&count) {
            0.55
        } else {
            let after = self.context.text[self.end..].trim_start_matches([' ', '(']);
            let named = |word: &&str| after.get(..word.len()).is_some_and(|a| a.eq_ignore_ascii_case(word));
            let behind = ["mobile", "office", "fax", "cell", "home", "desk", "work"].iter().any(named);
            let enough = (7..=15).contains(&count) && (behind || self.names(Words::Phone));
            let other = self.names(Words::Card) || self.names(Words::National);
            (enough && (!other || self.names(Words::Calls))).then_some(0.6)?
        };
        Some((Kind::Phone, self.start..self.with_extension(), score))
    }

    fn has_plus(&self) -> bool {
        let text = self.text();
        text.starts_with('+') || text.starts_with("(+")
    }

    /// Whether a day stands there from a group on, as `2024-02-06`.
    fn dated(&self, first: usize) -> bool {
        if self.lengths.get(first..first + 3) != Some(&[4, 2, 2]) {
            return false;
        }
        let digits = &self.digits[self.lengths[..first].iter().sum()..];
        let (year, month, day) = (number(&digits[..4]), number(&digits[4..6]), number(&digits[6..8]));
        let gap = |at: usize| &self.context.text[self.groups[at].end..self.groups[at + 1].start];
        matches!(gap(first), "-" | "." | "/")
            && gap(first) == gap(first + 1)
            && (1900..2100).contains(&year)
            && is_date(year, month, day)
    }

    /// Whether an area or trunk code stands in brackets, at the first or second place: `(555) 123`, `49 (0) 30`.
    fn bracketed(&self) -> bool {
        let text = self.text();
        let Some((before, rest)) = text.split_once('(') else { return false };
        let code = rest.split_once(')').map(|(code, _)| code).unwrap_or_default();
        let second = self.groups.get(1).map_or(self.end, |group| group.start);
        (1..=5).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_digit())
            && self.start + before.len() < second
    }

    /// Whether a number goes on before or after, as in a table.
    fn is_in_a_row(&self) -> bool {
        let bytes = self.context.text.as_bytes();
        let before = |back: usize| Some(*bytes.get(self.start.checked_sub(back)?)?);
        let digit = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_digit());
        (before(1) == Some(b' ') && digit(before(2)))
            || (bytes.get(self.end) == Some(&b' ') && digit(bytes.get(self.end + 1).copied()))
    }

    /// Several groups, none of them the only long one at the end of a short one, nor parts of versions.
    fn grouped_like_phone(&self) -> bool {
        self.lengths.len() > 1
            && self.lengths.iter().filter(|l| **l == 1).count() <= 1
            && self.lengths.iter().all(|l| (1..=8).contains(l))
            && (self.lengths[0] >= 2 || self.lengths.len() > 2)
    }

    /// The end, after `x123` or ` ext. 123`.
    fn with_extension(&self) -> usize {
        let rest = &self.context.text[self.end..];
        let bare = rest.trim_start_matches([' ', ',']);
        let Some(mark) = ["extension ", "ext. ", "ext ", "ext.", "x"].iter().find(|mark| {
            rest.len() - bare.len() <= 2
                && bare.get(..mark.len()).is_some_and(|b| b.eq_ignore_ascii_case(mark))
        }) else {
            return self.end;
        };
        let digits = bare[mark.len()..].bytes().take_while(u8::is_ascii_digit).count();
        if (1..=6).contains(&digits) {
            self.end + (rest.len() - bare.len()) + mark.len() + digits
        } else {
            self.end
        }
    }

    fn identity(&self) -> Judged {
        let range = self.groups[0].start..self.end;
        if self.start < self.groups[0].start {
            return None;
        }
        let bytes = self.context.text.as_bytes();
        if let (Some(b'-'), Some(check)) = (bytes.get(self.end), bytes.get(self.end + 1)) {
            let form = matches!(self.lengths.as_slice(), [1 | 2, 3, 3])
                || (self.lengths.len() == 1 && self.names(Words::National));
            let free = !bytes.get(self.end + 2).is_some_and(u8::is_ascii_alphanumeric);
            if form && free && self.has(Country::Cl) && national::chilean(&self.digits, *check) {
                return Some((Kind::NationalId, range.start..self.end + 2, 0.85));
            }
        }
        match national::digits(&self.digits, &self.lengths, self.context.locales) {
            Some(Sure::Alone) if self.lengths.len() == 1 || !self.is_in_a_row() => {
                Some((Kind::NationalId, range, 0.8))
            }
            Some(_) if self.names(Words::National) => Some((Kind::NationalId, range, 0.8)),
            _ => None,
        }
    }

    /// British national insurance in groups: two letters before, one after; returns where it begins.
    fn british(&self) -> Option<usize> {
        let bytes = self.context.text.as_bytes();
        let letter = bytes.get(self.end + 1).filter(|b| b.is_ascii_uppercase() && bytes[self.end] == b' ')?;
        let start = self.start.checked_sub(3).filter(|_| self.lengths == [2, 2, 2])?;
        let before = &bytes[start..self.start];
        let free = |b: Option<&u8>| !b.is_some_and(u8::is_ascii_alphanumeric);
        let apart = free(start.checked_sub(1).and_then(|at| bytes.get(at))) && free(bytes.get(self.end + 2));
        let form = before[..2].iter().all(u8::is_ascii_uppercase) && before[2] == b' ';
        (form && apart && (matches!(letter, b'A'..=b'D') || self.names(Words::National))).then_some(start)
    }

    /// Numbers that are what the words before them say, whatever their form.
    fn named(&self) -> Judged {
        let range = self.groups[0].start..self.end;
        let count = self.digits.len();
        let some = |kind| Some((kind, range.clone(), 0.6));
        if (12..=19).contains(&count) && luhn(&self.digits) && self.names(Words::Card) {
            return some(Kind::Card);
        }
        if !(6..=15).contains(&count) {
            return None;
        }
        if (6..=10).contains(&count) && self.names(Words::Passport) {
            return some(Kind::Passport);
        }
        if self.names(Words::License) {
            return some(Kind::DriverLicense);
        }
        if let Some(start) = self.british() {
            return Some((Kind::NationalId, start..self.end + 2, 0.7));
        }
        if count == 9 && self.names(Words::Ssn) {
            return some(Kind::Ssn);
        }
        if (8..=14).contains(&count) && self.names(Words::National) {
            return some(Kind::NationalId);
        }
        None
    }
}
