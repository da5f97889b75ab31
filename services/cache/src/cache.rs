//! The tiers together: looking up, keeping, judging, removing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use moka::{Expiry, sync};
use signalbox_embed::Vector;
use signalbox_mesh::{Clock, Environment, Random};
use signalbox_proto::common::v1::{self, ChatRequest};

use crate::{
    canonical::{Canonical, Digest, Identity},
    config::Config,
    embedding::Embedding,
    entry::{Entry, EntryId, Question},
    error::Failure,
    flight::{Flight, Follower},
    lease::{Grant, Held, Leases, Pending},
    policy::Terms,
    question::{self, Skip},
    recording::{Answer, Flaw, Recording},
    second_look::{self, Features},
    standing::Standing,
    tenant::{Cover, Tenant, Tenants},
    vectors::{ExactScan, Neighbour, Point, Scope, VectorStore},
};

/// Close questions that get a second look: the closest is mostly the right one or none is.
const NEIGHBOURS: usize = 8;

/// The cache.
pub(crate) struct Cache {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) embedding: Embedding,
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) leases: Arc<Leases>,
    random: Random,
    exact: sync::Cache<Digest, Arc<Entry>>,
    vectors: Box<dyn VectorStore>,
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
}

/// What is known.
pub(crate) enum Found {
    /// The cache takes no part.
    Bypass { skip: Skip },
    /// The very same request was answered.
    Exact { entry: Arc<Entry> },
    /// A question close in meaning was answered.
    Semantic { close: Close, vector: Option<v1::Vector> },
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
struct Meaning {
    question: Question,
    vector: Vector,
    /// Whether it was computed here, and so is news to the caller.
    computed: bool,
}

/// Lets the exact tier drop what nobody may read any more. Reads check the injected clock themselves.
struct ByPolicy;

impl Expiry<Digest, Arc<Entry>> for ByPolicy {
    fn expire_after_create(&self, _: &Digest, entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(Duration::from_millis(entry.ttl_ms))
    }

    fn expire_after_update(
        &self,
        key: &Digest,
        entry: &Arc<Entry>,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, entry, now)
    }
}

impl Cache {
    pub(crate) fn new(config: Config, embedding: Embedding, environment: &Environment) -> Self {
        let tenants = Arc::new(Tenants::default());
        let forgetting = Arc::clone(&tenants);
        let exact = sync::Cache::builder()
            .max_capacity(config.exact.max_bytes)
            .weigher(|_: &Digest, entry: &Arc<Entry>| entry.weight())
            .expire_after(ByPolicy)
            .eviction_listener(move |_, entry: Arc<Entry>, _| forgetting.forget(&entry))
            .build();
        let random = environment.random.fork();
        let ttl = Duration::from_millis(config.lease.ttl_ms);
        let leases = Leases::new(ttl, config.lease.max, random.clone());
        let vectors =
            Box::new(ExactScan::new(config.semantic.max_entries, config.semantic.max_entries_per_tenant));
        Self {
            clock: Arc::clone(&environment.clock),
            config,
            embedding,
            tenants,
            leases,
            random,
            exact,
            vectors,
        }
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
        if terms.read
            && let Some(entry) = self.same(tenant, canonical.key, terms)
        {
            return Ok(Self::hit(&asked, entry));
        }
        let meaning = self.meaning(&asked, &canonical).await;
        let vector = meaning.as_ref().ok().filter(|meaning| meaning.computed);
        let vector = vector.and_then(|meaning| self.embedding.pack(Some(&meaning.vector)));
        if terms.read
            && let Ok(meaning) = &meaning
            && let Some(close) = self.similar(tenant, meaning, terms).await
        {
            tenant.figures.semantic_hit(1.0 - close.probability);
            tenant.figures.saved_nanousd.fetch_add(close.entry.cost_nanousd, Ordering::Relaxed);
            close.entry.standing.hit(&asked.request_id, close.model);
            return Ok(Found::Semantic { close, vector });
        }
        if terms.only_if_cached {
            return Err(Failure::NotCached);
        }
        let skip = meaning.as_ref().err().copied();
        let lease = match terms.write.then(|| self.grant(&asked, canonical.key, meaning.ok())) {
            Some(Grant::Held(flight)) if terms.read => {
                tenant.figures.follows.fetch_add(1, Ordering::Relaxed);
                return Ok(Found::Follow { follower: flight.follow() });
            }
            Some(Grant::Given(id, entry_id)) => {
                // A leader may have ended since the exact tier was asked; its entry was there before its lease was gone.
                if let Some(entry) = terms.read.then(|| self.same(tenant, canonical.key, terms)).flatten() {
                    self.leases.take_back(&id);
                    return Ok(Self::hit(&asked, entry));
                }
                Some(self.granted(id, entry_id))
            }
            _ => None,
        };
        Ok(Found::Miss { lease, vector, skip })
    }

