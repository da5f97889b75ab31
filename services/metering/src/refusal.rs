//! Why a call is refused, and how the caller is told.

use std::time::Duration;

use signalbox_mesh::error::{self, status};
use signalbox_proto::common::v1::ErrorReason;
use tonic::{Code, Status};

use crate::{
    budget::{Amount, Budget, Unit},
    limit::{Level, Limit, Metric, Per},
};

/// When it is worth asking again after being refused for lack of room in here.
const RETRY_SOON: Duration = Duration::from_millis(200);

/// A refusal. No variant holds a credential, a prompt, or a user's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{field}: {what}")]
    Invalid { field: String, what: String },
    #[error("this mesh requires a credential; send `authorization: Bearer sb_<id>_<secret>`")]
    CredentialMissing,
    #[error("the credential is malformed, unknown, or its secret is wrong; use a valid key")]
    CredentialInvalid,
    #[error("the key {0} was revoked; ask the administrator for a new one")]
    CredentialRevoked(String),
    #[error("the validity of the key {0} ended; ask the administrator for a new one")]
    CredentialExpired(String),
    #[error("this needs an admin key")]
    AdminRequired,
    #[error("the key may not use the {kind} `{value}`; ask for another, or have the key changed")]
    NotAllowed { kind: &'static str, value: String },
    #[error("the key may not be used from this network")]
    NetworkNotAllowed,
    #[error(
        "the model `{model}` is not configured; use a configured alias, `provider/model`, or `auto`; known: {known}"
    )]
    ModelUnknown { model: String, known: String },
    #[error("the prompt has {tokens} tokens and no target of the model takes more than {most}; shorten it")]
    ContextTooLong { tokens: u64, most: u64 },
    #[error("{}", shortages(.0))]
    Budgets(Vec<Shortage>),
    #[error("{}", excesses(.0))]
    RateLimited(Vec<Excess>),
    #[error("the reservation is not open: it was settled, or it expired and was given back")]
    NoReservation,
    #[error("request_id: another tenant's request has this id; mint a new one for each request")]
    RequestIdTaken,
    #[error("no {kind} has the id {id}")]
    NotFound { kind: &'static str, id: String },
    #[error("a {kind} named {name} exists already; choose another name")]
    Exists { kind: &'static str, name: String },
    #[error("too many reservations are open; retry soon, or raise metering.grants.max_reservations")]
    Full,
    #[error("too many calls wait for metering; retry soon")]
    Overloaded,
    #[error("metering cannot write its database; its log says why")]
    StoreAway,
    #[error("metering cannot read its database; its log says why")]
    Unreadable,
}

impl Refusal {
    /// A fault in one field.
    pub(crate) fn invalid(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), what: what.into() }
    }
}

/// A budget that does not cover a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    tenant: String,
    budget: String,
    unit: Unit,
    room: i64,
    needed: i64,
    /// When the budget starts anew; Unix time in milliseconds.
    resets_unix_ms: Option<i64>,
}

impl Shortage {
    /// The shortage of a budget that should have covered `needed`.
    pub(crate) fn of(budget: &Budget, needed: Amount) -> Self {
        Self {
            tenant: budget.terms.tenant.as_ref().to_owned(),
            budget: budget.terms.name.clone(),
            unit: budget.terms.unit,
            room: budget.room().max(0),
            needed: needed.of(budget.terms.unit),
            resets_unix_ms: (budget.window.end < i64::MAX).then_some(budget.window.end),
        }
    }

    fn words(&self) -> String {
        let unit = match self.unit {
            Unit::Nanousd => "nano-dollars",
            Unit::Tokens => "tokens",
        };
        let anew = self.resets_unix_ms.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        let anew = anew.map_or_else(String::new, |at| format!("; it starts anew at {at}"));
        format!("budget {} has {} {unit} left and {} are needed{anew}", self.budget, self.room, self.needed)
    }
}

/// A rate limit that a request passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excess {
    tenant: String,
    limit: String,
    metric: Metric,
    burst: i64,
    per: Per,
    remaining: i64,
    /// When it is worth asking again; `None`: waiting for so long does not help.
    wait_ms: Option<i64>,
}

impl Excess {
    /// The excess over a limit of which a bucket is so full.
    pub(crate) fn of(limit: &Limit, level: Level, wait_ms: Option<i64>, now: i64) -> Self {
        let rate = &limit.terms.rate;
        Self {
            tenant: limit.terms.tenant.as_ref().to_owned(),
            limit: limit.terms.name.clone(),
            metric: rate.metric,
            burst: rate.burst,
            per: rate.per,
            remaining: rate.remaining(level, now),
            wait_ms,
        }
    }

