//! Tokens of an identity provider (JWT, RFC 7519) as the other way in, beside keys.
//!
//! An issuer is trusted by the configuration: its keys come from a file or an address (JWKS, RFC 7517), and its claims are mapped
//! to tenant, user, team and roles. Only asymmetric signatures are taken: nobody who can check a token can make one.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Full;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::Value;
use signalbox_mesh::{Clock, Shutdown};

use crate::{
    config::Issuer,
    credential::Hash,
    decode,
    http::Http,
    keys::{Key, KeyScope},
    refusal::Refusal,
};

/// The longest token that is looked at, in bytes.
const MOST_BYTES: usize = 8 << 10;
/// Keys of one issuer.
const KEYS: usize = 64;
/// How far clocks may differ, in seconds.
const LEEWAY_S: i64 = 30;
/// How soon an address is asked again of which no keys are known yet.
const SOON: Duration = Duration::from_secs(5);
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Where an issuer's keys come from.
enum Source {
    File(PathBuf),
    Address(String),
}

/// A trusted issuer with its present keys.
struct Trusted {
    config: Issuer,
    source: Source,
    /// By key id; an issuer with one key may leave it out.
    keys: ArcSwap<BTreeMap<String, (DecodingKey, Algorithm)>>,
}

/// All trusted issuers. Clones are the same.
#[derive(Clone)]
pub(crate) struct Tokens {
    issuers: Arc<Vec<Trusted>>,
    http: Option<Http>,
    clock: Arc<dyn Clock>,
}

impl Tokens {
    /// Reads the configuration and the keys. An address that does not answer is asked again later.
    ///
    /// # Errors
    /// What to change.
    pub(crate) async fn open(configs: &[Issuer], clock: Arc<dyn Clock>) -> Result<Self, String> {
        let mut issuers = Vec::new();
        for config in configs {
            let source = match (&config.jwks_file, &config.jwks_url) {
                (Some(file), None) => Source::File(file.clone()),
                (None, Some(url)) => Source::Address(url.clone()),
                _ => {
                    return Err(format!(
                        "metering.issuers: {}: give one of jwks_file and jwks_url",
                        config.issuer
                    ));
                }
            };
            if config.tenant.is_some() == config.tenant_claim.is_some() {
                return Err(format!(
                    "metering.issuers: {}: give one of tenant and tenant_claim",
                    config.issuer
                ));
            }
            if config.name.is_empty() || config.issuer.is_empty() || config.audience.is_empty() {
                return Err("metering.issuers: name, issuer and audience are required".to_owned());
            }
            issuers.push(Trusted { config: config.clone(), source, keys: ArcSwap::default() });
        }
        let remote = issuers.iter().any(|issuer| matches!(issuer.source, Source::Address(_)));
        let http = match remote.then(Http::new) {
            Some(Ok(http)) => Some(http),
            Some(Err(error)) => return Err(format!("metering.issuers: {error}")),
            None => None,
        };
        let tokens = Self { issuers: Arc::new(issuers), http, clock };
        for issuer in &*tokens.issuers {
            match (tokens.fetch(issuer).await, &issuer.source) {
                (Err(what), Source::File(_)) => {
                    return Err(format!("metering.issuers: {}: {what}", issuer.config.issuer));
                }
                (Err(what), Source::Address(_)) => {
                    tracing::warn!(
                        issuer = issuer.config.issuer,
                        what,
                        "the keys of an issuer are not there yet"
                    );
                }
                (Ok(()), _) => {}
            }
        }
        Ok(tokens)
    }

    /// Reads the keys again and again, until the end: keys are replaced and withdrawn. Those that are not there yet are asked for
    /// sooner.
    pub(crate) async fn follow(self, every: Duration, shutdown: Shutdown) {
        loop {
            let missing = self.issuers.iter().any(|issuer| issuer.keys.load().is_empty());
            let pause = if missing { every.min(SOON) } else { every };
            tokio::select! {
                () = shutdown.started() => return,
                () = tokio::time::sleep(pause) => {}
            }
            for issuer in &*self.issuers {
                if let Err(what) = self.fetch(issuer).await {
                    tracing::warn!(
                        issuer = issuer.config.issuer,
                        what,
                        "the keys of an issuer stay as they were"
                    );
                }
            }
        }
    }