    fn hit(asked: &Asked, entry: Arc<Entry>) -> Found {
        let figures = &asked.tenant.figures;
        figures.exact_hits.fetch_add(1, Ordering::Relaxed);
        figures.saved_nanousd.fetch_add(entry.cost_nanousd, Ordering::Relaxed);
        entry.standing.hit(&asked.request_id, 1.0);
        Found::Exact { entry }
    }

    /// The answer to the very same request.
    fn same(&self, tenant: &Tenant, key: Digest, terms: &Terms) -> Option<Arc<Entry>> {
        let entry = self.exact.get(&key)?;
        let fits = entry.answers(self.clock.unix_ms(), terms.max_age_ms) && entry.tenant == tenant.name;
        fits.then_some(entry)
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
        let question = Question { partition: canonical.partition(&hash), features: Features::of(text) };
        Ok(Meaning { question, vector, computed })
    }

    /// The answer that is most probably right, of those that stand the second look and keep the stated error.
    async fn similar(&self, tenant: &Tenant, meaning: &Meaning, terms: &Terms) -> Option<Close> {
        let scope = Scope::Partition { tenant: &tenant.name, partition: meaning.question.partition };
        // Rounded up, so that no hit is below what was asked for.
        let at_least = next_above(terms.min_similarity);
        let near = self.vectors.search(scope, &meaning.vector, at_least, NEIGHBOURS).await;
        let now = self.clock.unix_ms();
        let mut gone = Vec::new();
        let mut best: Option<Close> = None;
        for Neighbour { id, similarity } in near {
            let known = tenant.get(id).filter(|entry| self.exact.contains_key(&entry.key));
            let Some((entry, question)) = known.as_ref().and_then(|e| Some((e, e.question.as_ref()?))) else {
                gone.push(id);
                continue;
            };
            let here = entry.tenant == tenant.name && question.partition == meaning.question.partition;
            if !here || !entry.answers(now, terms.max_age_ms) {
                continue;
            }
            let Some(model) = second_look::right(similarity, &question.features, &meaning.question.features)
            else {
                continue;
            };
            let probability = entry.standing.probability(model);
            let better = best.as_ref().is_none_or(|best| probability > best.probability);
            if better && probability >= 1.0 - terms.max_error {
                best = Some(Close { entry: Arc::clone(entry), similarity, model, probability });
            }
        }
        if !gone.is_empty() {
            self.vectors.remove(&gone).await;
        }
        if let Some(best) = &best {
            // Tells the exact tier that the entry is in use.
            drop(self.exact.get(&best.entry.key));
        }
        best
    }

    fn grant(&self, asked: &Asked, key: Digest, meaning: Option<Meaning>) -> Grant {
        let entry_id = EntryId::draw(&self.random);
        let sampling = asked.chat.sampling.as_ref();
        let pending = Pending {
            tenant: Arc::clone(&asked.tenant),
            key,
            entry_id,
            epoch: asked.tenant.epoch(),
            ttl_ms: asked.terms.ttl_ms,
            tags: asked.terms.tags.clone(),
            question: meaning.map(|meaning| (meaning.question, meaning.vector)),
            max_output_tokens: sampling.and_then(|sampling| sampling.max_output_tokens),
            request_id: asked.request_id.clone(),
        };
        let (most_bytes, most_tokens) = (self.config.exact.max_entry_bytes, pending.max_output_tokens);
        self.leases.grant(pending, || Recording::new(most_bytes, most_tokens))
    }

    /// Takes over from a leader that failed; `None` if another follower did.
    pub(crate) fn take_over(&self, flight: &Arc<Flight>) -> Option<Granted> {
        let id = self.leases.take_over(flight)?;
        Some(self.granted(id, flight.entry_id))
    }

