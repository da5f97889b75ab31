//! Keys, tokens and passwords: by the prefix that a provider gives them, or by the name that a value is given.
//!
//! Identifiers, hashes and signatures look as random as keys: without a prefix or a name that says so, nothing is a secret.

use std::{ops::Range, sync::LazyLock};

use aho_corasick::{AhoCorasick, MatchKind};

use super::{Detected, context::Context, kinds::Kind, tokens::is_blank};

/// A prefix and what may follow: which bytes, and how many.
struct Form {
    prefix: &'static str,
    rest: fn(u8) -> bool,
    least: usize,
    most: usize,
    kind: Kind,
}

const fn form(prefix: &'static str, rest: fn(u8) -> bool, least: usize, most: usize, kind: Kind) -> Form {
    Form { prefix, rest, least, most, kind }
}

const fn of(prefix: &'static str, rest: fn(u8) -> bool, least: usize, most: usize) -> Form {
    form(prefix, rest, least, most, Kind::ProviderKey)
}

const fn alnum(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

const fn upper(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit()
}

const fn hex(b: u8) -> bool {
    b.is_ascii_hexdigit()
}

const fn word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
}

const fn dotted(b: u8) -> bool {
    word(b) || b == b'.' || b == b'='
}

const fn base64(b: u8) -> bool {
    word(b) || b == b'+' || b == b'/' || b == b'='
}

const fn path(b: u8) -> bool {
    base64(b) || b == b'.'
}

