//! A request's own wishes, in its headers: what the dialects have no field for.

use std::collections::HashMap;

use axum::http::HeaderMap;
use signalbox_mesh::error;
use signalbox_proto::common::v1::{
    Attribution, CachePolicy, Policies, RescuePolicy, RoutePolicy, cache_policy::Mode, rescue_policy,
};
use tonic::Status;

const CACHE: &str = "x-signalbox-cache";
const FEATURE: &str = "x-signalbox-feature";
const TAGS: &str = "x-signalbox-tags";
const RESCUE: &str = "x-signalbox-rescue";
const ROUTE: &str = "x-signalbox-route";
const USER: &str = "x-signalbox-user";
const CONVERSATION: &str = "x-signalbox-conversation";
const KNOWN: [&str; 7] = [CACHE, FEATURE, TAGS, RESCUE, ROUTE, USER, CONVERSATION];
const PREFIX: &str = "x-signalbox-";

/// What a request's headers ask for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Options {
    pub(super) attribution: Option<Attribution>,
    pub(super) policies: Option<Policies>,
    pub(super) client_request_id: Option<String>,
    pub(super) idempotency_key: Option<String>,
}

/// Reads the options.
///
/// # Errors
/// Names the header and what it may say; also for a header of ours that does not exist, which is mostly a slip.
pub(super) fn read(headers: &HeaderMap) -> Result<Options, Status> {
    let unknown =
        headers.keys().find(|name| name.as_str().starts_with(PREFIX) && !KNOWN.contains(&name.as_str()));
    if let Some(name) = unknown {
        return Err(error::invalid(name.as_str(), format!("is no option; there are {}", KNOWN.join(", "))));
    }
    let policies = Policies {
        cache: text(headers, CACHE)?.map(cache).transpose()?,
        rescue: text(headers, RESCUE)?.map(rescue).transpose()?,
        route: text(headers, ROUTE)?
            .map(|name| RoutePolicy { name: Some(name.to_owned()), ..RoutePolicy::default() }),
        ..Policies::default()
    };
    let owned = |name| text(headers, name).map(|value| value.map(str::to_owned));
    let attribution = Attribution {
        user: owned(USER)?,
        feature: owned(FEATURE)?,
        tags: text(headers, TAGS)?.map(tags).transpose()?.unwrap_or_default(),
        conversation_id: owned(CONVERSATION)?,
    };
    Ok(Options {
        attribution: (attribution != Attribution::default()).then_some(attribution),
        policies: (policies != Policies::default()).then_some(policies),
        client_request_id: owned("x-request-id")?,
        idempotency_key: owned("idempotency-key")?,
    })
}

/// A header's text, trimmed; an empty one is none.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Status> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text =
        std::str::from_utf8(value.as_bytes()).map_err(|_| error::invalid(name, "is not UTF-8 text"))?.trim();
    Ok((!text.is_empty()).then_some(text))
}

fn cache(words: &str) -> Result<CachePolicy, Status> {
    let mut policy = CachePolicy::default();
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let seconds = |value: &str| value.trim().parse::<u64>().ok().and_then(|s| s.checked_mul(1_000));
        match word.split_once('=') {
            Some(("max-age", value)) if seconds(value).is_some() => policy.max_age_ms = seconds(value),
            Some(("ttl", value)) if seconds(value).is_some() => policy.ttl_ms = seconds(value),
            Some(("tag", value)) => policy.tags.push(value.trim().to_owned()),
            None if word == "exact" => policy.semantic = Some(false),
            None => policy.set_mode(mode(word).ok_or_else(wrong_cache)?),
            Some(_) => return Err(wrong_cache()),
        }
    }
    Ok(policy)
}

fn mode(word: &str) -> Option<Mode> {
    Some(match word {
        "on" => Mode::On,
        "off" => Mode::Off,
        "read" => Mode::Read,
        "write" => Mode::Write,
        "refresh" => Mode::Refresh,
        "only-if-cached" => Mode::OnlyIfCached,
        _ => return None,
    })
}

fn wrong_cache() -> Status {
    let words = "say on, off, read, write, refresh or only-if-cached, and where wanted exact, max-age=SECONDS, ttl=SECONDS, \
                 tag=LABEL, between commas";
    error::invalid(CACHE, words)
}

fn rescue(word: &str) -> Result<RescuePolicy, Status> {
    let mut policy = RescuePolicy::default();
    policy.set_mode(match word {
        "continue" => rescue_policy::Mode::Continue,
        "restart" => rescue_policy::Mode::Restart,
        "none" => rescue_policy::Mode::None,
        _ => return Err(error::invalid(RESCUE, "say continue, restart or none")),
    });
    Ok(policy)
}

fn tags(list: &str) -> Result<HashMap<String, String>, Status> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
    };
    let pairs = list.split(',').filter(|word| !word.trim().is_empty()).map(pair);
    pairs.collect::<Option<_>>().ok_or_else(|| error::invalid(TAGS, "give name=value pairs between commas"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &str)]) -> Result<Options, Status> {
        let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        read(&headers.collect())
    }

    #[test]
    fn headers_become_policies_and_attribution() {
        let options = of(&[
            (CACHE, "refresh, max-age=60, exact, tag=faq"),
            (FEATURE, "search"),
            (TAGS, "team=a, stage = test"),
            (RESCUE, "none"),
            (ROUTE, "cheap"),
            ("x-request-id", "mine"),
        ])
        .unwrap();
        let policies = options.policies.unwrap();
        let cache = policies.cache.unwrap();
        assert_eq!(
            (cache.mode(), cache.max_age_ms, cache.semantic),
            (Mode::Refresh, Some(60_000), Some(false))
        );
        assert_eq!(cache.tags, ["faq"]);
        assert_eq!(policies.rescue.unwrap().mode(), rescue_policy::Mode::None);
        assert_eq!(policies.route.unwrap().name.as_deref(), Some("cheap"));
        let attribution = options.attribution.unwrap();
        assert_eq!(
            (attribution.feature.as_deref(), attribution.tags["stage"].as_str()),
            (Some("search"), "test")
        );
        assert_eq!(options.client_request_id.as_deref(), Some("mine"));
        assert_eq!(of(&[]).unwrap(), Options::default());
    }

    #[test]
    fn a_wrong_value_is_refused_by_name() {
        for (name, value) in [
            (CACHE, "maybe"),
            (CACHE, "max-age=soon"),
            (RESCUE, "always"),
            (TAGS, "team"),
            ("x-signalbox-cahce", "off"),
        ] {
            let status = of(&[(name, value)]).unwrap_err();
            assert!(status.message().starts_with(name), "{status:?}");
        }
    }
}
