//! The tiers together: looking up, keeping, judging, removing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use signalbox_config::Live;
use signalbox_embed::Vector;
use signalbox_mesh::{Clock, Environment, Random};
use signalbox_proto::{
    cache::v1::JudgeQuestion,
    common::v1::{self, ChatRequest},
};
use tokio::time::{Instant, timeout};

use crate::{
    backend::{
        Away, Backend, Cover, Grant, Kept, LeaseId, Named, Pending, Shadow, Stop, TakeOver, UNCLAIMED, Wish,
        embedded::Embedded,
    },
    canonical::{Canonical, Digest, Identity},
    config::{Config, Semantic},
    embedding::Embedding,
    entry::{Entry, EntryId, Freshness, Question, Usage},
    error::Failure,
    fill::Held,
    flight::{Flight, Follower},
    judge::{self, Opinion},
    language,
    policy::Terms,
    question::{self, Skip},
    recording::Answer,
    second_look,
    standing::Standing,
    tenant::{Tenant, Tenants},
    vault::Vault,
    vectors::{ExactScan, MOST, Point, Scope, VectorStore},
};

/// What a store's own deadline is short of a lookup's.
const MARGIN: Duration = Duration::from_millis(2);
/// Close questions that get a second look: the closest is mostly the right one or none is.
const NEIGHBOURS: usize = 8;

/// The cache.
pub(crate) struct Cache {
    pub(crate) config: Config,
    /// The same with the policies of now.
    pub(crate) policies: Live<Config>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) embedding: Embedding,
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) backend: Arc<dyn Backend>,
    random: Random,
    vectors: Arc<dyn VectorStore>,
}

/// A request to look up, checked.
pub(crate) struct Asked {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) chat: ChatRequest,
    pub(crate) terms: Terms,
    pub(crate) user: Option<String>,
    pub(crate) guard_digest: Vec<u8>,
    pub(crate) redacted: bool,
    pub(crate) vector: Option<v1::Vector>,
    pub(crate) request_id: String,
    /// What a judge model said of a candidate.
    pub(crate) opinion: Option<Opinion>,
}

/// What is known.
pub(crate) enum Found {
    /// The cache takes no part.
    Bypass { skip: Skip },
    /// The very same request was answered. `stale`: its time to live is over; with a lease the model is to be asked again.
    Exact { entry: Arc<Entry>, stale: bool, lease: Option<Granted> },
    /// A question close in meaning was answered. With a lease the model is to be asked as well, for comparison.
    Semantic { close: Close, vector: Option<v1::Vector>, lease: Option<Granted> },
    /// Perhaps one close in meaning was: a judge is to say.
    Doubtful { question: Box<JudgeQuestion>, vector: Option<v1::Vector> },
    /// Nothing.
    Miss { lease: Option<Granted>, vector: Option<v1::Vector>, skip: Option<Skip> },
    /// The very same is being asked right now.
    Follow { follower: Follower },
}

/// A hit by meaning.
pub(crate) struct Close {
    pub(crate) entry: Arc<Entry>,
    pub(crate) similarity: f32,
    /// The model's probability that it is right.
    model: f64,
    /// The same with the entry's history.
    pub(crate) probability: f64,
}

/// A lease that was given.
pub(crate) struct Granted {
    pub(crate) id: String,
    pub(crate) expires_unix_ms: i64,
    pub(crate) entry_id: EntryId,
}

/// The last turn, ready to be compared.
#[derive(Clone)]
struct Meaning {
    question: Question,
    vector: Vector,
    /// Whether it was computed here, and so is news to the caller.
    computed: bool,
}

/// What a search by meaning came to.
enum Similar {
    /// The very same request was answered.
    Same(Arc<Entry>),
    Hit(Close),
    Ask(Box<JudgeQuestion>),
    Nothing,
}

/// How long a lookup waits for its stores, all together.
struct Budget {
    left: Duration,
}

