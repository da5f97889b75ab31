//! `signalbox certs init`: an authority of one's own and a certificate for each service, for development.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

use crate::{Ended, print};

/// The six, each with an identity of its own.
const SERVICES: [&str; 6] = ["gateway", "guard", "cache", "router", "executor", "metering"];
/// Ten years.
const AUTHORITY_DAYS: i32 = 3_650;
/// Clocks of other machines may be behind.
const BACKDATED_DAYS: i32 = 1;

/// `signalbox certs`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a development authority and a certificate for each service; run again, it renews the certificates.
    ///
    /// The authority's key lies beside them: whoever reads it can be any service. For production let cert-manager, SPIRE or your own
    /// authority sign, and keep to the names: `spiffe://<trust domain>/<service>`.
    Init(Args),
}

/// Arguments of `signalbox certs init`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The folder to write into; made if need be.
    #[arg(long, default_value = "certs")]
    pub dir: PathBuf,
    /// The SPIFFE trust domain, which all services of one mesh share.
    #[arg(long, default_value = "signalbox")]
    pub trust_domain: String,
    /// A DNS name by which clients call the gateway, beside localhost. May be given several times.
    #[arg(long = "dns", value_name = "NAME")]
    pub dns: Vec<String>,
    /// How long the certificates last.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(i32).range(1..=AUTHORITY_DAYS as i64))]
    pub days: i32,
    /// Print what was written as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub(crate) fn run(command: &Command) -> Ended {
    let Command::Init(args) = command;
    let renewed = init(args)?;
    let dir = fs::canonicalize(&args.dir).unwrap_or_else(|_| args.dir.clone());
    let files = files(&dir);
    if args.json {
        print::line(
            &json!({ "dir": dir, "authority": if renewed { "kept" } else { "made" }, "files": files })
                .to_string(),
        );
        return Ok(());
    }
    let authority = if renewed { "kept the authority of" } else { "made an authority in" };
    print::line(&format!("{authority} {}, and signed a certificate for each service", dir.display()));
    print::line("\nIn the configuration of all of them:\n");
    print::line(&snippet(&dir, &args.trust_domain));
    Ok(())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let of = |service: &&str| [dir.join(service).join("tls.crt"), dir.join(service).join("tls.key")];
    [dir.join("ca.crt"), dir.join("ca.key")].into_iter().chain(SERVICES.iter().flat_map(of)).collect()
}

/// What to write into the configuration file.
#[must_use]
pub fn snippet(dir: &Path, trust_domain: &str) -> String {
    let path = |file: &str| json!(dir.join(file)).to_string();
    let mut text = format!(
        "[mesh.tls]\ncert_file = {}\nkey_file = {}\nca_file = {}\n",
        path("{service}/tls.crt"),
        path("{service}/tls.key"),
        path("ca.crt")
    );
    if trust_domain != "signalbox" {
        text += &format!("callers = [\"spiffe://{trust_domain}/gateway\"]\n");
    }
    text + &format!(
        "\n[gateway.tls]                # for clients, who need ca.crt to believe it\ncert_file = {}\nkey_file = {}\n",
        path("gateway/tls.crt"),
        path("gateway/tls.key")
    )
}

/// Makes what is missing and signs anew; true: the authority was there.
///
/// # Errors
/// A name that cannot stand in a certificate, an authority that is damaged, a file that cannot be written.
pub fn init(args: &Args) -> Result<bool, String> {
    is_trust_domain(&args.trust_domain)?;
    let (certificate, key) = (args.dir.join("ca.crt"), args.dir.join("ca.key"));
    let there = key.exists() && certificate.exists();
    if !there {
        make_authority(&certificate, &key, &args.trust_domain)?;
    }
    let unusable =
        |error: rcgen::Error| format!("{}: {error}; remove it to make a new authority", key.display());
    let signer = KeyPair::from_pem(&read(&key)?).map_err(unusable)?;
    let authority = Issuer::from_ca_cert_pem(&read(&certificate)?, signer).map_err(unusable)?;
    for service in SERVICES {
        let failed = |error: rcgen::Error| format!("a certificate for {service}: {error}");
        let own = KeyPair::generate().map_err(failed)?;
        let signed = leaf(service, args).and_then(|of| of.signed_by(&own, &authority)).map_err(failed)?;
        let folder = args.dir.join(service);
        write(&folder.join("tls.key"), &own.serialize_pem(), true)?;
        write(&folder.join("tls.crt"), &signed.pem(), false)?;
    }
    Ok(there)
}

