//! AWS Signature Version 4.

use std::fmt;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_parts};
use aws_sigv4::sign::v4;
use http::{HeaderValue, Request, header};

use crate::RequestError;

/// The name under which Bedrock checks signatures, for its runtime too.
const SERVICE: &str = "bedrock";

/// Are the keys of an AWS identity.
#[derive(Clone)]
pub struct Keys {
    access_key: String,
    secret: String,
    session_token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(hidden)")
    }
}

impl Keys {
    /// Takes an access key, its secret, and the session token of temporary keys.
    #[must_use]
    pub fn new(access_key: &str, secret: &str, session_token: Option<&str>) -> Self {
        Self {
            access_key: access_key.to_owned(),
            secret: secret.to_owned(),
            session_token: session_token.map(str::to_owned),
        }
    }

    /// Reads `ACCESS_KEY:SECRET` or `ACCESS_KEY:SECRET:SESSION_TOKEN`. `None`: it is something else, such as a bearer key.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut pieces = text.trim().splitn(3, ':').map(str::trim);
        let (access_key, secret) = (pieces.next()?, pieces.next()?);
        let is_key = (16..=128).contains(&access_key.len())
            && access_key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let token = pieces.next().filter(|token| !token.is_empty());
        (is_key && !secret.is_empty()).then(|| Self::new(access_key, secret, token))
    }
}

/// Signs a request for Bedrock: adds `host`, `x-amz-date`, `authorization` and, with temporary keys, `x-amz-security-token`.
/// The URI must be absolute, and method, URI and headers must not change afterwards.
///
/// # Errors
///
/// The URI names no host, or a header holds something other than visible ASCII. No error shows a key.
pub fn sign<B>(
    request: &mut Request<B>,
    body: &[u8],
    keys: &Keys,
    region: &str,
    now: SystemTime,
) -> Result<(), RequestError> {
    let wrong = |what: &str| RequestError::new("signature", what.to_owned());
    let authority = request.uri().authority().ok_or_else(|| wrong("the address names no host"))?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("the host is no header value"))?;
    request.headers_mut().insert(header::HOST, host);
    let identity = Credentials::new(
        keys.access_key.as_str(),
        keys.secret.as_str(),
        keys.session_token.clone(),
        None,
        "signalbox",
    )
    .into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| wrong("a signing parameter is missing"))?
        .into();
    let mut headers = Vec::with_capacity(request.headers().len());
    for (name, value) in request.headers() {
        let value = value.to_str().map_err(|_| wrong("a header holds more than visible ASCII"))?;
        headers.push((name.as_str(), value));
    }
    let uri = request.uri().to_string();
    let signable =
        SignableRequest::new(request.method().as_str(), uri, headers.into_iter(), SignableBody::Bytes(body))
            .map_err(|_| wrong("the address cannot be signed"))?;
    let (instructions, _) =
        sign_parts(signable, &params).map_err(|_| wrong("the request cannot be signed"))?.into_parts();
    let (signed, _) = instructions.into_parts();
    for added in signed {
        let mut value =
            HeaderValue::from_str(added.value()).map_err(|_| wrong("a key holds a control character"))?;
        value.set_sensitive(added.sensitive() || added.name() == "authorization");
        request.headers_mut().insert(added.name(), value);
    }
    Ok(())
}

/// Returns the region that a host such as `bedrock-runtime.eu-central-1.amazonaws.com` belongs to.
#[must_use]
pub fn region(host: &str) -> Option<&str> {
    let host = host.split(':').next()?;
    let inner = host.strip_suffix(".cn").unwrap_or(host).strip_suffix(".amazonaws.com");
    let inner = inner.or_else(|| host.strip_suffix(".api.aws"))?;
    inner.split('.').find(|label| {
        let mut words = label.split('-');
        words.next().is_some_and(|w| (2..=3).contains(&w.len()) && w.bytes().all(|b| b.is_ascii_lowercase()))
            && words.next().is_some_and(|w| w.bytes().all(|b| b.is_ascii_lowercase()))
            && words.next_back().is_some_and(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn regions_are_read_from_hosts() {
        assert_eq!(region("bedrock-runtime.us-east-1.amazonaws.com"), Some("us-east-1"));
        assert_eq!(region("bedrock-runtime-fips.us-gov-west-1.amazonaws.com:443"), Some("us-gov-west-1"));
        assert_eq!(
            region("vpce-0a1b-xyz.bedrock-runtime.eu-central-1.vpce.amazonaws.com"),
            Some("eu-central-1")
        );
        assert_eq!(region("bedrock-runtime.cn-north-1.amazonaws.com.cn"), Some("cn-north-1"));
        assert_eq!(region("localhost"), None);
    }

    #[test]
    fn keys_are_told_from_bearer_keys_and_hidden() {
        let keys = Keys::from_text("AKIDEXAMPLE000000:wJalrXUtnFEMI/K7MDENG:tok:en").unwrap();
        assert_eq!(keys.session_token.as_deref(), Some("tok:en"));
        assert!(Keys::from_text("ABSKQmVkcm9ja0FQSUtleQ==").is_none());
        assert!(!format!("{keys:?}").contains("AKID"));
    }

    #[test]
    fn a_signature_is_what_the_steps_of_the_documentation_give() {
        let url = "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1%3A0/converse";
        let mut request = Request::post(url).header("content-type", "application/json").body(()).unwrap();
        let keys = Keys::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", Some("session"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        sign(&mut request, b"{}", &keys, "us-east-1", now).unwrap();
        let got = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(got("x-amz-date"), "20231114T221320Z");
        assert_eq!(got("x-amz-security-token"), "session");
        // Computed step by step with another implementation of HMAC and SHA-256.
        let want = concat!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20231114/us-east-1/bedrock/aws4_request",
            ", SignedHeaders=content-type;host;x-amz-date;x-amz-security-token",
            ", Signature=242912f4cac4a4706ca9bfaae13e181c7f9ac8f82391e7ac10f31408f286e1c3"
        );
        assert_eq!(got("authorization"), want);
        assert!(request.headers()["authorization"].is_sensitive());
    }
}
