//! `signalbox limits`: how much may come in a time, and at the same time.

use signalbox_proto::metering::v1::{
    CreateLimitRequest, DeleteLimitRequest, Limit, LimitMetric, LimitPeriod, ListLimitsRequest,
    UpdateLimitRequest, UsageDimension,
};
use tonic::Status;

use crate::{
    Ended,
    client::Client,
    dimension::{self, Dimension, Only},
    keys::{Out, metering},
    named::{self, List, Named, Which, own_fields},
    print,
};

/// What to do with rate limits. Each needs an admin key. Those of the configuration file are changed there.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a limit.
    Create(Create),
    /// Lists limits.
    List(List),
    /// Changes a limit; what is not named stays as it is.
    Change(Change),
    /// Removes a limit.
    Delete(Which),
}

/// What a limit bounds.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Terms {
    /// So many requests in each period. Give this, --tokens or --concurrent.
    #[arg(long, group = "amount")]
    requests: Option<u64>,
    /// So many tokens in each period, input and output together.
    #[arg(long, group = "amount")]
    tokens: Option<u64>,
    /// So many requests under way at the same time.
    #[arg(long, group = "amount")]
    concurrent: Option<u64>,
    /// The period. It refills smoothly, not at its end.
    #[arg(long, value_enum, conflicts_with = "concurrent")]
    per: Option<Per>,
    /// How much of it may come at once. Default: all.
    #[arg(long, conflicts_with = "concurrent")]
    burst: Option<u64>,
    /// Only what has this value counts, such as team=search or tag:env=prod; may be repeated, and all must hold.
    #[arg(long = "only", value_name = "NAME=VALUE")]
    only: Vec<Only>,
    /// Each value of this has the limit for itself: user, key, team, feature, model, tag:KEY. Default: all share it.
    #[arg(long, value_name = "NAME")]
    each: Option<Dimension>,
    /// Counts and reports, but refuses nothing.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    shadow: Option<bool>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Per {
    Second,
    Minute,
    Day,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Its name, unique within the tenant.
    name: String,
    /// Whose requests it bounds.
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
        Command::List(args) => named::list::<Limit>(args).await,
        Command::Change(Change { which, terms }) => {
            named::change(which, |limit: &mut Limit| terms.apply(limit)).await
        }
        Command::Delete(which) => named::delete::<Limit>(which).await,
    }
}

async fn create(args: Create) -> Ended {
    let mut limit = Limit { name: args.name, tenant: args.tenant, ..Limit::default() };
    let Terms { requests, tokens, concurrent, per, .. } = &args.terms;
    if requests.is_none() && tokens.is_none() && concurrent.is_none() {
        return Err("a limit needs an amount; add --requests, --tokens or --concurrent NUMBER".to_owned());
    }
    if concurrent.is_none() && per.is_none() {
        return Err("say in which time it refills; add --per second, minute or day".to_owned());
    }
    args.terms.apply(&mut limit);
    let client = args.out.server.connect()?;
    let request = client.request(CreateLimitRequest { limit: Some(limit) });
    let made = metering(&client).create_limit(request).await.map_err(|s| client.explain(&s))?.into_inner();
    named::show(made.limit.as_slice(), args.out.json);
    Ok(())
}

impl Terms {
    fn apply(self, limit: &mut Limit) {
        let amounts = [
            (LimitMetric::Requests, self.requests),
            (LimitMetric::Tokens, self.tokens),
            (LimitMetric::Concurrent, self.concurrent),
        ];
        let whole_at_once = limit.burst == limit.amount;
        for (metric, amount) in amounts {
            if let Some(amount) = amount {
                limit.set_metric(metric);
                limit.amount = amount;
                // The whole amount may still come at once, unless somebody said otherwise.
                limit.burst = if whole_at_once { 0 } else { limit.burst };
            }
        }
        if let Some(per) = self.per {
            limit.set_per(per.of());
        }
        limit.burst = self.burst.unwrap_or(limit.burst);
        if limit.metric() == LimitMetric::Concurrent {
            limit.set_per(LimitPeriod::Unspecified);
            limit.burst = 0;
        }
        if !self.only.is_empty() {
            limit.scopes = self.only.iter().map(Only::filter).collect();
        }
        if let Some(each) = self.each {
            limit.set_each(each.of);
            limit.each_tag_key = each.tag;
        }
        limit.shadow = self.shadow.unwrap_or(limit.shadow);
    }
}

