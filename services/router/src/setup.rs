//! A configuration that was checked against the catalog, with its rules compiled: what plans are made from, replaced as a whole.

use std::collections::BTreeMap;

use signalbox_catalog::Catalog;
use signalbox_config::Shared;

use crate::{
    config::{Config, Policy, Way},
    pattern::{covers, covers_target},
    rules::Rules,
};

/// What plans are made from.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) catalog: Catalog,
    pub(crate) config: Config,
    /// By policy; those without rules are left out.
    pub(crate) rules: BTreeMap<String, Rules>,
    /// Where requests may be answered, by tenant; those that may anywhere are left out.
    regions: BTreeMap<String, Vec<String>>,
}

impl Setup {
    /// Checks a configuration and compiles it. Nothing is replaced by one that fails: it can leave no alias without a candidate.
    ///
    /// # Errors
    /// A sentence that names the key and what to change.
    pub(crate) fn new(shared: &Shared, config: Config) -> Result<Self, String> {
        config.validate(shared.models.keys().map(String::as_str))?;
        let catalog = Catalog::new(shared);
        let mut rules = BTreeMap::new();
        for (name, policy) in &config.policies {
            let key = format!("router.policies.{name}");
            numbers(&key, policy)?;
            // Without any model there is nothing yet to compare with.
            if catalog.targets().next().is_some() {
                patterns(&key, policy, &catalog)?;
            }
            if !policy.rules.is_empty() {
                rules.insert(name.clone(), Rules::compile(&key, &policy.rules)?);
            }
        }
        experiments(&config, &catalog)?;
        for (alias, targets) in catalog.aliases() {
            if let Some(policy) = config.aliases.get(alias).and_then(|name| config.policies.get(name))
                && !targets.iter().any(|target| policy.admits(&target.id))
            {
                return Err(format!(
                    "router.aliases.{alias}: the policy excludes every target of the alias; change its allow or deny"
                ));
            }
        }
        let regions: BTreeMap<String, Vec<String>> = shared
            .tenants
            .iter()
            .filter(|(_, tenant)| !tenant.regions.is_empty())
            .map(|(name, tenant)| (name.clone(), tenant.regions.clone()))
            .collect();
        let nowhere = |regions: &Vec<String>| !catalog.targets().any(|target| target.within(regions));
        if catalog.targets().next().is_some()
            && let Some((tenant, regions)) = regions.iter().find(|(_, regions)| nowhere(regions))
        {
            return Err(format!(
                "tenants.{tenant}.regions: no configured target is in {}; give targets there their `region`",
                regions.join(", ")
            ));
        }
        Ok(Self { catalog, config, rules, regions })
    }

    /// Whether there is such an alias.
    pub(crate) fn has(&self, model: &str) -> bool {
        self.catalog.aliases().any(|(alias, _)| alias == model)
    }

    /// Where a tenant's requests may be answered; empty: anywhere.
    pub(crate) fn regions(&self, tenant: &str) -> &[String] {
        self.regions.get(tenant).map_or(&[], Vec::as_slice)
    }
}

impl Policy {
    /// Whether allow and deny let a target be used.
    pub(crate) fn admits(&self, target_id: &str) -> bool {
        let listed = |patterns: &[String]| patterns.iter().any(|pattern| covers_target(pattern, target_id));
        (self.allow.is_empty() || listed(&self.allow)) && !listed(&self.deny)
    }
}

fn numbers(key: &str, policy: &Policy) -> Result<(), String> {
    if !(0.0..=1.0).contains(&policy.quality) {
        return Err(format!(
            "{key}.quality is {}; give a share from 0 to 1, for example 0.95",
            policy.quality
        ));
    }
    let balance = policy.balance;
    if [balance.cost, balance.latency, balance.errors]
        .iter()
        .any(|weight| !weight.is_finite() || *weight < 0.0)
    {
        return Err(format!("{key}.balance has a weight below 0; give 0 for what does not count"));
    }
    let illegal = policy.weights.iter().find(|(_, weight)| !weight.is_finite() || **weight < 0.0);
    if let Some((pattern, weight)) = illegal {
        return Err(format!("{key}.weights: `{pattern}` has the weight {weight}; give 0 or more"));
    }
    policy.learn.validate(&format!("{key}.learn"))?;
    if policy.way == Way::Weighted && !policy.weights.values().any(|weight| *weight > 0.0) {
        return Err(format!(
            "{key} is weighted but has no weights; give them as weights = {{ \"provider/model\" = 3, … }}"
        ));
    }
    Ok(())
}

