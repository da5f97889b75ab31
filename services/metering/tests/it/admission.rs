//! Who may, and how much.

use std::time::Duration;

use signalbox_proto::common::v1::{Attribution, ErrorReason};
use signalbox_proto::metering::v1::{
    AdmitRequest, Budget, BudgetPeriod, CreateBudgetRequest, CreateKeyRequest, CreateLimitRequest,
    DeleteLimitRequest, ExtendRequest, Key, Limit, LimitMetric, LimitPeriod, ListAuditRequest,
    ListKeysRequest, ListLimitsRequest, RevokeKeyRequest, RotateKeyRequest, UpdateKeyRequest,
    UpdateLimitRequest, UsageDimension,
};
use tonic_types::StatusExt as _;

use crate::world::{NOON, World, ask, reason, used};

async fn key(world: &mut World, key: Key) -> (Key, String) {
    let made = world.client.create_key(CreateKeyRequest { key: Some(key) }).await.unwrap().into_inner();
    (made.key.unwrap(), made.credential)
}

fn acme() -> Key {
    Key { tenant: "acme".to_owned(), name: "test".to_owned(), ..Key::default() }
}

fn with(credential: &str, request: AdmitRequest) -> AdmitRequest {
    AdmitRequest { credential: credential.to_owned(), loopback: false, ..request }
}

#[tokio::test]
async fn without_keys_a_caller_on_loopback_is_local_and_its_first_key_shuts_the_door() {
    let mut world = World::start("").await;
    let admitted = world.admit(ask("r1")).await.unwrap();
    let principal = admitted.principal.unwrap();
    assert_eq!((principal.tenant.as_str(), principal.id.as_str(), principal.admin), ("local", "local", true));
    assert_eq!((admitted.input_tokens, admitted.input_tokens_exact), (14, true));
    let reservation = admitted.reservation.unwrap();
    assert_eq!((reservation.amount_nanousd, reservation.granted_output_tokens), (14_000 + 20_000, 0));

    let refused = world.admit(with("", ask("r2"))).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::CredentialMissing);
    let (_, credential) = key(&mut world, acme()).await;
    assert_eq!(reason(&world.admit(ask("r3")).await.unwrap_err()), ErrorReason::CredentialMissing);
    let admitted = world.admit(with(&credential, ask("r4"))).await.unwrap();
    assert_eq!(admitted.principal.unwrap().tenant, "acme");
    world.end().await;
}

#[tokio::test]
async fn a_key_lives_changes_and_ends() {
    let mut world = World::start("[tenants.acme]\nguard_policy = 'strict'\nallowed_models = ['fast']").await;
    let expires = Some(NOON + 60_000);
    let (made, credential) = key(&mut world, Key { expires_unix_ms: expires, ..acme() }).await;
    let principal = world.admit(with(&credential, ask("r1"))).await.unwrap().principal.unwrap();
    assert_eq!((principal.guard_policy.as_str(), principal.admin), ("strict", false), "the tenant's policy");
    let admin = AdmitRequest { require_admin: true, identify_only: true, ..ask("") };
    assert_eq!(
        reason(&world.admit(with(&credential, admin.clone())).await.unwrap_err()),
        ErrorReason::AdminRequired
    );

    world.clock.advance(Duration::from_secs(60));
    assert_eq!(
        reason(&world.admit(with(&credential, ask("r2"))).await.unwrap_err()),
        ErrorReason::CredentialExpired
    );
    let renewed = Key {
        id: made.id.clone(),
        name: "ops".to_owned(),
        admin: true,
        guard_policy: Some("lax".to_owned()),
        ..acme()
    };
    let request = UpdateKeyRequest { key: Some(renewed) };
    world.client.update_key(request).await.unwrap();
    let identified = world.admit(with(&credential, admin)).await.unwrap();
    assert_eq!(identified.reservation, None);
    assert_eq!(identified.principal.unwrap().guard_policy, "lax", "the key's own goes before");

    let revoke = RevokeKeyRequest { id: made.id.clone() };
    let revoked = world.client.revoke_key(revoke).await.unwrap().into_inner().key.unwrap();
    assert!(revoked.revoked_unix_ms.is_some());
    assert_eq!(
        reason(&world.admit(with(&credential, ask("r3"))).await.unwrap_err()),
        ErrorReason::CredentialRevoked
    );
    let wrong = format!("sb_{}_wrong", made.id);
    assert_eq!(
        reason(&world.admit(with(&wrong, ask("r4"))).await.unwrap_err()),
        ErrorReason::CredentialInvalid
    );
    let listed = world.client.list_keys(ListKeysRequest::default()).await.unwrap().into_inner().keys;
    assert_eq!(listed, []);
    let all = ListKeysRequest { include_ended: true, ..Default::default() };
    assert_eq!(world.client.list_keys(all).await.unwrap().into_inner().keys, [revoked]);
    world.end().await;
}

