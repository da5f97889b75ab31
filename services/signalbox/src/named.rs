//! What is named within its tenant: budgets, limits.

use signalbox_proto::metering::v1::{Budget, Limit};

use crate::keys::Out;

/// Which of them are listed.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only this tenant's.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    #[command(flatten)]
    pub(crate) out: Out,
}

/// One of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Its name, or its id.
    pub(crate) name: String,
    /// Its tenant, where several have one of that name.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    #[command(flatten)]
    pub(crate) out: Out,
}

/// Something that people call by its name, or by its id.
pub(crate) trait Named {
    /// What it is; `signalbox <kind>s list` lists them.
    const KIND: &'static str;

    /// Its id, unique.
    fn id(&self) -> &str;
    /// Its name, unique within the tenant.
    fn name(&self) -> &str;
    /// Its tenant.
    fn tenant(&self) -> &str;
}

macro_rules! named {
    ($of:ty, $kind:literal) => {
        impl Named for $of {
            const KIND: &'static str = $kind;

            fn id(&self) -> &str {
                &self.id
            }

            fn name(&self) -> &str {
                &self.name
            }

            fn tenant(&self) -> &str {
                &self.tenant
            }
        }
    };
}

named!(Budget, "budget");
named!(Limit, "limit");

/// The one of a name or id.
///
/// # Errors
/// In words, where there is none, or several tenants have one.
pub(crate) fn one<T: Named>(all: Vec<T>, name: &str) -> Result<T, String> {
    let kind = T::KIND;
    let mut found = all.into_iter().filter(|one| one.name() == name || one.id() == name);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(format!("no {kind} is called {name}; `signalbox {kind}s list` lists them")),
        (Some(a), Some(b)) => Err(format!(
            "{} and {} both have a {kind} {name}; say which with --tenant",
            a.tenant(),
            b.tenant()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_two_tenants_is_asked_about() {
        let of = |tenant: &str, id: &str| Budget {
            tenant: tenant.into(),
            id: id.into(),
            name: "b".into(),
            ..Budget::default()
        };
        let both = vec![of("acme", "1"), of("else", "2")];
        assert!(one(both.clone(), "b").unwrap_err().contains("--tenant"));
        assert_eq!(one(both.clone(), "2").unwrap().tenant, "else");
        assert!(one(both, "c").unwrap_err().contains("budgets list"));
    }
}
