use proptest::prelude::*;

use super::*;
use crate::{
    budget::{Origin, Terms, tests::terms},
    limit::{Limit, Metric, Per, tests::limit},
    period::Period,
    subject::{Facet, Scope, tests::subject},
};

const TTL: i64 = 120_000;

fn of_user() -> Scope {
    Scope(vec![(Facet::User, "u".to_owned())])
}

fn money(nanousd: i64) -> Amount {
    Amount { nanousd, tokens: 0 }
}

fn books(budgets: Vec<Terms>) -> Books {
    let mut books = Books::new(Grants::default(), Allowances { enabled: false, ..Allowances::default() });
    for (id, terms) in (1..).zip(budgets) {
        books.put_budget(Budget::new(id, Origin::Call, terms, 0));
    }
    books
}

/// Asks for so many output tokens at a nano-dollar each; the input is free.
fn ask(id: &str, output_tokens: i64) -> Ask {
    Ask {
        request_id: id.into(),
        gateway_id: "gw".into(),
        subject: Arc::new(subject("acme", "k1")),
        quote: Quote { input_tokens: 0, output_tokens, fixed_nanousd: 0, output_picousd: 1_000 },
        slice_tokens: None,
    }
}

fn reserved(books: &Books, id: i64) -> i64 {
    books.budget(id).unwrap().reserved
}

#[test]
fn all_budgets_are_checked_before_any_holds() {
    let tight = Terms { name: "tight".to_owned(), ..terms("acme", "", 10) };
    let mut books = books(vec![terms("acme", "wide", 1_000), tight]);
    let refused = books.admit(&ask("r1", 500), 0).unwrap_err();
    assert!(refused.to_string().contains("budget tight has 10 nano-dollars left"), "{refused}");
    assert_eq!((reserved(&books, 1), reserved(&books, 2), books.open()), (0, 0, 0));
}

#[test]
fn a_smaller_grant_is_given_where_the_rest_does_not_fit() {
    let mut books = books(vec![terms("acme", "b", 1_000)]);
    let first = books.admit(&ask("r1", 900), 0).unwrap().reservation;
    assert_eq!((first.granted_output_tokens, first.amount_nanousd), (900, 900));
    let second = books.admit(&ask("r2", 900), 0).unwrap().reservation;
    assert_eq!((second.granted_output_tokens, second.amount_nanousd), (100, 100));
    assert!(matches!(books.admit(&ask("r3", 900), 0), Err(Refusal::Budgets(_))));
    assert_eq!(books.close("r2", 0).unwrap().held, money_and_tokens(100));
    assert_eq!(books.admit(&ask("r4", 64), 0).unwrap().reservation.granted_output_tokens, 64);
    assert!(books.admit(&ask("r5", 64), 0).is_err(), "36 are left, below the least grant");
    assert_eq!(
        books.admit(&ask("r6", 36), 0).unwrap().reservation.granted_output_tokens,
        36,
        "all it asks for"
    );
}

fn money_and_tokens(n: i64) -> Amount {
    Amount { nanousd: n, tokens: n }
}

#[test]
fn asking_again_changes_nothing_and_another_tenant_cannot_take_the_id() {
    let mut books = books(vec![terms("acme", "b", 1_000)]);
    let first = books.admit(&ask("r1", 100), 0).unwrap();
    let again = books.admit(&ask("r1", 100), 5).unwrap();
    assert_eq!((again.reservation, again.made.len()), (first.reservation, 0));
    assert_eq!(reserved(&books, 1), 100);
    let other = Ask { subject: Arc::new(subject("other", "k")), ..ask("r1", 100) };
    assert_eq!(books.admit(&other, 0), Err(Refusal::RequestIdTaken));
}

#[test]
fn soft_and_shadow_budgets_count_and_refuse_nothing() {
    let soft = Terms { hard: false, ..terms("acme", "soft", 10) };
    let shadow = Terms { shadow: true, ..terms("acme", "shadow", 10) };
    let mut books = books(vec![soft, shadow]);
    let told = books.admit(&ask("r1", 500), 0).unwrap().reservation;
    assert_eq!(told.granted_output_tokens, 0, "no bound");
    assert_eq!((reserved(&books, 1), reserved(&books, 2)), (500, 500));
}