fn make_authority(certificate: &Path, key: &Path, trust_domain: &str) -> Result<(), String> {
    let failed = |error: rcgen::Error| format!("an authority: {error}");
    let own = KeyPair::generate().map_err(failed)?;
    let mut of = CertificateParams::default();
    of.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    of.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    of.distinguished_name
        .push(DnType::CommonName, format!("Signalbox development authority of {trust_domain}"));
    between(&mut of, AUTHORITY_DAYS)?;
    let signed = of.self_signed(&own).map_err(failed)?;
    write(key, &own.serialize_pem(), true)?;
    write(certificate, &signed.pem(), false)
}

fn leaf(service: &str, args: &Args) -> Result<CertificateParams, rcgen::Error> {
    let mut dns = vec!["localhost".to_owned(), service.to_owned(), format!("signalbox-{service}")];
    if service == "gateway" {
        dns.extend(args.dns.iter().cloned());
    }
    let mut of = CertificateParams::new(dns)?;
    let id = format!("spiffe://{}/{service}", args.trust_domain);
    of.subject_alt_names.push(SanType::URI(id.try_into()?));
    of.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
    of.subject_alt_names.push(SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()));
    of.distinguished_name.push(DnType::CommonName, format!("signalbox-{service}"));
    of.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    of.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    of.use_authority_key_identifier_extension = true;
    // A date out of range is the arguments' fault, and was refused there.
    let _in_range = between(&mut of, args.days);
    Ok(of)
}

fn between(of: &mut CertificateParams, days: i32) -> Result<(), String> {
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    let day = |days: i32| {
        let span = jiff::Span::new().try_days(days).map_err(|error| error.to_string())?;
        let date: Date = today.checked_add(span).map_err(|error| error.to_string())?;
        Ok::<_, String>(rcgen::date_time_ymd(
            date.year().into(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        ))
    };
    (of.not_before, of.not_after) = (day(-BACKDATED_DAYS)?, day(days)?);
    Ok(())
}

/// <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md#21-trust-domain>
fn is_trust_domain(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if !name.is_empty() && name.len() <= 255 && name.chars().all(fits) {
        return Ok(());
    }
    Err(format!(
        "--trust-domain {name}: it has lower-case letters, digits, dots, dashes and underscores alone"
    ))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

/// Writes beside and renames, so that a service that reads it meanwhile sees the old or the new.
fn write(path: &Path, text: &str, secret: bool) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = if secret { 0o600 } else { 0o644 };
        file.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    #[cfg(not(unix))]
    let _ = secret;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dir: &Path) -> Args {
        Args { dir: dir.into(), trust_domain: "signalbox".into(), dns: vec![], days: 30, json: false }
    }

    #[test]
    fn the_authority_is_kept_and_certificates_are_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let args = args(folder.path());
        assert_eq!(init(&args), Ok(false));
        let all = |names: [&str; 2]| names.map(|name| read(&folder.path().join(name)).unwrap());
        let [authority, guard] = all(["ca.crt", "guard/tls.crt"]);
        assert_eq!(init(&args), Ok(true));
        let [again, renewed] = all(["ca.crt", "guard/tls.crt"]);
        assert_eq!(authority, again);
        assert_ne!(guard, renewed);
        assert!(files(folder.path()).iter().all(|file| file.exists()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(folder.path().join("ca.key")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "nobody else reads a key");
        }
    }

    #[test]
    fn what_it_says_to_write_is_a_valid_configuration() {
        let text = snippet(Path::new("/certs"), "prod.acme");
        assert_eq!(crate::check::problems(&text, "f.toml"), []);
        assert!(
            text.contains("spiffe://prod.acme/gateway") && text.contains("/certs/{service}/tls.key"),
            "{text}"
        );
        assert!(is_trust_domain("Prod").unwrap_err().contains("lower-case"));
    }
}
