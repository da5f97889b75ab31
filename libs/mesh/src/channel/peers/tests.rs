use super::*;
use crate::{Config, channel::connection::Load};

const MS: Duration = Duration::from_millis(1);

fn peers(zone: Option<&str>) -> Arc<Peers> {
    let config = Config { zone: zone.map(str::to_owned), ..Config::default() };
    let random = Random::seeded(1);
    let discovery = Discovery::new(&config, &random).unwrap();
    let first = ("first:1".to_owned(), Address::parse("guard", "first:1", "http").unwrap());
    Peers::new("guard", vec![first], &config.client, &Connector::tcp(), random, &discovery).unwrap()
}

fn at(name: &str, zone: &str) -> Found {
    Found { zone: Some(zone.to_owned()), ..Found::at(name, 1) }
}

fn learn(peers: &Arc<Peers>, found: Vec<Found>) -> Arc<Set> {
    assert!(peers.learner(0)(found).is_continue());
    Arc::clone(&peers.set.borrow())
}

fn named<'a>(set: &'a Set, name: &str) -> &'a Arc<Endpoint> {
    &set.members.iter().find(|member| member.at == format!("{name}:1")).unwrap().endpoint
}

fn name_of(set: &Set, endpoint: &Arc<Endpoint>) -> String {
    let member = set.members.iter().find(|member| Arc::ptr_eq(&member.endpoint, endpoint)).unwrap();
    member.at.trim_end_matches(":1").to_owned()
}

/// Begins so many calls that stay open, and counts who got them.
fn open(peers: &Peers, set: &Set, calls: usize) -> (HashMap<String, usize>, Vec<Load>) {
    let (mut counts, mut held) = (HashMap::new(), Vec::new());
    for _ in 0..calls {
        let endpoint = peers.pick(set, Instant::now()).unwrap();
        held.push(endpoint.connection(Instant::now()).begin());
        *counts.entry(name_of(set, &endpoint)).or_default() += 1;
    }
    (counts, held)
}

fn answer(peers: &Peers, endpoint: &Endpoint, took: Duration) {
    endpoint.answered(took, Instant::now(), &peers.config.balance);
}

fn eject(peers: &Peers, endpoint: &Arc<Endpoint>) {
    for _ in 0..peers.config.balance.eject_after {
        peers.failed(endpoint);
    }
}