impl Budget {
    async fn spend<T>(&mut self, call: impl Future<Output = Result<T, Away>>) -> Result<T, Away> {
        if self.left.is_zero() {
            return Err(Away);
        }
        if self.left == Duration::MAX {
            return call.await;
        }
        let begun = Instant::now();
        // A store keeps the whole deadline by itself, and takes note that it was too slow: that comes first.
        let given = timeout(self.left + MARGIN, call).await.unwrap_or(Err(Away));
        self.left = if given.is_err() { Duration::ZERO } else { self.left.saturating_sub(begun.elapsed()) };
        given
    }
}

impl Cache {
    pub(crate) fn new(
        config: Config,
        embedding: Embedding,
        backend: Arc<dyn Backend>,
        vectors: Arc<dyn VectorStore>,
        environment: &Environment,
    ) -> Self {
        Self {
            clock: Arc::clone(&environment.clock),
            policies: Live::new(config.clone()),
            config,
            embedding,
            tenants: Arc::default(),
            backend,
            random: environment.random.fork(),
            vectors,
        }
    }

    /// A cache with everything in this process, and nothing on disk.
    pub(crate) fn embedded(config: Config, embedding: Embedding, environment: &Environment) -> Self {
        let vault = Arc::new(Vault::open_to_all(environment.random.fork()));
        let backend = Arc::new(Embedded::new(&config, &environment.random.fork(), vault));
        let Semantic { max_entries, max_entries_per_tenant, .. } = config.semantic;
        let vectors = Arc::new(ExactScan::new(max_entries, max_entries_per_tenant));
        Self::new(config, embedding, backend, vectors, environment)
    }

    /// Looks an answer up. Cancel safe: at most a lease is given in vain, and expires.
    pub(crate) async fn lookup(&self, asked: Asked) -> Result<Found, Failure> {
        let Asked { tenant, terms, .. } = &asked;
        let bypass = if terms.per_user && asked.user.is_none() {
            Some(Skip::NoUser)
        } else {
            (!terms.read && !terms.write).then_some(Skip::Off)
        };
        if let Some(skip) = bypass {
            return if terms.only_if_cached { Err(Failure::NotCached) } else { Ok(Found::Bypass { skip }) };
        }
        tenant.figures.lookups.fetch_add(1, Ordering::Relaxed);
        let identity = Identity {
            tenant: &tenant.name,
            user: asked.user.as_deref().filter(|_| terms.per_user),
            guard_digest: &asked.guard_digest,
            redacted: asked.redacted,
        };
        let canonical = Canonical::of(identity, &asked.chat);
        let mut budget = Budget { left: self.backend.deadline() };
        if terms.read
            && let Ok(Some(entry)) = budget.spend(self.backend.get(&tenant.name, canonical.key)).await
            && let Some(how) = entry.fresh_or_stale(self.clock.unix_ms(), terms.max_age_ms, terms.stale)
        {
            if how == Freshness::Fresh {
                return Ok(self.hit(&asked, entry));
            }
            return Ok(self.stale_hit(&asked, canonical, entry, &mut budget).await);
        }
        let meaning = self.meaning(&asked, &canonical).await;
        let vector = meaning.as_ref().ok().filter(|meaning| meaning.computed);
        let vector = vector.and_then(|meaning| self.embedding.pack(Some(&meaning.vector)));
        if terms.read
            && let Ok(meaning) = &meaning
        {
            match self.similar(&asked, canonical.key, meaning, &mut budget).await {
                // Kept since it was looked for.
                Similar::Same(entry) => return Ok(self.hit(&asked, entry)),
                Similar::Hit(close) => {
                    self.backend.used(&close.entry);
                    tenant.figures.semantic_hit(1.0 - close.probability);
                    tenant.figures.saved_nanousd.fetch_add(close.entry.cost_nanousd, Ordering::Relaxed);
                    close.entry.standing.hit(&asked.request_id, close.model);
                    let lease = self.shadowed(&asked, canonical, meaning, &close, &mut budget).await;
                    return Ok(Found::Semantic { close, vector, lease });
                }
                Similar::Ask(question) => {
                    // The same lookup comes once more.
                    tenant.figures.lookups.fetch_sub(1, Ordering::Relaxed);
                    tenant.figures.judged_candidates.fetch_add(1, Ordering::Relaxed);
                    return Ok(Found::Doubtful { question, vector });
                }
                Similar::Nothing => {}
            }
        }
        if terms.only_if_cached {
            return Err(Failure::NotCached);
        }
        let skip = meaning.as_ref().err().copied();
        let lease = if terms.write {
            match budget.spend(self.backend.grant(self.wish(&asked, canonical, meaning.ok()))).await {
                Ok(Grant::Known(entry)) => return Ok(self.hit(&asked, entry)),
                Ok(Grant::Held(follower)) if terms.read => {
                    tenant.figures.follows.fetch_add(1, Ordering::Relaxed);
                    return Ok(Found::Follow { follower });
                }
                Ok(Grant::Given(lease, entry_id)) => {
                    Some(self.granted(lease, entry_id, self.lease_ttl().min(UNCLAIMED)))
                }
                // Too many, or the backend is away: asked of the model, and not kept.
                Ok(Grant::Held(_) | Grant::Full) | Err(_) => None,
            }
        } else {
            None
        };
        Ok(Found::Miss { lease, vector, skip })
    }