    fn granted(&self, id: String, entry_id: EntryId) -> Granted {
        let ttl_ms = i64::try_from(self.config.lease.ttl_ms).unwrap_or(i64::MAX);
        Granted { id, expires_unix_ms: self.clock.unix_ms().saturating_add(ttl_ms), entry_id }
    }

    /// Keeps a complete answer under its lease.
    pub(crate) async fn keep(
        &self,
        held: &mut Held,
        answer: Answer,
        cost_nanousd: i64,
    ) -> Result<EntryId, Flaw> {
        let flight = Arc::clone(&held.flight);
        let Some(pending) = held.pending() else { return Err(Flaw::Malformed) };
        let cut = answer.cut_by_request;
        let (question, vector) = pending.question.take().filter(|_| !cut).unzip();
        let entry = Arc::new(Entry {
            id: pending.entry_id,
            tenant: Arc::clone(&pending.tenant.name),
            key: pending.key,
            answer,
            cost_nanousd,
            created_unix_ms: self.clock.unix_ms(),
            ttl_ms: pending.ttl_ms,
            tags: std::mem::take(&mut pending.tags),
            question,
            writer: std::mem::take(&mut pending.request_id),
            standing: Standing::default(),
            dead: AtomicBool::new(false),
        });
        let kept = pending.tenant.add(&entry, pending.epoch, vector.as_ref());
        flight.done(Arc::clone(&entry));
        if !kept {
            return Err(Flaw::Invalidated);
        }
        self.exact.insert(entry.key, Arc::clone(&entry));
        if let (Some(question), Some(vector)) = (&entry.question, vector) {
            let tenant = Arc::clone(&entry.tenant);
            let point = Point { id: entry.id, tenant, partition: question.partition, vector };
            self.vectors.insert(point).await;
        }
        let garbage = self.tenants.garbage();
        if !garbage.is_empty() {
            self.vectors.remove(&garbage).await;
        }
        Ok(entry.id)
    }

    /// Takes a judgement on an answer: a wrong one is no longer given for questions that are no closer than the one it was wrong for,
    /// and a wholly wrong one not at all.
    pub(crate) async fn judge(
        &self,
        tenant: &Tenant,
        id: EntryId,
        request_id: &str,
        score: f64,
    ) -> Result<(), Failure> {
        let entry = tenant.get(id).ok_or(Failure::NotFound("there is no such entry, or not any more"))?;
        let change = entry.judge(request_id, score < 0.0);
        tenant.figures.judged(change);
        if score <= -1.0 {
            let removed = tenant.invalidate(Cover::Entry(id), &[]);
            self.drop_entries(&removed).await;
        } else if score < 0.0 && request_id == entry.writer {
            // The answer itself is doubted, not that it was given to another question.
            self.vectors.remove(&[id]).await;
        }
        Ok(())
    }

    /// Removes entries; gives their number.
    pub(crate) async fn invalidate(&self, tenant: &Tenant, cover: Cover) -> u64 {
        let near = match &cover {
            Cover::Like { vector, at_least } => {
                self.vectors.search(Scope::Tenant(&tenant.name), vector, *at_least, usize::MAX).await
            }
            _ => Vec::new(),
        };
        let near: Vec<EntryId> = near.into_iter().map(|neighbour| neighbour.id).collect();
        let removed = tenant.invalidate(cover, &near);
        self.drop_entries(&removed).await;
        removed.len() as u64
    }

    /// Frees what is dead already.
    async fn drop_entries(&self, entries: &[Arc<Entry>]) {
        for entry in entries {
            // Another answer may have taken its place.
            if self.exact.get(&entry.key).is_some_and(|there| there.id == entry.id) {
                self.exact.invalidate(&entry.key);
            }
        }
        let ids: Vec<EntryId> =
            entries.iter().filter(|e| e.question.is_some()).map(|entry| entry.id).collect();
        self.vectors.remove(&ids).await;
    }

    /// Why there is no similarity, or that there is.
    pub(crate) fn semantic_state(&self) -> &'static str {
        if self.config.semantic.enabled {
            self.embedding.state()
        } else {
            "off: disabled in the configuration"
        }
    }

    /// Lets the exact tier finish what it does now and then: evictions.
    #[cfg(test)]
    pub(crate) fn settle(&self) {
        self.exact.run_pending_tasks();
    }
}

/// The smallest `f32` that is not below.
fn next_above(least: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "corrected in the next line")]
    let near = least as f32;
    if f64::from(near) < least { near.next_up() } else { near }
}
