//! Certificates of this process, and where plain text may go.

use std::time::Duration;

use signalbox_mesh::tls::{Acceptor, Credentials, DoorTls, Outlook};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::{FILES_TICK, Failure};

/// How often the end of a certificate that stays is looked at.
const JUDGED_EVERY: Duration = Duration::from_secs(600);

/// What clients are accepted with: TLS where the configuration has it, and what reads its files again.
///
/// # Errors
/// Files at fault, or a door in plain text on another address than loopback.
pub fn acceptor_for_clients(
    mesh: &signalbox_mesh::Config,
    tls: Option<&DoorTls>,
    listen: &str,
) -> Result<(Option<Acceptor>, Option<AbortOnDropHandle<()>>), Failure> {
    let Some(tls) = tls else {
        plaintext_is_fine(mesh, listen, "gateway.tls")?;
        return Ok((None, None));
    };
    let credentials = Credentials::of_door(tls)?;
    Ok((Some(Acceptor::door(credentials.clone())), Some(follow_certificates(credentials))))
}

/// Checks that nothing private leaves this machine in plain text unless that is wanted.
///
/// # Errors
/// Says what to set.
pub(crate) fn plaintext_is_fine(
    mesh: &signalbox_mesh::Config,
    address: &str,
    section: &str,
) -> Result<(), Failure> {
    if mesh.plaintext || signalbox_mesh::is_loopback(address) {
        return Ok(());
    }
    Err(format!(
        "{address} is beyond loopback, and would carry prompts and keys in plain text: set [{section}] (`signalbox certs init` makes \
         certificates for development), or mesh.plaintext = true where the network itself encrypts"
    )
    .into())
}

/// Reads certificates again when their files were changed, and warns of what ends soon; ends when it is dropped.
pub(crate) fn follow_certificates(credentials: Credentials) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let (mut told, mut judged) = (Outlook::Good, None::<Instant>);
        loop {
            let own = credentials.clone();
            let due = judged.is_none_or(|judged| judged.elapsed() >= JUDGED_EVERY);
            let looked = tokio::task::spawn_blocking(move || {
                let looked = own.look();
                let outlook = (due || matches!(looked, Ok(true))).then(|| own.outlook());
                (looked, outlook)
            });
            let Ok((looked, outlook)) = looked.await else { return };
            match looked {
                Ok(true) => tracing::info!("certificates were read again"),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "certificates stay as they were; the new ones are at fault");
                }
            }
            if outlook.is_some() {
                judged = Some(Instant::now());
            }
            if let Some(outlook) = outlook.filter(|outlook| *outlook != told) {
                match &outlook {
                    Outlook::Good => {}
                    Outlook::EndsSoon => tracing::warn!("this process' certificate ends within a week"),
                    Outlook::Refused(why) => {
                        tracing::error!(why, "this process' certificate is refused by others of the mesh");
                    }
                }
                told = outlook;
            }
            tokio::time::sleep(FILES_TICK).await;
        }
    }))
}