    fn hit(&self, asked: &Asked, entry: Arc<Entry>) -> Found {
        let figures = &asked.tenant.figures;
        figures.exact_hits.fetch_add(1, Ordering::Relaxed);
        figures.saved_nanousd.fetch_add(entry.cost_nanousd, Ordering::Relaxed);
        self.backend.used(&entry);
        entry.standing.hit(&asked.request_id, 1.0);
        Found::Exact { entry, stale: false, lease: None }
    }

    /// Answers with an entry whose time to live is over; one asker at a time gets the lease to ask the model again.
    async fn stale_hit(
        &self,
        asked: &Asked,
        canonical: Canonical,
        entry: Arc<Entry>,
        budget: &mut Budget,
    ) -> Found {
        let lease = if asked.terms.write {
            let meaning = self.meaning(asked, &canonical).await.ok();
            let wish = Wish { enough: None, ..self.wish(asked, canonical, meaning) };
            self.lease_beside(wish, budget).await
        } else {
            None
        };
        asked.tenant.figures.stale_hits.fetch_add(1, Ordering::Relaxed);
        self.hit(asked, Arc::clone(&entry));
        Found::Exact { entry, stale: true, lease }
    }

    /// The lease to ask the model as well, for the stated share of hits by meaning.
    async fn shadowed(
        &self,
        asked: &Asked,
        canonical: Canonical,
        meaning: &Meaning,
        close: &Close,
        budget: &mut Budget,
    ) -> Option<Granted> {
        if !asked.terms.write || self.random.f64() >= asked.terms.shadow_share {
            return None;
        }
        let shadow = Shadow { of: close.entry.id, request_id: asked.request_id.clone(), model: close.model };
        let mut wish = self.wish(asked, canonical, Some(meaning.clone()));
        wish.enough = None;
        wish.pending.shadow = Some(shadow);
        let lease = self.lease_beside(wish, budget).await?;
        asked.tenant.figures.shadow_checks.fetch_add(1, Ordering::Relaxed);
        Some(lease)
    }

    /// A lease for a fill beside an answer that is given at once; `None` while somebody holds it, or without room.
    async fn lease_beside(&self, wish: Wish, budget: &mut Budget) -> Option<Granted> {
        match budget.spend(self.backend.grant(wish)).await {
            Ok(Grant::Given(lease, entry_id)) => {
                Some(self.granted(lease, entry_id, self.lease_ttl().min(UNCLAIMED)))
            }
            _ => None,
        }
    }

