//! The targets that can be asked, by id: the catalog's, made ready.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use signalbox_catalog::{Capability, Catalog, TargetInfo};
use signalbox_config::{Live, Shared};
use signalbox_wire::Dialect;

use crate::error::Error;
use crate::target::{Base, Credential, Limits, Memory, Target};

/// Targets by id.
pub(crate) type Known = BTreeMap<String, Arc<Target>>;

/// Finds targets. Follows changes of the configuration; what is remembered of a target outlives them.
pub(crate) struct Targets {
    shared: Live<Shared>,
    places: usize,
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
    pub(crate) fn new(shared: Live<Shared>, places: usize) -> Result<Self, Error> {
        let version = shared.version();
        let known = Arc::new(ready(&Catalog::new(&shared.load()), &Known::new(), places)?);
        for target in known.values() {
            if let Credential::Missing(why) = &target.credential {
                tracing::warn!(target_id = %target.id, why, "a target has no credential and is not asked");
            }
        }
        let present = ArcSwap::from_pointee(Snapshot { version, known });
        Ok(Self { shared, places, present, changing: Mutex::new(()) })
    }

    /// Returns a target by its id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Target>> {
        self.all().get(id).cloned()
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
        let known = match ready(&Catalog::new(&self.shared.load()), &present.known, self.places) {
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

fn ready(catalog: &Catalog, before: &Known, places: usize) -> Result<Known, Error> {
    let mut known = Known::new();
    for info in catalog.targets() {
        let memory = match before.get(&info.id) {
            Some(target) => Arc::clone(&target.memory),
            None => Arc::new(Memory::new(places)),
        };
        known.insert(info.id.clone(), Arc::new(target(info, memory)?));
    }
    Ok(known)
}

fn target(info: &TargetInfo, memory: Arc<Memory>) -> Result<Target, Error> {
    let at_fault = |problem: String| Error::Target { id: info.id.clone(), problem };
    let dialect = match info.dialect {
        signalbox_config::Dialect::Openai => Dialect::OpenAi,
    };
    let credential = match info.secret() {
        Ok(None) => Credential::None,
        Ok(Some(secret)) => {
            let (name, value) = dialect.credential(secret.expose()).map_err(|e| at_fault(e.to_string()))?;
            Credential::Header(name, value, secret.expose().into())
        }
        Err(why) => Credential::Missing(why.to_string()),
    };
    Ok(Target {
        base: Base::parse(&info.base_url).map_err(|e| at_fault(format!("base_url: {e}")))?,
        id: info.id.clone(),
        provider: info.provider.clone(),
        model: info.model.clone(),
        dialect,
        credential,
        window: (info.context_window > 0).then_some(info.context_window),
        reasoning: info.capabilities.contains(&Capability::Reasoning),
        limits: Limits::default(),
        price: info.price,
        memory,
    })
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
        let targets = Targets::new(Live::new(shared(ONE)), 10).unwrap();
        let one = targets.find("lab/one").unwrap();
        assert!(matches!(one.credential, Credential::None) && !one.reasoning);
        let o3 = targets.find("openai/o3").unwrap();
        assert!(matches!(&o3.credential, Credential::Missing(why) if why.contains("SURELY_UNSET")));
        assert!(o3.reasoning && o3.window == Some(7) && o3.price.is_some());
        assert!(targets.find("lab/two").is_none());
    }

    #[test]
    fn a_change_is_followed_and_what_is_remembered_stays() {
        let live = Live::new(shared(ONE));
        let targets = Targets::new(live.clone(), 10).unwrap();
        let memory = Arc::clone(&targets.find("lab/one").unwrap().memory);
        live.swap(shared(
            "[models.a]\ntargets = [{ base_url = 'http://127.0.0.1:2/v1', provider = 'lab', model = 'one' }]",
        ));
        let changed = targets.find("lab/one").unwrap();
        assert_eq!(changed.base.host, "127.0.0.1:2");
        assert!(Arc::ptr_eq(&changed.memory, &memory));
        assert!(targets.find("openai/o3").is_none());
    }

    #[test]
    fn an_address_that_cannot_be_asked_is_named() {
        let text =
            "[models.a]\ntargets = [{ base_url = 'http://me:secret@host/v1', provider = 'p', model = 'm' }]";
        let error = Targets::new(Live::new(shared(text)), 10).err().unwrap().to_string();
        assert!(error.starts_with("p/m: base_url: ") && !error.contains("secret"), "{error}");
    }
}
