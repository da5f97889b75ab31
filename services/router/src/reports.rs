//! What became of plans: statistics of targets, lessons for policies that learn, and scores of answers.
//!
//! A report may come to another replica than the one that planned. It says itself what a policy that learns has to know of the plan.
//! A score names the request alone: who was not told of the request's attempts tells the others of the score.

use std::sync::Arc;

use moka::sync::Cache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use signalbox_config::Live;
use signalbox_mesh::Clock;
use signalbox_proto::{
    common::v1::{Attempt, AttemptKind, AttemptOutcome, Learning},
    router::v1::{Candidate, ExplainResponse, Report},
};

use crate::{
    config::Way,
    learned::{Learn, Learned},
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

/// How good the answer to a request was, for the replicas that know of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    tenant: String,
    request_id: String,
    /// −1 to 1.
    score: f64,
}

/// What is known of a request that another replica planned.
#[derive(Clone)]
struct Elsewhere {
    tenant: Arc<str>,
    attempts: usize,
    /// The target whose answer a score would be of, and whom that would teach. `None`: nobody.
    answered: Option<(Arc<str>, Arc<Learner>)>,
    score: Option<f64>,
}

/// Who learns from a request.
struct Learner {
    policy: String,
    /// What was asked for.
    model: String,
    dearest_nanousd: Option<i64>,
}