#[tokio::test]
async fn models_and_features_are_allowed_by_key_and_tenant_together() {
    let mut world = World::start("[tenants.acme]\nallowed_models = ['fast', 'lab/*']").await;
    let scoped =
        Key { allowed_models: vec!["fast".to_owned()], allowed_features: vec!["chat".to_owned()], ..acme() };
    let (_, bound) = key(&mut world, scoped).await;
    let (_, free) = key(&mut world, acme()).await;
    let asking = |id: &str, model: &str, feature: Option<&str>| {
        let mut request = ask(id);
        request.chat.as_mut().unwrap().model = model.to_owned();
        request.attribution =
            Some(Attribution { feature: feature.map(str::to_owned), ..Attribution::default() });
        request
    };
    assert!(world.admit(with(&bound, asking("1", "fast", Some("chat")))).await.is_ok());
    for (id, request) in [
        ("2", with(&bound, asking("2", "lab/gpt-4o", Some("chat")))),
        ("3", with(&bound, asking("3", "fast", Some("batch")))),
        ("4", with(&bound, asking("4", "fast", None))),
        ("5", with(&free, asking("5", "auto", None))),
    ] {
        assert_eq!(reason(&world.admit(request).await.unwrap_err()), ErrorReason::NotAllowed, "{id}");
    }
    assert!(world.admit(with(&free, asking("6", "lab/gpt-4o", None))).await.is_ok());
    world.end().await;
}

#[tokio::test]
async fn a_budget_grants_less_and_then_nothing_and_says_why() {
    // 500 µ$: 14,000 input and 500 output tokens at 2,000 each would be 1,014,000.
    let mut world =
        World::start("[tenants.local]\nbudgets = [{ limit_usd = '0.0005', period = 'day' }]").await;
    let mut long = ask("r1");
    long.gateway_id = "gw".to_owned();
    long.chat.as_mut().unwrap().sampling = None;
    let admitted = world.admit(long.clone()).await.unwrap();
    let reservation = admitted.reservation.clone().unwrap();
    assert_eq!((reservation.granted_output_tokens, reservation.amount_nanousd), (243, 500_000));
    assert_eq!(admitted.allowance, None, "nothing is left to set aside");
    assert_eq!(world.admit(long).await.unwrap().reservation, Some(reservation), "asked again");

    let refused = world.admit(ask("r2")).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::BudgetExhausted);
    let quota = refused.get_details_quota_failure().unwrap();
    assert_eq!(quota.violations[0].subject, "tenant:local/budget:day");
    assert!(quota.violations[0].description.contains("2026-06-02T00:00:00Z"), "{quota:?}");

    assert_eq!(world.settle(used("r1", &admitted, 14, 200)).await.unwrap(), (1, 0));
    let budget = &world.budgets().await[0];
    assert_eq!((budget.spent, budget.reserved), (414_000, 0));
    let admitted = world.admit(ask("r3")).await.unwrap();
    assert_eq!(admitted.low_budgets, ["day"]);
    world.end().await;
}

