//! The targets that can be asked, by id: the catalog's, made ready.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use signalbox_catalog::{Capability, Catalog, TargetInfo};
use signalbox_config::{Live, Shared};
use signalbox_mesh::Random;
use signalbox_wire::Dialect;
use signalbox_wire::bedrock::sign::{Keys, region};
use tokio::time::Instant;

use crate::config::ms;
use crate::error::Error;
use crate::target::{Base, Credential, Limits, Memory, Target};

/// Deployments by the id of their target.
pub(crate) type Known = BTreeMap<String, Vec<Arc<Target>>>;

/// Finds targets. Follows changes of the configuration; what is remembered of a target outlives them.
pub(crate) struct Targets {
    shared: Live<Shared>,
    present: ArcSwap<Snapshot>,
    changing: Mutex<()>,
}

struct Snapshot {
    version: u64,
    known: Arc<Known>,
}

impl Targets {
    /// Makes all targets ready.
    ///
    /// # Errors
    ///
    /// Names the target that cannot be asked as it is configured. A credential that is not there is none: other targets may
    /// do, and `ListTargets` tells.
    pub(crate) fn new(shared: Live<Shared>) -> Result<Self, Error> {
        let version = shared.version();
        let known = Arc::new(ready(&Catalog::new(&shared.load()), &Known::new())?);
        for target in known.values().flatten() {
            if let Credential::Missing(why) = &target.credential {
                tracing::warn!(target_id = %target.id, why, "a target has no credential and is not asked");
            }
        }
        let present = ArcSwap::from_pointee(Snapshot { version, known });
        Ok(Self { shared, present, changing: Mutex::new(()) })
    }

    /// Returns the deployments of a target, in the order in which they are to be asked: the first by the power of two choices,
    /// so that load spreads without a herd, then the others, the best first.
    pub(crate) fn choose(&self, id: &str, random: &Random, now: Instant) -> Option<Vec<Arc<Target>>> {
        let known = self.all();
        let deployments = known.get(id)?;
        if let [only] = deployments.as_slice() {
            return Some(vec![Arc::clone(only)]);
        }
        let mut rest: Vec<(f64, Arc<Target>)> =
            deployments.iter().map(|target| (target.burden(now), Arc::clone(target))).collect();
        let one = random.below(rest.len());
        let other = (one + 1 + random.below(rest.len() - 1)) % rest.len();
        let (_, first) = rest.swap_remove(if rest[one].0 <= rest[other].0 { one } else { other });
        rest.sort_by(|a, b| a.0.total_cmp(&b.0));
        Some([first].into_iter().chain(rest.into_iter().map(|(_, target)| target)).collect())
    }

    /// Returns all targets.
    pub(crate) fn all(&self) -> Arc<Known> {
        let present = self.present.load();
        if present.version == self.shared.version() {
            return Arc::clone(&present.known);
        }
        drop(present);
        self.follow()
    }

    /// Takes over a new configuration. One that cannot be used changes nothing, and is said once.
    fn follow(&self) -> Arc<Known> {
        let _one_at_a_time = self.changing.lock();
        let (present, version) = (self.present.load_full(), self.shared.version());
        if present.version == version {
            return Arc::clone(&present.known);
        }
        let known = match ready(&Catalog::new(&self.shared.load()), &present.known) {
            Ok(known) => Arc::new(known),
            Err(error) => {
                tracing::error!(%error, "the new configuration is not used");
                Arc::clone(&present.known)
            }
        };
        self.present.store(Arc::new(Snapshot { version, known: Arc::clone(&known) }));
        known
    }
}

/// Checks the targets of a configuration.
///
/// # Errors
/// As [`Targets::new`].
pub(crate) fn check(shared: &Shared) -> Result<(), Error> {
    ready(&Catalog::new(shared), &Known::new()).map(drop)
}