#[tokio::test(start_paused = true)]
async fn who_stays_keeps_its_connections_and_who_goes_its_open_answers() {
    let peers = peers(None);
    let set = learn(&peers, vec![at("a", "x"), at("b", "x")]);
    let (a, b) = (Arc::clone(named(&set, "a")), Arc::clone(named(&set, "b")));
    let held = b.connection(Instant::now()).begin();
    drop(set);
    let set = learn(&peers, vec![at("a", "y"), at("c", "x")]);
    assert!(Arc::ptr_eq(named(&set, "a"), &a), "another zone, the same replica");
    assert_eq!((set.members.len(), b.open()), (2, 1));
    drop(held);
    assert_eq!(b.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_not_believed_and_a_channel_that_is_gone_ends_its_tasks() {
    let peers = peers(None);
    learn(&peers, vec![at("a", "x")]);
    assert_eq!(learn(&peers, Vec::new()).members.len(), 1);
    let learner = peers.learner(0);
    drop(peers);
    assert!(learner(vec![at("b", "x")]).is_break());
}

#[tokio::test(start_paused = true)]
async fn the_own_zone_comes_first_and_others_help_when_it_has_too_much() {
    let peers = peers(Some("x"));
    let set = learn(&peers, vec![at("far", "y"), at("near", "x"), at("unknown", "")]);
    assert_eq!(set.near, 1, "a zone that is not ours is far, whatever it is called");
    let slack = usize::try_from(peers.config.balance.spill_calls).unwrap();
    let (counts, held) = open(&peers, &set, slack + 1);
    assert_eq!(counts.get("near"), Some(&(slack + 1)), "{counts:?}");
    let (more, _held) = open(&peers, &set, 200);
    assert!(more["far"] > 40 && more["near"] > 40, "{more:?}");
    let near = named(&set, "near").open();
    let far = named(&set, "far").open() + named(&set, "unknown").open();
    assert!(near <= far + slack + 2, "twice the others' mean, and the slack: {near} of {far}");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn another_zone_answers_when_the_own_one_fails() {
    let peers = peers(Some("x"));
    let set = learn(&peers, vec![at("far", "y"), at("near", "x")]);
    eject(&peers, named(&set, "near"));
    let (counts, _held) = open(&peers, &set, 10);
    assert_eq!(counts.get("far"), Some(&10));
    assert_eq!(peers.census(Instant::now()), Census { near: 1, far: 1, ejected: 1 });
    tokio::time::advance(1_001 * MS).await;
    let (counts, _held) = open(&peers, &set, 1);
    assert_eq!(counts.get("near"), Some(&1), "it is tried again");
}

#[tokio::test(start_paused = true)]
async fn never_more_than_half_is_left_out() {
    let peers = peers(None);
    let all = ["a", "b", "c", "d", "e"];
    let set = learn(&peers, all.map(|name| at(name, "x")).into());
    let out = |set: &Set| set.members.iter().filter(|m| m.endpoint.is_ejected(Instant::now())).count();
    for name in all {
        eject(&peers, named(&set, name));
    }
    assert_eq!(out(&set), 2, "of five");
    let set = learn(&peers, vec![at("a", "x"), at("b", "x"), at("c", "x")]);
    assert_eq!(out(&set), 1, "of three: the one of longer standing is taken back");
    let set = learn(&peers, vec![at("b", "x")]);
    assert_eq!(out(&set), 0, "the last one never is");
}

#[tokio::test(start_paused = true)]
async fn a_slow_one_gets_less_and_is_asked_again_when_time_has_passed() {
    let peers = peers(None);
    let set = learn(&peers, vec![at("fast", "x"), at("slow", "x")]);
    answer(&peers, named(&set, "fast"), 20 * MS);
    answer(&peers, named(&set, "slow"), 200 * MS);
    let (counts, held) = open(&peers, &set, 110);
    assert!((8..=12).contains(&counts["slow"]), "a tenth of what the fast one bears: {counts:?}");
    drop(held);
    tokio::time::advance(60_000 * MS).await;
    let (counts, _held) = open(&peers, &set, 100);
    assert_eq!(counts["slow"], 50, "both averages have faded: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_one_gets_its_share_and_not_everything() {
    let peers = peers(None);
    let set = learn(&peers, vec![at("a", "x"), at("b", "x")]);
    for name in ["a", "b"] {
        answer(&peers, named(&set, name), 2_000 * MS);
    }
    let (_, _held) = open(&peers, &set, 20);
    let set = learn(&peers, vec![at("a", "x"), at("b", "x"), at("new", "x")]);
    // What ends makes room: the share of new calls, not the catching up.
    let mut got = 0;
    for _ in 0..300 {
        let endpoint = peers.pick(&set, Instant::now()).unwrap();
        got += usize::from(name_of(&set, &endpoint) == "new");
    }
    assert!((150..=250).contains(&got), "drawn in two of three: {got}");
    let (counts, _more) = open(&peers, &set, 100);
    assert!((38..=45).contains(&counts["new"]), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn weights_share_the_calls() {
    let peers = peers(None);
    let set = learn(&peers, vec![Found { weight: 3, ..at("big", "x") }, at("small", "x")]);
    let (counts, _held) = open(&peers, &set, 100);
    assert_eq!(counts["big"], 75);
}

#[tokio::test(start_paused = true)]
async fn answers_below_the_floor_are_all_the_same() {
    let peers = peers(None);
    let set = learn(&peers, vec![at("a", "x"), at("b", "x")]);
    answer(&peers, named(&set, "a"), Duration::from_micros(200));
    answer(&peers, named(&set, "b"), 9 * MS);
    let (counts, _held) = open(&peers, &set, 40);
    assert_eq!(counts["a"], 20);
}