/// What providers document, and gitleaks' list of rules (MIT) names.
static FORMS: &[Form] = &[
    form("sk-ant-", word, 20, 200, Kind::AnthropicKey),
    form("sk-proj-", word, 20, 250, Kind::OpenaiKey),
    form("sk-svcacct-", word, 20, 250, Kind::OpenaiKey),
    form("sk-admin-", word, 20, 250, Kind::OpenaiKey),
    form("sk-", word, 20, 200, Kind::OpenaiKey),
    form("AKIA", upper, 16, 16, Kind::AwsKey),
    form("ASIA", upper, 16, 16, Kind::AwsKey),
    form("ABIA", upper, 16, 16, Kind::AwsKey),
    form("ACCA", upper, 16, 16, Kind::AwsKey),
    form("ABSK", base64, 100, 300, Kind::AwsKey),
    of("bedrock-api-key-", base64, 30, 2_000),
    form("ghp_", alnum, 36, 255, Kind::GithubToken),
    form("gho_", alnum, 36, 255, Kind::GithubToken),
    form("ghu_", alnum, 36, 255, Kind::GithubToken),
    form("ghs_", alnum, 36, 255, Kind::GithubToken),
    form("ghr_", alnum, 36, 255, Kind::GithubToken),
    form("github_pat_", word, 22, 255, Kind::GithubToken),
    form("AIza", word, 35, 35, Kind::GoogleKey),
    form("ya29.", word, 30, 1_000, Kind::GoogleKey),
    form("GOCSPX-", word, 20, 40, Kind::GoogleKey),
    form("xoxb-", word, 16, 200, Kind::SlackToken),
    form("xoxp-", word, 16, 200, Kind::SlackToken),
    form("xoxa-", word, 10, 200, Kind::SlackToken),
    form("xoxr-", word, 10, 200, Kind::SlackToken),
    form("xoxs-", word, 16, 200, Kind::SlackToken),
    form("xoxo-", word, 16, 200, Kind::SlackToken),
    form("xoxe-", word, 16, 300, Kind::SlackToken),
    form("xoxe.xox", dotted, 40, 300, Kind::SlackToken),
    form("xapp-", word, 16, 300, Kind::SlackToken),
    form("hooks.slack.com/services/", path, 30, 120, Kind::SlackToken),
    form("hooks.slack.com/workflows/", path, 30, 120, Kind::SlackToken),
    form("hooks.slack.com/triggers/", path, 30, 120, Kind::SlackToken),
    form("sk_live_", alnum, 10, 200, Kind::StripeKey),
    form("sk_test_", alnum, 10, 200, Kind::StripeKey),
    form("sk_prod_", alnum, 10, 200, Kind::StripeKey),
    form("rk_live_", alnum, 10, 200, Kind::StripeKey),
    form("rk_test_", alnum, 10, 200, Kind::StripeKey),
    form("rk_prod_", alnum, 10, 200, Kind::StripeKey),
    form("whsec_", base64, 24, 80, Kind::StripeKey),
    form("sb_", |b| alnum(b) || b == b'_', 21, 200, Kind::SignalboxKey),
    form("eyJ", |b| word(b) || b == b'.' || b == b'=', 24, 4_000, Kind::Jwt),
    of("ops_eyJ", base64, 100, 4_000),
    of("A3-", |b| upper(b) || b == b'-', 36, 42),
    of("p8e-", alnum, 32, 32),
    of("AGE-SECRET-KEY-1", upper, 58, 58),
    of("LTAI", alnum, 20, 20),
    of("AKCp", alnum, 69, 69),
    of("cmVmd", alnum, 59, 59),
    of("4b1d", alnum, 38, 38),
    of("CLOJARS_", alnum, 60, 60),
    of("clojars_", alnum, 60, 60),
    of("dapi", |b| hex(b) || b == b'-', 32, 34),
    of("doo_v1_", hex, 64, 64),
    of("dop_v1_", hex, 64, 64),
    of("dor_v1_", hex, 64, 64),
    of("dp.pt.", alnum, 43, 43),
    of("dp.st.", dotted, 40, 60),
    of("duffel_test_", base64, 43, 43),
    of("duffel_live_", base64, 43, 43),
    of("dt0c01.", |b| alnum(b) || b == b'.', 89, 89),
    of("EZAK", alnum, 54, 54),
    of("EZTK", alnum, 54, 54),
    of("EAAM", alnum, 80, 400),
    of("EAAC", alnum, 80, 400),
    of("FLWSECK_TEST-", |b| alnum(b) || b == b'-', 12, 40),
    of("FLWPUBK_TEST-", |b| alnum(b) || b == b'-', 30, 40),
    of("fo1_", word, 43, 43),
    of("fm1a_", base64, 100, 2_000),
    of("fm1r_", base64, 100, 2_000),
    of("fm2_", base64, 100, 2_000),
    of("fio-u-", base64, 64, 64),
    of("glcbt-", word, 20, 40),
    of("gldt-", word, 20, 20),
    of("glffct-", word, 20, 20),
    of("glft-", word, 20, 20),
    of("glimt-", word, 25, 25),
    of("glagent-", word, 50, 50),
    of("gloas-", word, 64, 64),
    of("glpat-", dotted, 20, 320),
    of("glptt-", hex, 40, 40),
    of("GR1348941", word, 20, 20),
    of("glrt-", dotted, 20, 320),
    of("glsoat-", word, 20, 20),
    of("_gitlab_session=", alnum, 32, 32),
    of("eyJrIjoi", base64, 70, 400),
    of("glc_", base64, 32, 400),
    of("glsa_", word, 41, 41),
    of("pat.", dotted, 66, 70),
    of("sat.", dotted, 66, 70),
    of("HRKU-AA", word, 58, 58),
    of("hf_", |b| b.is_ascii_alphabetic() || b.is_ascii_digit(), 30, 40),
    of("api_org_", alnum, 34, 34),
    of("ico-", alnum, 32, 32),
    of("s-s4t2ud-", hex, 60, 66),
    of("s-s4t2af-", hex, 60, 66),
    of("lin_api_", alnum, 40, 40),
    of("ntn_", alnum, 46, 46),
    of("secret_", alnum, 43, 43),
    of("npm_", alnum, 36, 36),
    of("API-", upper, 26, 26),
    of("sha256~", word, 43, 43),
    of("pplx-", alnum, 48, 48),
    of("pscale_tkn_", dotted, 32, 64),
    of("pscale_oauth_", dotted, 32, 64),
    of("pscale_pw_", dotted, 32, 64),
    of("PMAK-", |b| hex(b) || b == b'-', 59, 59),
    of("pnu_", alnum, 36, 36),
    of("pul-", hex, 40, 40),
    of("pypi-", word, 50, 1_000),
    of("rdme_", alnum, 70, 70),
    of("rubygems_", hex, 48, 48),
    of("tk-us-", word, 48, 48),
    of("SG.", dotted, 60, 70),
    of("xkeysib-", word, 80, 82),
    of("xsmtpsib-", word, 80, 82),
    of("sntrys_", base64, 60, 800),
    of("sntryu_", hex, 64, 64),
    of("sm_aat_", alnum, 16, 16),
    of("sm_pat_", alnum, 16, 16),
    of("sm_sat_", alnum, 16, 16),
    of("shippo_live_", hex, 40, 40),
    of("shippo_test_", hex, 40, 40),
    of("shpat_", hex, 32, 32),
    of("shpca_", hex, 32, 32),
    of("shppa_", hex, 32, 32),
    of("shpss_", hex, 32, 32),
    of("sgp_", |b| alnum(b) || b == b'_', 40, 60),
    of("EAAA", word, 22, 80),
    of("sq0atp-", word, 22, 60),
    of("sq0csp-", word, 40, 60),
    of("SK", hex, 32, 32),
    of("AC", |b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'), 32, 32),
    of("hvb.", word, 130, 300),
    of("hvs.", word, 60, 140),
    of("s.", alnum, 24, 24),
    of("key-", hex, 32, 32),
    of("pubkey-", hex, 32, 32),
    of("pk.eyJ", dotted, 40, 200),
    of("sk.eyJ", dotted, 40, 200),
    of("NRAK-", alnum, 27, 27),
    of("NRJS-", hex, 19, 19),
    of("NRII-", word, 32, 32),
    of("access-sandbox-", word, 36, 36),
    of("access-development-", word, 36, 36),
    of("access-production-", word, 36, 36),
    of("tfp_", dotted, 50, 70),
    of("t1.", dotted, 90, 200),
    of("AQVN", word, 35, 38),
    of("YCAJ", word, 36, 36),
    of("dnkey-", base64, 70, 90),
    of("sl.", base64, 130, 1_500),
    of("squ_", alnum, 40, 40),
    of("sqp_", alnum, 40, 40),
    of("sqa_", alnum, 40, 40),
    of("gsk_", alnum, 40, 60),
    of("r8_", alnum, 37, 37),
    of("xai-", alnum, 60, 100),
    of("tgp_v1_", word, 40, 50),
    of("fw_", alnum, 22, 30),
    of("nvapi-", word, 60, 70),
    of("lsv2_pt_", word, 40, 50),
    of("lsv2_sk_", word, 40, 50),
    of("phc_", alnum, 40, 50),
    of("phx_", alnum, 40, 50),
    of("figd_", word, 38, 50),
    of("dckr_pat_", word, 26, 30),
    of("tskey-", word, 20, 80),
    of("atlasv1.", word, 60, 70),
    of("ATATT3xFf", base64, 100, 250),
    of("ATCTT3xFf", base64, 100, 250),
    of("ATBB", alnum, 28, 36),
    of("live_", |b| word(b) || b == b'=', 35, 45),
    of("test_", hex, 35, 35),
    of("EAACEdEose0cBA", alnum, 20, 300),
    of("amzn.mws.", word, 36, 36),
    of("rzp_live_", alnum, 14, 14),
    of("rzp_test_", alnum, 14, 14),
    of("sbp_", hex, 40, 40),
    of("vercel_", alnum, 24, 40),
    of("cloudflare_", word, 36, 60),
    of("v1.0-", |b| hex(b) || b == b'-', 171, 171),
    of("pat-na1-", word, 36, 36),
    of("pat-eu1-", word, 36, 36),
    of("webhook.office.com/webhookb2/", |b| path(b) || b == b'@', 60, 300),
    of("discord.com/api/webhooks/", path, 60, 120),
    of("discordapp.com/api/webhooks/", path, 60, 120),
    of("AccountKey=", base64, 80, 90),
    of("SharedAccessKey=", base64, 40, 60),
];

/// Marks that stand in the middle of a key.
const MIDDLES: [&str; 4] = ["Q~", ".atlasv1.", "_mmk", "T3BlbkFJ"];

static PREFIXES: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(FORMS.iter().map(|form| form.prefix))
        .ok()
});