#[test]
fn scopes_and_token_limits_bound_only_what_they_cover() {
    let scoped = Terms { scope: of_user(), unit: Unit::Tokens, ..terms("acme", "u", 100) };
    let mut books = books(vec![scoped]);
    assert_eq!(books.admit(&ask("r1", 500), 0).unwrap().reservation.granted_output_tokens, 0);
    let mut user = subject("acme", "k1");
    user.user = Some("u".to_owned());
    let quote = Quote { input_tokens: 30, ..ask("", 500).quote };
    let user = Ask { subject: Arc::new(user), quote, ..ask("r2", 500) };
    assert_eq!(books.admit(&user, 0).unwrap().reservation.granted_output_tokens, 70);
}

#[test]
fn an_extension_counts_once_renews_and_takes_all_or_nothing() {
    let mut books = books(vec![terms("acme", "b", 1_000)]);
    books.admit(&ask("r1", 100), 0).unwrap();
    let more = |number, output_tokens| Extension {
        reservation_id: "r1".into(),
        number,
        nanousd: 0,
        output_tokens,
        output_picousd: None,
        another_attempt: false,
    };
    let told = books.extend(&more(1, 200), 1_000).unwrap();
    assert_eq!(
        (told.amount_nanousd, told.granted_output_tokens, told.expires_unix_ms),
        (300, 300, 1_000 + TTL)
    );
    assert_eq!(books.extend(&more(1, 200), 2_000).unwrap(), told, "a retry");
    assert!(matches!(books.extend(&more(2, 701), 2_000), Err(Refusal::Budgets(_))));
    assert_eq!(reserved(&books, 1), 300);
    assert_eq!(books.extend(&more(2, 0), 3_000).unwrap().expires_unix_ms, 3_000 + TTL, "only renewed");
    assert_eq!(books.extend(&more(3, 700), 3_000).unwrap().amount_nanousd, 1_000);
    books.expire(3_000 + TTL);
    assert_eq!(books.extend(&more(4, 0), 3_000 + TTL), Err(Refusal::NoReservation));
}

#[test]
fn what_is_settled_late_or_above_the_reservation_is_spent_all_the_same() {
    let mut books = books(vec![terms("acme", "b", 1_000)]);
    books.admit(&ask("r1", 100), 0).unwrap();
    let who = subject("acme", "k1");
    assert_eq!(books.spend(&who, Some("r1"), money(30), 0), money(0));
    assert_eq!((reserved(&books, 1), books.budget(1).unwrap().spent), (70, 30));
    assert_eq!(books.spend(&who, Some("r1"), money(90), 0), money(20));
    books.close("r1", 0);
    assert_eq!(books.spend(&who, None, money(950), 0), money(950));
    let budget = books.budget(1).unwrap();
    assert_eq!((budget.spent, budget.reserved, budget.uncovered, budget.is_kept()), (1_070, 0, 970, true));
    assert!(matches!(books.admit(&ask("r2", 1), 0), Err(Refusal::Budgets(_))));
}

#[test]
fn an_expired_reservation_returns_by_itself() {
    let mut books = books(vec![terms("acme", "b", 1_000)]);
    books.admit(&ask("r1", 100), 0).unwrap();
    books.admit(&ask("r2", 100), 10).unwrap();
    assert!(books.expire(TTL - 1).is_empty());
    let ended: Vec<_> = books.expire(TTL).into_iter().map(|r| r.id).collect();
    assert_eq!(ended, [Arc::<str>::from("r1")]);
    assert_eq!(reserved(&books, 1), 100);
}

fn with_allowances(budgets: Vec<Terms>) -> Books {
    let mut books = books(budgets);
    books.allowances = Allowances::default();
    books
}

#[test]
fn an_allowance_is_reserved_beforehand_and_renewed_at_half_its_life() {
    let mut books = with_allowances(vec![terms("acme", "b", 10_000), terms("acme", "c", 50_000)]);
    let first = books.admit(&ask("r1", 100), 0).unwrap().allowance.unwrap();
    assert_eq!((first.amount_nanousd, first.expires_unix_ms), (100, 300_000), "1 % of the tightest");
    assert_eq!((reserved(&books, 1), books.budget(1).unwrap().standing), (200, 100));
    assert_eq!(books.admit(&ask("r2", 100), 149_999).unwrap().allowance, Some(first.clone()));
    let second = books.admit(&ask("r3", 100), 150_000).unwrap().allowance.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(books.budget(1).unwrap().standing, 200, "the old one may have been spent from");
    books.expire(300_000);
    assert_eq!(books.budget(1).unwrap().standing, 100);
    books.expire(450_000);
    assert_eq!((reserved(&books, 1), books.budget(1).unwrap().standing, books.open()), (0, 0, 0));
}

