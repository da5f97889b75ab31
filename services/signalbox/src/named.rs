//! What is named within its tenant: budgets, limits.

use tonic::Status;

use crate::{Ended, client::Client, keys::Out, print};

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

/// Something that people call by its name, or by its id, and that metering keeps.
pub(crate) trait Named: Sized {
    /// What it is; `signalbox <kind>s list` lists them.
    const KIND: &'static str;

    /// Its id, unique.
    fn id(&self) -> &str;
    /// Its name, unique within the tenant.
    fn name(&self) -> &str;
    /// Its tenant.
    fn tenant(&self) -> &str;
    /// As a line of JSON.
    fn json(&self) -> serde_json::Value;
    /// For people; where there are none, how to make one.
    fn table(all: &[Self]) -> String;

    /// Asks for those of a tenant, or of all where it is empty.
    async fn ask(client: &Client, tenant: String) -> Result<Vec<Self>, Status>;
    /// Changes one to what it is here; gives what it is now.
    async fn update(self, client: &Client) -> Result<Option<Self>, Status>;
    /// Removes one.
    async fn remove(client: &Client, id: String) -> Result<(), Status>;
}

/// What a message of metering's says of itself, within its implementation of [`Named`].
macro_rules! own_fields {
    () => {
        fn id(&self) -> &str {
            &self.id
        }

        fn name(&self) -> &str {
            &self.name
        }

        fn tenant(&self) -> &str {
            &self.tenant
        }
    };
}
pub(crate) use own_fields;

/// Lists them.
pub(crate) async fn list<T: Named>(args: List) -> Ended {
    let client = args.out.server.connect()?;
    show(&all::<T>(&client, args.tenant).await?, args.out.json);
    Ok(())
}

/// Changes one.
pub(crate) async fn change<T: Named>(which: Which, change: impl FnOnce(&mut T)) -> Ended {
    let client = which.out.server.connect()?;
    let mut found: T = one(all(&client, which.tenant).await?, &which.name)?;
    change(&mut found);
    let now = found.update(&client).await.map_err(|status| client.explain(&status))?;
    show(now.as_slice(), which.out.json);
    Ok(())
}

/// Removes one.
pub(crate) async fn delete<T: Named>(which: Which) -> Ended {
    let client = which.out.server.connect()?;
    let found: T = one(all(&client, which.tenant).await?, &which.name)?;
    T::remove(&client, found.id().to_owned()).await.map_err(|status| client.explain(&status))?;
    match which.out.json {
        true => print::line(&found.json().to_string()),
        false => {
            print::aside(&format!("the {} {} of {} is removed", T::KIND, found.name(), found.tenant()));
        }
    }
    Ok(())
}

/// Prints them.
pub(crate) fn show<T: Named>(all: &[T], as_json: bool) {
    match as_json {
        true => all.iter().for_each(|one| print::line(&one.json().to_string())),
        false => print::line(&T::table(all)),
    }
}

async fn all<T: Named>(client: &Client, tenant: Option<String>) -> Result<Vec<T>, String> {
    T::ask(client, tenant.unwrap_or_default()).await.map_err(|status| client.explain(&status))
}

/// The one of a name or id.
///
/// # Errors
/// In words, where there is none, or several tenants have one.
fn one<T: Named>(all: Vec<T>, name: &str) -> Result<T, String> {
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
    use signalbox_proto::metering::v1::Budget;

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