/// Keys by their prefix, in one word.
pub(super) fn by_prefix(context: Context<'_>, range: Range<usize>, found: &mut Vec<Detected>) {
    let Some(prefixes) = &*PREFIXES else { return };
    let bytes = context.text.as_bytes();
    let mut from = range.start;
    while from < range.end {
        let Some(hit) = prefixes.find(&bytes[from..range.end]) else { break };
        let form = &FORMS[hit.pattern().as_usize()];
        let (start, rest) = (from + hit.start(), from + hit.end());
        from = start + 1;
        let own = form.prefix.as_bytes()[0];
        if own.is_ascii_alphanumeric() && bytes[..start].last().is_some_and(u8::is_ascii_alphanumeric) {
            continue;
        }
        let length =
            bytes[rest..range.end].iter().take(form.most + 1).take_while(|b| (form.rest)(**b)).count();
        let length = if bytes[rest..rest + length].ends_with(b".") { length - 1 } else { length };
        // One byte more than the longest: it is something else, or it goes on.
        if length < form.least || (length > form.most && form.most == form.least) {
            continue;
        }
        let end = rest + length.min(form.most);
        if random(&bytes[rest..end], form) {
            found.push(Detected { detector: form.kind.index(), range: start..end, score: 0.97 });
            from = end;
        }
    }
    middle(context, range, found);
}

