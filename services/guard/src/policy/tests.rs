use signalbox_proto::common::v1::GuardPolicy;

use super::*;
use crate::Config;

fn section(text: &str) -> Result<Config, String> {
    let document = signalbox_config::Document::parse(text, "f.toml").map_err(|error| error.to_string())?;
    document.section("guard").map_err(|error| error.to_string())
}

fn compile(text: &str) -> Result<Policies, String> {
    Policies::compile(&section(&format!("[guard.policies.own]\n{text}"))?.policies)
}

fn at(id: &str) -> usize {
    CATALOG.iter().position(|known| known.id == id).unwrap()
}

#[test]
fn groups_single_detectors_and_sources_are_set() {
    let policies = compile(
        "prompt = { 'pii.email' = 'block', pii = 'allow' }\n\
         tool = { 'pii.phone' = { action = 'flag', threshold = 0.7 } }",
    )
    .unwrap();
    let own = policies.get("own").unwrap();
    let action = |source, id: &str| own.prompt(source, at(id)).of(1.0, 0.5);
    assert_eq!(action(Source::User, "pii.email"), Action::Block);
    assert_eq!(action(Source::User, "pii.phone"), Action::Allow);
    assert_eq!(action(Source::Tool, "pii.phone"), Action::Flag);
    assert_eq!(own.prompt(Source::Tool, at("pii.phone")).of(0.6, 0.5), Action::Allow);
    assert_eq!(action(Source::System, "secret.jwt"), Action::Redact);
    assert_ne!(own.digest(), policies.get("").unwrap().digest());
}

#[test]
fn locales_are_chosen_in_the_policy() {
    let policies = compile("locales = ['DE', 'at']").unwrap();
    assert_eq!(policies.get("own").unwrap().locales, Locales::of(["at", "de"]));
    assert_eq!(policies.get("").unwrap().locales, Locales::ALL);
}

#[test]
fn faults_are_named_with_their_line_and_column() {
    let refused = |text: &str, place: &str, words: &str| {
        let error = compile(text).unwrap_err();
        assert!(error.starts_with(&format!("f.toml:{place}")), "{text}: {error}");
        assert!(error.contains(words), "{text}: {error}");
    };
    refused("prompt = { 'pii.mail' = 'block' }", "2:12: [guard] names the detector `pii.mail`", "known: ");
    refused("base = 'lax'", "2:8:", "`lax`");
    refused("prompt = { injection = 'redact' }", "2:24:", "cannot be redacted");
    refused("output = { injection = 'block' }", "2:12:", "does not exist for answers");
    refused("prompt = { pii = { action = 'block', threshold = 7 } }", "2:", "between 0 and 1");
    refused("patterns = [{ name = 'x', pattern = '(' }]", "2:37:", "not a regular expression");
    refused("patterns = [{ name = 'x', pattern = 'a*' }]", "2:37:", "empty text");
    refused("patterns = [{ name = 'x' }]", "1:", "needs either pattern or words");
    refused("allow = ['a*b']", "1:", "at the ends only");
    refused("locales = ['de', 'xx']", "2:", "`xx` is no country whose numbers are known; known: at, au");
    refused(
        "topics = [{ name = 'x', examples = ['a'], sources = ['output'] }]",
        "1:",
        "needs `whole_answers",
    );
    refused("shadw = true", "2:1:", "did you mean `shadow`");
    let missing = compile("requests = { policies = ['none'] }").unwrap_err();
    assert!(missing.contains("own.requests.policies names `none`"), "{missing}");
}

#[test]
fn shadow_reports_only_and_has_a_digest_of_its_own() {
    let policies = compile("shadow = true").unwrap();
    let own = policies.get("own").unwrap();
    for known in 0..CATALOG.len() {
        assert!(own.prompt(Source::User, known).of(1.0, 0.5) <= Action::Flag);
        assert!(own.output(known).of(1.0, 0.5) <= Action::Flag);
    }
    assert_ne!(own.digest(), policies.get("default").unwrap().digest());
}

#[test]
fn requests_may_ask_for_what_the_tenants_policy_allows() {
    let policies = compile("requests = { policies = ['off'], shadow = true }").unwrap();
    let wish = |name: Option<&str>, shadow| GuardPolicy { name: name.map(str::to_owned), shadow };
    let of =
        |tenants, wished: &GuardPolicy| policies.of(tenants, Some(wished)).map(|policy| policy.name.clone());
    assert_eq!(of("own", &wish(Some("off"), false)), Ok("off".into()));
    assert_eq!(of("own", &wish(Some("own"), true)), Ok("own".into()));
    assert!(matches!(of("own", &wish(Some("strict"), false)), Err(Refused::NotAllowed(_))));
    assert!(matches!(of("", &wish(Some("off"), false)), Err(Refused::NotAllowed(_))));
    assert!(matches!(of("", &wish(None, true)), Err(Refused::NotAllowed(_))));
    let shadowed = policies.of("own", Some(&wish(None, true))).unwrap();
    assert_eq!(shadowed.prompt(Source::User, at("pii.email")).of(1.0, 0.5), Action::Flag);
    assert_eq!(policies.of("gone", None).map(|_| ()), Err(Refused::Unknown("gone".into())));
}

#[test]
fn own_patterns_and_lists_are_found_where_they_apply() {
    let policies = compile(
        "deny = ['Project Nightjar']\n\
         patterns = [{ name = 'ticket', pattern = '\\bTK-[0-9]{4,8}\\b', sources = ['user'], case_sensitive = true },\n\
         { name = 'bird', words = ['kea', 'kakapo'], action = 'flag' }]",
    )
    .unwrap();
    let own = policies.get("own").unwrap();
    let found = |source, text: &str| -> Vec<(String, String)> {
        let patterns = own.own(source).unwrap();
        let id = |hit: &regex_automata::Match| patterns.entries[hit.pattern().as_usize()].id.clone();
        patterns.automaton.find_iter(text).map(|hit| (id(&hit), text[hit.range()].to_owned())).collect()
    };
    let text = "PROJECT  nightjar, TK-12345, tk-12345, keas, kea";
    let expected = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    assert_eq!(
        found(Source::User, text),
        expected(&[("own.deny", "PROJECT  nightjar"), ("own.ticket", "TK-12345"), ("own.bird", "kea")])
    );
    assert_eq!(
        found(Source::Tool, text),
        expected(&[("own.deny", "PROJECT  nightjar"), ("own.bird", "kea")])
    );
    assert!(own.own_output().is_some());
}

#[test]
fn tools_and_values_are_allowed_and_denied_by_name() {
    let policies =
        compile("allow = ['*@example.com']\nallow_tools = ['get_*', 'set_x']\ndeny_tools = ['get_secret']")
            .unwrap();
    let own = policies.get("own").unwrap();
    assert!(own.allows("Info@Example.com") && !own.allows("a@example.org"));
    assert_eq!(own.tool("get_weather", &[]), None);
    assert_eq!(own.tool("get_weather", &["other".into()]), Some(catalog::UNDECLARED));
    assert_eq!(own.tool("get_secret", &[]), Some(catalog::DENIED));
    assert_eq!(own.tool("drop_table", &[]), Some(catalog::DENIED));
}

#[test]
fn the_example_of_the_manual_is_valid() {
    let manual = include_str!("../../../../docs/guard.md");
    let example = manual.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = section(example).unwrap();
    config.validate().unwrap();
    let support = &config.policies["support"];
    assert_eq!(
        (support.patterns.len(), support.topics.len(), support.validate.structured),
        (2, 1, OnInvalid::Retry)
    );
}