#[tokio::test]
async fn an_extension_is_priced_here_and_renews() {
    let mut world =
        World::start("[tenants.local]\nbudgets = [{ limit_usd = '0.0005', period = 'day' }]").await;
    let reservation = world.admit(ask("r1")).await.unwrap().reservation.unwrap();
    let more = |extension, output_tokens| ExtendRequest {
        reservation_id: reservation.id.clone(),
        extension,
        output_tokens,
        purpose: "output".to_owned(),
        ..ExtendRequest::default()
    };
    world.clock.advance(Duration::from_secs(100));
    let extended = world.client.extend(more(1, 100)).await.unwrap().into_inner().reservation.unwrap();
    assert_eq!((extended.amount_nanousd, extended.granted_output_tokens), (34_000 + 200_000, 110));
    assert_eq!(extended.expires_unix_ms, reservation.expires_unix_ms + 100_000);
    assert_eq!(
        world.client.extend(more(1, 100)).await.unwrap().into_inner().reservation,
        Some(extended),
        "a retry"
    );
    assert_eq!(reason(&world.client.extend(more(2, 1_000)).await.unwrap_err()), ErrorReason::BudgetExhausted);
    assert_eq!(reason(&world.client.extend(more(0, 1)).await.unwrap_err()), ErrorReason::InvalidRequest);
    world.clock.advance(Duration::from_secs(120));
    assert_eq!(reason(&world.client.extend(more(3, 1)).await.unwrap_err()), ErrorReason::NotFound);
    world.end().await;
}

#[tokio::test]
async fn a_first_slice_is_what_the_features_answers_needed_so_far() {
    let mut world = World::start("[tenants.local]\nbudgets = [{ limit_usd = '1', period = 'day' }]").await;
    let of = |feature: &str, id: &str| {
        let mut request = ask(id);
        request.chat.as_mut().unwrap().sampling = None;
        let feature = Some(feature.to_owned());
        request.attribution = Some(Attribution { feature, ..Attribution::default() });
        request
    };
    for n in 0..20 {
        let id = format!("r{n}");
        let admitted = world.admit(of("chat", &id)).await.unwrap();
        let reservation = admitted.reservation.as_ref().unwrap();
        assert_eq!(
            (reservation.granted_output_tokens, reservation.most_output_tokens),
            (500, 0),
            "all of it"
        );
        let mut settled = used(&id, &admitted, 14, 100);
        settled.attribution = of("chat", "").attribution;
        world.settle(settled).await.unwrap();
    }
    let sliced = world.admit(of("chat", "next")).await.unwrap();
    let reservation = sliced.reservation.clone().unwrap();
    assert_eq!((reservation.granted_output_tokens, reservation.most_output_tokens), (143, 500), "with room");
    assert_eq!((reservation.amount_nanousd, reservation.output_picousd), (14_000 + 286_000, 2_000_000));
    world.settle(used("next", &sliced, 14, 100)).await.unwrap();
    let other = world.admit(of("other", "o")).await.unwrap();
    assert_eq!(other.reservation.as_ref().unwrap().most_output_tokens, 0, "nothing is known of it");
    world.settle(used("o", &other, 14, 100)).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn an_allowance_is_set_aside_and_paid_from() {
    let mut world = World::start("[tenants.local]\nbudgets = [{ limit_usd = '1', period = 'day' }]").await;
    let request = AdmitRequest { gateway_id: "gw".to_owned(), ..ask("r1") };
    let admitted = world.admit(request).await.unwrap();
    let allowance = admitted.allowance.clone().unwrap();
    assert_eq!(allowance.amount_nanousd, 10_000_000, "1 %");
    world.settle(used("r1", &admitted, 14, 10)).await.unwrap();
    let mut away = used("r2", &admitted, 14, 10);
    away.reservation_id = allowance.reservation_id;
    away.on_allowance = true;
    assert_eq!(world.settle(away.clone()).await.unwrap(), (1, 0));
    assert_eq!(world.settle(away).await.unwrap(), (0, 1));
    let budget = &world.budgets().await[0];
    assert_eq!((budget.spent, budget.reserved), (68_000, 10_000_000 - 34_000));
    world.end().await;
}

#[tokio::test]
async fn bad_requests_are_told_what_to_change() {
    let mut world = World::start("").await;
    let with_model = |model: &str| {
        let mut request = ask("r");
        request.chat.as_mut().unwrap().model = model.to_owned();
        request
    };
    let (unknown, nameless) = (with_model("slow"), with_model(""));
    let refused = world.admit(unknown).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::ModelUnknown);
    assert_eq!(signalbox_mesh::error::metadata_of(&refused, "known").as_deref(), Some("fast"));
    assert_eq!(reason(&world.admit(nameless).await.unwrap_err()), ErrorReason::InvalidRequest);
    assert_eq!(reason(&world.admit(ask("")).await.unwrap_err()), ErrorReason::InvalidRequest);
    let mut long = ask("long");
    let text = &mut long.chat.as_mut().unwrap().messages[0].parts[0].kind;
    let Some(signalbox_proto::common::v1::part::Kind::Text(text)) = text else { panic!() };
    text.text = "many words ".repeat(2_000);
    assert_eq!(reason(&world.admit(long).await.unwrap_err()), ErrorReason::ContextTooLong);
    world.end().await;
}

