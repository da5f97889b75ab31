//! Prices that change while the process runs: those of the configuration file, and those of the file that it names.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{ConfigError, Document, Live, Shared};

/// Looks at the files in which prices stand.
///
/// Only prices are taken over: what a target's `price` says, and the section `[prices]`. All else in the file is as it was at the
/// start, so that no service knows a model that another does not.
#[derive(Debug)]
pub struct PriceWatch {
    config: Option<PathBuf>,
    seen: Changes,
}

/// When the files were changed last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Changes {
    config: Option<SystemTime>,
    prices: Option<SystemTime>,
}

impl Changes {
    fn of(config: Option<&Path>, shared: &Shared) -> Self {
        let changed = |path: &Path| std::fs::metadata(path).ok()?.modified().ok();
        Self { config: config.and_then(changed), prices: shared.prices.file.as_deref().and_then(changed) }
    }
}

impl PriceWatch {
    /// Begins to watch; `config` is the file from which `shared` was read, if there is one.
    #[must_use]
    pub fn new(config: Option<PathBuf>, shared: &Shared) -> Self {
        let seen = Changes::of(config.as_deref(), shared);
        Self { config, seen }
    }

    /// Looks again, and sets the prices if a file was changed: true. Reads files, so it blocks.
    ///
    /// # Errors
    /// The configuration file cannot be used; prices stay as they were, and it is not said again before the file changes.
    pub fn look(&mut self, live: &Live<Shared>) -> Result<bool, ConfigError> {
        let present = live.load();
        let now = Changes::of(self.config.as_deref(), &present);
        if now == self.seen {
            return Ok(false);
        }
        let rewritten = now.config != self.seen.config;
        self.seen = now;
        let mut next = Shared::clone(&present);
        if let Some(config) = self.config.as_deref().filter(|_| rewritten) {
            next.take_prices(&Document::load(Some(config))?.shared()?);
        }
        // The file may name another file of prices now.
        self.seen = Changes::of(self.config.as_deref(), &next);
        live.swap(next);
        Ok(true)
    }
}

impl Shared {
    /// Takes over the prices of another configuration, for the targets that both have.
    fn take_prices(&mut self, other: &Self) {
        self.prices.clone_from(&other.prices);
        for (alias, model) in &mut self.models {
            let theirs = other.models.get(alias).map_or(&[][..], |model| &model.targets);
            for target in &mut model.targets {
                let same = |other: &&crate::Target| {
                    (&other.base_url, &other.model, &other.provider)
                        == (&target.base_url, &target.model, &target.provider)
                };
                if let Some(theirs) = theirs.iter().find(same) {
                    target.price.clone_from(&theirs.price);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn config(input: &str, more: &str) -> String {
        format!(
            "[models.m]\ntargets = [{{ base_url = 'http://b/v1', model = 'm', provider = 'p',
             price = {{ input_usd_per_mtok = '{input}', output_usd_per_mtok = '2' }} }}]\n{more}"
        )
    }

    fn input(live: &Live<Shared>) -> i64 {
        let shared = live.load();
        shared.models["m"].targets[0].price.as_ref().unwrap().input_usd_per_mtok.nanousd()
    }

    #[test]
    fn new_prices_are_taken_over_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("signalbox-prices-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("config.toml");
        let mut age = 1_000_000;
        let mut write = |text: &str| {
            std::fs::write(&path, text).unwrap();
            age += 1;
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(age)).unwrap();
        };
        write(&config("1", ""));
        let live = Live::new(Document::load(Some(&path)).unwrap().shared().unwrap());
        let mut watch = PriceWatch::new(Some(path.clone()), &live.load());
        assert!(!watch.look(&live).unwrap());
        write(&config("7", "[models.other]\ntargets = [{ base_url = 'http://b/v1', model = 'o' }]"));
        assert!(watch.look(&live).unwrap());
        assert_eq!((input(&live), live.load().models.len(), live.version()), (7_000_000_000, 1, 2));
        write("[models.m]\ntargets = 7");
        assert!(watch.look(&live).is_err(), "what cannot be read changes nothing");
        assert!(!watch.look(&live).unwrap(), "and is said once");
        assert_eq!((input(&live), live.version()), (7_000_000_000, 2));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