/// Whether what follows a prefix is no word and no placeholder.
fn random(rest: &[u8], form: &Form) -> bool {
    let has = |test: fn(&u8) -> bool| rest.iter().any(test);
    let kinds = u8::from(has(u8::is_ascii_digit))
        + u8::from(has(u8::is_ascii_lowercase))
        + u8::from(has(u8::is_ascii_uppercase));
    let mixed = match form.kind {
        Kind::GoogleKey if form.least == 35 => {
            kinds == 3 && !is_alphabet(std::str::from_utf8(rest).unwrap_or_default())
        }
        Kind::AwsKey => entropy(rest) >= 2.7,
        Kind::Jwt => {
            let dots: Vec<usize> =
                rest.iter().enumerate().filter(|(_, b)| **b == b'.').map(|(at, _)| at).collect();
            dots.len() >= 2
                && rest.get(dots[0] + 1..dots[0] + 3) == Some(b"ey")
                && dots[1] + 9 < rest.len() + 1
        }
        Kind::SignalboxKey => rest.contains(&b'_') && has(u8::is_ascii_digit),
        _ if form.prefix.len() <= 3 => kinds >= 2 && has(u8::is_ascii_digit),
        _ => kinds >= 2,
    };
    mixed && entropy(rest) >= 2.5 && !rest.to_ascii_lowercase().windows(4).any(|w| w == b"xxxx")
}

/// Keys by a mark in their middle: Azure's, Terraform's, MaxMind's, old ones of OpenAI.
fn middle(context: Context<'_>, range: Range<usize>, found: &mut Vec<Detected>) {
    let text = &context.text[range.clone()];
    for mark in MIDDLES {
        let Some(at) = text.find(mark) else { continue };
        let key = |b: &u8| word(*b) || matches!(b, b'.' | b'~');
        let bytes = text.as_bytes();
        let start = at - bytes[..at].iter().rev().take(60).take_while(|b| key(b)).count();
        let end = at + bytes[at..].iter().take(120).take_while(|b| key(b)).count();
        let (before, after) = (at - start, end - at - mark.len());
        let fits = match mark {
            "Q~" => before == 4 && bytes[at - 1].is_ascii_digit() && (31..=34).contains(&after),
            ".atlasv1." => before == 14 && after >= 60,
            "_mmk" => before == 36 && after == 0,
            _ => before >= 20 && after >= 20,
        };
        if fits && entropy(&bytes[start..end]) >= 3.2 {
            let range = range.start + start..range.start + end;
            found.push(Detected { detector: Kind::ProviderKey.index(), range, score: 0.95 });
        }
    }
}

