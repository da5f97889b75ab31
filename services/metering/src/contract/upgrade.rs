//! What a release before left in Redis, and values that nobody can read.

use std::time::Duration;

use futures_util::future::join_all;
use redis::{Commands as _, Connection};
use signalbox_mesh::ManualClock;
use signalbox_proto::metering::v1::RequestOutcome;
use signalbox_testkit::redis::RedisServer;

use super::world::{START, World, attempt, done, record, redis};
use crate::{
    budget::tests::terms,
    fleet::stored_forms,
    limit::Metric,
    limit::Per,
    limit::tests::limit,
    query::{Dimension, Question},
    refusal::Refusal,
    rollup::DAY_MS,
    subject::tests::subject,
};

const OF: &str = "signalbox:metering:{acme}:";

fn connect(server: &RedisServer) -> Connection {
    redis::Client::open(server.url()).unwrap().get_connection().unwrap()
}

fn hash(connection: &mut Connection, key: &str, fields: &[(&str, &str)]) {
    let () = connection.hset_multiple(format!("{OF}{key}"), fields).unwrap();
}

/// A tenant as the first form has it: a budget with 120 of 1,000 spent, an open reservation of 100, a limit that it went through, a
/// request on record.
fn leave_the_first_form(connection: &mut Connection) {
    let (now, end) = (START.to_string(), (START + 3_600_000).to_string());
    let expiry = (START + 120_000).to_string();
    let all = "signalbox:metering:{!}:";
    let () = connection.sadd(format!("{all}tenants"), "acme").unwrap();
    let () = connection.set(format!("{all}ids"), 2).unwrap();
    let () = connection.hset_multiple(format!("{all}owners"), &[("1", "acme"), ("2", "acme")]).unwrap();
    let () = connection.set(format!("{OF}v"), 2).unwrap();
    let mut hourly = terms("acme", "b", 1_000);
    hourly.period = crate::period::Period::Hour;
    let tokens = limit(2, Metric::Tokens, 600, Per::Minute).terms;
    let (budget, rate) = stored_forms(&hourly, &tokens);
    hash(connection, "defs", &[("1", &budget), ("2", &rate)]);
    let budget =
        [("sp", "120"), ("rs", "100"), ("un", "0"), ("ca", "0"), ("tp", "0"), ("ws", &now), ("we", &end)];
    hash(connection, "b:1", &budget);
    hash(connection, "l:2:", &[("lv", "13200000"), ("at", &now)]);
    let who = serde_json::to_string(&subject("acme", "k1")).unwrap();
    let reservation = [
        ("su", who.as_str()),
        ("hn", "100"),
        ("ht", "100"),
        ("it", "0"),
        ("go", "100"),
        ("mo", "0"),
        ("op", "1000"),
        ("bs", "1n"),
        ("nb", "1"),
        ("ex", "0"),
        ("xp", &expiry),
        ("md", &now),
    ];
    for id in ["open", "dead"] {
        hash(connection, &format!("r:{id}"), &reservation);
        let () = connection.zadd(format!("{OF}exp"), id, &expiry).unwrap();
    }
    let () = connection.hincr(format!("{OF}b:1"), "rs", 100).unwrap();
    // cmsgpack.pack({{'2:', 't', 60000, 600}})
    let through: &[u8] = b"\x91\x94\xa22:\xa1t\xcd\xea\x60\xcd\x02\x58";
    let () = connection.hset(format!("{OF}r:open"), "ls", through).unwrap();
    let told = attempt(1, 120);
    let print =
        format!("{} {} {} {}", told.target_id, told.tokens.input, told.tokens.output, i32::from(told.source));
    hash(connection, "q:done", &[("o", "1"), ("a1", &print)]);
    let details = format!(r#"{{"target":"lab/small","started_unix_ms":{START},"total_ms":5}}"#);
    let row = [
        ("id", "done"),
        ("s", &who),
        ("c", "1"),
        ("o", "1"),
        ("w", ""),
        ("d", &details),
        ("a", &serde_json::to_string(&told).unwrap()),
    ];
    redis::cmd("XADD").arg(format!("{OF}s")).arg("*").arg(&row).exec(connection).unwrap();
}

#[tokio::test]
async fn what_the_first_form_kept_is_carried_over_and_its_releases_can_write_no_more() {
    let Some((_folder, server)) = redis(RedisServer::durable) else { return };
    let mut connection = connect(&server);
    leave_the_first_form(&mut connection);
    let clock = ManualClock::new(START);
    let world = World::shared(&server.url(), &clock, false).await;
    let state = |b: &crate::budget::Budget| (b.spent, b.reserved, b.uncovered);
    assert_eq!(state(&world.budgets("acme").await[0]), (120, 200, 0));
    let again = record("done", None, vec![attempt(1, 120)], Some(RequestOutcome::Ok));
    assert_eq!(world.settle(again).await, Ok((0, 1)), "it is on record");
    let admitted = world.admit("r1", 380).await.unwrap();
    assert_eq!(admitted.reservation.granted_output_tokens, 380);
    assert_eq!(admitted.rates[0].remaining, 0, "220 of 600 were used before");
    assert!(world.admit("r2", 380).await.is_err(), "the limit is as full as it was");
    assert_eq!(world.extend("acme:open", 1, 50).await, Ok(150));
    let rest = record("open", Some("acme:open".to_owned()), vec![attempt(1, 90)], Some(RequestOutcome::Ok));
    assert_eq!(world.settle(rest.clone()).await, Ok((1, 0)));
    assert_eq!(state(&world.budgets("acme").await[0]), (210, 480, 0));

    let texts = |answer: redis::RedisResult<String>| answer.unwrap_err().code().map(str::to_owned);
    assert_eq!(
        texts(connection.get(format!("{OF}v"))),
        Some("WRONGTYPE".to_owned()),
        "each script began with it"
    );
    assert_eq!(
        texts(redis::cmd("XLEN").arg(format!("{OF}s")).query(&mut connection)),
        Some("WRONGTYPE".to_owned()),
        "roll-ups and exports"
    );

    // Another one finds it moved already; what nobody settled ends in its time.
    let other = World::shared(&server.url(), &clock, false).await;
    clock.advance(Duration::from_secs(600));
    other.backend.tick().await;
    assert_eq!(state(&other.budgets("acme").await[0]), (210, 0, 0));
    assert_eq!(other.settle(rest).await, Ok((0, 1)));
    let ledger = other.ledger("acme").await;
    let found: Vec<_> = ledger.iter().map(|row| (row.0.as_str(), row.1, row.3)).collect();
    assert_eq!(found, [("ABANDONED", 2, 0), ("OK", 2, 210)], "dead and r1; done and open");
    other.end().await;
    world.shutdown.complete().await;
}

#[tokio::test]
async fn days_of_less_detail_are_whole_once_all_replicas_make_them() {
    let Some((_folder, server)) = redis(RedisServer::durable) else { return };
    let clock = ManualClock::new(START);
    let world = World::shared(&server.url(), &clock, false).await;
    let mut connection = connect(&server);
    let mut marks = || -> Vec<i64> {
        ["users_from", "tags_from"].map(|mark| connection.get(format!("{OF}{mark}")).unwrap()).into()
    };
    let settle = async |id: &str| {
        let record = record(id, None, vec![attempt(1, 5)], Some(RequestOutcome::Ok));
        assert_eq!(world.settle(record).await, Ok((1, 0)));
        assert_eq!(world.ledger("acme").await.len(), 1);
    };
    let day = |days: i64| (START / DAY_MS + days) * DAY_MS;
    settle("first").await;
    assert_eq!(marks(), [0, 0], "who is new has them always");
    // As a release before leaves it, which makes users' days alone.
    let () = connect(&server).del(&[format!("{OF}tags_from"), format!("{OF}tags_to")]).unwrap();
    settle("second").await;
    assert_eq!(marks(), [0, day(2)]);
    clock.advance(Duration::from_secs(9 * 86_400));
    settle("third").await;
    assert_eq!(marks(), [0, day(2)], "said once");
    // A release that makes neither counted up to here: nothing is known of either, and later they begin anew.
    let () =
        connect(&server).mset(&[(format!("{OF}users_to"), "1-0"), (format!("{OF}tags_to"), "1-0")]).unwrap();
    let by_tag = |from: i64| Question {
        from_unix_ms: from,
        to_unix_ms: day(30),
        group_by: vec![Dimension::Tag("env".to_owned())],
        limit: 9,
        ..Question::default()
    };
    // What days by tag have is not looked at: the finest have it, too.
    let () = connect(&server).del(format!("{OF}c:5:{}", day(9))).unwrap();
    let requests = async |from| world.backend.answer(by_tag(from)).await.unwrap().0[0].sum.requests;
    assert_eq!(requests(day(0)).await, 3);
    settle("fourth").await;
    assert_eq!(marks(), [day(11), day(11)]);
    assert_eq!(requests(day(0)).await, 4);
    world.end().await;
}

#[tokio::test]
async fn a_call_that_its_script_fails_at_leaves_the_others_alone() {
    let Some((_folder, server)) = redis(RedisServer::durable) else { return };
    let world = World::shared(&server.url(), &ManualClock::new(START), false).await;
    world.budget(terms("acme", "b", 1_000)).await;
    // A reservation as it is kept (prelude.lua), but for the limits that it went through: no value of MessagePack begins so.
    let bad = [&b"\xcf"[..], &u64::MAX.to_be_bytes(), &[0; 9], b"\xa21n", b"\xa1\xc1", b"\xa2{}"].concat();
    let () = connect(&server).set(format!("{OF}r:bad"), bad).unwrap();
    let ids = ["a", "b", "c"];
    let (answers, bad) =
        tokio::join!(join_all(ids.map(|id| world.admit(id, 100))), world.extend("acme:bad", 1, 50));
    assert_eq!(bad, Err(Refusal::StoreAway));
    assert_eq!(world.budgets("acme").await[0].reserved, 300, "nobody was counted twice");
    for (id, admitted) in ids.into_iter().zip(answers) {
        assert_eq!(world.settle(done(id, &admitted.unwrap(), 70)).await, Ok((1, 0)));
    }
    world.end().await;
}

#[tokio::test]
async fn a_value_that_nobody_can_read_stops_nobody_else() {
    let Some((_folder, server)) = redis(RedisServer::durable) else { return };
    let clock = ManualClock::new(START);
    let world = World::shared(&server.url(), &clock, false).await;
    let id = world.budget(terms("acme", "b", 1_000)).await.id;
    let mut connection = connect(&server);
    // No value of MessagePack begins with the one; the other is a number.
    let mut kinds = [b"\xc1".as_slice(), b"7"].into_iter().cycle();
    let mut broken = |key: String| {
        let () = connection.set(format!("{OF}{key}"), kinds.next().unwrap()).unwrap();
    };
    let open = world.admit("open", 100).await.unwrap();
    for request in ["open", "new"] {
        broken(format!("r:{request}"));
    }
    let again = record("again", None, vec![attempt(1, 5)], Some(RequestOutcome::Ok));
    for request in ["done", "again"] {
        broken(format!("q:{request}"));
    }
    let ids = ["a", "b", "new", "c"];
    for (id, admitted) in ids.into_iter().zip(join_all(ids.map(|id| world.admit(id, 100))).await) {
        assert_eq!(world.settle(done(id, &admitted.unwrap(), 70)).await, Ok((1, 0)), "{id}");
    }
    assert_eq!(world.settle(done("open", &open, 70)).await, Ok((1, 0)), "counted, without its reservation");
    let state = async |world: &World| {
        let budget = world.budgets("acme").await.remove(0);
        (budget.spent, budget.reserved)
    };
    assert_eq!(state(&world).await, (350, 100), "what the unreadable one held stays reserved");

    let records = [
        again,
        record("done", None, vec![attempt(1, 5)], Some(RequestOutcome::Ok)),
        record("d", None, vec![attempt(1, 5)], None),
    ];
    let (settled, refused) = world.backend.settle(records.into()).await.unwrap();
    assert_eq!(
        (settled.recorded, refused.iter().map(|(place, _)| *place).collect::<Vec<_>>()),
        (1, vec![0, 1]),
        "nobody knows whether it was counted"
    );
    assert_eq!(state(&world).await, (355, 100));

    clock.advance(Duration::from_secs(600));
    world.backend.tick().await;
    assert!(world.admit("e", 100).await.is_ok(), "what was open is ended");

    for request in ["f", "g"] {
        broken(format!("b:{id}"));
        let refused = world.admit(request, 1).await;
        assert!(matches!(refused, Err(Refusal::Budgets(_))), "nobody knows what is left");
    }
    let late = record("late", None, vec![attempt(1, 5)], Some(RequestOutcome::Ok));
    assert_eq!(world.settle(late).await, Ok((1, 0)), "and still it is in the ledger");
    assert_eq!(world.violations.m2(), 2, "the records that were refused");
    world.shutdown.complete().await;
}
