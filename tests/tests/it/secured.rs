//! The mesh as six processes with certificates on both sides of every call, as `signalbox certs init` makes them.

use signalbox_app::certs;
use signalbox_mesh::{
    Channel, ClientConfig, Connector, Environment, MeshTls, client, error, tls::Credentials,
};
use signalbox_proto::{
    common::v1::ErrorReason,
    guard::v1::{InspectRequest, guard_service_client::GuardServiceClient},
};
use signalbox_tests::{
    ask::question,
    sandbox::{Sandbox, Topology},
};

use crate::{PROMPT, complete, finish, health};

#[tokio::test]
async fn six_processes_speak_tls_and_the_gateway_alone_may_call() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let args =
        certs::Args { dir: dir.into(), trust_domain: "acme.test".into(), dns: vec![], days: 30, json: false };
    certs::init(&args).unwrap();
    let sandbox = Sandbox::with(Topology::SixProcesses, &[], &certs::snippet(dir, &args.trust_domain)).await;
    complete(sandbox.ask(question("sim-small", PROMPT)).await);

    // The Rust client, by the authority's certificate.
    let authority = std::fs::read_to_string(dir.join("ca.crt")).unwrap();
    let url = format!("https://{}", sandbox.address);
    let client = signalbox_client::Client::trusting(&authority, &url, None).unwrap();
    let mut answer = client.ask("sim-small", PROMPT).await.unwrap();
    while answer.next_text().await.unwrap().is_some() {}
    assert!(answer.finished().is_some());

    // The cache may not ask the guard, though its certificate is good.
    let files = MeshTls {
        cert_file: dir.join("{service}/tls.crt"),
        key_file: dir.join("{service}/tls.key"),
        ca_file: dir.join("ca.crt"),
        callers: vec![],
    };
    let cache = Credentials::of_service(&files, "cache").unwrap().connector("guard", Connector::tcp());
    let guard = [sandbox.address_of("guard").to_string()];
    let environment = Environment::system("");
    let channel = Channel::remote("guard", &guard, &ClientConfig::default(), &environment, &cache).unwrap();
    let refused = client!(GuardServiceClient, channel).inspect(InspectRequest::default()).await.unwrap_err();
    assert_eq!(error::reason_of(&refused), Some(ErrorReason::CallerRefused), "{refused}");
    assert!(sandbox.logs()["guard"].contains("spiffe://acme.test/cache"));

    // Supervisors ask a service by its own binary, whatever it listens with.
    let config = dir.join("signalbox.toml");
    std::fs::write(&config, certs::snippet(dir, &args.trust_domain)).unwrap();
    for (name, address) in [("guard", sandbox.address_of("guard")), ("gateway", sandbox.address)] {
        let (listen, config) = (address.to_string(), config.to_str().unwrap());
        let answer = health::ask(name, &["--listen", &listen, "--config", config]).await;
        assert!(answer.status.success(), "{name}: {}", String::from_utf8_lossy(&answer.stderr));
    }

    finish(sandbox, 2).await;
}