#[test]
fn allowances_together_never_take_more_than_their_share() {
    let mut books = with_allowances(vec![terms("acme", "b", 10_000)]);
    let gateway = |n: i64| Ask { gateway_id: format!("gw{n}").into(), ..ask(&format!("r{n}"), 1) };
    let given = (0..20).filter(|n| books.admit(&gateway(*n), 0).unwrap().allowance.is_some()).count();
    assert_eq!((given, books.budget(1).unwrap().standing), (10, 1_000), "10 % of the limit");
}

#[test]
fn spending_on_an_allowance_draws_on_what_was_reserved() {
    let mut books = with_allowances(vec![terms("acme", "b", 10_000)]);
    let allowance = books.admit(&ask("r1", 100), 0).unwrap().allowance.unwrap();
    books.close("r1", 0);
    assert_eq!(books.spend(&subject("acme", "k1"), Some(&allowance.id), money(60), 0), money(0));
    let budget = books.budget(1).unwrap();
    assert_eq!((budget.spent, budget.reserved, budget.standing), (60, 40, 40));
    assert_eq!(books.admit(&ask("r2", 1), 0).unwrap().allowance.unwrap().amount_nanousd, 40);
}

#[test]
fn without_a_budget_the_allowance_is_the_configured_one() {
    let mut books = with_allowances(vec![]);
    let allowance = books.admit(&ask("r1", 100), 0).unwrap().allowance.unwrap();
    assert_eq!(allowance.amount_nanousd, Allowances::default().unlimited_nanousd);
    let nameless = Ask { gateway_id: "".into(), ..ask("r2", 1) };
    assert_eq!(books.admit(&nameless, 0).unwrap().allowance, None);
}

#[test]
fn open_reservations_are_bounded() {
    let mut books = books(vec![]);
    books.grants.max_reservations = 2;
    assert!(books.admit(&ask("r1", 1), 0).is_ok() && books.admit(&ask("r2", 1), 0).is_ok());
    assert_eq!(books.admit(&ask("r3", 1), 0), Err(Refusal::Full));
    assert!(books.admit(&ask("r1", 1), 0).is_ok(), "a retry needs no room");
}

fn limits() -> [Limit; 3] {
    [
        limit(1, Metric::Concurrent, 5, Per::Call),
        limit(2, Metric::Requests, 40, Per::Minute),
        limit(3, Metric::Tokens, 4_000, Per::Minute),
    ]
}

fn limited(limits: impl IntoIterator<Item = Limit>) -> Books {
    let mut books = books(vec![]);
    limits.into_iter().for_each(|limit| books.meters.put(limit));
    books
}

fn retry_ms(refused: Refusal) -> Option<u128> {
    let status = tonic::Status::from(refused);
    signalbox_mesh::error::retry_after(&status).map(|after| after.as_millis())
}

#[test]
fn all_limits_are_checked_before_any_counts_and_say_when_to_come_again() {
    let mut books =
        limited([limit(1, Metric::Requests, 2, Per::Second), limit(2, Metric::Tokens, 600, Per::Minute)]);
    let admitted = books.admit(&ask("r1", 500), 0).unwrap();
    let told: Vec<_> = admitted.rates.iter().map(|rate| (rate.remaining, rate.reset_ms)).collect();
    assert_eq!(told, [(1, 500), (100, 50_000)]);
    let refused = books.admit(&ask("r2", 400), 0).unwrap_err();
    assert!(refused.to_string().contains("limit l2 has 100 tokens a minute left"), "{refused}");
    assert_eq!(retry_ms(refused), Some(30_000), "300 tokens drain in half a minute");
    assert_eq!(books.meters.told(&[(1, "".into())], 0)[0].remaining, 1, "the other limit did not count it");
    assert_eq!(books.admit(&ask("r1", 500), 0).unwrap().rates, admitted.rates, "nor is a retry counted");
    assert!(books.admit(&ask("r3", 100), 0).is_ok());
    assert!(matches!(books.admit(&ask("r4", 0), 499), Err(Refusal::RateLimited(_))));
    assert!(books.admit(&ask("r4", 0), 500).is_ok());
}