    fn words(&self) -> String {
        let Self { limit, burst, remaining, .. } = self;
        let per = match self.per {
            Per::Call => "",
            Per::Second => " a second",
            Per::Minute => " a minute",
            Per::Day => " a day",
        };
        match (self.metric, self.wait_ms) {
            (Metric::Concurrent, _) => {
                format!("limit {limit} allows {burst} requests at a time, and so many are under way")
            }
            (Metric::Tokens, None) => {
                format!("limit {limit} allows {burst} tokens at once and the request needs more")
            }
            (Metric::Tokens, Some(_)) => {
                format!("limit {limit} has {remaining} tokens{per} left and the request needs more")
            }
            (Metric::Requests, _) => format!("limit {limit} has {remaining} requests{per} left"),
        }
    }

    fn retry(&self) -> Option<Duration> {
        match (self.wait_ms, self.metric) {
            (Some(ms), _) => Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
            // Another request may end at any time.
            (None, Metric::Concurrent) => Some(RETRY_SOON),
            (None, _) => None,
        }
    }
}

fn excesses(passed: &[Excess]) -> String {
    let words: Vec<String> = passed.iter().map(Excess::words).collect();
    let remedy = match retry(passed) {
        Some(after) => format!("ask again in {} ms, or have the limit raised", after.as_millis()),
        None => "shorten the prompt, ask for less output, or have the limit raised".to_owned(),
    };
    format!("{}; {remedy}", words.join("; "))
}

/// When it is worth asking again: when all limits let it in.
fn retry(passed: &[Excess]) -> Option<Duration> {
    passed.iter().map(Excess::retry).collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn shortages(short: &[Shortage]) -> String {
    let words: Vec<String> = short.iter().map(Shortage::words).collect();
    format!("{}; raise the budget, wait, or ask for a cheaper model or less output", words.join("; "))
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        use ErrorReason as R;
        let words = refusal.to_string();
        let plain = |code, reason| status(code, reason, words.clone());
        match &refusal {
            Refusal::Invalid { field, what } => error::invalid(field, what.clone()),
            Refusal::RequestIdTaken => error::invalid("request_id", words),
            Refusal::CredentialMissing => plain(Code::Unauthenticated, R::CredentialMissing).into(),
            Refusal::CredentialInvalid => plain(Code::Unauthenticated, R::CredentialInvalid).into(),
            Refusal::CredentialRevoked(_) => plain(Code::Unauthenticated, R::CredentialRevoked).into(),
            Refusal::CredentialExpired(_) => plain(Code::Unauthenticated, R::CredentialExpired).into(),
            Refusal::AdminRequired => plain(Code::PermissionDenied, R::AdminRequired).into(),
            Refusal::NotAllowed { kind, value } => {
                plain(Code::PermissionDenied, R::NotAllowed).with_metadata(*kind, value.clone()).into()
            }
            Refusal::NetworkNotAllowed => plain(Code::PermissionDenied, R::NotAllowed)
                .with_metadata("network", "not in allowed_networks")
                .into(),
            Refusal::ModelUnknown { model, known } => plain(Code::NotFound, R::ModelUnknown)
                .with_metadata("model", model.clone())
                .with_metadata("known", known.clone())
                .into(),
            Refusal::ContextTooLong { .. } => plain(Code::InvalidArgument, R::ContextTooLong).into(),
            Refusal::Budgets(short) => short
                .iter()
                .fold(plain(Code::ResourceExhausted, R::BudgetExhausted), |status, s| {
                    status.with_quota(format!("tenant:{}/budget:{}", s.tenant, s.budget), s.words())
                })
                .into(),
            Refusal::RateLimited(passed) => {
                let status = plain(Code::ResourceExhausted, R::RateLimited);
                let status = match retry(passed) {
                    Some(after) => status.with_retry(after),
                    None => status,
                };
                let quota = |status: error::StatusBuilder, e: &Excess| {
                    status.with_quota(format!("tenant:{}/limit:{}", e.tenant, e.limit), e.words())
                };
                passed.iter().fold(status, quota).into()
            }
            Refusal::NoReservation => plain(Code::NotFound, R::NotFound).into(),
            Refusal::NotFound { .. } => plain(Code::NotFound, R::NotFound).into(),
            Refusal::Exists { .. } => plain(Code::AlreadyExists, R::AlreadyExists).into(),
            Refusal::Full | Refusal::Overloaded => {
                plain(Code::Unavailable, R::Overloaded).with_retry(RETRY_SOON).into()
            }
            Refusal::StoreAway => plain(Code::Unavailable, R::ServiceUnavailable)
                .with_metadata("service", "metering")
                .with_retry(Duration::from_secs(1))
                .into(),
            Refusal::Unreadable => plain(Code::Internal, R::Internal).into(),
        }
    }
}
