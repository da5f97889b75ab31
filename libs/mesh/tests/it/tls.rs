//! Certificates on both sides, over in-memory connections.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use signalbox_mesh::{
    Channel, Config, Connector, ContextTrust, MeshTls, Server, client, error,
    tls::{self, Acceptor, Credentials, DoorTls, Outlook},
};
use signalbox_proto::{
    common::v1::ErrorReason,
    guard::v1::{InspectRequest, guard_service_client::GuardServiceClient},
};
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    scripted::Scripted,
    world::{Network, Serving, environment},
};

/// An authority, and the folder in which it writes what it signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut of = CertificateParams::default();
        of.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(folder.path().join("ca"), of.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(of, key), folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Signs a certificate for a service, with an id or without.
    pub(crate) fn sign(&self, service: &str, id: Option<&str>, change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::generate().unwrap();
        let mut of = CertificateParams::new(vec![service.to_owned()]).unwrap();
        let ids = id.map(|id| SanType::URI(id.try_into().unwrap()));
        of.subject_alt_names.extend(ids);
        change(&mut of);
        fs::write(self.path().join(format!("{service}.key")), key.serialize_pem()).unwrap();
        fs::write(self.path().join(service), of.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
    }

    fn config(&self) -> MeshTls {
        let at = |name: &str| self.path().join(name);
        MeshTls {
            cert_file: at("{service}"),
            key_file: at("{service}.key"),
            ca_file: at("ca"),
            callers: vec!["spiffe://signalbox/gateway".into(), "dashboard".into()],
        }
    }

    /// The identity of a service of the mesh.
    fn identity(&self, service: &str) -> Credentials {
        self.sign(service, Some(&format!("spiffe://signalbox/{service}")), |_| {});
        Credentials::of_service(&self.config(), service).unwrap()
    }
}

fn serve(network: &Network, acceptor: Acceptor) -> Serving {
    let config = Config::default();
    let server = Server::new(&config.server, &environment()).trust(ContextTrust::Mesh).tls(Some(acceptor));
    network.serve("guard:1", server.part(Scripted::default().part()))
}

fn channel(connector: &Connector) -> Channel {
    Channel::remote("guard", &["guard:1"], &Config::default().client, &environment(), connector).unwrap()
}

async fn inspect(connector: &Connector) -> Result<(), Status> {
    let channel = channel(connector);
    client!(GuardServiceClient, channel).inspect(InspectRequest::default()).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn only_who_is_named_may_call_and_everybody_may_ask_for_health() {
    let (authority, network) = (Authority::new(), Network::default());
    let guard = authority.identity("guard");
    let _serving = serve(&network, Acceptor::service(guard.clone(), &authority.config()));
    let by = |credentials: Credentials| credentials.connector("guard", network.connector());

    inspect(&by(authority.identity("gateway"))).await.unwrap();
    inspect(&by(guard)).await.unwrap();
    // Without a SPIFFE id a certificate is known by its DNS names.
    authority.sign("dashboard", None, |_| {});
    let dashboard = Credentials::of_service(&authority.config(), "dashboard").unwrap();
    let unknown_domain = by(dashboard);
    inspect(&unknown_domain).await.unwrap();

    let nobody = tls::public(Some(&authority.path().join("ca")), network.connector()).unwrap();
    for (connector, why) in [
        (by(authority.identity("cache")), "spiffe://signalbox/cache"),
        (nobody.clone(), "no certificate was shown"),
    ] {
        let status = inspect(&connector).await.unwrap_err();
        assert_eq!(error::reason_of(&status), Some(ErrorReason::CallerRefused), "{status}");
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains(why) && status.message().contains("mesh.tls.callers"), "{status}");
    }
    let mut health = client!(HealthClient, channel(&nobody));
    health.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_caller_believes_the_service_that_it_called_alone() {
    let (authority, stranger, network) = (Authority::new(), Authority::new(), Network::default());
    let gateway = authority.identity("gateway").connector("guard", network.connector());
    let refused = async |by: &Authority, service: &str| {
        let serving = serve(&network, Acceptor::service(by.identity(service), &by.config()));
        let status = inspect(&gateway).await.unwrap_err();
        assert_eq!(error::reason_of(&status), Some(ErrorReason::ServiceUnavailable), "{status}");
        serving.stop().await;
        status.message().to_owned()
    };
    let other = refused(&authority, "cache").await;
    assert!(
        other.contains("the certificate is of spiffe://signalbox/cache, not of spiffe://signalbox/guard"),
        "{other}"
    );
    let unknown = refused(&stranger, "guard").await;
    assert!(unknown.contains("invalid peer certificate"), "{unknown}");

    // Plain text is no way in.
    let _serving = serve(&network, Acceptor::service(authority.identity("guard"), &authority.config()));
    assert!(inspect(&network.connector()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn certificates_are_read_again_and_bad_ones_leave_the_old() {
    let (old, network) = (Authority::new(), Network::default());
    let guard = old.identity("guard");
    let _serving = serve(&network, Acceptor::service(guard.clone(), &old.config()));
    let by_old = old.identity("gateway").connector("guard", network.connector());
    inspect(&by_old).await.unwrap();
    assert!(!guard.look().unwrap(), "nothing was changed");

    fs::write(old.path().join("guard.key"), "damaged").unwrap();
    let fault = guard.look().unwrap_err().to_string();
    assert!(fault.contains("guard.key"), "{fault}");
    assert!(!guard.look().unwrap(), "told once");
    inspect(&by_old).await.unwrap();

    let new = Authority::new();
    let by_new = new.identity("gateway").connector("guard", network.connector());
    inspect(&by_new).await.unwrap_err();
    let _made = new.identity("guard");
    for file in ["ca", "guard", "guard.key"] {
        fs::copy(new.path().join(file), old.path().join(file)).unwrap();
    }
    assert!(guard.look().unwrap());
    inspect(&by_new).await.unwrap();
    inspect(&by_old).await.unwrap_err();
}

#[test]
fn faults_of_files_are_told_with_their_names() {
    let authority = Authority::new();
    let _made = (authority.identity("guard"), authority.identity("cache"));
    let load = |change: &dyn Fn(&mut MeshTls)| {
        let mut config = authority.config();
        change(&mut config);
        Credentials::of_service(&config, "guard").unwrap_err().to_string()
    };
    let missing = load(&|config| config.ca_file = authority.path().join("no"));
    assert!(missing.contains("certs init") && missing.contains("no cannot be read"), "{missing}");
    let mixed = load(&|config| config.key_file = authority.path().join("cache.key"));
    assert!(mixed.contains("does not belong to the certificate"), "{mixed}");
    let empty = load(&|config| config.cert_file = authority.path().join("guard.key"));
    assert!(empty.contains("holds no certificate"), "{empty}");
    let door = DoorTls {
        cert_file: authority.path().join("guard"),
        key_file: authority.path().join("guard.key"),
        client_ca_file: None,
        client_certificates: tls::ClientCertificates::Required,
    };
    assert!(Credentials::of_door(&door).unwrap_err().to_string().contains("client_ca_file"));
}

#[test]
fn what_ends_soon_and_what_has_ended_is_known() {
    let authority = Authority::new();
    let outlook = |days: i64| {
        let now = std::time::SystemTime::now();
        let end = now + std::time::Duration::from_secs(days.unsigned_abs() * 86_400);
        authority.sign("guard", None, |of| {
            of.not_after = if days < 0 { rcgen::date_time_ymd(2020, 1, 1) } else { end.into() }
        });
        Credentials::of_service(&authority.config(), "guard").unwrap().outlook()
    };
    assert_eq!(outlook(30), Outlook::Good);
    assert_eq!(outlook(3), Outlook::EndsSoon);
    assert!(matches!(outlook(-1), Outlook::Refused(why) if why.contains("xpired")));
}

#[tokio::test(start_paused = true)]
async fn a_door_may_want_certificates_of_clients() {
    let (authority, network) = (Authority::new(), Network::default());
    let _made = authority.identity("guard");
    let door = DoorTls {
        cert_file: authority.path().join("guard"),
        key_file: authority.path().join("guard.key"),
        client_ca_file: Some(authority.path().join("ca")),
        client_certificates: tls::ClientCertificates::Required,
    };
    let _serving = serve(&network, Acceptor::door(Credentials::of_door(&door).unwrap()));
    let nobody = tls::public(Some(&authority.path().join("ca")), network.connector()).unwrap();
    inspect(&nobody).await.unwrap_err();
    // Whoever has one that the authority has signed may.
    inspect(&authority.identity("anybody").connector("guard", network.connector())).await.unwrap();
}
