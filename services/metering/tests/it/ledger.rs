//! What was used, and the questions about it.

use futures_util::StreamExt as _;
use signalbox_mesh::RequestContext;
use signalbox_proto::common::v1::{Attribution, CacheState, ErrorReason, Timings};
use signalbox_proto::metering::v1::{
    CountTokensRequest, ExportFormat, ExportUsageRequest, QueryUsageRequest, RequestOutcome, ScoreRequest,
    SettleRequest, Settlement, UsageDimension, UsageFilter, UsageRow, WatchAlertsRequest,
};
use tonic_types::StatusExt as _;

use crate::world::{NOON, World, ask, attempt, reason, used};

async fn query(world: &mut World, request: QueryUsageRequest) -> Vec<UsageRow> {
    world.client.query_usage(request).await.unwrap().into_inner().rows
}

/// Three requests: one by Ann with two attempts, one by Bob from the cache, one by Bob that failed later.
async fn busy(world: &mut World) {
    let admitted = world.admit(ask("a")).await.unwrap();
    let by = |user: &str| {
        let tags = [("env".to_owned(), user.to_lowercase())].into();
        Some(Attribution { user: Some(user.to_owned()), tags, ..Attribution::default() })
    };
    let took = |total_ms, first| Some(Timings { total_ms, first_output_ms: first, ..Timings::default() });
    let mut two = used("a", &admitted, 14, 10);
    two.attempts.insert(0, attempt(2, 14, 0));
    two.attempts[0].target_id = "unknown/model".to_owned();
    two.attempts[0].usage.as_mut().unwrap().source = 0;
    two.timings = took(400, Some(90));
    // The reservation knows who asked; it goes before what is said later.
    two.attribution = by("Mallory");
    let cached = Settlement {
        attempts: vec![],
        reservation_id: String::new(),
        attribution: by("Bob"),
        cache: CacheState::Exact.into(),
        saved_nanousd: 34_000,
        timings: took(2, Some(1)),
        ..used("b", &admitted, 0, 0)
    };
    let failed = Settlement {
        attempts: vec![],
        reservation_id: String::new(),
        attribution: by("Bob"),
        outcome: RequestOutcome::Failed.into(),
        started_unix_ms: NOON + 3_600_000,
        timings: took(100, None),
        ..used("c", &admitted, 0, 0)
    };
    let request = SettleRequest { settlements: vec![two, cached, failed] };
    let settled = world.client.settle(request.clone()).await.unwrap().into_inner();
    assert_eq!((settled.recorded, settled.duplicates), (3, 0));
    let again = world.client.settle(request).await.unwrap().into_inner();
    assert_eq!((again.recorded, again.duplicates), (0, 3));
    world.clock.set(NOON + 7_200_000);
}

