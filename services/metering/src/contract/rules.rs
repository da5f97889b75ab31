//! The rules, one after the other.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use signalbox_mesh::{ManualClock, Random};
use signalbox_proto::metering::v1::RequestOutcome;
use signalbox_testkit::redis::RedisServer;

use super::world::{START, World, ask, attempt, done, record, redis, reservation};
use crate::{
    audit::Look,
    budget::{Origin, Terms, Unit, tests::terms},
    credential::{self, Credential, Hash},
    keys::{Caller, Key, KeyChange, KeyScope},
    ledger::Page,
    limit::{Metric, Per, tests::limit},
    query::{Dimension, Group, Question},
    refusal::Refusal,
    subject::{Facet, Scope, Subject, tests::subject},
};

fn outcome(name: &str, requests: i64, attempts: i64, cost: i64) -> (String, i64, i64, i64) {
    (name.to_owned(), requests, attempts, cost)
}

#[tokio::test]
async fn all_budgets_are_checked_together_and_a_retry_changes_nothing() {
    for world in World::both(false).await {
        world.budget(terms("acme", "wide", 1_000)).await;
        let tight = world.budget(terms("acme", "tight", 500)).await;
        let first = world.admit("r1", 450).await.unwrap();
        assert_eq!(first.reservation.granted_output_tokens, 450);
        assert_eq!(world.admit("r1", 450).await.unwrap().reservation, first.reservation);
        let refused = world.admit("r2", 400).await.unwrap_err();
        assert!(
            refused.to_string().contains("budget tight has 50 nano-dollars left and 64 are needed"),
            "{refused}"
        );
        let raised = Terms { limit: 700, ..tight.terms.clone() };
        world.backend.put_budget(Some(tight.id), raised, Origin::Call, "admin").await.unwrap();
        assert_eq!(
            world.admit("r2", 400).await.unwrap().reservation.granted_output_tokens,
            250,
            "as far as it goes"
        );
        let reserved: Vec<_> = world.budgets("acme").await.iter().map(|b| b.reserved).collect();
        assert_eq!(reserved, [700, 700]);
        world.settle(done("r1", &first, 120)).await.unwrap();
        assert_eq!(world.settle(done("r1", &first, 120)).await, Ok((0, 1)), "delivered once more");
        let states: Vec<_> = world.budgets("acme").await.iter().map(|b| (b.spent, b.reserved)).collect();
        assert_eq!(states, [(120, 250), (120, 250)]);
        assert_eq!(world.ledger("acme").await, [outcome("OK", 1, 1, 120)]);
        world.backend.delete_budget(tight.id, "admin").await.unwrap();
        assert!(matches!(
            world.backend.delete_budget(tight.id, "admin").await,
            Err(Refusal::NotFound { .. })
        ));
        assert_eq!(world.admit("r3", 800).await.unwrap().reservation.granted_output_tokens, 630);
        world.end().await;
    }
}

#[tokio::test]
async fn an_extension_counts_once_and_takes_all_or_nothing() {
    for world in World::both(false).await {
        world.budget(terms("acme", "b", 1_000)).await;
        let id = reservation(&world.admit("r1", 100).await.unwrap());
        assert_eq!(world.extend(&id, 1, 200).await, Ok(300));
        assert_eq!(world.extend(&id, 1, 200).await, Ok(300), "a retry");
        let refused = world.extend(&id, 2, 701).await.unwrap_err();
        assert!(refused.to_string().contains("has 700 nano-dollars left and 701 are needed"), "{refused}");
        assert_eq!(world.extend(&id, 2, 700).await, Ok(1_000));
        world.clock.advance(Duration::from_secs(119));
        assert_eq!(world.extend(&id, 3, 0).await, Ok(1_000), "renewed");
        world.clock.advance(Duration::from_secs(119));
        assert_eq!(world.budgets("acme").await[0].reserved, 1_000);
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.extend(&id, 4, 0).await, Err(Refusal::NoReservation));
        assert_eq!(world.extend("acme:nobody", 1, 0).await, Err(Refusal::NoReservation));
        assert_eq!(world.ledger("acme").await, [outcome("ABANDONED", 1, 0, 0)]);
        world.end().await;
    }
}

