//! What a certificate names.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

const SPIFFE: &str = "spiffe://";

/// SPIFFE ids and DNS names of a certificate, in lower case where case has no meaning. Empty where it cannot be read.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    let ids = parsed.valid_uri_names().filter(|name| name.starts_with(SPIFFE)).map(str::to_owned);
    ids.chain(parsed.valid_dns_names().map(str::to_ascii_lowercase)).collect()
}

/// The SPIFFE id among names. A certificate has at most one: <https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md>.
pub(super) fn spiffe(names: &[String]) -> Option<&str> {
    names.iter().map(String::as_str).find(|name| name.starts_with(SPIFFE))
}

/// A service's SPIFFE id in the trust domain of another id.
pub(super) fn neighbour(id: &str, service: &str) -> Option<String> {
    let domain = id.strip_prefix(SPIFFE)?.split('/').next()?;
    Some(format!("{SPIFFE}{domain}/{service}"))
}

/// Whether a configured name is one of a certificate's. A certificate with a SPIFFE id is believed for that alone.
pub(super) fn is_named(wanted: &str, names: &[String]) -> bool {
    match spiffe(names) {
        Some(id) => wanted == id,
        None => names.iter().any(|name| name.eq_ignore_ascii_case(wanted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_counts_alone() {
        let both = ["spiffe://signalbox/guard".to_owned(), "localhost".to_owned()];
        assert!(is_named("spiffe://signalbox/guard", &both));
        assert!(!is_named("localhost", &both));
        assert!(is_named("LocalHost", &both[1..]));
        assert!(!is_named("spiffe://signalbox/guard/x", &both));
        assert_eq!(
            neighbour("spiffe://prod.acme/ns/a/gateway", "guard").as_deref(),
            Some("spiffe://prod.acme/guard")
        );
    }
}