fn ready(catalog: &Catalog, before: &Known) -> Result<Known, Error> {
    let mut known = Known::new();
    for info in catalog.targets() {
        let mut deployments = Vec::new();
        for deployment in info.deployments() {
            let place = (deployment.base_url.as_str(), deployment.credential_source());
            let same = |target: &&Arc<Target>| {
                (target.base_url.as_str(), &target.credential_source) == (place.0, &place.1)
            };
            let memory = match before.get(&info.id).and_then(|known| known.iter().find(same)) {
                Some(target) => Arc::clone(&target.memory),
                None => Arc::new(Memory::default()),
            };
            deployments.push(Arc::new(target(deployment, memory)?));
        }
        known.insert(info.id.clone(), deployments);
    }
    Ok(known)
}

fn target(info: &TargetInfo, memory: Arc<Memory>) -> Result<Target, Error> {
    let at_fault = |problem: String| Error::Target { id: info.id.clone(), problem };
    let dialect = match info.dialect {
        signalbox_config::Dialect::Openai => Dialect::OpenAi,
        signalbox_config::Dialect::OpenaiResponses => Dialect::Responses,
        signalbox_config::Dialect::Azure => Dialect::Azure,
        signalbox_config::Dialect::AzureV1 => Dialect::AzureV1,
        signalbox_config::Dialect::AzureResponses => Dialect::AzureResponses,
        signalbox_config::Dialect::Anthropic => Dialect::Anthropic,
        signalbox_config::Dialect::Gemini => Dialect::Gemini,
        signalbox_config::Dialect::Vertex => Dialect::Vertex,
        signalbox_config::Dialect::Bedrock => Dialect::Bedrock,
        signalbox_config::Dialect::Cohere => Dialect::Cohere,
    };
    let base = Base::parse(&info.base_url).map_err(|e| at_fault(format!("base_url: {e}")))?;
    let credential = match info.secret() {
        Ok(None) => Credential::None,
        Ok(Some(secret)) => credential(dialect, secret.expose(), &base).map_err(at_fault)?,
        Err(why) => Credential::Missing(why.to_string()),
    };
    Ok(Target {
        base,
        id: info.id.clone(),
        provider: info.provider.clone(),
        model: info.model.clone(),
        dialect,
        credential,
        window: (info.context_window > 0).then_some(info.context_window),
        reasoning: info.capabilities.contains(&Capability::Reasoning),
        streams: info.streams,
        limits: Limits {
            first_output: info.limits.first_output_ms.map(ms),
            idle: info.limits.idle_ms.map(ms),
            total: info.limits.total_ms.map(ms),
        },
        max_in_flight: info.max_in_flight,
        weight: info.weight.max(1),
        base_url: info.base_url.clone(),
        credential_source: info.credential_source(),
        price: info.price,
        memory,
    })
}

/// Makes a secret ready to be sent, or to sign with.
fn credential(dialect: Dialect, secret: &str, base: &Base) -> Result<Credential, String> {
    if dialect == Dialect::Bedrock
        && let Some(keys) = Keys::from_text(secret)
    {
        let region = region(&base.host).ok_or_else(|| {
            "base_url: must name the region, as in https://bedrock-runtime.us-east-1.amazonaws.com".to_owned()
        })?;
        let hidden = secret.split(':').nth(1).unwrap_or(secret);
        return Ok(Credential::Aws(Box::new(keys), region.into(), hidden.into()));
    }
    let (name, value) = dialect.credential(secret).map_err(|e| e.to_string())?;
    Ok(Credential::Header(name, value, secret.into()))
}

#[cfg(test)]
mod tests {
    use signalbox_config::Document;

    use super::*;

    fn shared(text: &str) -> Shared {
        Document::parse(text, "test").unwrap().shared().unwrap()
    }

