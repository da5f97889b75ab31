//! Taking over what was changed in the configuration file, as a whole or not at all.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use crate::{Change, ConfigError, Document, Live, Shared, live::Next};

/// What all binaries read.
const COMMON: [&str; 7] = ["models", "tenants", "telemetry", "prices", "redis", "mesh", "embed"];

/// What a command line adds to each configuration before it is checked.
type Amend = Arc<dyn Fn(&mut Shared) + Send + Sync>;

/// Follows a configuration file, and the file of prices that it names.
pub struct Reloader {
    path: Option<PathBuf>,
    live: Live<Shared>,
    present: Document,
    /// The section of this process' service; `None`: it is all of them.
    own: Option<&'static str>,
    amend: Amend,
    seen: Changes,
    version: u64,
}

/// What came of looking.
#[derive(Debug)]
pub enum Reloaded {
    /// Nothing was changed.
    Unchanged,
    /// The file of prices was changed; the configuration stands.
    Prices,
    /// It took over.
    TookOver(TookOver),
    /// It is at fault; what runs stays. Said once for each change of the file.
    Refused(String),
}

/// A configuration that took over.
#[derive(Debug)]
pub struct TookOver {
    /// Counts the configurations of this process, from 1 at its start.
    pub version: u64,
    /// What changed and is in use.
    pub changes: Vec<Change>,
    /// What changed and waits for the next start.
    pub waiting: Vec<Change>,
    /// What is allowed, and hardly meant.
    pub warnings: Vec<String>,
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

impl Reloader {
    /// Begins to follow; `present` was read from `path`, and `live` from `present`. `own` is the section of the one service of this
    /// process; `None`: all run in it.
    #[must_use]
    pub fn new(
        path: Option<PathBuf>,
        present: Document,
        live: Live<Shared>,
        own: Option<&'static str>,
    ) -> Self {
        let seen = Changes::of(path.as_deref(), &live.load());
        Self { path, live, present, own, amend: Arc::new(|_| {}), seen, version: 1 }
    }

    /// Adds to each configuration what does not stand in the file.
    #[must_use]
    pub fn amend(mut self, amend: impl Fn(&mut Shared) + Send + Sync + 'static) -> Self {
        self.amend = Arc::new(amend);
        self
    }

    /// What all parts of this process share.
    #[must_use]
    pub fn live(&self) -> &Live<Shared> {
        &self.live
    }

    /// Counts the configurations of this process, from 1 at its start.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Looks whether a file was changed, and has it take over. With `anyway` it is read even if it seems unchanged. Reads files, which
    /// are small, on the calling thread. Not cancel safe: a change may be taken for known.
    pub async fn look(&mut self, anyway: bool) -> Reloaded {
        let now = Changes::of(self.path.as_deref(), &self.live.load());
        if now == self.seen && !anyway {
            return Reloaded::Unchanged;
        }
        let rewritten = now.config != self.seen.config || anyway;
        self.seen = now;
        let looked = match &self.path {
            Some(path) if rewritten => self.take_over(Document::load(Some(path))).await,
            _ => self.again().await,
        };
        // The file may name another file of prices now.
        self.seen = Changes::of(self.path.as_deref(), &self.live.load());
        looked.unwrap_or_else(Reloaded::Refused)
    }

    /// The same configuration once more, because prices are read anew by whoever computes with them.
    async fn again(&self) -> Result<Reloaded, String> {
        let next = Next { document: self.present.clone(), shared: Shared::clone(&self.live.load()) };
        self.live.take_over(next).await.map(|_| Reloaded::Prices)
    }

    async fn take_over(&mut self, read: Result<Document, ConfigError>) -> Result<Reloaded, String> {
        let said = |error: ConfigError| error.to_string();
        let document = read.map_err(said)?;
        let mut shared = document.shared().map_err(said)?;
        (self.amend)(&mut shared);
        let mut changes = self.present.changes(&document).map_err(said)?;
        changes.retain(|change| {
            let section = change.section();
            COMMON.contains(&section) || self.own.is_none_or(|own| own == section)
        });
        if changes.is_empty() {
            return Ok(Reloaded::Unchanged);
        }
        if shared.models.is_empty() && !self.live.load().models.is_empty() {
            return Err("the new configuration has no models at all; the file may have been read while it was written".into());
        }
        let next = Next { document: document.clone(), shared };
        let warnings = self.live.take_over(next).await?;
        self.present = document;
        self.version += 1;
        let (changes, waiting) = changes.into_iter().partition(Change::is_live);
        Ok(Reloaded::TookOver(TookOver { version: self.version, changes, waiting, warnings }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::live::Ready;

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

    fn said(reloaded: Reloaded) -> TookOver {
        match reloaded {
            Reloaded::TookOver(took) => took,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_file_takes_over_as_a_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("signalbox-reload-{}", std::process::id()));
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
        let document = Document::load(Some(&path)).unwrap();
        let live = Live::new(document.shared().unwrap());
        live.join(async |next| match next.shared.models.contains_key("bad") {
            true => Err("models.bad: no".to_owned()),
            false => Ok(Ready::default()),
        });
        let mut reloader = Reloader::new(Some(path.clone()), document, live.clone(), Some("guard"));
        assert!(matches!(reloader.look(false).await, Reloaded::Unchanged));
        assert!(matches!(reloader.look(true).await, Reloaded::Unchanged), "the same text changes nothing");

        write(&config(
            "7",
            "[models.other]\ntargets = [{ base_url = 'http://b/v1', model = 'o' }]\n[guard]\nlisten = ':1'\n[cache]\nlisten = ':2'",
        ));
        let took = said(reloader.look(false).await);
        assert_eq!((took.version, took.changes.len(), input(&live)), (2, 3, 7_000_000_000));
        assert_eq!(took.waiting.len(), 1, "the cache's section is another process': {:?}", took.waiting);
        assert_eq!(took.waiting[0].key, "guard.listen");

        for (text, why) in [
            ("[models.m]\ntargets = 7".to_owned(), "config.toml:2"),
            (
                config("9", "[models.bad]\ntargets = [{ base_url = 'http://b/v1', model = 'o' }]"),
                "models.bad: no",
            ),
            (String::new(), "no models at all"),
        ] {
            write(&text);
            let Reloaded::Refused(refused) = reloader.look(false).await else { panic!("{text} is refused") };
            assert!(refused.contains(why), "{refused}");
            assert!(matches!(reloader.look(false).await, Reloaded::Unchanged), "and is said once");
            assert_eq!((input(&live), live.version()), (7_000_000_000, 2));
        }

        let prices = folder.join("prices.toml");
        std::fs::write(&prices, "").unwrap();
        write(&config("7", &format!("[prices]\nfile = '{}'", prices.display())));
        assert_eq!(said(reloader.look(false).await).version, 3);
        let file = std::fs::File::options().write(true).open(&prices).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(9)).unwrap();
        assert!(matches!(reloader.look(false).await, Reloaded::Prices));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