#[test]
fn tokens_are_counted_as_granted_and_then_as_used() {
    let mut books = limited([limit(1, Metric::Tokens, 1_000, Per::Day)]);
    let left = |books: &Books| books.meters.told(&[(1, "".into())], 0)[0].remaining;
    books.admit(&ask("r1", 900), 0).unwrap();
    assert_eq!(left(&books), 100);
    let used = Amount { nanousd: 0, tokens: 300 };
    books.spend(&subject("acme", "k1"), Some("r1"), used, 0);
    books.close("r1", 0);
    assert_eq!(left(&books), 700);
    books.spend(&subject("acme", "k1"), None, used, 0);
    assert_eq!(left(&books), 400, "what came late counts too");
    assert_eq!(books.admit(&ask("r2", 400), 0).unwrap().reservation.granted_output_tokens, 400);
    let refused = books.admit(&ask("r3", 5_000), 0).unwrap_err();
    assert_eq!(retry_ms(refused), Some(86_400_000), "cut to what ever fits at once, and that is a day away");
    books.expire(TTL);
    assert!(books.admit(&ask("r4", 400), TTL).is_ok(), "an expired request used nothing");
    let long = Ask { quote: Quote { input_tokens: 1_001, ..ask("", 1).quote }, ..ask("r5", 1) };
    assert_eq!(retry_ms(books.admit(&long, TTL).unwrap_err()), None, "waiting does not help");
}

#[test]
fn requests_under_way_are_bounded_and_each_value_has_a_limit_for_itself() {
    let mut own = limit(1, Metric::Concurrent, 1, Per::Call);
    own.terms.rate.each = Some(Facet::User);
    let mut books = limited([own]);
    let by = |id: &str, user: &str| {
        let subject = Subject { user: Some(user.to_owned()), ..subject("acme", "k1") };
        Ask { subject: Arc::new(subject), ..ask(id, 1) }
    };
    books.admit(&by("r1", "ann"), 0).unwrap();
    let refused = books.admit(&by("r2", "ann"), 0).unwrap_err();
    assert_eq!(retry_ms(refused), Some(200));
    assert!(books.admit(&by("r3", "bob"), 0).is_ok());
    assert!(books.admit(&ask("r4", 1), 0).is_ok(), "without a user there is nothing to count by");
    books.close("r1", 0);
    assert!(books.admit(&by("r2", "ann"), 0).is_ok());
    books.expire(TTL);
    assert!(books.meters.is_idle(), "L1");
}

#[test]
fn shadows_count_and_refuse_nothing() {
    let mut shadow = limit(1, Metric::Requests, 1, Per::Day);
    shadow.terms.rate.shadow = true;
    let mut books = limited([shadow]);
    books.put_budget(Budget::new(1, Origin::Call, Terms { shadow: true, ..terms("acme", "b", 10) }, 0));
    for id in ["r1", "r2", "r3"] {
        let told = books.admit(&ask(id, 50), 0).unwrap().reservation;
        assert_eq!(told.granted_output_tokens, 0);
    }
    assert_eq!(books.meters.all().map(|(_, shadowed)| shadowed).collect::<Vec<_>>(), [2]);
    assert_eq!(books.budget(1).unwrap().shadowed, 3);
}

#[test]
fn a_first_slice_is_granted_and_may_be_extended_to_all() {
    let mut books = books(vec![terms("acme", "b", 1_000)]);
    let sliced = Ask { slice_tokens: Some(100), ..ask("r1", 900) };
    let told = books.admit(&sliced, 0).unwrap().reservation;
    assert_eq!((told.granted_output_tokens, told.most_output_tokens, told.amount_nanousd), (100, 900, 100));
    let whole = Ask { slice_tokens: Some(900), ..ask("r2", 200) };
    let told = books.admit(&whole, 0).unwrap().reservation;
    assert_eq!(
        (told.granted_output_tokens, told.most_output_tokens),
        (200, 0),
        "all of it is less than a slice"
    );
    let small = Ask { slice_tokens: Some(1), ..ask("r3", 600) };
    let told = books.admit(&small, 0).unwrap().reservation;
    assert_eq!(
        (told.granted_output_tokens, told.most_output_tokens),
        (64, 600),
        "never below the least grant"
    );
}

