//! `signalbox keys`: who may call the mesh.

use signalbox_proto::metering::v1::{
    CreateKeyRequest, Key, ListKeysRequest, RevokeKeyRequest, RotateKeyRequest, UpdateKeyRequest,
    metering_service_client::MeteringServiceClient,
};

use crate::{
    Ended,
    client::{Client, Server},
    print,
    when::{self, Span, When},
};

/// What to do with keys. Each needs an admin key.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a key and prints its credential, this once.
    Create(Create),
    /// Lists keys, without their secrets.
    List(List),
    /// Changes what a key may do; what is not named stays as it is.
    Change(Change),
    /// Gives a key a new secret and prints it, this once.
    Rotate(Rotate),
    /// Lets a key end by itself at a time, or takes that back.
    Expire(Expire),
    /// Ends a key for good, within a second.
    Revoke(Revoke),
}

/// What a key may do.
#[derive(Debug, clap::Args)]
pub(crate) struct Scope {
    /// A name for people.
    #[arg(long)]
    name: Option<String>,
    /// A model or alias that it may use, with a trailing `*` for all that begin so; may be repeated. Default: all.
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// A feature that it may name; may be repeated. Default: all.
    #[arg(long = "feature", value_name = "FEATURE")]
    features: Vec<String>,
    /// A network that it may be used from, such as 10.0.0.0/8; may be repeated. Default: all.
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    /// Its team.
    #[arg(long)]
    team: Option<String>,
    /// Its guard policy. Default: the tenant's.
    #[arg(long, value_name = "POLICY")]
    guard: Option<String>,
    /// Its cache policy. Default: the tenant's.
    #[arg(long, value_name = "POLICY")]
    cache: Option<String>,
    /// Its route policy. Default: the tenant's.
    #[arg(long, value_name = "POLICY")]
    route: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// The tenant that it belongs to.
    #[arg(long)]
    tenant: String,
    /// Opens the administrative methods to it.
    #[arg(long)]
    admin: bool,
    /// When it ends by itself: 2026-12-31, or 90d. Default: never.
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    out: Out,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only this tenant's.
    #[arg(long)]
    tenant: Option<String>,
    /// Revoked and expired ones too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    out: Out,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Change {
    /// The key's id, as `signalbox keys list` prints it.
    id: String,
    #[command(flatten)]
    scope: Scope,
    /// Takes away what bounds it: models, features, networks, team or a policy; may be repeated.
    #[arg(long, value_enum)]
    clear: Vec<Field>,
    #[command(flatten)]
    out: Out,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Field {
    Models,
    Features,
    Networks,
    Team,
    Guard,
    Cache,
    Route,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
    /// The key's id.
    id: String,
    /// For how long the old secret stays good, at most 30d. Default: it ends at once.
    #[arg(long, value_name = "TIME")]
    overlap: Option<Span>,
    #[command(flatten)]
    out: Out,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Expire {
    /// The key's id.
    id: String,
    /// When: 2026-12-31, or 90d from now.
    #[arg(required_unless_present = "never")]
    when: Option<When>,
    /// Never: it is good until it is revoked.
    #[arg(long, conflicts_with = "when")]
    never: bool,
    #[command(flatten)]
    out: Out,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// The key's id.
    id: String,
    #[command(flatten)]
    out: Out,
}

/// Where to ask, and how to print.
#[derive(Debug, clap::Args)]
pub(crate) struct Out {
    /// Print a line of JSON for each.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Ended {
    match command {
        Command::Create(args) => create(args).await,
        Command::List(args) => list(args).await,
        Command::Change(args) => {
            let Change { id, scope, clear, out } = args;
            change(&id, &out, move |key| {
                clear.iter().for_each(|field| field.clear(key));
                scope.apply(key);
            })
            .await
        }
        Command::Rotate(args) => rotate(args).await,
        Command::Expire(args) => {
            let at = args.when.map(When::ahead);
            change(&args.id, &args.out, |key| key.expires_unix_ms = at).await
        }
        Command::Revoke(args) => revoke(args).await,
    }
}

async fn create(args: Create) -> Ended {
    if args.scope.name.is_none() {
        return Err("a key needs a name that people know it by; add --name NAME".to_owned());
    }
    let mut key = Key {
        tenant: args.tenant,
        admin: args.admin,
        expires_unix_ms: args.expires.map(When::ahead),
        ..Key::default()
    };
    args.scope.apply(&mut key);
    let client = args.out.server.connect()?;
    let request = client.request(CreateKeyRequest { key: Some(key) });
    let answer = metering(&client).create_key(request).await.map_err(|s| client.explain(&s))?.into_inner();
    shown_once(&answer.key.unwrap_or_default(), &answer.credential, args.out.json);
    Ok(())
}

async fn rotate(args: Rotate) -> Ended {
    let client = args.out.server.connect()?;
    let overlap_ms = args.overlap.map_or(0, |span| span.ms);
    let request = client.request(RotateKeyRequest { id: args.id, overlap_ms });
    let answer = metering(&client).rotate_key(request).await.map_err(|s| explain(&client, &s))?.into_inner();
    shown_once(&answer.key.unwrap_or_default(), &answer.credential, args.out.json);
    Ok(())
}

/// Prints the credential alone, so that it can be read by a script, and what it is beside it.
fn shown_once(key: &Key, credential: &str, as_json: bool) {
    if as_json {
        let mut object = json(key);
        object["credential"] = credential.into();
        return print::line(&object.to_string());
    }
    print::line(credential);
    print::aside(&format!(
        "key {} of {}; this is the only time that its secret is shown. Use it with SIGNALBOX_KEY, or as\n  \
         authorization: Bearer <the line above>",
        key.id, key.tenant
    ));
}

async fn list(args: List) -> Ended {
    let client = args.out.server.connect()?;
    let tenant = args.tenant.unwrap_or_default();
    let request = client.request(ListKeysRequest { tenant, include_ended: args.all });
    let keys = metering(&client).list_keys(request).await.map_err(|s| client.explain(&s))?.into_inner().keys;
    print_all(&keys, args.out.json);
    Ok(())
}

/// Changes a key as it is now.
async fn change(id: &str, out: &Out, change: impl FnOnce(&mut Key)) -> Ended {
    let client = out.server.connect()?;
    let request = client.request(ListKeysRequest { tenant: String::new(), include_ended: true });
    let keys = metering(&client).list_keys(request).await.map_err(|s| client.explain(&s))?.into_inner().keys;
    let Some(mut key) = keys.into_iter().find(|key| key.id == id) else {
        return Err(format!("no key has the id {id}; `signalbox keys list --all` lists them"));
    };
    change(&mut key);
    let request = client.request(UpdateKeyRequest { key: Some(key) });
    let key = metering(&client).update_key(request).await.map_err(|s| explain(&client, &s))?.into_inner().key;
    print_all(key.as_slice(), out.json);
    Ok(())
}

async fn revoke(args: Revoke) -> Ended {
    let client = args.out.server.connect()?;
    let request = client.request(RevokeKeyRequest { id: args.id });
    let key = metering(&client).revoke_key(request).await.map_err(|s| explain(&client, &s))?.into_inner().key;
    print_all(key.as_slice(), args.out.json);
    Ok(())
}

pub(crate) fn metering(client: &Client) -> MeteringServiceClient<signalbox_mesh::Channel> {
    signalbox_mesh::client!(MeteringServiceClient, client.channel)
}

fn explain(client: &Client, status: &tonic::Status) -> String {
    let hint = if status.code() == tonic::Code::NotFound {
        "\n  `signalbox keys list --all` lists them"
    } else {
        ""
    };
    client.explain(status) + hint
}

impl Scope {
    fn apply(self, key: &mut Key) {
        let list = |from: Vec<String>, to: &mut Vec<String>| {
            if !from.is_empty() {
                *to = from;
            }
        };
        list(self.models, &mut key.allowed_models);
        list(self.features, &mut key.allowed_features);
        list(self.networks, &mut key.allowed_networks);
        key.name = self.name.unwrap_or_else(|| std::mem::take(&mut key.name));
        key.team = self.team.or_else(|| key.team.take());
        key.guard_policy = self.guard.or_else(|| key.guard_policy.take());
        key.cache_policy = self.cache.or_else(|| key.cache_policy.take());
        key.route_policy = self.route.or_else(|| key.route_policy.take());
    }
}

impl Field {
    fn clear(self, key: &mut Key) {
        match self {
            Self::Models => key.allowed_models.clear(),
            Self::Features => key.allowed_features.clear(),
            Self::Networks => key.allowed_networks.clear(),
            Self::Team => key.team = None,
            Self::Guard => key.guard_policy = None,
            Self::Cache => key.cache_policy = None,
            Self::Route => key.route_policy = None,
        }
    }
}

fn print_all(keys: &[Key], as_json: bool) {
    if as_json {
        return keys.iter().for_each(|key| print::line(&json(key).to_string()));
    }
    if keys.is_empty() {
        return print::line("there are no keys; make one with `signalbox keys create --tenant TENANT`");
    }
    let head = ["id", "tenant", "name", "team", "may", "created", "state"];
    let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
    print::line(&print::table(&head, &[false; 7], &rows));
}

fn row(key: &Key) -> Vec<String> {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    vec![
        key.id.clone(),
        key.tenant.clone(),
        or_dash(&key.name),
        or_dash(key.team.as_deref().unwrap_or_default()),
        may(key),
        when::show(key.created_unix_ms),
        state(key, when::now_unix_ms()),
    ]
}

fn may(key: &Key) -> String {
    let lists = [&key.allowed_models, &key.allowed_features, &key.allowed_networks];
    let mut parts: Vec<String> =
        lists.into_iter().filter(|list| !list.is_empty()).map(|list| list.join(",")).collect();
    if key.admin {
        parts.insert(0, "administer".to_owned());
    }
    if parts.is_empty() { "all".to_owned() } else { parts.join("; ") }
}

fn state(key: &Key, now: i64) -> String {
    match (key.revoked_unix_ms, key.expires_unix_ms) {
        (Some(at), _) => format!("revoked {}", when::show(at)),
        (None, Some(at)) if at <= now => format!("expired {}", when::show(at)),
        (None, Some(at)) => format!("until {}", when::show(at)),
        (None, None) => "good".to_owned(),
    }
}

fn json(key: &Key) -> serde_json::Value {
    serde_json::json!({
        "id": key.id, "tenant": key.tenant, "name": key.name, "admin": key.admin, "team": key.team,
        "allowed_models": key.allowed_models, "allowed_features": key.allowed_features,
        "allowed_networks": key.allowed_networks, "guard_policy": key.guard_policy,
        "cache_policy": key.cache_policy, "route_policy": key.route_policy,
        "created_unix_ms": key.created_unix_ms, "expires_unix_ms": key.expires_unix_ms,
        "revoked_unix_ms": key.revoked_unix_ms, "old_secret_until_unix_ms": key.old_secret_until_unix_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let mut key = Key {
            name: "ci".to_owned(),
            allowed_models: vec!["fast".to_owned()],
            team: Some("search".to_owned()),
            ..Key::default()
        };
        let scope = Scope {
            name: None,
            models: Vec::new(),
            features: vec!["chat".to_owned()],
            networks: Vec::new(),
            team: None,
            guard: Some("strict".to_owned()),
            cache: None,
            route: None,
        };
        Field::Team.clear(&mut key);
        scope.apply(&mut key);
        assert_eq!((key.name.as_str(), key.team.as_deref()), ("ci", None));
        assert_eq!(
            (key.allowed_models.as_slice(), key.allowed_features.as_slice()),
            (&["fast".to_owned()][..], &["chat".to_owned()][..])
        );
        assert_eq!(key.guard_policy.as_deref(), Some("strict"));
    }

    #[test]
    fn says_what_a_key_may_and_until_when() {
        let key = Key { admin: true, allowed_models: vec!["a".into(), "b*".into()], ..Key::default() };
        assert_eq!((may(&key).as_str(), may(&Key::default()).as_str()), ("administer; a,b*", "all"));
        let until = |at| Key { expires_unix_ms: Some(at), ..Key::default() };
        assert_eq!(state(&until(86_400_000), 0), "until 1970-01-02");
        assert_eq!(state(&until(86_400_000), 86_400_000), "expired 1970-01-02");
        let revoked = Key { revoked_unix_ms: Some(0), ..until(86_400_000) };
        assert_eq!(state(&revoked, 0), "revoked 1970-01-01");
    }
}