    /// Prepares the last turn for comparison. At most one embedding.
    async fn meaning(&self, asked: &Asked, canonical: &Canonical) -> Result<Meaning, Skip> {
        let semantic = &self.config.semantic;
        if !semantic.enabled {
            return Err(Skip::Off);
        }
        let text = question::of(&asked.chat, &asked.terms, semantic.max_text_bytes)?;
        let hash = self.embedding.hash().ok_or(Skip::Unavailable)?;
        if asked.guard_digest.is_empty() {
            return Err(Skip::NoGuardDigest);
        }
        let (vector, computed) = match self.embedding.take(asked.vector.as_ref()) {
            Some(vector) => (vector, false),
            None => {
                let most = Duration::from_millis(semantic.embed_timeout_ms);
                (self.embedding.embed(text, most).await?, true)
            }
        };
        let question = Question::new(canonical.partition(&hash, language::of(text)), text);
        Ok(Meaning { question, vector, computed })
    }

    /// The answer that is most probably right, of those that stand the second look and keep the stated error; else, where the policy has a
    /// judge, the one that it could open the door for.
    async fn similar(&self, asked: &Asked, key: Digest, meaning: &Meaning, budget: &mut Budget) -> Similar {
        let Asked { tenant, terms, opinion, .. } = asked;
        let scope = Scope::Partition { tenant: &tenant.name, partition: meaning.question.partition };
        // Rounded up, so that no hit is below what was asked for.
        let at_least = next_above(terms.min_similarity);
        let search = self.vectors.search(scope, &meaning.vector, at_least, NEIGHBOURS);
        let Ok(near) = budget.spend(async { Ok(search.await) }).await else { return Similar::Nothing };
        let named: Vec<Named> = near.iter().map(|neighbour| neighbour.named).collect();
        if named.is_empty() {
            return Similar::Nothing;
        }
        let Ok(known) = budget.spend(self.backend.resolve(&tenant.name, &named)).await else {
            return Similar::Nothing;
        };
        let now = self.clock.unix_ms();
        let mut gone = Vec::new();
        let mut best: Option<Close> = None;
        let mut doubtful: Option<Close> = None;
        for (neighbour, entry) in near.iter().zip(&known) {
            let Some((entry, question)) = entry.as_ref().and_then(|e| Some((e, e.question.as_ref()?))) else {
                gone.push(neighbour.named.id);
                continue;
            };
            let here = entry.tenant == tenant.name && question.partition == meaning.question.partition;
            if !here || !entry.answers(now, terms.max_age_ms) {
                continue;
            }
            if entry.key == key {
                return Similar::Same(Arc::clone(entry));
            }
            let similarity = neighbour.similarity;
            let Some(model) = second_look::right(similarity, &question.features, &meaning.question.features)
            else {
                continue;
            };
            let alone = entry.standing.probability(model);
            let probability = opinion.map_or(alone, |opinion| opinion.applied(entry.id, alone));
            let keeps = |probability: f64| probability >= 1.0 - terms.max_error;
            let place = if keeps(probability) {
                &mut best
            } else if opinion.is_none() && terms.judge.is_some() && keeps(judge::with_a_yes(probability)) {
                &mut doubtful
            } else {
                continue;
            };
            if place.as_ref().is_none_or(|best| probability > best.probability) {
                *place = Some(Close { entry: Arc::clone(entry), similarity, model, probability });
            }
        }
        self.forget_points(&tenant.name, &gone).await;
        if let Some(best) = best {
            return Similar::Hit(best);
        }
        let question = doubtful.zip(terms.judge.as_ref()).and_then(|(close, judge)| {
            let known = close.entry.question.as_ref()?;
            Some(Box::new(judge::question(judge, close.entry.id, &known.text, &meaning.question.text)))
        });
        question.map_or(Similar::Nothing, Similar::Ask)
    }