/// Experiments and shadows name what is there, and no arm leaves an alias without a candidate.
fn experiments(config: &Config, catalog: &Catalog) -> Result<(), String> {
    let empty = catalog.targets().next().is_none();
    let known = || catalog.targets().map(|target| target.id.as_str()).take(10).collect::<Vec<_>>().join(", ");
    let aliases = |key: &str, patterns: &[String]| {
        let named = |pattern: &&String| {
            covers(pattern, "auto") || catalog.aliases().any(|(alias, _)| covers(pattern, alias))
        };
        match patterns.iter().find(|pattern| !empty && !named(pattern)) {
            Some(pattern) => Err(format!("{key}.models names `{pattern}`, which is no configured alias")),
            None => Ok(()),
        }
    };
    for (name, experiment) in &config.experiments {
        let key = format!("router.experiments.{name}");
        experiment.validate(&key)?;
        aliases(&key, &experiment.models)?;
        for (at, arm) in experiment.arms.iter().enumerate() {
            let key = format!("{key}.arms[{at}]");
            if let Some(policy) = &arm.policy {
                config.known_policy(&format!("{key}.policy"), policy)?;
            }
            let named =
                |pattern: &&String| catalog.targets().any(|target| covers_target(pattern, &target.id));
            if let Some(pattern) = arm.targets.iter().find(|pattern| !empty && !named(pattern)) {
                return Err(format!(
                    "{key}.targets names `{pattern}`, which is no configured target; known: {}",
                    known()
                ));
            }
            for (alias, targets) in catalog.aliases() {
                let concerned = experiment.models.iter().any(|pattern| covers(pattern, alias));
                if let Some(policy) =
                    arm.policy.as_ref().filter(|_| concerned).and_then(|p| config.policies.get(p))
                    && !targets.iter().any(|target| policy.admits(&target.id))
                {
                    return Err(format!(
                        "{key}.policy excludes every target of the alias `{alias}`; change its allow or deny"
                    ));
                }
            }
        }
    }
    for (name, shadow) in &config.shadows {
        let key = format!("router.shadows.{name}");
        shadow.validate(&key)?;
        aliases(&key, &shadow.models)?;
        if !empty && catalog.target(&shadow.target).is_none() {
            return Err(format!(
                "{key}.target names `{}`, which is no configured target; known: {}",
                shadow.target,
                known()
            ));
        }
    }
    Ok(())
}