#[derive(Debug, Clone)]
enum Step {
    Admit { request: u8, input: i64, output: i64, user: bool },
    Extend { request: u8, number: u32, nanousd: i64, output: i64 },
    Spend { request: u8, nanousd: i64, tokens: i64 },
    Close { request: u8 },
    Pass { ms: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let request = 0u8..12;
    prop_oneof![
        4 => (request.clone(), 0i64..300, 0i64..900, any::<bool>())
            .prop_map(|(request, input, output, user)| Step::Admit { request, input, output, user }),
        2 => (request.clone(), 1u32..4, 0i64..300, 0i64..300)
            .prop_map(|(request, number, nanousd, output)| Step::Extend { request, number, nanousd, output }),
        3 => (request.clone(), 0i64..700, 0i64..700)
            .prop_map(|(request, nanousd, tokens)| Step::Spend { request, nanousd, tokens }),
        2 => request.prop_map(|request| Step::Close { request }),
        1 => (0i64..90_000).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// The books as a bookkeeper with a pencil would keep them: one budget, no cleverness.
#[derive(Default)]
struct Pencil {
    spent: i64,
    uncovered: i64,
}

fn who(user: bool) -> Subject {
    Subject { user: user.then(|| "u".to_owned()), ..subject("acme", "k1") }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_sequence_of_calls_overspends_or_leaks(steps in proptest::collection::vec(step(), 1..120)) {
        let total = |name: &str, limit| Terms { period: Period::Total, ..terms("acme", name, limit) };
        let tokens = Terms { unit: Unit::Tokens, ..total("tokens", 6_000) };
        let users = Terms { scope: of_user(), ..total("user", 1_500) };
        let hourly = Terms { period: Period::Hour, ..terms("acme", "hourly", 2_500) };
        let soft = Terms { hard: false, ..total("soft", 10) };
        let mut books = with_allowances(vec![total("money", 5_000), tokens, users, hourly, soft]);
        for limit in limits() {
            books.meters.put(limit);
        }
        let (mut now, mut users) = (0, [false; 12]);
        let mut pencils: [Pencil; 3] = Default::default();
        for step in steps {
            match step {
                Step::Admit { request, input, output, user } => {
                    let quote = Quote { input_tokens: input, output_tokens: output, fixed_nanousd: input, output_picousd: 1_700 };
                    let subject = Arc::new(who(user));
                    let ask = Ask { request_id: request.to_string().into(), gateway_id: "gw".into(), subject, quote, slice_tokens: (input % 2 == 0).then_some(100) };
                    if books.admit(&ask, now).is_ok_and(|admitted| admitted.made.iter().any(|id| **id == *ask.request_id)) {
                        users[usize::from(request)] = user;
                    }
                }
                Step::Extend { request, number, nanousd, output } => {
                    let ask = Extension {
                        reservation_id: request.to_string().into(), number, nanousd, output_tokens: output,
                        output_picousd: None, another_attempt: number == 3,
                    };
                    let _refused = books.extend(&ask, now);
                }
                Step::Spend { request, nanousd, tokens } => {
                    let user = users[usize::from(request)];
                    let amount = Amount { nanousd, tokens };
                    let uncovered = books.spend(&who(user), Some(&request.to_string()), amount, now);
                    let sees = [(nanousd, uncovered.nanousd, true), (tokens, uncovered.tokens, true), (nanousd, uncovered.nanousd, user)];
                    for (pencil, (amount, uncovered, _)) in pencils.iter_mut().zip(sees).filter(|(_, sees)| sees.2) {
                        pencil.spent += amount;
                        pencil.uncovered += uncovered;
                    }
                }
                Step::Close { request } => drop(books.close(&request.to_string(), now)),
                Step::Pass { ms } => now += ms,
            }
            books.expire(now);
            for (id, pencil) in (1i64..).zip(&pencils) {
                let budget = books.budget(id).unwrap();
                prop_assert_eq!(budget.spent, pencil.spent);
                prop_assert!(budget.spent + budget.reserved <= budget.terms.limit + pencil.uncovered, "{:?}", budget);
            }
            for budget in books.budgets.values() {
                prop_assert!(budget.is_kept(), "{:?}", budget);
                prop_assert!(budget.reserved >= 0 && budget.standing >= 0);
                let held = |r: &&Reservation| r.budgets.contains(&budget.id);
                let sum: i64 = books.reservations.values().filter(held).map(|r| r.held.of(budget.terms.unit)).sum();
                prop_assert_eq!(budget.reserved, sum);
            }
            let under_way = books.reservations.values().filter(|r| !r.is_standing()).count();
            prop_assert!(under_way <= 5, "the limit on concurrent requests");
        }
        books.expire(now + 1_000_000);
        prop_assert_eq!(books.open(), 0);
        prop_assert!(books.budgets.values().all(|b| b.reserved == 0 && b.standing == 0));
        prop_assert!(books.standing.is_empty() && books.expiries.is_empty() && books.meters.is_idle());
    }
}