    async fn fetch(&self, issuer: &Trusted) -> Result<(), String> {
        let text = match (&issuer.source, &self.http) {
            (Source::File(file), _) => {
                tokio::fs::read(file).await.map_err(|error| format!("{}: {error}", file.display()))?
            }
            (Source::Address(url), Some(http)) => {
                let request = http::Request::get(url).body(Full::new(Bytes::new()));
                let request = request.map_err(|_| "jwks_url is malformed".to_owned())?;
                http.send(request).await.map_err(|error| error.to_string())?.to_vec()
            }
            (Source::Address(_), None) => return Err("there is no client".to_owned()),
        };
        let set: JwkSet =
            serde_json::from_slice(&text).map_err(|_| "it is no JSON web key set".to_owned())?;
        let mut keys = BTreeMap::new();
        for jwk in set.keys.iter().take(KEYS) {
            // What is not for signatures, or of a kind that is not taken, is left out.
            let algorithm =
                jwk.common.key_algorithm.and_then(|name| name.to_string().parse::<Algorithm>().ok());
            let algorithm =
                algorithm.or_else(|| usual(jwk)).filter(|algorithm| ALGORITHMS.contains(algorithm));
            if let (Some(algorithm), Ok(key)) = (algorithm, DecodingKey::from_jwk(jwk)) {
                keys.insert(jwk.common.key_id.clone().unwrap_or_default(), (key, algorithm));
            }
        }
        if keys.is_empty() {
            return Err("it holds no key for RS256, RS384, RS512, ES256, ES384 or EdDSA".to_owned());
        }
        issuer.keys.store(Arc::new(keys));
        Ok(())
    }

    /// Whether nobody is trusted.
    pub(crate) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Whether a credential has the form of a token.
    pub(crate) fn is_token(credential: &str) -> bool {
        credential.len() <= MOST_BYTES
            && credential.starts_with("eyJ")
            && credential.matches('.').count() == 2
    }

    /// Checks a token: signature, issuer, audience and time. Returns the caller as if it were a key, and the end user.
    pub(crate) fn identify(&self, token: &str) -> Result<(Arc<Key>, Option<String>), Refusal> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::CredentialInvalid)?;
        for issuer in &*self.issuers {
            let keys = issuer.keys.load();
            let found = match &header.kid {
                Some(id) => keys.get(id),
                None => keys.values().next().filter(|_| keys.len() == 1),
            };
            let Some((key, algorithm)) = found else { continue };
            let mut wanted = Validation::new(*algorithm);
            wanted.set_issuer(&[&issuer.config.issuer]);
            wanted.set_audience(&[&issuer.config.audience]);
            // Time is checked below, by the clock that is injected.
            (wanted.validate_exp, wanted.validate_nbf) = (false, false);
            wanted.required_spec_claims = ["exp", "iss", "aud"].map(str::to_owned).into();
            if let Ok(token) = jsonwebtoken::decode::<Value>(token, key, &wanted) {
                return issuer.caller(&token.claims, self.clock.unix_ms());
            }
        }
        Err(Refusal::CredentialInvalid)
    }
}

/// The algorithm of a key that names none.
fn usual(jwk: &jsonwebtoken::jwk::Jwk) -> Option<Algorithm> {
    use jsonwebtoken::jwk::{AlgorithmParameters as P, EllipticCurve};
    match &jwk.algorithm {
        P::RSA(_) => Some(Algorithm::RS256),
        P::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Some(Algorithm::ES256),
        P::EllipticCurve(key) if key.curve == EllipticCurve::P384 => Some(Algorithm::ES384),
        P::OctetKeyPair(_) => Some(Algorithm::EdDSA),
        _ => None,
    }
}

