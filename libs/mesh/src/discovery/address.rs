//! The addresses of a service as they are configured: fixed ones, and names under which others are found.

use http::Uri;

use crate::Config;

/// An address that no channel can be made to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No address was given.
    #[error("{service} has no address; give at least one, as host:port")]
    Missing {
        /// The service.
        service: String,
    },
    /// It is not an address.
    #[error("{address:?}, an address of {service}, is not of the form {form}")]
    Malformed {
        /// The service.
        service: String,
        /// What was given.
        address: String,
        /// How it should look.
        form: &'static str,
    },
    /// TLS is wanted here and not there, or the other way round.
    #[error(
        "{address:?}, an address of {service}, begins with another scheme than {scheme}; services speak TLS with each other if mesh.tls is \
         set, and only then: write {scheme}://host:port, or host:port"
    )]
    Scheme {
        /// The service.
        service: String,
        /// What was given.
        address: String,
        /// What connections are made by.
        scheme: &'static str,
    },
    /// Consul is to be asked, but none is configured.
    #[error(
        "{address:?}, an address of {service}, needs the section [mesh.consul]; add it, with the agent's address"
    )]
    NoConsul {
        /// The service.
        service: String,
        /// What was given.
        address: String,
    },
    /// Names cannot be looked up here.
    #[error(
        "names in addresses of {service} cannot be looked up: {why}; set mesh.dns.server to a name server, as ip:port"
    )]
    NoResolver {
        /// The service.
        service: String,
        /// What is missing.
        why: String,
    },
}

const STATIC: &str = "host:port or http://host:port";
const DNS: &str = "dns://name:port";
const SRV: &str = "dns+srv://_service._protocol.name, without a port, which the records give";
const CONSUL: &str =
    "consul://service?tag=TAG&dc=DATACENTER, of letters, digits, '-', '_' and '.' but for the tags";

/// An address as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// One peer.
    Static(Uri),
    /// All addresses of a name (A, else AAAA), at one port.
    Dns { host: String, port: u16 },
    /// All targets of a name's SRV records.
    Srv { name: String },
    /// All healthy instances of a service that have these tags.
    Consul(ConsulName),
}

/// What Consul is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsulName {
    pub(crate) service: String,
    pub(crate) tags: Vec<String>,
    pub(crate) datacenter: Option<String>,
}

impl Address {
    /// Reads an address of a service that is called by `http` or `https`.
    pub(crate) fn parse(service: &str, address: &str, scheme: &'static str) -> Result<Self, AddressError> {
        let malformed =
            |form| AddressError::Malformed { service: service.into(), address: address.into(), form };
        match address.split_once("://") {
            Some(("dns", rest)) => dns(rest).ok_or_else(|| malformed(DNS)),
            Some(("dns+srv", rest)) => srv(rest).ok_or_else(|| malformed(SRV)),
            Some(("consul", rest)) => consul(rest).map(Self::Consul).ok_or_else(|| malformed(CONSUL)),
            Some((other @ ("http" | "https"), _)) if other != scheme => {
                Err(AddressError::Scheme { service: service.into(), address: address.into(), scheme })
            }
            _ => fixed(address, scheme).map(Self::Static).ok_or_else(|| malformed(STATIC)),
        }
    }

    /// Reads all addresses of a service.
    pub(crate) fn parse_all(
        service: &str,
        addresses: &[impl AsRef<str>],
        scheme: &'static str,
    ) -> Result<Vec<Self>, AddressError> {
        let read = addresses.iter().map(|address| Self::parse(service, address.as_ref(), scheme));
        let read: Vec<_> = read.collect::<Result<_, _>>()?;
        if read.is_empty() { Err(AddressError::Missing { service: service.into() }) } else { Ok(read) }
    }
}

/// Checks the addresses of a service as they are configured; whether Consul is, too, where one needs it, and TLS.
///
/// # Errors
/// The first address at fault, and how it should look.
pub fn check_addresses(
    service: &str,
    addresses: &[impl AsRef<str>],
    mesh: &Config,
) -> Result<(), AddressError> {
    let read = Address::parse_all(service, addresses, mesh.scheme())?;
    let asks = read.iter().position(|address| matches!(address, Address::Consul(_)));
    match asks {
        Some(at) if mesh.consul.is_none() => {
            Err(AddressError::NoConsul { service: service.into(), address: addresses[at].as_ref().into() })
        }
        _ => Ok(()),
    }
}