#[tokio::test]
async fn what_comes_late_in_parts_or_above_the_reservation_is_counted_once() {
    for world in World::both(false).await {
        world.budget(terms("acme", "b", 1_000)).await;
        let admitted = world.admit("r1", 100).await.unwrap();
        let id = Some(reservation(&admitted));
        let part = record("r1", id.clone(), vec![attempt(1, 60)], None);
        assert_eq!(world.settle(part.clone()).await, Ok((1, 0)));
        assert_eq!(world.settle(part).await, Ok((0, 1)));
        let budget = &world.budgets("acme").await[0];
        assert_eq!((budget.spent, budget.reserved), (60, 40));
        let both = record("r1", id, vec![attempt(1, 60), attempt(2, 70)], Some(RequestOutcome::Ok));
        assert_eq!(world.settle(both).await, Ok((1, 0)));
        let budget = &world.budgets("acme").await[0];
        assert_eq!((budget.spent, budget.reserved, budget.uncovered), (130, 0, 30));
        let late = world.admit("r2", 100).await.unwrap();
        world.clock.advance(Duration::from_secs(121));
        world.backend.tick().await;
        let found = world.ledger("acme").await;
        assert_eq!(found.iter().map(|row| row.1).sum::<i64>(), 2, "{found:?}");
        assert_eq!(world.settle(done("r2", &late, 50)).await, Ok((1, 0)));
        let cost: i64 = world.ledger("acme").await.iter().map(|row| row.3).sum();
        let named: Vec<_> =
            world.ledger("acme").await.into_iter().filter(|r| r.1 > 0).map(|r| (r.0, r.1)).collect();
        assert_eq!((named, cost), (vec![("OK".to_owned(), 2)], 180));
        world.end().await;
    }
}

#[tokio::test]
async fn contradictions_are_counted_and_another_requests_reservation_is_refused() {
    for world in World::both(false).await {
        world.budget(terms("acme", "b", 1_000)).await;
        let (one, _two) = (world.admit("r1", 100).await.unwrap(), world.admit("r2", 100).await.unwrap());
        let thief = record("r3", Some(reservation(&one)), vec![attempt(1, 10)], Some(RequestOutcome::Ok));
        assert!(world.settle(thief).await.unwrap_err().to_string().starts_with("reservation_id"));
        let mut nobody = record("r4", None, vec![attempt(1, 10)], Some(RequestOutcome::Ok));
        nobody.subject = None;
        assert!(world.settle(nobody).await.unwrap_err().to_string().starts_with("principal"));
        world.settle(done("r1", &one, 50)).await.unwrap();
        world.settle(done("r1", &one, 51)).await.unwrap();
        let failed = record("r1", None, vec![], Some(RequestOutcome::Failed));
        world.settle(failed).await.unwrap();
        assert_eq!((world.violations.m1(), world.violations.m2(), world.violations.b1()), (1, 1, 0));
        assert_eq!(world.budgets("acme").await[0].spent, 50);
        assert_eq!(world.ledger("acme").await, [outcome("OK", 1, 1, 50)]);
        world.shutdown.complete().await;
    }
}

#[tokio::test]
async fn scopes_units_and_limits_bound_only_what_they_cover() {
    for world in World::both(false).await {
        let scope =
            Scope(vec![(Facet::User, "ann".to_owned()), (Facet::Tag("env".to_owned()), "prod".to_owned())]);
        world.budget(Terms { scope, unit: Unit::Tokens, ..terms("acme", "ann", 300) }).await;
        let mut rpm = limit(0, Metric::Requests, 2, Per::Minute).terms;
        rpm.rate.each = Some(Facet::User);
        world.backend.put_limit(None, rpm.clone(), Origin::Call, "admin").await.unwrap();
        let again = world.backend.put_limit(None, rpm, Origin::Call, "admin").await;
        assert!(matches!(again, Err(Refusal::Exists { .. })));
        let by = |user: &str, env: &str| {
            let tags = [("env".to_owned(), env.to_owned())].into();
            Subject { user: Some(user.to_owned()), tags, ..subject("acme", "k1") }
        };
        let admitted = world.backend.admit(ask(by("ann", "prod"), "r1", 500)).await.unwrap();
        assert_eq!(admitted.reservation.granted_output_tokens, 300);
        let rates: Vec<_> = admitted.rates.iter().map(|rate| (rate.remaining, rate.reset_ms)).collect();
        assert_eq!(rates, [(1, 30_000)]);
        assert!(world.backend.admit(ask(by("ann", "test"), "r2", 500)).await.is_ok());
        let refused = world.backend.admit(ask(by("ann", "test"), "r3", 1)).await.unwrap_err();
        assert!(refused.to_string().contains("ask again in 30000 ms"), "{refused}");
        assert!(world.backend.admit(ask(by("bob", "test"), "r4", 500)).await.is_ok());
        world.clock.advance(Duration::from_secs(30));
        assert!(world.backend.admit(ask(by("ann", "test"), "r3", 1)).await.is_ok());
        let limits = world.backend.limits("acme").await.unwrap();
        world.backend.delete_limit(limits[0].id, "admin").await.unwrap();
        assert!(world.backend.admit(ask(by("ann", "test"), "r5", 1)).await.is_ok());
        world.end().await;
    }
}