/// A private key block that begins at `at`; returns its end.
pub(super) fn private_key(context: Context<'_>, at: usize, found: &mut Vec<Detected>) -> Option<usize> {
    const LONGEST: usize = 16_384;
    let rest = &context.text[at..];
    let rest = &rest[..rest.floor_char_boundary(LONGEST)];
    let head = rest.find("-----\n").or_else(|| rest[11..].find("-----").map(|at| at + 11))?;
    if !rest[..head].contains("PRIVATE KEY") {
        return None;
    }
    let tail = head + 5 + rest[head + 5..].find("-----END ")?;
    let close = tail + 9 + rest[tail + 9..].find("-----")? + 5;
    let body = &rest[head + 5..tail];
    if body.trim().len() < 3 || !rest[tail..close].contains("PRIVATE KEY") {
        return None;
    }
    found.push(Detected { detector: Kind::PrivateKey.index(), range: at..at + close, score: 0.99 });
    Some(at + close)
}

/// Bits a byte.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u16; 256];
    for b in bytes.iter().take(1_024) {
        counts[usize::from(*b)] += 1;
    }
    let n = bytes.len().min(1_024) as f64;
    counts.iter().filter(|c| **c > 0).map(|c| f64::from(*c) / n).map(|p| -p * p.log2()).sum()
}

/// Names whose values are secret.
const SECRET_NAMES: [&str; 30] = [
    "password",
    "passwd",
    "passwort",
    "contraseña",
    "mot de passe",
    "kennwort",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "api key",
    "accesskey",
    "access_key",
    "access-key",
    "access key",
    "auth",
    "credential",
    "private_key",
    "privatekey",
    "client_srt",
    "signing_key",
    "encryption_key",
    "encryption-key",
    "master_key",
    "accountkey",
    "license_key",
    "bearer",
];
/// Names whose values look alike and are none.
const OPEN_NAMES: [&str; 26] = [
    "public",
    "pubkey",
    "csrf",
    "authenticity",
    "signature",
    "thought",
    "encrypted_content",
    "keyboard",
    "monkey",
    "keyid",
    "primary_key",
    "foreign",
    "cache",
    "hash",
    "sha1",
    "sha256",
    "checksum",
    "digest",
    "fingerprint",
    "tokens",
    "tokenizer",
    "max_token",
    "token_type",
    "author",
    "authentication-results",
    "idempotency",
];
/// Ends of names that say something about a secret and are none.
const OPEN_ENDS: [&str; 26] = [
    "id",
    "ids",
    "name",
    "size",
    "length",
    "type",
    "path",
    "file",
    "url",
    "uri",
    "host",
    "port",
    "user",
    "username",
    "expires",
    "ttl",
    "count",
    "version",
    "algorithm",
    "alg",
    "mode",
    "format",
    "label",
    "vault",
    "source",
    "chars",
];
/// Providers that give keys without a prefix: their name and a long random value are enough.
const PROVIDERS: &[&str] = &[
    "adafruit",
    "adobe",
    "airtable",
    "algolia",
    "alibaba",
    "asana",
    "atlassian",
    "confluence",
    "jira",
    "beamer",
    "bitbucket",
    "bittrex",
    "cloudflare",
    "codecov",
    "cohere",
    "co_api_key",
    "coinbase",
    "confluent",
    "contentful",
    "datadog",
    "discord",
    "droneci",
    "dropbox",
    "etsy",
    "facebook",
    "fastly",
    "finicity",
    "finnhub",
    "flickr",
    "freshbooks",
    "gitter",
    "heroku",
    "hubspot",
    "intercom",
    "jfrog",
    "artifactory",
    "bintray",
    "xray",
    "kraken",
    "kucoin",
    "launchdarkly",
    "linear",
    "linkedin",
    "linked_in",
    "linked-in",
    "lob",
    "looker",
    "mailchimp",
    "mailgun",
    "mattermost",
    "meraki",
    "messagebird",
    "message_bird",
    "message-bird",
    "netlify",
    "newrelic",
    "new_relic",
    "new-relic",
    "nytimes",
    "okta",
    "openweather",
    "pagerduty",
    "plaid",
    "privateai",
    "private_ai",
    "private-ai",
    "rapidapi",
    "sendbird",
    "sentry",
    "snyk",
    "sonar",
    "sourcegraph",
    "squarespace",
    "sumo",
    "telegr",
    "travis",
    "trello",
    "twilio",
    "twitch",
    "twitter",
    "typeform",
    "yandex",
    "zendesk",
    "zapier",
    "anthropic",
    "openai",
    "mistral",
    "groq",
    "replicate",
    "deepgram",
    "elevenlabs",
    "pinecone",
    "bundle_",
    "azure",
    "aws_secret",
    "gcp",
];