fn fixed(address: &str, scheme: &str) -> Option<Uri> {
    let full = if address.contains("://") { address.to_owned() } else { format!("{scheme}://{address}") };
    let uri: Uri = full.parse().ok()?;
    let fits = uri.scheme_str() == Some(scheme)
        && uri.path() == "/"
        && uri.query().is_none()
        && uri.port_u16().is_some()
        && uri.host().is_some_and(|host| !host.is_empty());
    fits.then_some(uri)
}

fn dns(rest: &str) -> Option<Address> {
    let (host, port) = rest.trim_end_matches('/').rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    is_name(host).then(|| Address::Dns { host: host.to_owned(), port })
}

fn srv(rest: &str) -> Option<Address> {
    let name = rest.trim_end_matches('/');
    is_name(name).then(|| Address::Srv { name: name.to_owned() })
}

fn consul(rest: &str) -> Option<ConsulName> {
    let (service, query) = rest.split_once('?').unwrap_or((rest, ""));
    let service = service.trim_end_matches('/');
    let mut name = ConsulName { service: service.to_owned(), tags: Vec::new(), datacenter: None };
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "tag" if !value.is_empty() => name.tags.push(value.into_owned()),
            "dc" if is_name(&value) => name.datacenter = Some(value.into_owned()),
            _ => return None,
        }
    }
    is_name(service).then_some(name)
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 253 && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for good in ["http://127.0.0.1:8081", "guard:8081", "http://[::1]:8081/"] {
            assert!(matches!(Address::parse("guard", good, "http"), Ok(Address::Static(_))), "{good}");
        }
        assert_eq!(
            Address::parse("cache", "dns://signalbox-cache.ns.svc:8082", "http"),
            Ok(Address::Dns { host: "signalbox-cache.ns.svc".into(), port: 8082 })
        );
        assert_eq!(
            Address::parse("router", "dns+srv://_grpc._tcp.signalbox-router.ns.svc", "http"),
            Ok(Address::Srv { name: "_grpc._tcp.signalbox-router.ns.svc".into() })
        );
        let name = ConsulName {
            service: "signalbox-executor".into(),
            tags: vec!["blue".into(), "a b".into()],
            datacenter: Some("east".into()),
        };
        assert_eq!(
            Address::parse("executor", "consul://signalbox-executor?tag=blue&tag=a%20b&dc=east", "http"),
            Ok(Address::Consul(name))
        );
    }

    #[test]
    fn what_is_none_of_them_says_how_it_should_look() {
        for bad in [
            "",
            "guard",
            "http://guard",
            "http://guard:8081/path",
            "http://guard:8081?a=b",
            "a b:1",
            "dns://guard",
            "dns://guard:0",
            "dns://:8081",
            "dns://guard:8081/path",
            "dns+srv://guard:8081",
            "dns+srv://",
            "consul://",
            "consul://guard/path",
            "consul://guard?tags=blue",
            "consul://guard?tag=",
            "etcd://guard",
        ] {
            let error = Address::parse("guard", bad, "http").unwrap_err();
            assert!(matches!(error, AddressError::Malformed { .. }), "{bad}: {error}");
        }
        let error = Address::parse("guard", "dns://guard", "http").unwrap_err().to_string();
        assert_eq!(error, "\"dns://guard\", an address of guard, is not of the form dns://name:port");
    }

    #[test]
    fn consul_needs_its_section() {
        let consul = ["consul://signalbox-guard"];
        let mut mesh = Config::default();
        let error = check_addresses("guard", &consul, &mesh).unwrap_err().to_string();
        mesh.consul = Some(crate::ConsulConfig::default());
        assert_eq!(check_addresses("guard", &consul, &mesh), Ok(()));
        assert!(error.contains("[mesh.consul]"), "{error}");
    }

    #[test]
    fn the_scheme_follows_from_tls() {
        let address = Address::parse("guard", "guard:8081", "https").unwrap();
        assert!(matches!(address, Address::Static(uri) if uri.scheme_str() == Some("https")));
        assert!(Address::parse("guard", "https://guard:8081", "https").is_ok());
        let plain = Address::parse("guard", "http://guard:8081", "https").unwrap_err().to_string();
        assert!(plain.contains("mesh.tls") && plain.contains("write https://host:port"), "{plain}");
        assert!(Address::parse("guard", "https://guard:8081", "http").is_err());
    }
}
