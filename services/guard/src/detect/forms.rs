//! What keys of providers look like, and the names of values that are secret.

use super::kinds::Kind;

/// A prefix and what may follow: which bytes, and how many.
pub(super) struct Form {
    pub(super) prefix: &'static str,
    pub(super) rest: fn(u8) -> bool,
    pub(super) least: usize,
    pub(super) most: usize,
    pub(super) kind: Kind,
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

pub(super) const fn word(b: u8) -> bool {
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
pub(super) static FORMS: &[Form] = &[
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
    // Airtable's: fourteen, a dot, sixty-four.
    of("pat", |b| alnum(b) || b == b'.', 79, 79),
    of("pat.", dotted, 66, 70),
    of("sat.", dotted, 66, 70),
    of("HRKU-AA", word, 58, 58),
    of("hf_", alnum, 34, 34),
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
    // Of an application at Twitter.
    of("AAAAAAAAAAAAAAAAAAAAAA", |b| alnum(b) || b == b'%', 60, 120),
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

/// Names whose values are secret.
#[rustfmt::skip]
pub(super) const SECRET_NAMES: &[&str] = &[
    "password", "passwd", "passwort", "contraseña", "mot de passe", "kennwort", "passphrase", "pwd",
    "secret", "token", "apikey", "api_key", "api-key", "api key", "accesskey", "access_key", "access-key",
    "access key", "auth", "credential", "private_key", "privatekey", "client_srt", "signing_key",
    "encryption_key", "encryption-key", "master_key", "accountkey", "license_key", "bearer",
];

/// Names whose values look alike and are none.
#[rustfmt::skip]
pub(super) const OPEN_NAMES: &[&str] = &[
    "public", "pubkey", "csrf", "authenticity", "signature", "thought", "encrypted_content", "keyboard",
    "monkey", "keyid", "primary_key", "foreign", "cache", "hash", "sha1", "sha256", "checksum", "digest",
    "fingerprint", "tokens", "tokenizer", "max_token", "token_type", "author", "authentication-results",
    "idempotency", "page_token", "pagetoken", "page-token", "continuation", "cursor", "sync_token",
    "synctoken", "next_token", "nexttoken",
];

/// Ends of names that say something about a secret and are none.
#[rustfmt::skip]
pub(super) const OPEN_ENDS: &[&str] = &[
    "id", "ids", "name", "size", "length", "type", "path", "file", "url", "uri", "host", "port", "user",
    "username", "expires", "ttl", "count", "version", "algorithm", "alg", "mode", "format", "label",
    "vault", "source", "chars",
];

/// Providers that give keys without a prefix: their name and a long random value are enough.
#[rustfmt::skip]
pub(super) const PROVIDERS: &[&str] = &[
    "adafruit", "adobe", "airtable", "algolia", "alibaba", "asana", "atlassian", "confluence", "jira",
    "beamer", "bitbucket", "bittrex", "cloudflare", "codecov", "cohere", "co_api_key", "coinbase",
    "confluent", "contentful", "datadog", "discord", "droneci", "dropbox", "etsy", "facebook", "fastly",
    "finicity", "finnhub", "flickr", "freshbooks", "gitter", "heroku", "hubspot", "intercom", "jfrog",
    "artifactory", "bintray", "xray", "kraken", "kucoin", "launchdarkly", "linear", "linkedin", "linked_in",
    "linked-in", "lob", "looker", "mailchimp", "mailgun", "mattermost", "meraki", "messagebird",
    "message_bird", "message-bird", "netlify", "newrelic", "new_relic", "new-relic", "nytimes", "okta",
    "openweather", "pagerduty", "plaid", "privateai", "private_ai", "private-ai", "rapidapi", "sendbird",
    "sentry", "snyk", "sonar", "sourcegraph", "squarespace", "sumo", "telegr", "travis", "trello", "twilio",
    "twitch", "twitter", "typeform", "yandex", "zendesk", "zapier", "anthropic", "openai", "mistral",
    "groq", "replicate", "deepgram", "elevenlabs", "pinecone", "bundle_", "azure", "aws_secret", "gcp",
];