/// A value in a word whose name, before it, says that it is secret: `password=…`, `"token": "…"`, `Bearer …`, `-u user:…`.
pub(super) fn assigned(context: Context<'_>, range: Range<usize>, found: &mut Vec<Detected>) {
    let bytes = context.text.as_bytes();
    if bytes[range.clone()].contains(&b':') && login(context, range.clone(), found) {
        return;
    }
    let mut start = range.start;
    // Behind the last mark of assignment in the word; what stands before it is the name.
    let mark = bytes[range.clone()].iter().take(160).position(|b| matches!(b, b'=' | b':' | b'>'));
    if let Some(mark) = mark.map(|mark| range.start + mark).filter(|mark| *mark + 4 < range.end) {
        let inside = !bytes[mark..].starts_with(b"://");
        if inside && bytes[range.start..mark].iter().all(|b| word(*b) || b"\"'.${}[]<(/@#,&?;".contains(b)) {
            start = mark + 1;
        }
    }
    while start < range.end && (b"\"'`=:>({[,".contains(&bytes[start]) || !bytes[start].is_ascii()) {
        start += 1;
    }
    if !context.text.is_char_boundary(start) {
        return;
    }
    let stop = |b: &u8| matches!(b, b'"' | b'\'' | b'`' | b',' | b';' | b'<' | b'\\' | b'&' | b')');
    let length = bytes[start..range.end].iter().take(512).take_while(|b| !stop(b)).count();
    let value = context
        .text
        .get(start..start + length)
        .unwrap_or_default()
        .trim_end_matches(['.', '}', ']', ':', '?', '!']);
    if value.len() < 5 || value.contains("://") {
        return;
    }
    let window = context.window(start);
    let Some(strength) = strength(&window, value) else { return };
    if is_blank(value) || looks_like_code(value) {
        return;
    }
    let at = start..start + value.len();
    found.push(Detected { detector: Kind::Assigned.index(), range: at, score: strength });
}

/// `user:password` behind curl's option.
fn login(context: Context<'_>, range: Range<usize>, found: &mut Vec<Detected>) -> bool {
    let window = context.window(range.start);
    let window = window.trim_end();
    if !(window.ends_with(" -u") || window.ends_with("--user")) || !window.contains("curl") {
        return false;
    }
    let quotes: &[char] = &['"', '\'', '{', '}', '[', ']'];
    let (user, password) = context.text[range.clone()].split_once(':').unwrap_or_default();
    let password = password.trim_matches(quotes);
    let real = |part: &str| part.len() >= 6 && part.bytes().any(|b| b.is_ascii_digit()) && !is_blank(part);
    let is_login = real(password) || (password.is_empty() && real(user.trim_matches(quotes)));
    if is_login {
        found.push(Detected { detector: Kind::Assigned.index(), range, score: 0.9 });
    }
    is_login
}

