//! The names of things in Redis. All of an entry share a hash slot, and all of a tenant's index share one.

use crate::{canonical::Digest, entry::EntryId};

/// Makes keys that begin with a prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: format!("{prefix}:cache") }
    }

    pub(super) fn entry(&self, key: Digest) -> String {
        self.of(key, "entry")
    }

    /// What was judged of the entry's hits.
    pub(super) fn judged(&self, key: Digest) -> String {
        self.of(key, "judged")
    }

    pub(super) fn lease(&self, key: Digest) -> String {
        self.of(key, "lease")
    }

    /// Which flight there is.
    pub(super) fn flight(&self, key: Digest) -> String {
        self.of(key, "flight")
    }

    /// The recording of a flight: a stream.
    pub(super) fn events(&self, key: Digest, flight: EntryId) -> String {
        self.of(key, &format!("events:{flight}"))
    }

    /// Replicas that follow, with the time until which they do.
    pub(super) fn watchers(&self, key: Digest) -> String {
        self.of(key, "watchers")
    }

    /// An entry that must not be kept any more.
    pub(super) fn tombstone(&self, key: Digest, id: EntryId) -> String {
        self.of(key, &format!("dead:{id}"))
    }

    /// What a replica listens to is this and its name.
    pub(super) fn channel(&self) -> String {
        format!("{}:wake:", self.prefix)
    }

    pub(super) fn index(&self, tenant: &str) -> Index {
        // Hashed, so that no name can leave its braces.
        let tenant = blake3::hash(tenant.as_bytes()).to_hex();
        let name = |what: &str| format!("{}:{{t:{}}}:{what}", self.prefix, &tenant[..32]);
        Index {
            ids: name("ids"),
            ends: name("ends"),
            labels: name("labels"),
            about: name("about"),
            covers: name("covers"),
        }
    }

    fn of(&self, key: Digest, what: &str) -> String {
        format!("{}:{{{key:x}}}:{what}", self.prefix)
    }
}

/// A tenant's index.
pub(super) struct Index {
    /// Entry id to key, weight and labels.
    pub(super) ids: String,
    /// Entry ids by the time at which they end.
    pub(super) ends: String,
    /// Label and entry id, in order.
    pub(super) labels: String,
    /// Bytes, and the epoch.
    pub(super) about: String,
    /// The last invalidations, the newest first.
    pub(super) covers: String,
}

/// A label's form in the index: of one length, whatever it holds.
pub(super) fn label(kind: char, name: &str) -> String {
    format!("{kind}{}:", &blake3::hash(name.as_bytes()).to_hex()[..32])
}
