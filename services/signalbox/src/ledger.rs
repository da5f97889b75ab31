//! The ledger's records, as the commands read them that compute something from them.

use signalbox_proto::metering::v1::{ExportFormat, ExportUsageRequest};
use signalbox_router::ledger::{Reader, Recorded};

use crate::{client::Client, keys::metering, patience::Patience, print};

/// Reads each line of the export of a time; an empty tenant means all, an end of 0 now.
///
/// # Errors
/// In words, where the mesh cannot be asked.
pub(crate) async fn each_line(
    client: &Client,
    tenant: String,
    (from_unix_ms, to_unix_ms): (i64, i64),
    mut take: impl FnMut(&str),
) -> Result<(), String> {
    let _shown = Patience::begin("reading the ledger");
    let format = ExportFormat::Ndjson.into();
    let request = client.request(ExportUsageRequest { tenant, from_unix_ms, to_unix_ms, format });
    let answer = metering(client).export_usage(request).await.map_err(|s| client.explain(&s))?;
    let mut pages = answer.into_inner();
    while let Some(page) = pages.message().await.map_err(|s| client.explain(&s))? {
        String::from_utf8_lossy(&page.lines).lines().for_each(&mut take);
    }
    Ok(())
}

/// Reads each request of a time, in the order in which they began.
///
/// # Errors
/// As [`each_line`].
pub(crate) async fn each_request(
    client: &Client,
    tenant: String,
    time: (i64, i64),
    mut take: impl FnMut(&Recorded),
) -> Result<(), String> {
    let mut reader = Reader::default();
    each_line(client, tenant, time, |line| {
        if let Some(recorded) = reader.line(line) {
            take(&recorded);
        }
    })
    .await?;
    if let Some(recorded) = reader.end() {
        take(&recorded);
    }
    if reader.odd() > 0 {
        print::aside(&format!("{} lines of the ledger could not be read and were left out", reader.odd()));
    }
    Ok(())
}