    const ONE: &str = "[models.a]
        targets = [{ base_url = 'http://127.0.0.1:1/v1', provider = 'lab', model = 'one' },
                   { base_url = 'https://api.openai.com/v1', model = 'o3', api_key_env = 'SURELY_UNSET', context_window_tokens = 7 }]";

    #[test]
    fn targets_are_made_ready_and_a_missing_key_is_no_error() {
        let targets = Targets::new(Live::new(shared(ONE))).unwrap();
        let find = |id: &str| {
            targets.choose(id, &Random::seeded(1), Instant::now()).map(|mut found| found.remove(0))
        };
        let one = find("lab/one").unwrap();
        assert!(matches!(one.credential, Credential::None) && !one.reasoning);
        let o3 = find("openai/o3").unwrap();
        assert!(matches!(&o3.credential, Credential::Missing(why) if why.contains("SURELY_UNSET")));
        assert!(o3.reasoning && o3.window == Some(7) && o3.price.is_some());
        assert!(find("lab/two").is_none());
    }

    #[test]
    fn a_change_is_followed_and_what_is_remembered_stays() {
        let live = Live::new(shared(ONE));
        let targets = Targets::new(live.clone()).unwrap();
        let memory = Arc::clone(&targets.all()["lab/one"][0].memory);
        live.swap(shared(
            "[models.a]\ntargets = [{ base_url = 'http://127.0.0.1:1/v1', provider = 'lab', model = 'one', weight = 2 }]",
        ));
        let changed = Arc::clone(&targets.all()["lab/one"][0]);
        assert_eq!(changed.base.host, "127.0.0.1:1");
        assert!(Arc::ptr_eq(&changed.memory, &memory));
        assert!(!targets.all().contains_key("openai/o3"));
    }

    #[test]
    fn an_address_that_cannot_be_asked_is_named() {
        let text =
            "[models.a]\ntargets = [{ base_url = 'http://me:secret@host/v1', provider = 'p', model = 'm' }]";
        let error = Targets::new(Live::new(shared(text))).err().unwrap().to_string();
        assert!(error.starts_with("p/m: base_url: ") && !error.contains("secret"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn deployments_share_the_load_by_weight_and_what_is_under_way() {
        let text = "[models.a]
            targets = [{ base_url = 'http://127.0.0.1:1/v1', provider = 'lab', model = 'm' },
                       { base_url = 'http://127.0.0.1:2/v1', provider = 'lab', model = 'm', weight = 3 },
                       { base_url = 'http://127.0.0.1:3/v1', provider = 'lab', model = 'm' }]";
        let targets = Targets::new(Live::new(shared(text))).unwrap();
        let random = Random::seeded(3);
        let mut held = Vec::new();
        let mut shares = BTreeMap::<String, u32>::new();
        for _ in 0..500 {
            let order = targets.choose("lab/m", &random, Instant::now()).unwrap();
            assert_eq!(order.len(), 3, "the others stand by");
            *shares.entry(order[0].base.host.clone()).or_default() += 1;
            held.push(order[0].memory.stats.begin(usize::MAX).unwrap());
        }
        let shares: Vec<u32> = shares.into_values().collect();
        assert!((80..120).contains(&shares[0]) && (280..320).contains(&shares[1]), "{shares:?}");

        let empty = http::HeaderMap::from_iter([(
            http::HeaderName::from_static("x-ratelimit-remaining-requests"),
            http::HeaderValue::from_static("0"),
        )]);
        drop(held);
        targets.all()["lab/m"][1].memory.stats.headroom(&empty, Instant::now());
        for _ in 0..50 {
            let order = targets.choose("lab/m", &random, Instant::now()).unwrap();
            assert_eq!(order[2].base.host, "127.0.0.1:2", "no headroom: last");
        }
        tokio::time::advance(std::time::Duration::from_secs(60)).await;
        let again = (0..50).any(|_| targets.choose("lab/m", &random, Instant::now()).unwrap()[0].weight == 3);
        assert!(again, "old news is no news");
    }
}
