//! The replicas of a service as they are known now, and which of them gets the next call.
//!
//! The choice: two at random of the own zone, the cheaper of the two (see [`Endpoint::cost`]). Another zone is asked when the own one has
//! nobody left, or too many open calls. Replicas that fail are left out for a while, but never more than half of them: then it
//! is not they that fail.

use std::{collections::HashMap, ops::ControlFlow, sync::Arc, time::Duration};

use http::Uri;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    census::{self, Census},
    connector::Connector,
    endpoint::Endpoint,
};
use crate::{
    AddressError, ClientConfig, Discovery, Random,
    discovery::{Address, Follow, Found, Learn, REPLICAS_MOST, Unfollowed},
};

/// Known replicas; those of the own zone stand first.
#[derive(Default)]
pub(crate) struct Set {
    members: Vec<Member>,
    near: usize,
}

/// A replica's place in the set.
struct Member {
    at: String,
    weight: f64,
    endpoint: Arc<Endpoint>,
}

impl Set {
    /// How many connections there may be to all of them.
    pub(crate) fn connections(&self) -> usize {
        self.members.iter().map(|member| member.endpoint.connections()).sum()
    }

    fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// The replicas of one service.
pub(crate) struct Peers {
    label: String,
    config: ClientConfig,
    connector: Connector,
    random: Random,
    scheme: &'static str,
    zone: Option<Arc<str>>,
    /// Whether the set can change.
    followed: bool,
    set: watch::Sender<Arc<Set>>,
    /// What each configured address stands for.
    known: Mutex<Vec<Vec<Found>>>,
    doubt: Arc<Notify>,
    following: Mutex<Vec<AbortOnDropHandle<()>>>,
}

impl Peers {
    /// Begins with the fixed addresses, and follows the others for as long as the channel is there.
    pub(crate) fn new(
        label: &str,
        addresses: Vec<(String, Address)>,
        config: &ClientConfig,
        connector: &Connector,
        random: Random,
        discovery: &Discovery,
    ) -> Result<Arc<Self>, AddressError> {
        let peers = Arc::new(Self {
            label: label.to_owned(),
            config: config.clone(),
            connector: connector.clone(),
            random,
            scheme: connector.scheme(),
            zone: discovery.zone(),
            followed: addresses.iter().any(|(_, address)| !matches!(address, Address::Static(_))),
            set: watch::Sender::new(Arc::default()),
            known: Mutex::new(vec![Vec::new(); addresses.len()]),
            doubt: Arc::default(),
            following: Mutex::default(),
        });
        let mut following = Vec::new();
        for (slot, (configured, address)) in addresses.into_iter().enumerate() {
            if let Address::Static(uri) = &address {
                if let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) {
                    let host = host.trim_start_matches('[').trim_end_matches(']');
                    let scheme = uri.scheme_str().map(str::to_owned);
                    peers.known.lock()[slot] = vec![Found { scheme, ..Found::at(host, port) }];
                }
                continue;
            }
            let follow =
                Follow::new(label, configured.clone(), peers.learner(slot), Arc::clone(&peers.doubt));
            let refused = |unfollowed| match unfollowed {
                Unfollowed::NoConsul => {
                    AddressError::NoConsul { service: label.to_owned(), address: configured }
                }
                Unfollowed::NoResolver(why) => AddressError::NoResolver { service: label.to_owned(), why },
            };
            let name = discovery.follow(address, follow, &peers.random).map_err(refused)?;
            following.extend(name.map(|name| AbortOnDropHandle::new(tokio::spawn(name))));
        }
        *peers.following.lock() = following;
        peers.renew();
        census::count(&peers);
        Ok(peers)
    }

    fn learner(self: &Arc<Self>, slot: usize) -> Learn {
        let peers = Arc::downgrade(self);
        Box::new(move |found| {
            let Some(peers) = peers.upgrade() else { return ControlFlow::Break(()) };
            // Nobody at all is not believed.
            if !found.is_empty() && peers.known.lock()[slot] != found {
                peers.known.lock()[slot] = found;
                peers.renew();
            }
            ControlFlow::Continue(())
        })
    }

    /// Makes the set anew; who is in it already stays as it is, with its connections.
    fn renew(&self) {
        let known = self.known.lock();
        self.set.send_modify(|set| {
            let new = self.set_of(&known, set);
            if self.followed {
                self.tell(set, &new);
            }
            *set = Arc::new(new);
        });
    }