#[tokio::test]
async fn usage_is_summed_by_what_is_asked() {
    let mut world = World::start("").await;
    busy(&mut world).await;
    let all = query(&mut world, QueryUsageRequest::default()).await;
    let [all] = &all[..] else { panic!("{all:?}") };
    assert_eq!((all.requests, all.succeeded, all.cached, all.attempts), (3, 2, 1, 2));
    assert_eq!((all.cost_nanousd, all.saved_nanousd), (34_000, 34_000));
    assert_eq!((all.estimated_attempts, all.unpriced_attempts), (1, 1));
    assert_eq!((all.mean_ms, all.p50_ms, all.p95_ms, all.p99_ms), (167, 100, 400, 400));
    assert_eq!(all.first_output_p50_ms, Some(1));
    let usage = all.usage.as_ref().unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (28, 10));

    let group_by = vec![UsageDimension::User.into(), UsageDimension::Outcome.into()];
    let rows = query(&mut world, QueryUsageRequest { group_by, ..Default::default() }).await;
    let groups: Vec<_> = rows.iter().map(|row| (row.group.join("/"), row.requests)).collect();
    assert_eq!(groups, [("/OK".to_owned(), 1), ("Bob/FAILED".to_owned(), 1), ("Bob/OK".to_owned(), 1)]);

    let steps = query(&mut world, QueryUsageRequest { step_ms: 3_600_000, ..Default::default() }).await;
    let steps: Vec<_> = steps.iter().map(|row| (row.step_unix_ms, row.requests)).collect();
    assert_eq!(steps, [(NOON, 2), (NOON + 3_600_000, 1)]);

    let filter = |dimension: UsageDimension, value: &str, tag_key: Option<&str>| UsageFilter {
        dimension: dimension.into(),
        value: value.to_owned(),
        tag_key: tag_key.map(str::to_owned),
    };
    let filters =
        vec![filter(UsageDimension::Tag, "bob", Some("env")), filter(UsageDimension::Cache, "EXACT", None)];
    let rows = query(&mut world, QueryUsageRequest { filters, ..Default::default() }).await;
    assert_eq!(rows.iter().map(|row| row.requests).sum::<u64>(), 1);
    let window =
        QueryUsageRequest { from_unix_ms: NOON + 1, to_unix_ms: NOON + 3_600_000, ..Default::default() };
    assert_eq!(query(&mut world, window).await, []);
    let target =
        QueryUsageRequest { group_by: vec![UsageDimension::Target.into()], limit: 1, ..Default::default() };
    let answer = world.client.query_usage(target).await.unwrap().into_inner();
    assert_eq!(
        (answer.rows[0].group[0].as_str(), answer.truncated),
        ("lab/gpt-4o", true),
        "the target that answered"
    );
    world.end().await;
}

#[tokio::test]
async fn a_bad_record_is_named_and_the_others_are_kept() {
    let mut world = World::start("").await;
    let admitted = world.admit(ask("r1")).await.unwrap();
    let good = used("r1", &admitted, 14, 10);
    let nameless = Settlement { request_id: String::new(), ..good.clone() };
    let stolen = Settlement { request_id: "r2".to_owned(), ..good.clone() };
    world.admit(ask("r3")).await.unwrap();
    let stolen = Settlement { reservation_id: "r3".to_owned(), ..stolen };
    let settlements = vec![nameless, good, stolen];
    let refused = world.client.settle(SettleRequest { settlements }).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::InvalidRequest);
    let bad = refused.get_details_bad_request().unwrap();
    let fields: Vec<_> = bad.field_violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["settlements[0].request_id", "settlements[2].reservation_id"]);
    assert_eq!(signalbox_mesh::error::metadata_of(&refused, "recorded").as_deref(), Some("1"));
    let rows = query(&mut world, QueryUsageRequest::default()).await;
    assert_eq!((rows[0].requests, rows[0].cost_nanousd), (1, 34_000));
    world.end().await;
}

#[tokio::test]
async fn a_watcher_hears_what_is_active_and_then_what_is_new() {
    let mut world =
        World::start("[tenants.local]\nbudgets = [{ limit_usd = '0.00006', period = 'day' }]").await;
    let admitted = world.admit(ask("r1")).await.unwrap();
    world.settle(used("r1", &admitted, 14, 10)).await.unwrap();
    let mut watch = world.client.watch_alerts(WatchAlertsRequest::default()).await.unwrap().into_inner();
    let first = watch.next().await.unwrap().unwrap().alert.unwrap();
    assert_eq!((first.subject.as_str(), first.threshold), ("day", 0.5));
    let admitted = world.admit(ask("r2")).await.unwrap_err();
    assert_eq!(reason(&admitted), ErrorReason::BudgetExhausted, "26 µ$ are left, 34 are needed");
    let late = world.admit(ask("r3")).await.unwrap_or_default();
    let principal = Some(signalbox_proto::metering::v1::Principal {
        tenant: "local".to_owned(),
        id: "local".to_owned(),
        ..Default::default()
    });
    world.settle(Settlement { principal, ..used("r4", &late, 14, 10) }).await.unwrap();
    let second = watch.next().await.unwrap().unwrap().alert.unwrap();
    assert_eq!((second.subject.as_str(), second.threshold), ("day", 1.0));
    assert_ne!(first.id, second.id);
    drop(watch);
    world.end().await;
}

