//! `signalbox budgets`: what may be spent.

use signalbox_proto::metering::v1::{
    Budget, BudgetPeriod, CreateBudgetRequest, DeleteBudgetRequest, ListBudgetsRequest, UpdateBudgetRequest,
};
use tonic::Status;

use crate::{
    Ended,
    client::Client,
    cost::{dollars, nanousd},
    dimension::{self, Only},
    keys::{Out, metering},
    named::{self, List, Named, Which, own_fields},
    print, when,
};

/// What to do with budgets. Each needs an admin key. Those of the configuration file are changed there.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a budget.
    Create(Create),
    /// Lists budgets with what is spent and reserved in their present period.
    List(List),
    /// Changes a budget; what is not named stays as it is.
    Change(Change),
    /// Removes a budget. What was spent stays in the ledger.
    Delete(Which),
}

/// What a budget bounds.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Terms {
    /// The limit in dollars, such as 100 or 0.5. Give this or --tokens.
    #[arg(long, value_name = "DOLLARS", value_parser = nanousd, conflicts_with = "tokens")]
    usd: Option<i64>,
    /// The limit in tokens, input and output together.
    #[arg(long)]
    tokens: Option<u64>,
    /// When it starts anew.
    #[arg(long, value_enum)]
    period: Option<Period>,
    /// The time zone of its periods, such as Europe/Berlin. Default: UTC.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Only what has this value counts, such as team=search or tag:env=prod; may be repeated, and all must hold.
    #[arg(long = "only", value_name = "NAME=VALUE")]
    only: Vec<Only>,
    /// Whether it refuses, only reports, or counts what it would have refused. Default: hard.
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Lets what is left, at most one limit, go over into the next period.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    carry_over: Option<bool>,
    /// A share in percent whose passing is told; may be repeated. Default: 50, 80, 100.
    #[arg(long = "alert", value_name = "PERCENT")]
    alerts: Vec<u32>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Period {
    /// Never.
    Total,
    Hour,
    Day,
    /// From Monday.
    Week,
    Month,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// Refuses what would pass it.
    Hard,
    /// Reports alone.
    Soft,
    /// Refuses nothing, and counts what it would have refused.
    Shadow,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Its name, unique within the tenant.
    name: String,
    /// Whose spending it bounds.
    #[arg(long)]
    tenant: String,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    out: Out,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Change {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    terms: Terms,
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Ended {
    match command {
        Command::Create(args) => create(args).await,
        Command::List(args) => named::list::<Budget>(args).await,
        Command::Change(Change { which, terms }) => {
            named::change(which, |budget: &mut Budget| terms.apply(budget)).await
        }
        Command::Delete(which) => named::delete::<Budget>(which).await,
    }
}

async fn create(args: Create) -> Ended {
    let mut budget = Budget { name: args.name, tenant: args.tenant, hard: true, ..Budget::default() };
    if args.terms.usd.is_none() && args.terms.tokens.is_none() {
        return Err("a budget needs a limit; add --usd DOLLARS or --tokens NUMBER".to_owned());
    }
    if args.terms.period.is_none() {
        return Err(
            "say when the budget starts anew; add --period month, or hour, day, week, total".to_owned()
        );
    }
    args.terms.apply(&mut budget);
    let client = args.out.server.connect()?;
    let request = client.request(CreateBudgetRequest { budget: Some(budget) });
    let made = metering(&client).create_budget(request).await.map_err(|s| client.explain(&s))?.into_inner();
    named::show(made.budget.as_slice(), args.out.json);
    Ok(())
}

impl Terms {
    fn apply(self, budget: &mut Budget) {
        if self.usd.is_some() || self.tokens.is_some() {
            (budget.limit_nanousd, budget.limit_tokens) = (self.usd, self.tokens);
        }
        if let Some(period) = self.period {
            budget.set_period(period.of());
        }
        if let Some(zone) = self.zone {
            budget.time_zone = zone;
        }
        if !self.only.is_empty() {
            (budget.scope, budget.scopes) = (None, self.only.iter().map(Only::filter).collect());
        }
        if let Some(kind) = self.kind {
            (budget.hard, budget.shadow) = (!matches!(kind, Kind::Soft), matches!(kind, Kind::Shadow));
        }
        budget.carry_over = self.carry_over.unwrap_or(budget.carry_over);
        if !self.alerts.is_empty() {
            budget.alert_percents = self.alerts;
        }
    }
}

impl Period {
    const fn of(self) -> BudgetPeriod {
        match self {
            Self::Total => BudgetPeriod::Total,
            Self::Hour => BudgetPeriod::Hour,
            Self::Day => BudgetPeriod::Day,
            Self::Week => BudgetPeriod::Week,
            Self::Month => BudgetPeriod::Month,
        }
    }
}

impl Named for Budget {
    const KIND: &'static str = "budget";

    own_fields!();

    fn json(&self) -> serde_json::Value {
        let filters: Vec<String> = self.scope.iter().chain(&self.scopes).map(dimension::show).collect();
        serde_json::json!({
            "id": self.id, "tenant": self.tenant, "name": self.name, "kind": kind(self),
            "limit_nanousd": self.limit_nanousd, "limit_tokens": self.limit_tokens, "period": period(self),
            "time_zone": self.time_zone, "only": filters, "carry_over": self.carry_over,
            "carried": self.carried, "spent": self.spent, "reserved": self.reserved,
            "period_start_unix_ms": self.period_start_unix_ms, "period_end_unix_ms": self.period_end_unix_ms,
            "alert_percents": self.alert_percents, "shadow_refusals": self.shadow_refusals,
        })
    }

    fn table(all: &[Self]) -> String {
        if all.is_empty() {
            let none = "there are no budgets; make one with `signalbox budgets create NAME --tenant TENANT --usd 100 --period month`";
            return none.to_owned();
        }
        let head = [
            "id",
            "tenant",
            "name",
            "kind",
            "limit",
            "spent",
            "reserved",
            "left",
            "period",
            "starts anew",
            "only",
        ];
        let right = [false, false, false, false, true, true, true, true, false, false, false];
        let rows: Vec<Vec<String>> = all.iter().map(row).collect();
        print::table(&head, &right, &rows)
    }

    async fn ask(client: &Client, tenant: String) -> Result<Vec<Self>, Status> {
        let request = client.request(ListBudgetsRequest { tenant });
        Ok(metering(client).list_budgets(request).await?.into_inner().budgets)
    }

    async fn update(self, client: &Client) -> Result<Option<Self>, Status> {
        let request = client.request(UpdateBudgetRequest { budget: Some(self) });
        Ok(metering(client).update_budget(request).await?.into_inner().budget)
    }

    async fn remove(client: &Client, id: String) -> Result<(), Status> {
        metering(client).delete_budget(client.request(DeleteBudgetRequest { id })).await.map(drop)
    }
}

fn row(budget: &Budget) -> Vec<String> {
    let amount = |amount: i64| match budget.limit_tokens {
        Some(_) => format!("{amount} tokens"),
        None => dollars(amount),
    };
    let ceiling = limit(budget).saturating_add(budget.carried);
    let left = ceiling.saturating_sub(budget.spent).saturating_sub(budget.reserved).max(0);
    let filters: Vec<String> = budget.scope.iter().chain(&budget.scopes).map(dimension::show).collect();
    let anew = match budget.period_end_unix_ms {
        0 => "never".to_owned(),
        at => when::show(at),
    };
    vec![
        budget.id.clone(),
        budget.tenant.clone(),
        budget.name.clone(),
        kind(budget).to_owned(),
        amount(ceiling),
        amount(budget.spent),
        amount(budget.reserved),
        amount(left),
        period(budget),
        anew,
        if filters.is_empty() { "-".to_owned() } else { filters.join(" ") },
    ]
}

fn limit(budget: &Budget) -> i64 {
    let tokens = budget.limit_tokens.map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX));
    budget.limit_nanousd.or(tokens).unwrap_or(0)
}

