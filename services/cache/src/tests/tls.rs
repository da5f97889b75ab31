//! Redis over TLS, with a certificate made here.

use std::{path::Path, process::Command};

use signalbox_config::Redis;
use signalbox_proto::common::v1::CacheState;
use signalbox_testkit::redis::{RedisError, RedisServer};

use super::world::*;

const ASKED: &str = "Why is the sky blue?";
/// Where the server is, and whether its certificate is trusted: in a process of its own, because what is trusted is its environment's.
const URL: &str = "SIGNALBOX_TEST_REDISS";
const TRUSTED: &str = "SIGNALBOX_TEST_REDISS_TRUSTED";

#[tokio::test]
async fn redis_over_tls_is_used_if_its_certificate_is_trusted() {
    if let Ok(url) = std::env::var(URL) {
        let redis = Redis { url: Some(url), ..Redis::default() };
        match std::env::var_os(TRUSTED) {
            Some(_) => shares(redis).await,
            None => goes_without(redis).await,
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [(certificate, key), (other, _)] = ["own", "other"].map(|name| certified(folder.path(), name));
    let server = match RedisServer::with_tls(&folder.path().join("redis"), &certificate, &key) {
        Ok(server) => server,
        Err(RedisError::Missing) => return println!("SKIPPED: redis over TLS: {}", RedisError::Missing),
        Err(error) => return println!("SKIPPED: redis over TLS: {error}"),
    };
    let (_, name) = concat!(module_path!(), "::redis_over_tls_is_used_if_its_certificate_is_trusted")
        .split_once("::")
        .unwrap();
    for trusted in [Some(&certificate), None] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", name, "--nocapture"]).env(URL, server.url());
        child.env("SSL_CERT_FILE", trusted.unwrap_or(&other)).env_remove("SSL_CERT_DIR");
        if trusted.is_some() {
            child.env(TRUSTED, "yes");
        }
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{trusted:?}: {said}");
    }
}

/// Two replicas share what one of them keeps.
async fn shares(redis: Redis) {
    let config = "[shared]\ndeadline_ms = 60000\npatience_ms = 60000";
    let one = World::replica(config, no_model(), Some(redis.clone()), 1).await;
    let two = World::replica(config, no_model(), Some(redis), 2).await;
    one.ask("a", &question(ASKED), "Rayleigh.").await;
    let looked = two.lookup("a", question(ASKED)).await.unwrap();
    assert_eq!((looked.state(), &*looked.text()), (CacheState::Exact, "Rayleigh."));
    assert_eq!(two.lookup("b", question(ASKED)).await.unwrap().state(), CacheState::Miss);
}

/// Nothing is told to a server that anybody might be.
async fn goes_without(redis: Redis) {
    let config = "[shared]\ndeadline_ms = 1000\npatience_ms = 1000\nfailures = 1";
    let world = World::replica(config, no_model(), Some(redis), 1).await;
    let looked = world.lookup("a", question(ASKED)).await.unwrap();
    assert_eq!((looked.state(), looked.result.lease), (CacheState::Miss, None));
}

/// A certificate for `localhost` that nobody but itself has signed, and its key.
fn certified(folder: &Path, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let paths = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    std::fs::write(&paths.0, certificate.pem()).unwrap();
    std::fs::write(&paths.1, key.serialize_pem()).unwrap();
    paths
}
