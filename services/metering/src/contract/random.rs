//! The same random calls to both backends: they answer the same, and neither overspends nor leaks.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use proptest::{prelude::*, test_runner::TestRunner};
use signalbox_mesh::ManualClock;
use signalbox_proto::metering::v1::RequestOutcome;
use signalbox_testkit::redis::RedisServer;

use super::world::{START, World, attempt, redis};
use crate::{
    books::{Admitted, Ask, Extension},
    budget::{Origin, Terms, Unit, tests::terms},
    ledger::{Details, Record},
    limit::{Metric, Per, tests::limit},
    period::Period,
    refusal::Refusal,
    reservation::{Quote, Told},
    subject::{Facet, Scope, Subject, tests::subject},
};

#[derive(Debug, Clone)]
enum Step {
    Admit { request: u8, input: i64, output: i64, user: bool, slice: bool },
    Extend { request: u8, number: u32, nanousd: i64, output: i64, again: bool },
    Settle { request: u8, attempts: Vec<(u32, i64)>, closing: bool, allowance: bool, user: bool },
    Pass { ms: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let request = 0_u8..10;
    let attempts = proptest::collection::btree_map(1_u32..4, 0_i64..500, 0..3);
    prop_oneof![
        4 => (request.clone(), 0_i64..300, 0_i64..900, any::<bool>(), any::<bool>())
            .prop_map(|(request, input, output, user, slice)| Step::Admit { request, input, output, user, slice }),
        2 => (request.clone(), 1_u32..4, 0_i64..300, 0_i64..300, any::<bool>())
            .prop_map(|(request, number, nanousd, output, again)| Step::Extend { request, number, nanousd, output, again }),
        4 => (request, attempts, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(request, attempts, closing, allowance, user)| Step::Settle {
                request, attempts: attempts.into_iter().collect(), closing, allowance, user,
            }
        ),
        1 => (0_i64..400_000).prop_map(|ms| Step::Pass { ms }),
    ]
}

fn who(tenant: &str, user: bool) -> Subject {
    Subject { user: user.then(|| "u".to_owned()), ..subject(tenant, "k1") }
}

async fn set_up(world: &World, tenant: &str) {
    let total = |name: &str, limit| Terms { period: Period::Total, ..terms(tenant, name, limit) };
    let scope = Scope(vec![(Facet::User, "u".to_owned())]);
    for terms in [
        total("money", 9_000),
        Terms { unit: Unit::Tokens, ..total("tokens", 12_000) },
        Terms { scope, ..total("user", 3_500) },
        Terms { period: Period::Hour, carry_over: true, ..terms(tenant, "hourly", 2_500) },
        Terms { hard: false, ..total("soft", 10) },
        Terms { shadow: true, ..total("shadow", 100) },
    ] {
        world.budget(terms).await;
    }
    for (n, (metric, amount, per)) in [
        (Metric::Concurrent, 5, Per::Call),
        (Metric::Requests, 30, Per::Minute),
        (Metric::Tokens, 4_000, Per::Minute),
    ]
    .into_iter()
    .enumerate()
    {
        let mut terms = limit(i64::try_from(n).unwrap(), metric, amount, per).terms;
        terms.tenant = tenant.into();
        if metric == Metric::Concurrent {
            terms.rate.each = Some(Facet::Principal);
        }
        world.backend.put_limit(None, terms, Origin::Call, "admin").await.unwrap();
    }
}

/// What two backends must agree on; they call reservations differently.
fn told(told: &Told) -> (i64, i64, i64, i64) {
    (told.amount_nanousd, told.granted_output_tokens, told.most_output_tokens, told.expires_unix_ms)
}

/// What was answered, in words that both backends share. Of calls that go together, what is told beside the answer itself may be that of
/// the last of them.
fn words(answer: &Answer, alone: bool) -> String {
    match answer {
        Answer::Admitted(Ok(Admitted { reservation, allowance, low_budgets, rates, .. })) => {
            let beside = alone.then_some((low_budgets, rates));
            format!("{:?} {:?} {beside:?}", told(reservation), allowance.as_ref().map(told))
        }
        Answer::Extended(Ok(reservation)) => format!("{:?}", told(reservation)),
        Answer::Settled(Ok(counts)) => format!("{counts:?}"),
        Answer::Admitted(Err(refusal)) | Answer::Extended(Err(refusal)) | Answer::Settled(Err(refusal)) => {
            refusal.to_string()
        }
    }
}

async fn state(world: &World, tenant: &str) -> Vec<(String, [i64; 7])> {
    let state = |b: crate::budget::Budget| {
        let numbers = [b.spent, b.reserved, b.standing, b.uncovered, b.carried, b.shadowed, b.window.start];
        (b.terms.name, numbers)
    };
    world.budgets(tenant).await.into_iter().map(state).collect()
}

enum Call {
    Admit(Ask),
    Extend(Extension),
    Settle(Record),
}

enum Answer {
    Admitted(Result<Admitted, Refusal>),
    Extended(Result<Told, Refusal>),
    Settled(Result<(u32, u32), Refusal>),
}

async fn make(world: &World, call: Call) -> Answer {
    match call {
        Call::Admit(ask) => Answer::Admitted(world.backend.admit(ask).await),
        Call::Extend(extension) => Answer::Extended(world.backend.extend(extension).await),
        Call::Settle(record) => Answer::Settled(world.settle(record).await),
    }
}

/// One backend with what it told of open requests.
struct Side<'a> {
    tenant: &'a str,
    reservations: Vec<String>,
    allowance: Option<String>,
}