#[tokio::test]
async fn a_new_budget_knows_what_was_spent_and_carries_over() {
    for world in World::both(false).await {
        world.budget(terms("acme", "old", 10_000)).await;
        let admitted = world.admit("r1", 100).await.unwrap();
        world.settle(done("r1", &admitted, 100)).await.unwrap();
        let made = world.budget(Terms { carry_over: true, ..terms("acme", "new", 1_000) }).await;
        assert_eq!(made.spent, 100);
        let scope = Scope(vec![(Facet::Principal, "other".to_owned())]);
        assert_eq!(world.budget(Terms { scope, ..terms("acme", "else", 1_000) }).await.spent, 0);
        world.clock.advance(Duration::from_secs(86_400));
        let carried = world.budgets("acme").await.into_iter().find(|b| b.terms.name == "new").unwrap();
        assert_eq!((carried.spent, carried.carried, carried.room()), (0, 900, 1_900));
        assert_eq!(world.admit("r2", 5_000).await.unwrap().reservation.granted_output_tokens, 1_900);
        world.end().await;
    }
}

#[tokio::test]
async fn an_allowance_is_reserved_beforehand_and_paid_from() {
    for world in World::both(true).await {
        world.budget(terms("acme", "b", 10_000)).await;
        let first = world.admit("r1", 100).await.unwrap();
        let allowance = first.allowance.clone().unwrap();
        assert_eq!((allowance.amount_nanousd, allowance.expires_unix_ms), (100, START + 300_000));
        assert_eq!(world.admit("r2", 100).await.unwrap().allowance, Some(allowance.clone()));
        let away = record(
            "r3",
            Some(allowance.id.as_ref().to_owned()),
            vec![attempt(1, 60)],
            Some(RequestOutcome::Ok),
        );
        assert_eq!(world.settle(away.clone()).await, Ok((1, 0)));
        assert_eq!(world.settle(away).await, Ok((0, 1)));
        let budget = &world.budgets("acme").await[0];
        assert_eq!((budget.spent, budget.reserved, budget.standing, budget.uncovered), (60, 240, 40, 0));
        world.clock.advance(Duration::from_secs(150));
        let next = world.admit("r4", 100).await.unwrap().allowance.unwrap();
        assert_ne!(next.id, allowance.id, "renewed at half of its life");
        world.end().await;
    }
}

fn key(random: &Random) -> (Key, String) {
    let (id, text) = credential::mint(random);
    let key = Key {
        id: id.as_str().into(),
        tenant: "acme".into(),
        name: "n".to_owned(),
        admin: false,
        hash: Hash::new(Credential::parse(&text).unwrap(), random),
        old: None,
        scope: KeyScope { models: vec!["a*".to_owned()], team: Some("t".into()), ..KeyScope::default() },
        created_unix_ms: START,
        expires_unix_ms: Some(START + 1),
        revoked_unix_ms: None,
    };
    (key, text)
}

#[tokio::test]
async fn keys_are_changed_and_every_change_is_on_record() {
    for world in World::both(false).await {
        let (made, text) = key(&Random::system());
        let id = made.id.clone();
        assert_eq!(*world.backend.create_key(made.clone(), "root").await.unwrap(), made);
        let caller = Caller { credential: &text, loopback: false, peer_ip: "" };
        assert!(world.keys.identify(caller, START).is_ok());
        let rotate = KeyChange::Rotate { hash: made.hash.clone(), overlap_ms: 5 };
        world.backend.change_key(&id, rotate, "ann").await.unwrap();
        let revoked = world.backend.change_key(&id, KeyChange::Revoke, "ann").await.unwrap();
        assert_eq!(revoked.revoked_unix_ms, Some(START));
        assert!(matches!(world.keys.identify(caller, START), Err(Refusal::CredentialRevoked(_))));
        let missing = world.backend.change_key("nobody", KeyChange::Revoke, "ann").await;
        assert!(matches!(missing, Err(Refusal::NotFound { .. })));
        let look = Look { tenant: "acme".to_owned(), before_unix_ms: i64::MAX, limit: 2 };
        let changes = world.backend.audit(look).await.unwrap();
        let changes: Vec<_> = changes.iter().map(|c| (c.action.as_str(), c.actor.as_str())).collect();
        assert_eq!(changes, [("key.revoke", "ann"), ("key.rotate", "ann")]);
        world.end().await;
    }
}

