//! What became of plans: statistics of targets, lessons for policies that learn, and scores of answers.
//!
//! A report may come to another replica than the one that planned. It says itself what a policy that learns has to know of the plan.
//! A score names the request alone: who was not told of the request's attempts tells the others of the score. The first score of a
//! request teaches, so that no single request outweighs others; the last one is kept.

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
const SCORES: usize = 100;

/// How good the answer to a request was, for the replicas that know of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    tenant: String,
    request_id: String,
    /// −1 to 1.
    score: f64,
}

/// What is known of a request that another replica planned.
#[derive(Clone, Default)]
struct Elsewhere {
    tenant: Arc<str>,
    attempts: usize,
    /// The target that answered.
    target: Option<Arc<str>>,
    learner: Option<Arc<Learner>>,
    score: Option<f64>,
}

/// What was new in a report.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    attempts: bool,
    score: bool,
    /// Nobody else knows more of the request.
    complete: bool,
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
    /// What is known is read, added to and written one report at a time.
    gate: Mutex<()>,
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
        Self { gate: Mutex::default(), setup, stats, learned, receipts, elsewhere, news, clock }
    }

    /// Takes in a report. True: it said something new.
    pub(crate) fn take(&self, report: Report) -> bool {
        let told = report.quality.map(|score| Score {
            tenant: report.tenant.clone(),
            request_id: report.request_id.clone(),
            score,
        });
        let taken = self.apply(report);
        if let Some(told) = told.filter(|_| taken.score && !taken.complete) {
            self.tell(told);
        }
        taken.attempts || taken.score
    }

    /// Scores that the other replicas are to hear of; given once.
    pub(crate) fn take_news(&self) -> Vec<Score> {
        self.news.as_ref().map(|news| std::mem::take(&mut *news.lock())).unwrap_or_default()
    }

    /// Takes back scores that could not be told, to be told later.
    pub(crate) fn untold(&self, scores: Vec<Score>) {
        scores.into_iter().for_each(|score| self.tell(score));
    }

    /// Takes in a score that another replica was told. Of a request that is not known here yet it waits for the attempts.
    pub(crate) fn hear(&self, Score { tenant, request_id, score }: Score) {
        if (-1.0..=1.0).contains(&score) {
            self.apply(Report { request_id, tenant, quality: Some(score), ..Report::default() });
        }
    }

    fn apply(&self, report: Report) -> Taken {
        let _one = self.gate.lock();
        match self.receipts.get(&report.request_id) {
            Some(receipt) if *receipt.tenant == *report.tenant => self.apply_own(receipt, report),
            Some(_) => Taken::default(),
            None => self.apply_elsewhere(report),
        }
    }

    /// Takes in a report on what was planned here.
    fn apply_own(&self, receipt: Receipt, report: Report) -> Taken {
        let mut explained = ExplainResponse::clone(&receipt.explained);
        let known = explained.report.take().unwrap_or_default();
        let new = report.attempts.get(known.attempts.len()..).unwrap_or_default();
        let taken = Taken {
            attempts: !new.is_empty(),
            score: report.quality.is_some() && report.quality != known.quality,
            complete: !known.attempts.is_empty() || !report.attempts.is_empty(),
        };
        if !taken.attempts && !taken.score {
            return taken;
        }
        self.record(new);
        let quality = report.quality.or(known.quality);
        if let Some(plan) = &explained.plan {
            let target = |attempts| answered(attempts).map(|attempt| attempt.target_id.as_str());
            let before = target(&known.attempts);
            let first = target(new).or(before).zip(quality).filter(|_| before.zip(known.quality).is_none());
            let of = (plan.policy.as_str(), explained.requested_model.as_str());
            self.learn(of, || dearest(&plan.candidates), new, first);
        }
        let attempts = if report.attempts.is_empty() { known.attempts } else { report.attempts };
        let request_id = report.request_id.clone();
        explained.report = Some(Report { attempts, quality, ..report });
        self.receipts.keep(request_id, Receipt { explained: Arc::new(explained), ..receipt });
        taken
    }

    /// Takes in a report on what another replica planned.
    fn apply_elsewhere(&self, report: Report) -> Taken {
        let Report { request_id, attempts, requested_model: model, quality, tenant, learning } = report;
        if request_id.is_empty() || request_id.len() > ID_BYTES {
            return Taken::default();
        }
        let known =
            self.elsewhere.get(&request_id).filter(|known| *known.tenant == *tenant).unwrap_or_default();
        let new = attempts.get(known.attempts..).unwrap_or_default();
        let taken = Taken {
            attempts: !new.is_empty(),
            score: quality.is_some() && quality != known.score,
            complete: false,
        };
        if !taken.attempts && !taken.score {
            return taken;
        }
        self.record(new);
        let learner = known.learner.or_else(|| {
            let Learning { policy, dearest_nanousd } = learning?;
            Some(Arc::new(Learner { policy, model, dearest_nanousd }))
        });
        let taught = known.target.as_ref().zip(known.score).is_some();
        let target = answered(new).map(|attempt| attempt.target_id.as_str().into()).or(known.target);
        let score = quality.or(known.score);
        if let Some(learner) = &learner {
            let first = target.as_deref().zip(score).filter(|_| !taught);
            self.learn((&learner.policy, &learner.model), || learner.dearest_nanousd, new, first);
        }
        let attempts = attempts.len().max(known.attempts);
        self.elsewhere
            .insert(request_id, Elsewhere { tenant: tenant.into(), attempts, target, learner, score });
        taken
    }

    /// Teaches a policy, if it is one that learns, by new attempts, and by the first score that an answer has.
    fn learn(
        &self,
        of: (&str, &str),
        dearest_nanousd: impl FnOnce() -> Option<i64>,
        new: &[Attempt],
        first: Option<(&str, f64)>,
    ) {
        let setup = self.setup.load();
        let Some(policy) = setup.config.policies.get(of.0).filter(|policy| policy.way == Way::Learned) else {
            return;
        };
        let dearest = dearest_nanousd();
        new.iter().for_each(|attempt| self.learned.served(&policy.learn, of, attempt, dearest));
        if let Some((target_id, score)) = first {
            self.learned.scored(&policy.learn, of, target_id, score);
        }
    }

    fn record(&self, attempts: &[Attempt]) {
        let now_ms = self.clock.unix_ms();
        attempts.iter().for_each(|attempt| self.stats.record(attempt, now_ms));
    }

    /// Has the others told of a score; a later one of the request takes its place.
    fn tell(&self, score: Score) {
        let Some(news) = &self.news else { return };
        let mut news = news.lock();
        let same = |known: &Score| known.request_id == score.request_id && known.tenant == score.tenant;
        if let Some(known) = news.iter_mut().find(|known| same(known)) {
            *known = score;
        } else if news.len() < SCORES && score.tenant.len() <= TENANT_BYTES {
            news.push(score);
        } else {
            tracing::warn!(
                most = SCORES,
                "more scores than the other routers are told of at a time; one is this replica's own"
            );
        }
    }
}

/// The highest of the predicted costs.
pub(crate) fn dearest(candidates: &[Candidate]) -> Option<i64> {
    candidates.iter().filter_map(|candidate| candidate.predicted_cost_nanousd).max()
}

/// The attempt whose answer it was.
fn answered(attempts: &[Attempt]) -> Option<&Attempt> {
    attempts.iter().rfind(|attempt| attempt.outcome() == AttemptOutcome::Ok && is_own(attempt))
}

/// Whether an attempt was made for the answer itself: no judge, and no copy beside it.
fn is_own(attempt: &Attempt) -> bool {
    !matches!(attempt.kind(), AttemptKind::Shadow | AttemptKind::Judge)
}