impl<'a> Side<'a> {
    fn new(tenant: &'a str) -> Self {
        Self { tenant, reservations: vec!["acme:none".to_owned(); 10], allowance: None }
    }

    fn call(&self, step: &Step) -> Option<Call> {
        let tenant = self.tenant;
        Some(match step.clone() {
            Step::Admit { request, input, output, user, slice } => {
                let quote = Quote {
                    input_tokens: input,
                    output_tokens: output,
                    fixed_nanousd: input,
                    output_picousd: 1_700,
                };
                Call::Admit(Ask {
                    request_id: format!("{tenant}-{request}").into(),
                    gateway_id: "gw".into(),
                    subject: Arc::new(who(tenant, user)),
                    quote,
                    slice_tokens: slice.then_some(100),
                })
            }
            Step::Extend { request, number, nanousd, output, again } => Call::Extend(Extension {
                reservation_id: self.reservations[usize::from(request)].as_str().into(),
                number,
                nanousd,
                output_tokens: output,
                output_picousd: None,
                another_attempt: again,
            }),
            Step::Settle { request, attempts, closing, allowance, user } => {
                let own =
                    Some(self.reservations[usize::from(request)].clone()).filter(|id| id != "acme:none");
                Call::Settle(Record {
                    request_id: format!("{tenant}-{request}").into(),
                    reservation_id: if allowance { self.allowance.clone() } else { own },
                    subject: Some(Arc::new(who(tenant, user))),
                    attempts: attempts.iter().map(|(number, cost)| attempt(*number, *cost)).collect(),
                    closing: closing.then_some(RequestOutcome::Ok),
                    details: Details { started_unix_ms: START, ..Details::default() },
                })
            }
            Step::Pass { .. } => return None,
        })
    }

    fn hear(&mut self, step: &Step, answer: &Answer) {
        if let (Step::Admit { request, .. }, Answer::Admitted(Ok(admitted))) = (step, answer) {
            self.reservations[usize::from(*request)] = admitted.reservation.id.as_ref().to_owned();
            self.allowance = admitted.allowance.as_ref().map(|told| told.id.as_ref().to_owned());
        }
    }
}

/// Makes the calls: of the embedded backend one after the other, of the shared one so many together.
async fn run(
    embedded: &World,
    shared: &World,
    tenant: &str,
    steps: Vec<Step>,
    together: usize,
) -> Result<(), TestCaseError> {
    set_up(embedded, tenant).await;
    set_up(shared, tenant).await;
    let (mut one, mut other) = (Side::new(tenant), Side::new(tenant));
    for steps in steps.chunks(together) {
        let passed = steps.iter().map(|step| if let Step::Pass { ms } = step { *ms } else { 0 }).sum::<i64>();
        embedded.clock.advance(Duration::from_millis(u64::try_from(passed).unwrap()));
        let called: Vec<&Step> = steps.iter().filter(|step| !matches!(step, Step::Pass { .. })).collect();
        let mut expected = Vec::new();
        for call in called.iter().filter_map(|step| one.call(step)) {
            expected.push(make(embedded, call).await);
        }
        let calls = called.iter().filter_map(|step| other.call(step)).map(|call| make(shared, call));
        let found = join_all(calls).await;
        for ((step, expected), found) in called.iter().zip(&expected).zip(&found) {
            prop_assert_eq!(words(expected, together == 1), words(found, together == 1), "{:?}", step);
            one.hear(step, expected);
            other.hear(step, found);
        }
        prop_assert_eq!(state(embedded, tenant).await, state(shared, tenant).await, "{:?}", steps);
    }
    embedded.clock.advance(Duration::from_secs(600));
    for world in [embedded, shared] {
        world.backend.tick().await;
        let budgets = world.budgets(tenant).await;
        prop_assert!(budgets.iter().all(|b| b.reserved == 0 && b.standing == 0), "L1: {:?}", budgets);
        prop_assert_eq!(world.violations.b1(), 0);
    }
    let sums = |rows: Vec<(String, i64, i64, i64)>| {
        let attempts: (i64, i64) = rows.iter().fold((0, 0), |sum, row| (sum.0 + row.2, sum.1 + row.3));
        let closed: Vec<_> =
            rows.into_iter().filter(|r| r.0 != "UNSPECIFIED" && r.1 != 0).map(|r| (r.0, r.1)).collect();
        (attempts, closed)
    };
    prop_assert_eq!(sums(embedded.ledger(tenant).await), sums(shared.ledger(tenant).await), "M1");
    Ok(())
}

#[test]
fn both_backends_answer_the_same_to_any_sequence_of_calls() {
    both_answer_the_same(1);
}

#[test]
fn calls_that_go_together_come_to_what_they_come_to_one_after_the_other() {
    both_answer_the_same(12);
}

fn both_answer_the_same(together: usize) {
    let Some((_folder, server)) = redis(RedisServer::start) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock = ManualClock::new(START);
    let embedded = World::embedded(&clock, true);
    let shared = runtime.block_on(World::shared(&server.url(), &clock, true));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases(24)) };
    let mut tenants = 0..;
    let tenants = std::cell::RefCell::new(&mut tenants);
    let result = TestRunner::new(config).run(&proptest::collection::vec(step(), 1..60), |steps| {
        let tenant = format!("t{}", tenants.borrow_mut().next().unwrap_or(0));
        clock.set(START);
        runtime.block_on(run(&embedded, &shared, &tenant, steps, together))
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    runtime.block_on(shared.shutdown.complete());
}

/// How many sequences are tried; `PROPTEST_CASES` says otherwise.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