#[tokio::test]
async fn budgets_are_managed() {
    let mut world = World::start("").await;
    let budget = Budget {
        tenant: "local".to_owned(),
        name: "tokens".to_owned(),
        limit_tokens: Some(100),
        period: BudgetPeriod::Month.into(),
        hard: true,
        time_zone: "Europe/Berlin".to_owned(),
        carry_over: true,
        alert_percents: vec![90],
        ..Budget::default()
    };
    let create = |budget: &Budget| CreateBudgetRequest { budget: Some(budget.clone()) };
    let made = world.client.create_budget(create(&budget)).await.unwrap().into_inner().budget.unwrap();
    assert_eq!(
        made.period_start_unix_ms, 1_780_264_800_000,
        "the first of June in Berlin is 22:00 UTC of 31 May"
    );
    assert_eq!(
        reason(&world.client.create_budget(create(&budget)).await.unwrap_err()),
        ErrorReason::AlreadyExists
    );
    let mut free = ask("r1");
    free.chat.as_mut().unwrap().sampling = None;
    assert_eq!(world.admit(free).await.unwrap().reservation.unwrap().granted_output_tokens, 86);

    let raised = Budget { limit_tokens: Some(1_000), ..made.clone() };
    let update = signalbox_proto::metering::v1::UpdateBudgetRequest { budget: Some(raised) };
    let changed = world.client.update_budget(update).await.unwrap().into_inner().budget.unwrap();
    assert_eq!((changed.limit_tokens, changed.reserved), (Some(1_000), 100));
    let delete = || signalbox_proto::metering::v1::DeleteBudgetRequest { id: made.id.clone() };
    world.client.delete_budget(delete()).await.unwrap();
    assert_eq!(reason(&world.client.delete_budget(delete()).await.unwrap_err()), ErrorReason::NotFound);
    assert_eq!(world.budgets().await, []);
    world.end().await;
}