impl Per {
    const fn of(self) -> LimitPeriod {
        match self {
            Self::Second => LimitPeriod::Second,
            Self::Minute => LimitPeriod::Minute,
            Self::Day => LimitPeriod::Day,
        }
    }
}

impl Named for Limit {
    const KIND: &'static str = "limit";

    own_fields!();

    fn json(&self) -> serde_json::Value {
        let only: Vec<String> = self.scopes.iter().map(dimension::show).collect();
        let given = |text: String| (!text.is_empty()).then_some(text);
        serde_json::json!({
            "id": self.id, "tenant": self.tenant, "name": self.name, "metric": metric(self),
            "amount": self.amount, "per": given(per(self).to_owned()), "burst": self.burst, "only": only,
            "each": given(each(self)), "shadow": self.shadow,
        })
    }

    fn table(all: &[Self]) -> String {
        if all.is_empty() {
            let none = "there are no limits; make one with `signalbox limits create NAME --tenant TENANT --requests 100 --per minute`";
            return none.to_owned();
        }
        let head = ["id", "tenant", "name", "kind", "limit", "at once", "each", "only"];
        let right = [false, false, false, false, true, true, false, false];
        let rows: Vec<Vec<String>> = all.iter().map(row).collect();
        print::table(&head, &right, &rows)
    }

    async fn ask(client: &Client, tenant: String) -> Result<Vec<Self>, Status> {
        let request = client.request(ListLimitsRequest { tenant });
        Ok(metering(client).list_limits(request).await?.into_inner().limits)
    }

    async fn update(self, client: &Client) -> Result<Option<Self>, Status> {
        let request = client.request(UpdateLimitRequest { limit: Some(self) });
        Ok(metering(client).update_limit(request).await?.into_inner().limit)
    }

    async fn remove(client: &Client, id: String) -> Result<(), Status> {
        metering(client).delete_limit(client.request(DeleteLimitRequest { id })).await.map(drop)
    }
}

fn row(limit: &Limit) -> Vec<String> {
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let amount = match per(limit) {
        "" => format!("{} {}", limit.amount, metric(limit)),
        per => format!("{} {} per {per}", limit.amount, metric(limit)),
    };
    let burst = if limit.burst == 0 { limit.amount } else { limit.burst };
    let only: Vec<String> = limit.scopes.iter().map(dimension::show).collect();
    vec![
        limit.id.clone(),
        limit.tenant.clone(),
        limit.name.clone(),
        if limit.shadow { "shadow" } else { "hard" }.to_owned(),
        amount,
        burst.to_string(),
        or_dash(each(limit)),
        or_dash(only.join(" ")),
    ]
}

fn metric(limit: &Limit) -> String {
    limit.metric().as_str_name().trim_start_matches("LIMIT_METRIC_").to_lowercase()
}

fn per(limit: &Limit) -> &'static str {
    match limit.per() {
        LimitPeriod::Unspecified => "",
        LimitPeriod::Second => "second",
        LimitPeriod::Minute => "minute",
        LimitPeriod::Day => "day",
    }
}

fn each(limit: &Limit) -> String {
    match limit.each() {
        UsageDimension::Unspecified => String::new(),
        of => dimension::name(of, limit.each_tag_key.as_deref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_come_at_once_follows_the_amount_until_it_is_said() {
        let mut limit = Limit { amount: 10, burst: 10, ..Limit::default() };
        Terms { requests: Some(20), per: Some(Per::Minute), ..Terms::default() }.apply(&mut limit);
        assert_eq!((limit.metric(), limit.amount, limit.burst), (LimitMetric::Requests, 20, 0));
        Terms { burst: Some(5), ..Terms::default() }.apply(&mut limit);
        Terms { requests: Some(30), ..Terms::default() }.apply(&mut limit);
        assert_eq!((limit.amount, limit.burst, limit.per()), (30, 5, LimitPeriod::Minute));
        Terms { concurrent: Some(4), ..Terms::default() }.apply(&mut limit);
        assert_eq!((limit.amount, limit.burst, limit.per()), (4, 0, LimitPeriod::Unspecified));
    }

    #[test]
    fn shows_whom_a_limit_is_for() {
        let mut limit = Limit { amount: 5, name: "each".to_owned(), ..Limit::default() };
        let terms = Terms {
            tokens: Some(5),
            per: Some(Per::Day),
            each: Some("tag:env".parse().unwrap()),
            ..Terms::default()
        };
        terms.apply(&mut limit);
        assert_eq!(row(&limit)[3..], ["hard", "5 tokens per day", "5", "tag:env", "-"]);
        assert_eq!(limit.json()["each"], "tag:env");
    }
}