/// Takes in what became of plans.
pub(crate) struct Reports {
    setup: Live<Setup>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) learned: Arc<Learned>,
    pub(crate) receipts: Arc<Receipts>,
    elsewhere: Cache<String, Elsewhere>,
    /// Scores for the other replicas. `None`: nobody hears of them.
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
        let (attempts, score) = (!report.attempts.is_empty(), report.quality);
        let told = Score {
            tenant: report.tenant.clone(),
            request_id: report.request_id.clone(),
            score: score.unwrap_or_default(),
        };
        let (new, knows_all) = match self.receipts.get(&report.request_id) {
            Some(receipt) if *receipt.tenant != *report.tenant => return false,
            Some(receipt) => self.take_own(receipt, report),
            None if attempts => (self.take_elsewhere(report), false),
            None => (self.score_elsewhere(&told), false),
        };
        let tells = score.is_some() && !knows_all && self.tell(told);
        new || tells
    }

    /// Takes in a report on what was planned here: whether it said something new, and whether nobody else knows more of the request.
    fn take_own(&self, receipt: Receipt, report: Report) -> (bool, bool) {
        let mut explained = ExplainResponse::clone(&receipt.explained);
        let known = explained.report.as_ref();
        let (attempts_known, score_known) =
            known.map_or((0, None), |known| (known.attempts.len(), known.quality));
        let score = report.quality.filter(|score| score_known != Some(*score));
        let new = report.attempts.get(attempts_known..).unwrap_or_default();
        if new.is_empty() && score.is_none() {
            return (false, attempts_known > 0);
        }
        self.learn(&explained, new, score);
        let known = explained.report.get_or_insert_default();
        let attempts =
            if report.attempts.is_empty() { std::mem::take(&mut known.attempts) } else { report.attempts };
        let knows_all = !attempts.is_empty();
        let quality = report.quality.or(known.quality);
        let request_id = report.request_id.clone();
        *known = Report { attempts, quality, ..report };
        self.receipts.keep(request_id, Receipt { explained: Arc::new(explained), ..receipt });
        (true, knows_all)
    }

    /// Scores that the other replicas are to hear of; given once.
    pub(crate) fn take_news(&self) -> Vec<Score> {
        self.news.as_ref().map(|news| std::mem::take(&mut *news.lock())).unwrap_or_default()
    }

    /// Takes in a score that another replica was told. Of a request that is not known here it is of no concern.
    pub(crate) fn hear(&self, told: Score) {
        if !(-1.0..=1.0).contains(&told.score) {
            return;
        }
        match self.receipts.get(&told.request_id).filter(|receipt| *receipt.tenant == *told.tenant) {
            Some(receipt) => {
                let Score { tenant, request_id, score } = told;
                let report = Report { request_id, tenant, quality: Some(score), ..Report::default() };
                self.take_own(receipt, report);
            }
            None => {
                self.score_elsewhere(&told);
            }
        }
    }

    /// Learns from attempts that were not known before, and from a score that is new.
    fn learn(&self, explained: &ExplainResponse, attempts: &[Attempt], score: Option<f64>) {
        self.record(attempts);
        let Some(plan) = &explained.plan else { return };
        let learner = Learner {
            policy: plan.policy.clone(),
            model: explained.requested_model.clone(),
            dearest_nanousd: dearest(&plan.candidates),
        };
        self.served(&learner, attempts);
        let known = explained.report.iter().flat_map(|report| &report.attempts);
        if let Some((score, answered)) = score.zip(answered(known.chain(attempts))) {
            self.scored(&learner, &answered.target_id, score);
        }
    }

    /// Takes in what became of a request that another replica planned. True: it was new.
    fn take_elsewhere(&self, report: Report) -> bool {
        let Report { request_id, attempts, requested_model: model, quality, tenant, learning } = report;
        let known = self.elsewhere.get(&request_id).filter(|known| *known.tenant == *tenant);
        let new = attempts.get(known.as_ref().map_or(0, |known| known.attempts)..).unwrap_or_default();
        if new.is_empty() || request_id.is_empty() {
            return false;
        }
        self.record(new);
        let learner = learning.map(|Learning { policy, dearest_nanousd }| {
            let learner = Learner { policy, model, dearest_nanousd };
            self.served(&learner, new);
            Arc::new(learner)
        });
        let answered =
            answered(attempts.iter()).map(|attempt| attempt.target_id.as_str().into()).zip(learner);
        let known = Elsewhere {
            tenant: tenant.as_str().into(),
            attempts: attempts.len(),
            answered,
            score: known.and_then(|known| known.score),
        };
        self.elsewhere.insert(request_id.clone(), known);
        if let Some(score) = quality {
            self.score_elsewhere(&Score { tenant, request_id, score });
        }
        true
    }

    /// Takes in a score of a request that another replica planned. True: it was new, and somebody learns from it.
    fn score_elsewhere(&self, told: &Score) -> bool {
        let known = self.elsewhere.get(&told.request_id).filter(|known| *known.tenant == *told.tenant);
        let Some(mut known) = known.filter(|known| known.score != Some(told.score)) else { return false };
        known.score = Some(told.score);
        let answered = known.answered.clone();
        self.elsewhere.insert(told.request_id.clone(), known);
        if let Some((target_id, learner)) = &answered {
            self.scored(learner, target_id, told.score);
        }
        answered.is_some()
    }

    fn served(&self, learner: &Learner, attempts: &[Attempt]) {
        self.taught(learner, |learn, of| {
            let dearest = learner.dearest_nanousd;
            attempts.iter().for_each(|attempt| self.learned.served(learn, of, attempt, dearest));
        });
    }

    fn scored(&self, learner: &Learner, target_id: &str, score: f64) {
        self.taught(learner, |learn, of| self.learned.scored(learn, of, target_id, score));
    }

    /// Teaches a policy, if it is one that learns.
    fn taught(&self, learner: &Learner, teach: impl FnOnce(&Learn, (&str, &str))) {
        let setup = self.setup.load();
        if let Some(policy) = setup.config.policies.get(&learner.policy).filter(|p| p.way == Way::Learned) {
            teach(&policy.learn, (&learner.policy, &learner.model));
        }
    }

    fn record(&self, attempts: &[Attempt]) {
        let now_ms = self.clock.unix_ms();
        attempts.iter().for_each(|attempt| self.stats.record(attempt, now_ms));
    }

    /// Has the others told of a score. True: they will be.
    fn tell(&self, score: Score) -> bool {
        let Some(news) = &self.news else { return false };
        let mut news = news.lock();
        if news.len() >= SCORES || score.request_id.len() > ID_BYTES || score.tenant.len() > TENANT_BYTES {
            return false;
        }
        news.push(score);
        true
    }
}

/// The highest of the predicted costs.
pub(crate) fn dearest(candidates: &[Candidate]) -> Option<i64> {
    candidates.iter().filter_map(|candidate| candidate.predicted_cost_nanousd).max()
}

/// The attempt whose answer it was.
fn answered<'a>(attempts: impl DoubleEndedIterator<Item = &'a Attempt>) -> Option<&'a Attempt> {
    attempts.rev().find(|attempt| attempt.outcome() == AttemptOutcome::Ok && is_own(attempt))
}

/// Whether an attempt was made for the answer itself: no judge, and no copy beside it.
fn is_own(attempt: &Attempt) -> bool {
    !matches!(attempt.kind(), AttemptKind::Shadow | AttemptKind::Judge)
}
