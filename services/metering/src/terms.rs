//! What a budget bounds, and its stored form.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::{
    period::{self, Period},
    subject::Scope,
};

/// Shares of a budget whose passing is told, in percent, where the budget names none.
const ALERT_PERCENTS: [u32; 3] = [50, 80, 100];

/// What a budget counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Nanousd,
    Tokens,
}

/// Where a budget or a limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// The configuration file, which has the last word at every start.
    Configuration,
    /// An administrator's call.
    Call,
}

/// What a budget bounds.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) tenant: Arc<str>,
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) limit: i64,
    pub(crate) period: Period,
    /// IANA name; empty is UTC.
    pub(crate) zone_name: String,
    pub(crate) zone: TimeZone,
    pub(crate) hard: bool,
    pub(crate) shadow: bool,
    /// Whether what is left goes over into the next period.
    pub(crate) carry_over: bool,
    pub(crate) scope: Scope,
    /// In percent, ascending; empty for the usual ones.
    pub(crate) alert_percents: Vec<u32>,
}

impl Terms {
    /// Whether it may refuse.
    pub(crate) fn refuses(&self) -> bool {
        self.hard && !self.shadow
    }

    /// Whether what is spent so far stays comparable: the same money of the same requests.
    pub(crate) fn same_count(&self, other: &Self) -> bool {
        let of = |t: &Self| (t.unit, t.period, t.zone_name.clone(), t.scope.clone());
        of(self) == of(other)
    }

    /// The shares whose passing is told, ascending.
    pub(crate) fn thresholds(&self) -> &[u32] {
        if self.alert_percents.is_empty() { &ALERT_PERCENTS } else { &self.alert_percents }
    }

    /// The stored form: everything but tenant and name, as JSON.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Form {
            unit: self.unit,
            limit: self.limit,
            period: self.period,
            time_zone: self.zone_name.clone(),
            hard: self.hard,
            shadow: self.shadow,
            carry_over: self.carry_over,
            scope: self.scope.clone(),
            alert_percents: self.alert_percents.clone(),
        })
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn from_json(tenant: Arc<str>, name: String, text: &str) -> Result<Self, String> {
        let form: Form = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let zone = period::zone(&form.time_zone).ok_or_else(|| {
            format!("the time zone is `{}`, which this build does not know", form.time_zone)
        })?;
        Ok(Self {
            tenant,
            name,
            unit: form.unit,
            limit: form.limit,
            period: form.period,
            zone_name: form.time_zone,
            zone,
            hard: form.hard,
            shadow: form.shadow,
            carry_over: form.carry_over,
            scope: form.scope,
            alert_percents: form.alert_percents,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Form {
    unit: Unit,
    limit: i64,
    period: Period,
    time_zone: String,
    hard: bool,
    shadow: bool,
    #[serde(default)]
    carry_over: bool,
    scope: Scope,
    #[serde(default)]
    alert_percents: Vec<u32>,
}