    fn set_of(&self, known: &[Vec<Found>], old: &Set) -> Set {
        let now = Instant::now();
        let mut kept: HashMap<&str, &Arc<Endpoint>> =
            old.members.iter().map(|member| (member.at.as_str(), &member.endpoint)).collect();
        let initial = self.initial(old, now);
        let (mut near, mut far) = (Vec::new(), Vec::new());
        let mut seen = std::collections::HashSet::new();
        for found in known.iter().flatten() {
            if near.len() + far.len() == REPLICAS_MOST || !seen.insert(found.at.as_str()) {
                continue;
            }
            let endpoint = match kept.remove(found.at.as_str()) {
                Some(endpoint) => Arc::clone(endpoint),
                None => {
                    let scheme = found.scheme.as_deref().unwrap_or(self.scheme);
                    let Ok(peer) = format!("{scheme}://{}/", found.at).parse::<Uri>() else {
                        continue;
                    };
                    Arc::new(Endpoint::new(&peer, &self.config, &self.connector, initial, now))
                }
            };
            let member = Member { at: found.at.clone(), weight: f64::from(found.weight.max(1)), endpoint };
            let is_far = self.zone.as_deref().zip(found.zone.as_deref()).is_some_and(|(own, its)| own != its);
            if is_far { far.push(member) } else { near.push(member) }
        }
        let count = near.len();
        near.append(&mut far);
        let new = Set { members: near, near: count };
        self.readmit(&new, now);
        new
    }

    /// What a new replica is thought to take: as the others do, so that it gets its share, and not everything.
    fn initial(&self, old: &Set, now: Instant) -> Duration {
        let balance = &self.config.balance;
        let measured = old.members.iter().filter_map(|member| member.endpoint.average(now, balance));
        let (sum, count) = measured.fold((Duration::ZERO, 0), |(sum, count), took| (sum + took, count + 1));
        if count == 0 { balance.floor() } else { sum / count }
    }

    fn tell(&self, old: &Set, new: &Set) {
        let missing = |from: &Set, of: &Set| {
            let there = |at: &str| of.members.iter().any(|member| member.at == at);
            let gone = from.members.iter().map(|member| member.at.as_str()).filter(|at| !there(at));
            gone.collect::<Vec<_>>().join(" ")
        };
        let (added, removed) = (missing(new, old), missing(old, new));
        tracing::info!(
            service = self.label,
            replicas = new.members.len(),
            near = new.near,
            added,
            removed,
            "the replicas changed"
        );
    }

    /// The set; waits for the first one, at most as long as a connection may take.
    pub(crate) async fn known(&self) -> Arc<Set> {
        let set = Arc::clone(&self.set.borrow());
        if !set.is_empty() {
            return set;
        }
        let mut changes = self.set.subscribe();
        let first = changes.wait_for(|set| !set.is_empty());
        let limit = Duration::from_millis(self.config.connect_timeout_ms);
        match tokio::time::timeout(limit, first).await {
            Ok(Ok(set)) => Arc::clone(&set),
            _ => set,
        }
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Counts who is known now.
    pub(crate) fn census(&self, now: Instant) -> Census {
        let set = self.set.borrow();
        let ejected = set.members.iter().filter(|member| member.endpoint.is_ejected(now)).count();
        Census { near: set.near, far: set.members.len() - set.near, ejected }
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Chooses who gets the next call; nobody when nobody is known.
    pub(crate) fn pick(&self, set: &Set, now: Instant) -> Option<Arc<Endpoint>> {
        let chosen = self.well(set, now).or_else(|| {
            // Nobody is well: who is left alone for the shortest time may be back.
            set.members.iter().min_by_key(|m| (m.endpoint.is_resting(now), m.endpoint.ejected()))
        });
        chosen.map(|member| Arc::clone(&member.endpoint))
    }

    /// The same for a call, begun then, that has just found one to be gone: another one, if there is any. Then much may have changed: where
    /// nobody is well, one that was refused before the call began, or is left out, may be back.
    pub(crate) fn pick_other(
        &self,
        set: &Set,
        now: Instant,
        gone: Option<(&Arc<Endpoint>, Instant)>,
    ) -> Option<Arc<Endpoint>> {
        let Some((gone, begun)) = gone else { return self.pick(set, now) };
        let is_other = |member: &&Member| !Arc::ptr_eq(&member.endpoint, gone);
        let others = || set.members.iter().filter(is_other);
        let old_news = || {
            let may_be_back = others().filter(|member| member.endpoint.may_be_back(begun));
            let chosen = may_be_back.min_by_key(|member| member.endpoint.ejected())?;
            chosen.endpoint.forgive(begun);
            Some(chosen)
        };
        let chosen = self.well(set, now).filter(is_other);
        let chosen = chosen.or_else(|| self.cheapest_of(others(), now)).or_else(old_news);
        chosen.map(|member| Arc::clone(&member.endpoint)).or_else(|| self.pick(set, now))
    }

    /// One that is neither left out nor left alone: of the own zone, unless it has nobody or too much to do.
    fn well<'a>(&self, set: &'a Set, now: Instant) -> Option<&'a Member> {
        let (near, far) = set.members.split_at(set.near);
        let pool = if !far.is_empty() && self.spills(near, far) { far } else { near };
        self.of_two(pool, now).or_else(|| self.cheapest(near, now)).or_else(|| self.cheapest(far, now))
    }