/// How surely a value is secret by what stands before it; `None` when nothing says so.
fn strength(window: &str, value: &str) -> Option<f64> {
    let trimmed = window.trim_end_matches([' ', '"', '\'', '`', '\t', '(', '{', '[']);
    let v = value.as_bytes();
    let digits = v.iter().any(u8::is_ascii_digit);
    let random = digits && v.iter().any(u8::is_ascii_alphabetic);
    for scheme in ["bearer", "basic", "api-token", "token", "apikey", "authorization:"] {
        if trimmed.ends_with(scheme)
            && (trimmed.contains("authorization") || scheme == "bearer" || scheme == "api-token")
        {
            return (v.len() >= 8 && (random || entropy(v) > 3.0)).then_some(0.9);
        }
    }
    let (name, prose) = name_before(trimmed)?;
    let last = name.rsplit([' ', '"', '\'', '<']).next().unwrap_or_default();
    if OPEN_NAMES.iter().any(|open| name.contains(open)) || OPEN_ENDS.iter().any(|end| last.ends_with(end)) {
        return None;
    }
    let is_password = ["pass", "pwd", "kennwort", "contrase", "passphrase"].iter().any(|p| name.contains(p));
    let varied = digits || v.iter().any(|b| !b.is_ascii_alphanumeric() && !b".-_/".contains(b));
    if is_password && v.len() >= 5 && varied && (!prose || random) && !is_path(value) {
        return Some(0.85);
    }
    if !random || is_path(value) || is_identifier(value) || is_alphabet(value) {
        return None;
    }
    if SECRET_NAMES.iter().any(|secret| name.contains(secret)) && v.len() >= 8 && entropy(v) >= 2.6 {
        return Some(0.8);
    }
    if last.ends_with("key") && v.len() >= 16 && entropy(v) >= 3.3 {
        return Some(0.7);
    }
    let provider = PROVIDERS.iter().any(|provider| last.contains(provider) || name.ends_with(provider));
    let opaque = v.iter().all(|b| word(*b) || b"|:=.+/".contains(b));
    (provider && !prose && v.len() >= 14 && opaque && entropy(v) >= 2.9).then_some(0.75)
}

/// The name that a value is given in its line, and whether by a sentence (`the password is …`) rather than by a sign.
fn name_before(window: &str) -> Option<(String, bool)> {
    let signs: &[char] = &['=', ':', '>', '|', ','];
    let line = window.rsplit('\n').next().unwrap_or_default();
    let stripped = line.trim_end_matches(signs);
    let (rest, prose) = if stripped.len() < line.len() {
        (stripped, false)
    } else {
        let verbs = [" is", " was", " ist", " est", " es", " è", " is set to", " to"];
        match verbs.iter().find_map(|verb| line.strip_suffix(verb)) {
            Some(rest) => (rest, true),
            // A provider's name right before its key.
            None => (line.rsplit(' ').next().unwrap_or_default(), false),
        }
    };
    let rest = rest.trim_end_matches([' ', '"', '\'', '`', '\t', ')', ']']);
    let from = rest.rfind([';', '{', '}', '(', '&', '?', ',', '.']).map_or(0, |at| at + 1);
    let name = &rest[from..];
    // Only the last words: what is said long before is about something else.
    let from = name.len().saturating_sub(if prose { 28 } else { 36 });
    let name = name[name.ceil_char_boundary(from)..].trim();
    (name.len() > 1).then(|| (name.to_owned(), prose))
}

fn is_path(value: &str) -> bool {
    value.starts_with(['/', '.', '~']) && value.contains('/')
        || value.contains("./")
        || value.matches('/').count() > 2 && !value.ends_with('=')
        || [
            ".json", ".png", ".pem", ".cer", ".key", ".js", ".py", ".go", ".html", ".java", ".txt", ".yml",
            ".yaml",
        ]
        .iter()
        .any(|e| value.ends_with(e))
}

/// Words joined as programs join them, numbers of versions among them.
fn is_identifier(value: &str) -> bool {
    let mut parts = 0;
    value.split(['_', '-', '.', ':', '=']).filter(|part| !part.is_empty()).all(|part| {
        parts += 1;
        let letters = part.bytes().take_while(u8::is_ascii_alphabetic).count();
        let digits = part.bytes().skip(letters).take_while(u8::is_ascii_digit).count();
        let tail = part.bytes().skip(letters + digits).all(|b| b.is_ascii_alphabetic());
        digits <= 5 && tail && (part.len() <= 12 || digits == 0 || letters >= 6)
    }) && parts > 1
}

/// The letters in their order, which programs write down.
fn is_alphabet(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    ["abcdefgh", "12345678", "0123456789"].iter().any(|run| lower.contains(run))
}

fn looks_like_code(value: &str) -> bool {
    value.contains(['(', '{', '<', '['])
        || value.contains("::")
        || value.contains("->")
        || value.contains("==")
        || value.starts_with(['$', '%', '@', '/'])
        || is_uuid_of_zeros(value)
}

fn is_uuid_of_zeros(value: &str) -> bool {
    value.bytes().all(|b| matches!(b, b'0' | b'1' | b'-' | b'x' | b'X'))
}