/// Every pattern names something that is configured, and something is left.
fn patterns(key: &str, policy: &Policy, catalog: &Catalog) -> Result<(), String> {
    let lists = [("allow", &policy.allow), ("deny", &policy.deny), ("small", &policy.small)];
    let named =
        lists.into_iter().flat_map(|(list, patterns)| patterns.iter().map(move |p| (list.to_owned(), p)));
    let named = named.chain(policy.weights.keys().map(|pattern| ("weights".to_owned(), pattern)));
    let rules = policy.rules.iter().enumerate();
    let named = named.chain(rules.flat_map(|(at, rule)| {
        rule.targets.iter().map(move |pattern| (format!("rules[{at}].targets"), pattern))
    }));
    for (list, pattern) in named {
        if !catalog.targets().any(|target| covers_target(pattern, &target.id)) {
            let known: Vec<&str> = catalog.targets().map(|target| target.id.as_str()).take(10).collect();
            return Err(format!(
                "{key}.{list} names `{pattern}`, which is no configured target; known: {}",
                known.join(", ")
            ));
        }
    }
    if let Some(at) = policy.rules.iter().position(|rule| rule.targets.is_empty()) {
        return Err(format!("{key}.rules[{at}].targets is empty; name the targets that go first"));
    }
    if !catalog.targets().any(|target| policy.admits(&target.id)) {
        return Err(format!("{key} excludes every configured target; change its allow or deny"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use signalbox_config::Document;

    use super::*;

    fn checked(section: &str) -> Result<(), String> {
        let text = format!(
            "[models.m]\ntargets = [{{ base_url = 'http://h/v1', model = 'a', provider = 'p' }},\n\
             {{ base_url = 'http://h/v1', model = 'b', provider = 'p' }}]\n\
             [models.n]\ntargets = [{{ base_url = 'http://h/v1', model = 'c', provider = 'q' }}]\n{section}"
        );
        let document = Document::parse(&text, "t").unwrap();
        Setup::new(&document.shared().unwrap(), document.section("router").unwrap()).map(drop)
    }

    #[test]
    fn a_policy_that_contradicts_itself_or_names_nothing_is_refused() {
        for (policy, told) in [
            ("way = 'fixed'\nallow = ['p/z']", "policies.x.allow names `p/z`"),
            ("way = 'fixed'\nallow = ['p']\ndeny = ['p/*']", "excludes every configured target"),
            ("way = 'weighted'", "has no weights"),
            ("way = 'weighted'\nweights = { 'p/a' = -1 }", "`p/a` has the weight -1"),
            ("way = 'weighted'\nweights = { 'z' = 1 }", "policies.x.weights names `z`"),
            ("way = 'complexity'\nquality = 95", "quality is 95"),
            ("way = 'learned'\nlearn = { least = 0.5, most = 0.2 }", "least is 0.5 and most 0.2"),
            ("way = 'learned'\nlearn = { memory = 1 }", "policies.x.learn.memory is 1"),
            ("way = 'balanced'\nbalance = { cost = -1 }", "weight below 0"),
            (
                "way = 'fixed'\nrules = [{ when = 'false', targets = ['p/a'] }]",
                "rules[0].when, line 1, column 1",
            ),
            ("way = 'fixed'\nrules = [{ when = 'true', targets = ['p/z'] }]", "rules[0].targets names `p/z`"),
            ("way = 'fixed'\nrules = [{ when = 'true', targets = [] }]", "rules[0].targets is empty"),
        ] {
            let error = checked(&format!("[router.policies.x]\n{policy}")).unwrap_err();
            assert!(error.contains(told), "{policy}: {error}");
        }
        checked("[router.policies.x]\nway = 'fixed'\nallow = ['p']\ndeny = ['p/a']").unwrap();
    }

    #[test]
    fn an_experiment_names_what_is_there_and_keeps_a_candidate() {
        let arms = |second: &str| {
            format!(
                "[router.experiments.x]\nmodels = ['m']\narms = [{{ name = 'a', weight = 1 }}, {{ {second} }}]"
            )
        };
        for (section, told) in [
            (arms("name = 'a', weight = 1"), "arms[1].name `a` is there twice"),
            (arms("name = 'b', weight = -1"), "arms[1].weight is -1"),
            (arms("name = 'b', weight = 1, targets = ['p/z']"), "arms[1].targets names `p/z`"),
            (arms("name = 'b', weight = 1, policy = 'z'"), "arms[1].policy names the policy `z`"),
            (
                arms("name = 'b', weight = 1, policy = 'q'")
                    + "\n[router.policies.q]\nway = 'fixed'\nallow = ['q']",
                "arms[1].policy excludes every target of the alias `m`",
            ),
            ("[router.experiments.x]\nmodels = ['m']\narms = []".into(), "fewer than two arms"),
            ("[router.shadows.x]\nmodels = ['z']\ntarget = 'p/a'\nshare = 0.1".into(), "models names `z`"),
            ("[router.shadows.x]\nmodels = ['m']\ntarget = 'p/z'\nshare = 0.1".into(), "target names `p/z`"),
            ("[router.shadows.x]\nmodels = ['m']\ntarget = 'p/a'\nshare = 5".into(), "share is 5"),
        ] {
            let error = checked(&section).unwrap_err();
            assert!(error.contains(told), "{section}: {error}");
        }
        checked(&arms("name = 'b', weight = 1, targets = ['q/c']")).unwrap();
    }

    #[test]
    fn a_tenant_has_a_target_in_its_regions() {
        let error = checked("[tenants.acme]\nregions = ['eu']").unwrap_err();
        assert!(error.starts_with("tenants.acme.regions: no configured target is in eu"), "{error}");
    }

    #[test]
    fn no_alias_is_left_without_a_candidate() {
        let policy = "[router.policies.x]\nway = 'fixed'\nallow = ['q']";
        let error = checked(&format!("[router]\naliases = {{ m = 'x' }}\n{policy}")).unwrap_err();
        assert!(error.starts_with("router.aliases.m:"), "{error}");
        checked(&format!("[router]\naliases = {{ n = 'x' }}\n{policy}")).unwrap();
    }
}
