//! A new configuration of the router takes over while it runs: only one that is valid, and under which nothing fails that did not.

use std::collections::VecDeque;

use parking_lot::Mutex;
use signalbox_config::{Live, Next, Ready};
use signalbox_mesh::Random;

use crate::{
    SECTION, config::Config, error::Error, learned::Learned, record::Asked, setup::Setup, stats::Stats,
};

/// Requests that a new policy is tried on.
const RECENT: usize = 256;

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
    for asked in recent.iter().filter(|asked| next.has(&asked.model) || !present.has(&asked.model)) {
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

/// Checks a configuration, and says what it would change.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(live: &Live<Setup>, recent: &Recent, next: &Next) -> Result<Ready, String> {
    let config: Config = next.document.section(SECTION).map_err(|error| error.to_string())?;
    let unused = unused(&config);
    let setup = Setup::new(&next.shared, config)?;
    let unused = unused.into_iter().chain(gone(&live.load(), &setup, recent)).collect::<Vec<_>>();
    let Tried { requests, elsewhere } = try_out(&live.load(), &setup, recent)?;
    if elsewhere > 0 {
        tracing::info!(
            requests,
            elsewhere,
            "of the recent requests so many would go elsewhere by the new configuration"
        );
    }
    let live = live.clone();
    Ok(Ready::with(move || live.swap(setup)).warn(unused))
}

/// Models that were asked for lately, and are not there any more: meant, it seems.
fn gone(present: &Setup, next: &Setup, recent: &Recent) -> Vec<String> {
    let recent = recent.0.lock();
    let asked: std::collections::BTreeSet<&str> = recent.iter().map(|asked| asked.model.as_str()).collect();
    let gone = asked.into_iter().filter(|model| present.has(model) && !next.has(model));
    gone.map(|model| format!("models.{model} is gone, and was asked for lately")).collect()
}

/// Policies that nothing names.
fn unused(config: &Config) -> Vec<String> {
    let named = |name: &String| {
        config.auto_policy == *name
            || config.aliases.values().any(|policy| policy == name)
            || config.experiments.values().any(|experiment| experiment.names(name))
    };
    let unused = config.policies.keys().filter(|name| !named(name));
    unused.map(|name| format!("router.policies.{name} is used by no alias and not by auto_policy")).collect()
}

#[cfg(test)]
mod tests {
    use signalbox_config::Document;
    use signalbox_proto::common::v1::{Attribution, RouteRecord};

    use super::*;

    const MODELS: &str = "[models.m]\ntargets = [{ base_url = 'http://h/v1', model = 'a', provider = 'p', context_window_tokens = 9000 },\n\
                          { base_url = 'http://h/v1', model = 'b', provider = 'q', context_window_tokens = 500 }]\n";

    fn next(text: &str) -> Next {
        let document = Document::parse(text, "t").unwrap();
        Next { shared: document.shared().unwrap(), document }
    }

    fn running(tokens: u64) -> (Live<Setup>, Recent) {
        let live = Live::new(Setup::new(&next(MODELS).shared, Config::default()).unwrap());
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
        (live, recent)
    }

    fn of(live: &Live<Setup>, recent: &Recent, section: &str) -> Result<Ready, String> {
        check(live, recent, &next(&format!("{MODELS}{section}")))
    }

    const ONLY_SMALL: &str =
        "[router]\naliases = { m = 'x' }\n[router.policies.x]\nway = 'fixed'\nallow = ['q']";

    #[test]
    fn a_policy_takes_over_and_tells_what_it_changes() {
        let (live, recent) = running(100);
        let only_small = format!("{MODELS}{ONLY_SMALL}");
        let setup =
            Setup::new(&next(&only_small).shared, next(&only_small).document.section(SECTION).unwrap());
        let tried = try_out(&live.load(), &setup.unwrap(), &recent).unwrap();
        assert_eq!(tried, Tried { requests: RECENT, elsewhere: RECENT });
        let ready = of(&live, &recent, ONLY_SMALL).unwrap();
        assert_eq!(live.version(), 1, "not before all parts have agreed");
        ready.take_over();
        assert_eq!(live.load().config.aliases["m"], "x");
    }

    #[test]
    fn one_under_which_recent_requests_fail_does_not() {
        let (live, recent) = running(1_000);
        let Err(error) = of(&live, &recent, ONLY_SMALL) else { panic!("it is refused") };
        assert!(error.contains("tenant acme for `m` would fail") && error.contains("1001 tokens"), "{error}");
    }

    #[test]
    fn what_is_hardly_meant_is_warned_of() {
        let (live, recent) = running(100);
        let other = "[models.other]\ntargets = [{ base_url = 'http://h/v1', model = 'a', provider = 'p' }]\n\
                     [router.policies.x]\nway = 'fixed'";
        let warnings = check(&live, &recent, &next(other)).unwrap().take_over();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("router.policies.x is used by no alias"), "{warnings:?}");
        assert!(warnings[1].contains("models.m is gone"), "{warnings:?}");
    }

    #[test]
    fn one_that_is_wrong_does_not_and_says_where() {
        let (live, recent) = running(100);
        let wrong = |section: &str| of(&live, &recent, section).err().unwrap();
        assert!(wrong("[router]\naliases = { m = 'z' }").contains("router.aliases.m"));
        assert!(wrong("[router]\nno_such_key = 1").contains("no_such_key"));
        let nothing =
            "[router]\naliases = { m = 'x' }\n[router.policies.x]\nway = 'fixed'\ndeny = ['p', 'q']";
        assert!(wrong(nothing).contains("excludes every configured target"));
    }
}