#[tokio::test]
async fn rate_limits_say_what_remains_and_when_to_come_again() {
    let limits = "[tenants.local]\nlimits = [{ requests = 2, per = 'second' }, { tokens = 1000 }, { concurrent = 3, each = 'user' }]";
    let mut world = World::start(limits).await;
    let by_ann = |id: &str| {
        let attribution = Some(Attribution { user: Some("ann".to_owned()), ..Attribution::default() });
        AdmitRequest { attribution, ..ask(id) }
    };
    let admitted = world.admit(by_ann("r1")).await.unwrap();
    let told: Vec<_> =
        admitted.rates.iter().map(|r| (r.name.as_str(), r.limit, r.remaining, r.reset_ms)).collect();
    let expected = [
        ("requests_per_second", 2, 1, 500),
        ("tokens_per_minute", 1_000, 976, 1_440),
        ("concurrent", 3, 2, 0),
    ];
    assert_eq!(told, expected);
    assert_eq!(admitted.rate.as_ref().unwrap().name, "requests_per_second", "the tightest");
    world.admit(by_ann("r2")).await.unwrap();
    let refused = world.admit(by_ann("r3")).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::RateLimited);
    assert_eq!(signalbox_mesh::error::retry_after(&refused), Some(Duration::from_millis(500)));
    let quota = refused.get_details_quota_failure().unwrap();
    assert_eq!(quota.violations[0].subject, "tenant:local/limit:requests_per_second");
    world.clock.advance(Duration::from_millis(500));
    world.admit(by_ann("r3")).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    let refused = world.admit(by_ann("r4")).await.unwrap_err();
    assert!(refused.message().contains("3 requests at a time"), "{refused}");
    assert!(world.admit(ask("r5")).await.is_ok(), "another user's");
    world.settle(used("r1", &admitted, 14, 10)).await.unwrap();
    world.admit(by_ann("r4")).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn limits_are_managed_and_every_change_is_on_record() {
    let mut world = World::start("").await;
    let limit = Limit {
        tenant: "local".to_owned(),
        name: "rpm".to_owned(),
        metric: LimitMetric::Requests.into(),
        amount: 1,
        per: LimitPeriod::Minute.into(),
        each: UsageDimension::Tag.into(),
        each_tag_key: Some("env".to_owned()),
        ..Limit::default()
    };
    let create = CreateLimitRequest { limit: Some(limit.clone()) };
    let made = world.client.create_limit(create.clone()).await.unwrap().into_inner().limit.unwrap();
    assert_eq!((made.burst, made.each, made.each_tag_key.as_deref()), (1, limit.each, Some("env")));
    assert_eq!(reason(&world.client.create_limit(create).await.unwrap_err()), ErrorReason::AlreadyExists);
    let update = UpdateLimitRequest { limit: Some(Limit { amount: 5, burst: 0, ..made.clone() }) };
    let changed = world.client.update_limit(update).await.unwrap().into_inner().limit.unwrap();
    assert_eq!((changed.amount, changed.burst), (5, 5));
    let listed = world.client.list_limits(ListLimitsRequest::default()).await.unwrap().into_inner().limits;
    assert_eq!(listed, [changed]);
    let delete = || DeleteLimitRequest { id: made.id.clone() };
    world.client.delete_limit(delete()).await.unwrap();
    assert_eq!(reason(&world.client.delete_limit(delete()).await.unwrap_err()), ErrorReason::NotFound);
    let entries = world.client.list_audit(ListAuditRequest::default()).await.unwrap().into_inner().entries;
    let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["limit.delete", "limit.update", "limit.create"]);
    assert!(entries[1].detail.contains("\"amount\":5"), "{}", entries[1].detail);
    world.end().await;
}

#[tokio::test]
async fn a_rotated_key_has_two_secrets_until_the_old_one_ends() {
    let mut world = World::start("[tenants.acme]").await;
    let (made, old) = key(&mut world, acme()).await;
    let rotate = RotateKeyRequest { id: made.id.clone(), overlap_ms: 60_000 };
    let rotated = world.client.rotate_key(rotate.clone()).await.unwrap().into_inner();
    assert_eq!(rotated.key.unwrap().old_secret_until_unix_ms, Some(NOON + 60_000));
    for (id, credential) in [("r1", &old), ("r2", &rotated.credential)] {
        assert!(world.admit(with(credential, ask(id))).await.is_ok());
    }
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(
        reason(&world.admit(with(&old, ask("r3"))).await.unwrap_err()),
        ErrorReason::CredentialInvalid
    );
    assert!(world.admit(with(&rotated.credential, ask("r4"))).await.is_ok());
    let long = RotateKeyRequest { overlap_ms: i64::MAX, ..rotate };
    assert_eq!(reason(&world.client.rotate_key(long).await.unwrap_err()), ErrorReason::InvalidRequest);
    let none = RotateKeyRequest { id: "nobody".to_owned(), overlap_ms: 0 };
    assert_eq!(reason(&world.client.rotate_key(none).await.unwrap_err()), ErrorReason::NotFound);
    world.end().await;
}
