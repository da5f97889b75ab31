//! What became of plans: statistics of targets, lessons for policies that learn, and scores of answers.
//!
//! A report may come to another replica than the one that planned. Its attempts teach any replica about their targets; what they and
//! a score say of a policy only the planner knows, which hears of scores from the others.

use std::sync::Arc;

use moka::sync::Cache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use signalbox_config::Live;
use signalbox_mesh::Clock;
use signalbox_proto::{
    common::v1::{Attempt, AttemptKind, AttemptOutcome},
    router::v1::{ExplainResponse, Report},
};

use crate::{
    config::Way,
    learned::Learned,
    receipts::{Receipt, Receipts},
    setup::Setup,
    stats::Stats,
};

/// Longest id of a request, in bytes.
pub(crate) const ID_BYTES: usize = 128;
/// Longest name of a tenant whose scores are told, in bytes.
const TENANT_BYTES: usize = 128;
/// Scores that wait to be told to the other replicas; more are lost to them.
const SCORES: usize = 500;

/// How good the answer to a request was, for the replica that planned it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    tenant: String,
    request_id: String,
    /// −1 to 1.
    score: f64,
}

/// Takes in what became of plans.
pub(crate) struct Reports {
    setup: Live<Setup>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) learned: Arc<Learned>,
    pub(crate) receipts: Arc<Receipts>,
    /// Attempts that are known of requests which another replica planned.
    elsewhere: Cache<String, usize>,
    /// Scores of such requests. `None`: nobody hears of them.
    news: Option<Mutex<Vec<Score>>>,
    clock: Arc<dyn Clock>,
}

impl Reports {
    /// `shared`: there are other replicas, to be told what [`Self::take_news`] gives.
    pub(crate) fn new(
        setup: Live<Setup>,
        (stats, learned, receipts): (Arc<Stats>, Arc<Learned>, Arc<Receipts>),
        shared: bool,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let present = setup.load();
        let elsewhere = Cache::builder()
            .max_capacity(present.config.receipts)
            .time_to_live(present.config.kept())
            .build();
        let news = shared.then(Mutex::default);
        Self { setup, stats, learned, receipts, elsewhere, news, clock }
    }

    /// Takes in a report. True: it said something new.
    pub(crate) fn take(&self, report: Report) -> bool {
        let Some(receipt) = self.receipts.get(&report.request_id) else {
            let scored = self.tell(&report);
            return self.learn_elsewhere(&report) || scored;
        };
        if *receipt.tenant != *report.tenant {
            return false;
        }
        let mut explained = ExplainResponse::clone(&receipt.explained);
        let known = explained.report.as_ref();
        let (attempts_known, score_known) =
            known.map_or((0, None), |known| (known.attempts.len(), known.quality));
        let score = report.quality.filter(|score| score_known != Some(*score));
        let new = report.attempts.get(attempts_known..).unwrap_or_default();
        if new.is_empty() && score.is_none() {
            return false;
        }
        self.learn(&explained, new, score);
        let known = explained.report.get_or_insert_default();
        let attempts =
            if report.attempts.is_empty() { std::mem::take(&mut known.attempts) } else { report.attempts };
        let quality = report.quality.or(known.quality);
        let request_id = report.request_id.clone();
        *known = Report { attempts, quality, ..report };
        self.receipts.keep(request_id, Receipt { explained: Arc::new(explained), ..receipt });
        true
    }

    /// Scores that the other replicas are to hear of; given once.
    pub(crate) fn take_news(&self) -> Vec<Score> {
        self.news.as_ref().map(|news| std::mem::take(&mut *news.lock())).unwrap_or_default()
    }

    /// Takes in a score that another replica was told: of a request that was planned here, else of nobody's concern.
    pub(crate) fn hear(&self, Score { tenant, request_id, score }: Score) {
        if (-1.0..=1.0).contains(&score) && self.receipts.of(&tenant, &request_id).is_some() {
            self.take(Report { request_id, tenant, quality: Some(score), ..Report::default() });
        }
    }

    /// Learns from attempts that were not known before, and from a score that is new.
    fn learn(&self, explained: &ExplainResponse, attempts: &[Attempt], score: Option<f64>) {
        self.record(attempts);
        let Some(plan) = &explained.plan else { return };
        let setup = self.setup.load();
        let Some(policy) = setup.config.policies.get(&plan.policy).filter(|p| p.way == Way::Learned) else {
            return;
        };
        let of = (plan.policy.as_str(), explained.requested_model.as_str());
        let dearest = plan.candidates.iter().filter_map(|c| c.predicted_cost_nanousd).max();
        attempts.iter().for_each(|attempt| self.learned.served(&policy.learn, of, attempt, dearest));
        let known = explained.report.iter().flat_map(|report| &report.attempts);
        let answered = known.chain(attempts).rfind(|a| a.outcome() == AttemptOutcome::Ok && is_own(a));
        if let Some((score, answered)) = score.zip(answered) {
            self.learned.scored(&policy.learn, of, &answered.target_id, score);
        }
    }

    /// Learns from what became of a request that another replica planned: of its targets, not of its policy. True: it was new.
    fn learn_elsewhere(&self, report: &Report) -> bool {
        let known = self.elsewhere.get(&report.request_id).unwrap_or(0);
        let new = report.attempts.get(known..).unwrap_or_default();
        if new.is_empty() || report.request_id.is_empty() {
            return false;
        }
        self.record(new);
        self.elsewhere.insert(report.request_id.clone(), report.attempts.len());
        true
    }

    fn record(&self, attempts: &[Attempt]) {
        let now_ms = self.clock.unix_ms();
        attempts.iter().for_each(|attempt| self.stats.record(attempt, now_ms));
    }

    /// Has the others told a report's score. True: they will be.
    fn tell(&self, report: &Report) -> bool {
        let Some((news, score)) = self.news.as_ref().zip(report.quality) else { return false };
        let Report { request_id, tenant, .. } = report;
        let mut news = news.lock();
        if news.len() >= SCORES || request_id.len() > ID_BYTES || tenant.len() > TENANT_BYTES {
            return false;
        }
        news.push(Score { tenant: tenant.clone(), request_id: request_id.clone(), score });
        true
    }
}

/// Whether an attempt was made for the answer itself: no judge, and no copy beside it.
fn is_own(attempt: &Attempt) -> bool {
    !matches!(attempt.kind(), AttemptKind::Shadow | AttemptKind::Judge)
}
