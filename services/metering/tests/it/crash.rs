//! The service as a process that is killed.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use signalbox_config::{Document, Live};
use signalbox_mesh::{Channel, Clock as _, Config, Connector, Environment, ManualClock, SystemClock};
use signalbox_proto::metering::v1::{
    Budget, ListBudgetsRequest, Principal, QueryUsageRequest, SettleRequest, Settlement, UsageDimension,
    UsageFilter, metering_service_client::MeteringServiceClient,
};

use crate::world::{Client, MODELS, ask, used};

const WORKERS: i64 = 8;
/// What each request reserves and uses, in nano-dollars.
const COST: i64 = 34_000;

/// A process that dies with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Starts the real binary on a free port; returns it with a client.
fn start(folder: &Path) -> (Process, Client) {
    use std::io::BufRead as _;
    let config = folder.join("signalbox.toml");
    let budget = "[tenants.local]\nbudgets = [{ limit_usd = '1', period = 'total' }]";
    std::fs::write(&config, format!("{MODELS}\n{budget}")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_signalbox-metering"))
        .args(["--listen", "127.0.0.1:0", "--config"])
        .arg(&config)
        .arg("--data-dir")
        .arg(folder.join("data"))
        .env_remove(signalbox_metering::ADMIN_KEY_VARIABLE)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit("http://").next().unwrap().to_owned();
    let environment = Environment::system(folder);
    let peers = [format!("http://{address}")];
    let channel =
        Channel::remote("metering", &peers, &Config::default().client, &environment, &Connector::tcp());
    (Process(child), signalbox_mesh::client!(MeteringServiceClient, channel.unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing_that_was_answered_and_leaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, client) = start(folder.path());
    let (told, mut answered) = tokio::sync::mpsc::channel(1_000);
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (mut client, told) = (client.clone(), told.clone());
            tokio::spawn(async move {
                for n in 0.. {
                    let id = format!("{worker}-{n}");
                    let Ok(admitted) = client.admit(ask(&id)).await else { return };
                    let settlements = vec![used(&id, admitted.get_ref(), 14, 10)];
                    let Ok(_) = client.settle(SettleRequest { settlements }).await else { return };
                    if told.send(id).await.is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    drop(told);
    // Killed in the middle of the work: at 200 answers, whatever else is under way.
    let mut kept = Vec::new();
    while let Some(id) = answered.recv().await {
        kept.push(id);
        if kept.len() == 200 {
            process.0.kill().unwrap();
        }
    }
    for worker in workers {
        worker.await.unwrap();
    }
    assert!(kept.len() >= 200);
    drop(process);

    let (process, mut client) = start(folder.path());
    let budget = budgets(&mut client).await;
    let (settled, cost) = requests(&mut client, "OK").await;
    assert!(settled >= kept.len() as u64, "M2: {} answered, {settled} kept", kept.len());
    assert_eq!(
        (budget.spent, cost),
        (cost, i64::try_from(settled).unwrap() * COST),
        "budget and ledger agree"
    );
    assert!(
        budget.reserved % COST == 0 && budget.reserved <= WORKERS * COST,
        "each worker asks for one at a time"
    );
    for part in kept.chunks(1_000) {
        let settlements =
            part.iter().map(|id| Settlement { principal: local(), ..used(id, &Default::default(), 14, 10) });
        let answer =
            client.settle(SettleRequest { settlements: settlements.collect() }).await.unwrap().into_inner();
        assert_eq!(
            (answer.recorded, answer.duplicates as usize),
            (0, part.len()),
            "delivered once more, counted once"
        );
    }
    drop(process);

    // The next one comes ten minutes later.
    let later = ManualClock::new(SystemClock.unix_ms() + 600_000);
    let document = Document::load(Some(&folder.path().join("signalbox.toml"))).unwrap();
    let environment = Environment::manual(later, 1, folder.path().join("data"));
    let shared = Live::new(document.shared().unwrap());
    let part = signalbox_metering::build(shared, Default::default(), environment.clone()).await.unwrap();
    let channel = Channel::local(&part, &Config::default(), &environment);
    let mut client = signalbox_mesh::client!(MeteringServiceClient, channel);
    let after = budgets(&mut client).await;
    assert_eq!(
        (after.spent, after.reserved),
        (budget.spent, 0),
        "L1: what the dead left is back after its time"
    );
    let (abandoned, _) = requests(&mut client, "ABANDONED").await;
    assert_eq!(i64::try_from(abandoned).unwrap() * COST, budget.reserved, "and each is on record");
    part.drain().await;
}

async fn budgets(client: &mut Client) -> Budget {
    client.list_budgets(ListBudgetsRequest::default()).await.unwrap().into_inner().budgets.remove(0)
}

/// Requests that ended so, and their cost.
async fn requests(client: &mut Client, outcome: &str) -> (u64, i64) {
    let filter =
        UsageFilter { dimension: UsageDimension::Outcome.into(), value: outcome.to_owned(), tag_key: None };
    let request = QueryUsageRequest { filters: vec![filter], to_unix_ms: i64::MAX, ..Default::default() };
    let rows = client.query_usage(request).await.unwrap().into_inner().rows;
    rows.first().map_or((0, 0), |row| (row.requests, row.cost_nanousd))
}

fn local() -> Option<Principal> {
    Some(Principal { tenant: "local".to_owned(), id: "local".to_owned(), ..Principal::default() })
}