    /// Whether the own zone has more open calls than it should bear while others have fewer: mean calls, by weight.
    fn spills(&self, near: &[Member], far: &[Member]) -> bool {
        let mean = |members: &[Member]| {
            let (open, weight) = members.iter().fold((0.0, 0.0), |(open, weight), member| {
                (open + calls(&member.endpoint), weight + member.weight)
            });
            open / weight
        };
        let balance = &self.config.balance;
        let bearable = mean(far) * balance.spill_ratio() + calls_of(balance.spill_calls);
        near.is_empty() || mean(near) > bearable
    }

    fn of_two<'a>(&self, pool: &'a [Member], now: Instant) -> Option<&'a Member> {
        let count = pool.len();
        if count < 2 {
            return self.cheapest(pool, now);
        }
        let one = self.random.below(count);
        let two = (one + 1 + self.random.below(count - 1)) % count;
        self.cheapest_of([&pool[one], &pool[two]].into_iter(), now)
            .filter(|member| !member.endpoint.is_connecting())
            // Two that cannot be called do not mean that all cannot.
            .or_else(|| self.cheapest(pool, now))
    }

    fn cheapest<'a>(&self, pool: &'a [Member], now: Instant) -> Option<&'a Member> {
        self.cheapest_of(pool.iter(), now)
    }

    /// The cheapest that is neither left out nor left alone; one that can be called at once, if there is one.
    fn cheapest_of<'a>(&self, among: impl Iterator<Item = &'a Member>, now: Instant) -> Option<&'a Member> {
        let well = among.filter(|m| !m.endpoint.is_resting(now) && !m.endpoint.is_ejected(now));
        let priced = well
            .map(|m| (m.endpoint.is_connecting(), m.endpoint.cost(now, &self.config.balance) / m.weight, m));
        priced.min_by(|one, two| one.0.cmp(&two.0).then(one.1.total_cmp(&two.1))).map(|(.., member)| member)
    }

    /// A connection to a replica could not be made, or broke.
    pub(crate) fn failed(&self, endpoint: &Arc<Endpoint>) {
        // What is known may be old: look again.
        self.doubt.notify_waiters();
        let balance = &self.config.balance;
        if !endpoint.failed(balance) {
            return;
        }
        let (set, now) = (Arc::clone(&self.set.borrow()), Instant::now());
        let others = || set.members.iter().filter(|member| !Arc::ptr_eq(&member.endpoint, endpoint));
        let out = others().filter(|member| member.endpoint.is_ejected(now)).count();
        let member = set.members.iter().find(|member| Arc::ptr_eq(&member.endpoint, endpoint));
        if let Some(member) = member
            && !endpoint.is_ejected(now)
            && 2 * (out + 1) <= set.members.len()
        {
            let pause_ms = endpoint.eject(now, balance).as_millis();
            tracing::warn!(
                service = self.label,
                replica = member.at,
                pause_ms,
                "a replica fails and is left out"
            );
        }
    }

    /// Keeps at most half of the set left out when it has become smaller: those stay out that are out for longest.
    fn readmit(&self, set: &Set, now: Instant) {
        let mut out: Vec<_> = set.members.iter().filter(|member| member.endpoint.is_ejected(now)).collect();
        out.sort_by_key(|member| member.endpoint.ejected());
        let too_many = out.len().saturating_sub(set.members.len() / 2);
        for member in &out[..too_many] {
            tracing::info!(
                service = self.label,
                replica = member.at,
                "a replica is taken back: too many are left out"
            );
            member.endpoint.readmit();
        }
    }
}

fn calls(endpoint: &Endpoint) -> f64 {
    calls_of(endpoint.open() as u64)
}

#[expect(clippy::cast_precision_loss, reason = "open calls are few")]
fn calls_of(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
