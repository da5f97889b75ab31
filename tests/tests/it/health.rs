//! `--health`, which supervisors of images without a shell run beside a service.

use std::{path::Path, process::Output};

use signalbox_tests::process::{Process, binary};
use tokio::process::Command;

pub(crate) async fn ask(name: &str, arguments: &[&str]) -> Output {
    Command::new(binary(&format!("signalbox-{name}"))).arg("--health").args(arguments).output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_asks_its_own_service() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("signalbox.toml");
    std::fs::write(&config, "[guard]\nlearned = false\n").unwrap();
    for name in ["guard", "gateway"] {
        let start = |at: &Path| {
            let (data, log) = (at.join(name), at.join(format!("{name}.log")));
            let config = config.clone();
            async move { Process::start(name, "127.0.0.1:0", &config, &data, &log).await }
        };
        let mut process = start(folder.path()).await;
        let address = process.address.to_string();
        let asked = ["--listen", &address, "--config", config.to_str().unwrap()];
        let answer = ask(name, &asked).await;
        assert!(answer.status.success(), "{name}: {}", String::from_utf8_lossy(&answer.stderr));
        process.kill().await;
        let answer = ask(name, &asked).await;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert_eq!(answer.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains(&address), "{name}: {said}");
    }
}

#[test]
fn a_service_is_looked_for_where_it_listens_by_itself() {
    let listens = [
        ("guard", signalbox_guard::Config::default().listen),
        ("cache", signalbox_cache::Config::default().listen),
        ("router", signalbox_router::Config::default().listen),
        ("executor", signalbox_executor::Config::default().listen),
        ("metering", signalbox_metering::Config::default().listen),
        ("gateway", signalbox_gateway::Config::default().listen),
    ];
    for (name, listen) in listens {
        assert_eq!(signalbox_config::listen::of(name), listen, "{name}");
    }
}