impl Trusted {
    fn caller(&self, claims: &Value, now: i64) -> Result<(Arc<Key>, Option<String>), Refusal> {
        let config = &self.config;
        let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
        let ends = seconds("exp").ok_or(Refusal::CredentialInvalid)?;
        let (now_s, leeway) = (now.div_euclid(1_000), LEEWAY_S);
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds are exact in an f64 for longer than calendars last"
        )]
        let (early, late) = ((now_s + leeway) as f64, (now_s - leeway) as f64);
        if late >= ends {
            return Err(Refusal::CredentialExpired(config.issuer.clone()));
        }
        if seconds("nbf").is_some_and(|begins| early < begins) {
            return Err(Refusal::CredentialInvalid);
        }
        let text = |claim: &str| claim_of(claims, claim).and_then(Value::as_str).map(str::to_owned);
        let tenant = match (&config.tenant, &config.tenant_claim) {
            (Some(tenant), _) => tenant.clone(),
            (None, Some(claim)) => text(claim).ok_or(Refusal::CredentialInvalid)?,
            (None, None) => return Err(Refusal::CredentialInvalid),
        };
        let tenant = decode::tenant("tenant", &tenant).map_err(|_| Refusal::CredentialInvalid)?;
        let user = text(&config.user_claim).filter(|user| user.len() <= 256);
        let roles = roles(claims, &config.roles_claim);
        let admin = roles.iter().any(|role| config.admin_roles.contains(role));
        let team = config.team_claim.as_deref().and_then(text).filter(|team| team.len() <= 64).map(Arc::from);
        let key = Key {
            // The same for all users of an issuer: users are told apart as users.
            id: format!("jwt:{}", config.name).into(),
            tenant,
            name: config.issuer.clone(),
            admin,
            hash: Hash { salt: [0; 16], digest: [0; 32] },
            old: None,
            scope: KeyScope {
                models: config.allowed_models.clone(),
                features: config.allowed_features.clone(),
                team,
                ..KeyScope::default()
            },
            created_unix_ms: 0,
            expires_unix_ms: None,
            revoked_unix_ms: None,
        };
        Ok((Arc::new(key), user))
    }
}

/// A claim by its name, or by its path: `realm_access.roles`.
fn claim_of<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| name.split('.').try_fold(claims, |value, part| value.get(part)))
}

