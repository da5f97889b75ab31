//! A new configuration of the router takes over while it runs: only one that is valid, and under which nothing fails that did not.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use signalbox_config::{Document, Live, Shared};
use signalbox_mesh::{Random, Shutdown};
use tokio::sync::watch;

use crate::{
    SECTION, config::Config, error::Error, learned::Learned, record::Asked, setup::Setup, stats::Stats,
};

/// Requests that a new policy is tried on.
const RECENT: usize = 256;
/// How often it is seen whether prices have changed.
const PRICES_TICK: Duration = Duration::from_secs(10);

/// The newest requests, without what was said.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<VecDeque<Asked>>);

impl Recent {
    pub(crate) fn add(&self, asked: Asked) {
        let mut recent = self.0.lock();
        if recent.len() >= RECENT {
            recent.pop_front();
        }
        recent.push_back(asked);
    }
}

/// What a new policy would change for recent requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tried {
    pub(crate) requests: usize,
    /// Of them to another target first.
    pub(crate) elsewhere: usize,
}

/// Tries a new setup on recent requests.
///
/// # Errors
/// The first request that had a plan and would have none.
pub(crate) fn try_out(present: &Setup, next: &Setup, recent: &Recent) -> Result<Tried, String> {
    let recent: Vec<Asked> = recent.0.lock().iter().cloned().collect();
    // What was reported of targets comes and goes; here only the policies count.
    let stats = Stats::default();
    let plan = |setup: &Setup, asked: &Asked| asked.plan(setup, &stats, &Learned::new(Random::seeded(0)));
    let mut tried = Tried::default();
    for asked in &recent {
        let Ok(before) = plan(present, asked) else { continue };
        let after = plan(next, asked).map_err(|error: Error| {
            format!("a recent request of tenant {} for `{}` would fail: {error}", asked.tenant, asked.model)
        })?;
        let first = |candidates: &[signalbox_proto::router::v1::Candidate]| {
            candidates.first().map(|candidate| candidate.target_id.clone())
        };
        tried.requests += 1;
        tried.elsewhere += usize::from(first(&before.candidates) != first(&after.candidates));
    }
    Ok(tried)
}

/// Lets a configuration take over; models and tenants stay as they were at the start. `Ok(None)`: it is the present one.
///
/// # Errors
/// What is wrong with it. The present one stays.
pub(crate) fn take_over(
    live: &Live<Setup>,
    recent: &Recent,
    shared: &Shared,
    document: &Document,
) -> Result<Option<Tried>, String> {
    let config: Config = document.section(SECTION).map_err(|error| error.to_string())?;
    let present = live.load();
    if config == present.config {
        return Ok(None);
    }
    let next = Setup::new(shared, config)?;
    let tried = try_out(&present, &next, recent)?;
    live.swap(next);
    Ok(Some(tried))
}

/// Follows the configuration file and the prices until the part ends.
pub(crate) async fn follow(
    live: Live<Setup>,
    recent: Arc<Recent>,
    shared: Live<Shared>,
    mut documents: watch::Receiver<Document>,
    shutdown: Shutdown,
) {
    let mut prices = shared.version();
    let mut followed = true;
    loop {
        tokio::select! {
            () = shutdown.started() => return,
            changed = documents.changed(), if followed => {
                if changed.is_err() {
                    followed = false;
                    continue;
                }
                let document = documents.borrow_and_update().clone();
                match take_over(&live, &recent, &shared.load(), &document) {
                    Ok(None) => {}
                    Ok(Some(Tried { requests, elsewhere })) => {
                        tracing::info!(requests, elsewhere, "a new routing policy took over; of the recent requests so many would go elsewhere");
                    }
                    Err(error) => tracing::error!(%error, "the routing policy stays as it was; the new one is at fault"),
                }
            }
            () = tokio::time::sleep(PRICES_TICK) => {
                if shared.version() != prices {
                    prices = shared.version();
                    match Setup::new(&shared.load(), live.load().config.clone()) {
                        Ok(next) => live.swap(next),
                        Err(error) => tracing::error!(%error, "plans go on with the prices as they were"),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::{Attribution, RouteRecord};

    use super::*;

    const MODELS: &str = "[models.m]\ntargets = [{ base_url = 'http://h/v1', model = 'a', provider = 'p', context_window_tokens = 9000 },\n\
                          { base_url = 'http://h/v1', model = 'b', provider = 'q', context_window_tokens = 500 }]\n";

    fn document(section: &str) -> Document {
        Document::parse(&format!("{MODELS}{section}"), "t").unwrap()
    }

    fn running(tokens: u64) -> (Live<Setup>, Recent, Shared) {
        let shared = document("").shared().unwrap();
        let live = Live::new(Setup::new(&shared, Config::default()).unwrap());
        let recent = Recent::default();
        let asked = Asked {
            request_id: "r".into(),
            tenant: "acme".into(),
            model: "m".into(),
            attribution: Attribution::default(),
            allowed: Vec::new(),
            unix_ms: 0,
            record: RouteRecord { input_tokens: tokens, named_by: "alias".into(), ..RouteRecord::default() },
        };
        (0..RECENT + 9).for_each(|_| recent.add(asked.clone()));
        (live, recent, shared)
    }

    const ONLY_SMALL: &str =
        "[router]\naliases = { m = 'x' }\n[router.policies.x]\nway = 'fixed'\nallow = ['q']";

    #[test]
    fn a_policy_takes_over_and_tells_what_it_changes() {
        let (live, recent, shared) = running(100);
        let tried = take_over(&live, &recent, &shared, &document(ONLY_SMALL)).unwrap().unwrap();
        assert_eq!(tried, Tried { requests: RECENT, elsewhere: RECENT });
        assert_eq!(live.load().config.aliases["m"], "x");
        assert_eq!(
            take_over(&live, &recent, &shared, &document(ONLY_SMALL)).unwrap(),
            None,
            "it is there already"
        );
    }

    #[test]
    fn one_under_which_recent_requests_fail_does_not() {
        let (live, recent, shared) = running(1_000);
        let error = take_over(&live, &recent, &shared, &document(ONLY_SMALL)).unwrap_err();
        assert!(error.contains("tenant acme for `m` would fail") && error.contains("1001 tokens"), "{error}");
        assert_eq!((live.load().config.clone(), live.version()), (Config::default(), 1));
    }

    #[test]
    fn one_that_is_wrong_does_not_and_says_where() {
        let (live, recent, shared) = running(100);
        let of = |section: &str| take_over(&live, &recent, &shared, &document(section)).unwrap_err();
        assert!(of("[router]\naliases = { m = 'z' }").contains("router.aliases.m"));
        assert!(of("[router]\nno_such_key = 1").contains("no_such_key"));
        let nothing =
            "[router]\naliases = { m = 'x' }\n[router.policies.x]\nway = 'fixed'\ndeny = ['p', 'q']";
        assert!(of(nothing).contains("excludes every configured target"));
        assert_eq!(live.version(), 1);
    }
}