#[tokio::test]
async fn a_revoked_key_stops_within_a_second_on_every_replica() {
    let Some((_folder, server)) = redis(RedisServer::start) else { return };
    let clock = ManualClock::new(START);
    let (one, other) = (
        World::shared(&server.url(), &clock, false).await,
        World::shared(&server.url(), &clock, false).await,
    );
    let (made, text) = key(&Random::system());
    let caller = Caller { credential: &text, loopback: false, peer_ip: "" };
    one.backend.create_key(made.clone(), "root").await.unwrap();
    let known = async |wanted: fn(&Result<Arc<Key>, Refusal>) -> bool| {
        while !wanted(&other.keys.identify(caller, START)) {
            tokio::task::yield_now().await;
        }
    };
    let second = Duration::from_secs(1);
    tokio::time::timeout(second, known(Result::is_ok)).await.unwrap();
    one.backend.change_key(&made.id, KeyChange::Revoke, "root").await.unwrap();
    let revoked = known(|found| matches!(found, Err(Refusal::CredentialRevoked(_))));
    tokio::time::timeout(second, revoked).await.unwrap();
    let late = World::shared(&server.url(), &clock, false).await;
    assert!(matches!(late.keys.identify(caller, START), Err(Refusal::CredentialRevoked(_))));
    for world in [one, other, late] {
        world.shutdown.complete().await;
    }
}

#[tokio::test]
async fn usage_is_grouped_and_the_ledger_is_read_in_pages() {
    for world in World::both(false).await {
        for n in 0..7 {
            let attempts = (0..n % 3).map(|number| attempt(number + 1, 10)).collect();
            let mut record = record(&format!("r{n}"), None, attempts, Some(RequestOutcome::Ok));
            let user = Some(format!("u{}", n % 2));
            let tags = BTreeMap::from([("env".to_owned(), format!("e{}", n % 2))]);
            record.subject = Some(Arc::new(Subject { user, tags, ..subject("acme", "k1") }));
            record.details.total_ms = 100 * i64::from(n);
            world.settle(record).await.unwrap();
        }
        let question = Question {
            from_unix_ms: START,
            to_unix_ms: START + 3_600_000,
            group_by: vec![Dimension::User],
            step_ms: 3_600_000,
            limit: 10,
            ..Question::default()
        };
        let (groups, truncated) = world.backend.answer(question.clone()).await.unwrap();
        let found: Vec<_> = groups
            .iter()
            .map(|g| {
                (
                    g.values[0].as_str(),
                    g.step_unix_ms,
                    g.sum.requests,
                    g.sum.cost_nanousd,
                    g.sum.durations.percentiles([50]),
                )
            })
            .collect();
        assert_eq!(
            (found, truncated),
            (vec![("u0", START, 4, 30, Some([200])), ("u1", START, 3, 30, Some([300]))], false)
        );
        // Whole days are answered by cells by user alone, by all but the user, or by the finest; all say the same.
        let day = 86_400_000;
        let days = Question {
            from_unix_ms: START.div_euclid(day) * day,
            to_unix_ms: (START.div_euclid(day) + 1) * day,
            step_ms: 0,
            ..question
        };
        let with_model = Question { group_by: vec![Dimension::User, Dimension::Model], ..days.clone() };
        let by_tag = Question {
            group_by: vec![Dimension::Tag("env".to_owned()), Dimension::Model],
            filters: vec![(Dimension::Tag("env".to_owned()), "e1".to_owned())],
            ..days.clone()
        };
        let of = |groups: Vec<Group>| -> Vec<_> {
            groups.into_iter().map(|g| (g.values[0].clone(), g.succeeded, g.sum)).collect()
        };
        let users = of(world.backend.answer(days).await.unwrap().0);
        assert_eq!(users.iter().map(|(_, succeeded, _)| *succeeded).collect::<Vec<_>>(), [4, 3]);
        assert_eq!(users, of(world.backend.answer(with_model).await.unwrap().0));
        let tagged = of(world.backend.answer(by_tag).await.unwrap().0);
        assert_eq!(tagged, [("e1".to_owned(), 3, users[1].2.clone())]);
        let mut page = Page {
            tenant: "acme".to_owned(),
            from_unix_ms: START,
            to_unix_ms: START + 1,
            after: String::new(),
            limit: 2,
        };
        let mut rows = Vec::new();
        loop {
            let leaf = world.backend.page(page.clone()).await.unwrap();
            rows.extend(leaf.rows.into_iter().map(|row| (row.request_id, row.attempt.map(|a| a.number))));
            match leaf.next {
                Some(next) => page.after = next,
                None => break,
            }
        }
        let expected =
            [("r0", None), ("r1", Some(1)), ("r2", Some(1)), ("r2", Some(2)), ("r3", None), ("r4", Some(1))];
        let expected: Vec<_> =
            expected.into_iter().chain([("r5", Some(1)), ("r5", Some(2)), ("r6", None)]).collect();
        assert_eq!(rows.iter().map(|(id, n)| (id.as_str(), *n)).collect::<Vec<_>>(), expected);
        world.end().await;
    }
}