fn kind(budget: &Budget) -> &'static str {
    match (budget.shadow, budget.hard) {
        (true, _) => "shadow",
        (false, true) => "hard",
        (false, false) => "soft",
    }
}

fn period(budget: &Budget) -> String {
    budget.period().as_str_name().trim_start_matches("BUDGET_PERIOD_").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let mut budget = Budget { limit_tokens: Some(5), hard: true, carry_over: true, ..Budget::default() };
        let only = vec!["team=search".parse().unwrap()];
        Terms { usd: Some(7), only, kind: Some(Kind::Shadow), ..Terms::default() }.apply(&mut budget);
        assert_eq!((budget.limit_nanousd, budget.limit_tokens), (Some(7), None));
        assert_eq!((budget.hard, budget.shadow, budget.carry_over), (true, true, true));
        assert_eq!(budget.json()["only"][0], "team=search");
        Terms { carry_over: Some(false), ..Terms::default() }.apply(&mut budget);
        assert_eq!((budget.limit_nanousd, budget.carry_over, kind(&budget)), (Some(7), false, "shadow"));
    }

    #[test]
    fn shows_what_is_left_of_what_came_over_too() {
        let budget = Budget {
            limit_nanousd: Some(1_000_000_000),
            carried: 500_000_000,
            spent: 250_000_000,
            reserved: 50_000_000,
            ..Budget::default()
        };
        assert_eq!(row(&budget)[4..8], ["$1.50", "$0.25", "$0.05", "$1.20"]);
    }
}
