//! The invariants of the design, as far as they can be seen from outside, checked when a scenario is over.

use signalbox_proto::{
    cache::v1::{StatsRequest, cache_service_client::CacheServiceClient},
    executor::v1::{ListTargetsRequest, executor_service_client::ExecutorServiceClient},
    metering::v1::{
        ListBudgetsRequest, QueryUsageRequest, UsageRow, metering_service_client::MeteringServiceClient,
    },
};

use crate::sandbox::Behind;

/// What a scenario promises about itself.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Requests that reached admission and must stand in the ledger.
    pub requests: u64,
    /// Tenants whose cache is looked at.
    pub tenants: &'static [&'static str],
}

/// Text that must not stand in any log: scenarios put it into prompts and answers.
pub const SENTINEL: &str = "quetzalcoatl";

/// Checks M1, M2, B1, L1 and G2.
pub async fn check(behind: &Behind<'_>, expected: Expected) {
    let row = usage(behind).await;
    let totals = behind.provider.totals();
    assert_eq!(row.requests, expected.requests, "M2: each request is settled exactly once");
    assert_eq!(row.attempts, totals.received, "M2: each attempt is recorded exactly once");
    let usage = row.usage.unwrap_or_default();
    if row.estimated_attempts == 0 {
        assert_eq!(
            (usage.input_tokens, usage.output_tokens),
            (totals.reported.prompt_tokens, totals.reported.completion_tokens),
            "M1: the ledger is what the provider reported"
        );
    }
    budgets(behind).await;
    idle(behind, expected.tenants).await;
    for (name, log) in &behind.logs {
        assert!(!log.contains(SENTINEL), "G2: {name} logs nothing of a prompt or an answer");
    }
}

/// All usage as one row.
pub async fn usage(behind: &Behind<'_>) -> UsageRow {
    let mut metering = signalbox_mesh::client!(MeteringServiceClient, behind.parts.metering);
    let answer = metering.query_usage(behind.request("local", QueryUsageRequest::default())).await.unwrap();
    answer.into_inner().rows.into_iter().next().unwrap_or_default()
}

/// What all budgets have reserved, in nano-dollars or tokens.
pub async fn reserved(behind: &Behind<'_>) -> i64 {
    let mut metering = signalbox_mesh::client!(MeteringServiceClient, behind.parts.metering);
    let budgets =
        metering.list_budgets(behind.request("local", ListBudgetsRequest::default())).await.unwrap();
    budgets.into_inner().budgets.iter().map(|budget| budget.reserved).sum()
}

/// B1 and the part of L1 that is money.
async fn budgets(behind: &Behind<'_>) {
    let mut metering = signalbox_mesh::client!(MeteringServiceClient, behind.parts.metering);
    let budgets =
        metering.list_budgets(behind.request("local", ListBudgetsRequest::default())).await.unwrap();
    for budget in budgets.into_inner().budgets {
        assert_eq!(budget.reserved, 0, "L1: reservations of {} are back", budget.name);
        if let (true, Some(limit)) = (budget.hard, budget.limit_nanousd) {
            assert!(budget.spent <= limit, "B1: {} of {limit} is spent of {}", budget.spent, budget.name);
        }
    }
}

/// L1: nothing is held.
async fn idle(behind: &Behind<'_>, tenants: &[&str]) {
    let mut cache = signalbox_mesh::client!(CacheServiceClient, behind.parts.cache);
    for tenant in tenants {
        let stats = cache.stats(behind.request(tenant, StatsRequest {})).await.unwrap().into_inner();
        assert_eq!(stats.leases, 0, "L1: the leases of {tenant} are back");
    }
    let mut executor = signalbox_mesh::client!(ExecutorServiceClient, behind.parts.executor);
    let targets =
        executor.list_targets(behind.request("local", ListTargetsRequest {})).await.unwrap().into_inner();
    for target in targets.targets {
        assert_eq!(target.in_flight, 0, "L1: {} is idle", target.target_id);
    }
    assert_eq!(behind.provider.in_flight(), 0, "L1: the provider is idle");
}