/// Roles as a list of texts, or as one text with spaces between (`scope` of OAuth 2).
fn roles(claims: &Value, name: &str) -> Vec<String> {
    match claim_of(claims, name) {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    use serde_json::json;
    use signalbox_mesh::ManualClock;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    const NOW_S: i64 = 1_780_000_000;

    fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn token(pair: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())))
    }

    fn claims() -> Value {
        json!({ "iss": "https://id.example.com", "aud": "signalbox", "exp": NOW_S + 60, "sub": "ann", "org": "acme",
                "realm": { "roles": ["dev", "mesh-admin"] }, "group": "search" })
    }

    fn key_set(seed: u8, kid: &str) -> String {
        let key = URL_SAFE_NO_PAD.encode(pair(seed).public_key().as_ref());
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "alg": "EdDSA", "x": key });
        json!({ "keys": [key] }).to_string()
    }

    async fn tokens(folder: &std::path::Path) -> Tokens {
        let file = folder.join("jwks.json");
        std::fs::write(&file, key_set(1, "k1")).unwrap();
        let issuer = Issuer { jwks_file: Some(file), ..corp() };
        Tokens::open(&[issuer], Arc::new(ManualClock::new(NOW_S * 1_000))).await.unwrap()
    }

    fn corp() -> Issuer {
        Issuer {
            name: "corp".to_owned(),
            issuer: "https://id.example.com".to_owned(),
            audience: "signalbox".to_owned(),
            tenant_claim: Some("org".to_owned()),
            team_claim: Some("group".to_owned()),
            roles_claim: "realm.roles".to_owned(),
            admin_roles: vec!["mesh-admin".to_owned()],
            ..Issuer::default()
        }
    }

    /// Answers one request.
    async fn answer(listener: &TcpListener, status: u16, body: &str) {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            assert!(socket.read_buf(&mut seen).await.unwrap() > 0, "a whole request");
        }
        assert!(seen.starts_with(b"GET /keys HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&seen));
        let head =
            format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn keys_at_an_address_are_read_replaced_and_withdrawn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let issuer = Issuer { jwks_url: Some(url), ..corp() };
        let clock = Arc::new(ManualClock::new(NOW_S * 1_000));
        let issuers = [issuer];
        let (tokens, ()) = tokio::join!(Tokens::open(&issuers, clock), answer(&listener, 503, ""));
        let tokens = tokens.expect("an address that does not answer keeps nobody from starting");
        let good = |seed: u8, kid: &str| {
            let token = token(&pair(seed), &json!({ "alg": "EdDSA", "kid": kid }), &claims());
            tokens.identify(&token).is_ok()
        };
        assert!(!good(1, "k1"));
        let again = async |status: u16, body: &str| {
            let (fetched, ()) =
                tokio::join!(tokens.fetch(&tokens.issuers[0]), answer(&listener, status, body));
            fetched
        };
        again(200, &key_set(1, "k1")).await.unwrap();
        assert!(good(1, "k1") && !good(2, "k2"));
        for (status, body) in [(500, key_set(2, "k2").as_str()), (200, "<html>"), (200, "{\"keys\":[]}")] {
            assert!(again(status, body).await.is_err());
            assert!(good(1, "k1"), "they stay as they were");
        }
        again(200, &key_set(2, "k2")).await.unwrap();
        assert!(!good(1, "k1") && good(2, "k2"), "what is withdrawn is not taken any more");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_are_missing_are_asked_for_soon() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = tokens(folder.path()).await;
        tokens.issuers[0].keys.store(Arc::default());
        let (begun, shutdown) = (tokio::time::Instant::now(), Shutdown::new());
        shutdown.spawn(tokens.clone().follow(Duration::from_secs(300), shutdown.clone()));
        let valid = token(&pair(1), &header(), &claims());
        while tokens.identify(&valid).is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        shutdown.complete().await;
    }

    fn header() -> Value {
        json!({ "alg": "EdDSA", "typ": "JWT", "kid": "k1" })
    }

    #[tokio::test]
    async fn claims_become_tenant_user_team_and_roles() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = tokens(folder.path()).await;
        let token = token(&pair(1), &header(), &claims());
        assert!(Tokens::is_token(&token) && !Tokens::is_token("sb_a_b"));
        let (key, user) = tokens.identify(&token).unwrap();
        assert_eq!(
            (&*key.tenant, &*key.id, key.admin, user.as_deref()),
            ("acme", "jwt:corp", true, Some("ann"))
        );
        assert_eq!(key.scope.team.as_deref(), Some("search"));
    }

    #[tokio::test]
    async fn whatever_is_wrong_with_a_token_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = tokens(folder.path()).await;
        let changed = |name: &str, value: Value| {
            let mut changed = claims();
            changed[name] = value;
            tokens.identify(&token(&pair(1), &header(), &changed)).map(drop)
        };
        assert_eq!(changed("iss", json!("https://evil.example.com")), Err(Refusal::CredentialInvalid));
        assert_eq!(changed("aud", json!("other")), Err(Refusal::CredentialInvalid));
        assert_eq!(changed("org", json!("No Tenant")), Err(Refusal::CredentialInvalid));
        assert_eq!(changed("nbf", json!(NOW_S + 60)), Err(Refusal::CredentialInvalid));
        assert!(matches!(changed("exp", json!(NOW_S - 60)), Err(Refusal::CredentialExpired(_))));
        assert!(changed("exp", json!(NOW_S - 10)).is_ok(), "clocks may differ a little");
        assert_eq!(changed("exp", Value::Null), Err(Refusal::CredentialInvalid));
        let forged = token(&pair(2), &header(), &claims());
        assert_eq!(tokens.identify(&forged).map(drop), Err(Refusal::CredentialInvalid));
        let unsigned = json!({ "alg": "none", "kid": "k1" });
        assert!(tokens.identify(&token(&pair(1), &unsigned, &claims())).is_err());
        let symmetric = json!({ "alg": "HS256", "kid": "k1" });
        assert!(tokens.identify(&token(&pair(1), &symmetric, &claims())).is_err());
        assert!(tokens.identify("eyJ.x.y").is_err());
    }

    #[tokio::test]
    async fn a_file_without_a_usable_key_keeps_the_service_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwks.json");
        std::fs::write(&file, r#"{"keys":[]}"#).unwrap();
        let issuer = Issuer {
            name: "n".to_owned(),
            issuer: "i".to_owned(),
            audience: "a".to_owned(),
            tenant: Some("t".to_owned()),
            jwks_file: Some(file),
            ..Issuer::default()
        };
        let refused = Tokens::open(&[issuer], Arc::new(ManualClock::new(0))).await.err().unwrap();
        assert!(refused.contains("no key"), "{refused}");
    }
}