#[tokio::test]
async fn tokens_are_counted_without_admission() {
    let mut world = World::start("").await;
    let request = CountTokensRequest { chat: ask("r").chat };
    let counted = world.client.count_tokens(request).await.unwrap().into_inner();
    assert_eq!((counted.input_tokens, counted.exact), (14, true));
    let refused = world.client.count_tokens(CountTokensRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::InvalidRequest);
    world.end().await;
}

async fn export(world: &mut World, format: ExportFormat) -> String {
    let request = ExportUsageRequest { format: format.into(), ..ExportUsageRequest::default() };
    let mut stream = world.client.export_usage(request).await.unwrap().into_inner();
    let mut lines = Vec::new();
    while let Some(part) = stream.next().await {
        lines.extend_from_slice(&part.unwrap().lines);
    }
    String::from_utf8(lines).unwrap()
}

async fn exported(world: &mut World) -> Vec<serde_json::Value> {
    let lines = export(world, ExportFormat::Ndjson).await;
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_score_is_taken_from_the_requests_tenant_and_exported_with_its_attempts() {
    let mut world = World::start("").await;
    busy(&mut world).await;
    let mut score = async |tenant: &str, id: &str, score: f64, kind: Option<&str>| {
        let context = RequestContext::background().with_principal(tenant, "k");
        let (request_id, kind) = (id.to_owned(), kind.map(str::to_owned));
        let request = context.request(ScoreRequest { request_id, score, kind });
        world.client.score(request).await.map_err(|status| reason(&status)).map(drop)
    };
    assert_eq!(score("local", "a", 1.0, Some("thumbs")).await, Ok(()));
    assert_eq!(score("local", "a", -0.5, Some("stars")).await, Ok(()), "the last word counts");
    assert_eq!(score("local", "b", 1.0, None).await, Ok(()));
    for (tenant, id) in [("other", "a"), ("local", "nobody")] {
        assert_eq!(score(tenant, id, 1.0, None).await, Err(ErrorReason::NotFound));
    }
    let long = "r".repeat(129);
    for (tenant, id, value, kind) in [
        ("", "a", 1.0, None),
        ("local", "", 1.0, None),
        ("local", &long, 1.0, None),
        ("local", "a", 1.1, None),
        ("local", "a", f64::NAN, None),
        ("local", "a", 1.0, Some("not a word")),
    ] {
        assert_eq!(score(tenant, id, value, kind).await, Err(ErrorReason::InvalidRequest));
    }
    let rows = exported(&mut world).await;
    let seen: Vec<_> = rows.iter().map(|row| (row["score"].as_f64(), row["score_kind"].as_str())).collect();
    let stars = (Some(-0.5), Some("stars"));
    assert_eq!(seen, [stars, stars, (Some(1.0), None), (None, None)]);
    world.end().await;
}

#[tokio::test]
async fn the_ledger_is_exported_line_by_line() {
    let mut world = World::start("").await;
    busy(&mut world).await;
    let rows = exported(&mut world).await;
    let seen: Vec<_> =
        rows.iter().map(|row| (row["request_id"].as_str().unwrap(), row["attempt"].as_u64())).collect();
    assert_eq!(seen, [("a", Some(1)), ("a", Some(2)), ("b", None), ("c", None)]);
    assert_eq!(
        (rows[0]["cost_nanousd"].as_i64(), rows[2]["saved_nanousd"].as_i64()),
        (Some(34_000), Some(34_000))
    );
    assert!(rows[0]["price_version"].as_str().is_some_and(|version| version != rows[1]["price_version"]));
    let csv = export(&mut world, ExportFormat::Csv).await;
    assert_eq!((csv.lines().count(), csv.starts_with("request_id,started_unix_ms,tenant")), (5, true));
    world.end().await;
}