    async fn forget_points(&self, tenant: &str, ids: &[EntryId]) {
        if !ids.is_empty() {
            self.vectors.remove(tenant, ids).await;
        }
    }

    fn wish(&self, asked: &Asked, canonical: Canonical, meaning: Option<Meaning>) -> Wish {
        let sampling = asked.chat.sampling.as_ref();
        let pending = Pending {
            tenant: Arc::clone(&asked.tenant.name),
            key: canonical.key,
            entry_id: EntryId::draw(&self.random),
            epoch: 0,
            ttl_ms: asked.terms.ttl_ms,
            tags: asked.terms.tags.clone(),
            question: meaning.map(|meaning| (meaning.question, meaning.vector)),
            max_output_tokens: sampling.and_then(|sampling| sampling.max_output_tokens),
            request_id: asked.request_id.clone(),
            stale_ms: asked.terms.stale_ms,
            shadow: None,
        };
        let (clock, max_age_ms) = (Arc::clone(&self.clock), asked.terms.max_age_ms);
        let enough = move |entry: &Entry| entry.answers(clock.unix_ms(), max_age_ms);
        Wish { pending, enough: asked.terms.read.then(|| Box::new(enough) as _) }
    }

    /// Begins the fill of a lease.
    pub(crate) async fn claim(&self, tenant: &Tenant, lease: &str) -> Result<Held, Stop> {
        let lease: LeaseId = lease.parse().map_err(|_| Stop::Expired)?;
        let claimed = self.backend.claim(&tenant.name, lease).await.map_err(|_| Stop::Away)?;
        Ok(Held::new(Arc::clone(&self.backend), claimed.ok_or(Stop::Expired)?))
    }

    /// Takes over from a leader that failed; gives the lease, or says that there is nothing more to wait for, or neither.
    pub(crate) async fn take_over(&self, flight: &Arc<Flight>) -> (Option<Granted>, bool) {
        match self.backend.take_over(flight).await {
            TakeOver::Given(lease) => (Some(self.granted(lease, flight.entry_id, self.lease_ttl())), true),
            TakeOver::Led => (None, false),
            TakeOver::Gone => (None, true),
        }
    }

    /// A lease whose fill must begin within a time.
    fn granted(&self, lease: LeaseId, entry_id: EntryId, within: Duration) -> Granted {
        let within_ms = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
        Granted {
            id: lease.to_string(),
            expires_unix_ms: self.clock.unix_ms().saturating_add(within_ms),
            entry_id,
        }
    }

    /// Keeps a complete answer under its lease.
    pub(crate) async fn keep(&self, held: &Held, answer: Answer, cost_nanousd: i64) -> Result<EntryId, Stop> {
        let claimed = held.claimed.as_ref().ok_or(Stop::Expired)?;
        let pending = &claimed.pending;
        let comparable = pending.question.clone().filter(|_| !answer.cut_by_request);
        let (question, vector) = comparable.unzip();
        let entry = Arc::new(Entry {
            id: pending.entry_id,
            tenant: Arc::clone(&pending.tenant),
            key: pending.key,
            answer: Arc::new(answer),
            cost_nanousd,
            created_unix_ms: self.clock.unix_ms(),
            ttl_ms: pending.ttl_ms,
            stale_ms: pending.stale_ms,
            tags: pending.tags.clone(),
            question,
            writer: pending.request_id.clone(),
            standing: Arc::new(Standing::default()),
            usage: Usage::default(),
            dead: AtomicBool::new(false),
        });
        let point = entry.question.as_ref().zip(vector.clone()).map(|(question, vector)| Point {
            named: Named { id: entry.id, key: entry.key },
            tenant: Arc::clone(&entry.tenant),
            partition: question.partition,
            vector,
            ends_unix_ms: entry.created_unix_ms.saturating_add_unsigned(entry.ttl_ms),
        });
        let answer = Arc::clone(&entry.answer);
        let gone = self.backend.keep(claimed, Kept { entry, vector }).await?;
        if let Some(point) = point
            && !self.vectors.insert(point).await
        {
            tracing::debug!("an entry is kept for the very same request only: its vector was not");
        }
        self.forget_points(&pending.tenant, &gone).await;
        if let Some(shadow) = &pending.shadow
            && let Ok(tenant) = self.tenants.get(&pending.tenant)
        {
            self.check(&tenant, shadow, &answer).await;
        }
        Ok(pending.entry_id)
    }

    /// Takes a judgement on an answer: a wrong one is no longer given for questions that are no closer than the one it was wrong for,
    /// and a wholly wrong one not at all.
    pub(crate) async fn judge(
        &self,
        tenant: &Tenant,
        id: EntryId,
        (request_id, seen): (&str, Option<f64>),
        score: f64,
    ) -> Result<(), Failure> {
        let entry = self.backend.find(&tenant.name, id).await?;
        let entry = entry.ok_or(Failure::NotFound("there is no such entry, or not any more"))?;
        if let Some(seen) = seen {
            // The hit may have been given by another replica. What it stated is what the model saw and what was known there: of a wrong
            // hit half of the doubt is left.
            let seen = if score < 0.0 { f64::midpoint(seen, 1.0) } else { seen };
            entry.standing.hit_once(request_id, seen);
        }
        self.judge_hit(tenant, &entry, request_id, score < 0.0).await;
        if score <= -1.0 {
            self.invalidate(tenant, Cover::Entry(id)).await?;
        } else if score < 0.0 && request_id == entry.writer {
            // The answer itself is doubted, not that it was given to another question.
            self.forget_points(&tenant.name, &[id]).await;
        }
        Ok(())
    }

    /// Takes in, here and at the other replicas, whether a hit that an entry gave was wrong.
    pub(crate) async fn judge_hit(&self, tenant: &Tenant, entry: &Arc<Entry>, request_id: &str, wrong: bool) {
        let before = entry.standing.verdict(request_id);
        tenant.figures.judged(entry.judge(request_id, wrong));
        if let Some(verdict) = entry.standing.verdict(request_id).filter(|now| before.as_ref() != Some(now)) {
            self.backend.judged(entry, verdict).await;
        }
    }

    /// Removes entries; gives their number.
    pub(crate) async fn invalidate(&self, tenant: &Tenant, cover: Cover) -> Result<u64, Failure> {
        let mut all = 0;
        loop {
            let near = match &cover {
                // Nobody is told that something is gone which nobody could look for.
                Cover::Like { .. } if self.vectors.trouble().is_some() => return Err(Failure::Away),
                Cover::Like { vector, at_least } => {
                    self.vectors.search(Scope::Tenant(&tenant.name), vector, *at_least, MOST).await
                }
                _ => Vec::new(),
            };
            let near: Vec<Named> = near.into_iter().map(|neighbour| neighbour.named).collect();
            let removed = self.backend.invalidate(&tenant.name, cover.clone(), &near).await?;
            self.forget_points(&tenant.name, &removed).await;
            all += removed.len() as u64;
            // What one search could not name comes in the next, now that those are gone.
            if near.len() < MOST || removed.is_empty() {
                return Ok(all);
            }
        }
    }

    pub(crate) fn lease_ttl(&self) -> Duration {
        Duration::from_millis(self.config.lease.ttl_ms)
    }

    /// Why there is no similarity, or that there is.
    pub(crate) fn semantic_state(&self) -> &'static str {
        if self.config.semantic.enabled {
            self.vectors.trouble().unwrap_or_else(|| self.embedding.state())
        } else {
            "off: disabled in the configuration"
        }
    }
}

/// The smallest `f32` that is not below.
fn next_above(least: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "corrected in the next line")]
    let near = least as f32;
    if f64::from(near) < least { near.next_up() } else { near }
}
