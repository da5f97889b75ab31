//! `signalbox alerts`: what a person should look at.

use signalbox_proto::metering::v1::{Alert, WatchAlertsRequest};

use crate::{
    Ended,
    keys::{Out, metering},
    print, when,
};

/// Arguments of `signalbox alerts`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this tenant's.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    out: Out,
}

/// Prints the alerts of now, then each new one as it comes, until it is interrupted; needs an admin key.
pub(crate) async fn run(args: Args) -> Ended {
    let client = args.out.server.connect()?;
    let request = client.request(WatchAlertsRequest { tenant: args.tenant.unwrap_or_default() });
    let watched = metering(&client).watch_alerts(request).await;
    let mut alerts = watched.map_err(|status| client.explain(&status))?.into_inner();
    if !args.out.json {
        print::aside("alerts of now, then each as it comes; Ctrl-C ends it");
    }
    while let Some(told) = alerts.message().await.map_err(|status| client.explain(&status))? {
        let Some(alert) = told.alert else { continue };
        match args.out.json {
            true => print::line(&json(&alert).to_string()),
            false => print::line(&line(&alert)),
        }
    }
    Err("the mesh ended the stream; it is restarting or gone".to_owned())
}

fn line(alert: &Alert) -> String {
    format!("{}  {}  {}  {}", when::show(alert.raised_unix_ms), kind(alert), alert.tenant, alert.message)
}

fn kind(alert: &Alert) -> String {
    alert.kind().as_str_name().trim_start_matches("KIND_").to_lowercase().replace('_', " ")
}

fn json(alert: &Alert) -> serde_json::Value {
    let threshold = (alert.threshold != 0.0).then_some(alert.threshold);
    serde_json::json!({
        "id": alert.id, "kind": kind(alert), "tenant": alert.tenant, "subject": alert.subject,
        "message": alert.message, "raised_unix_ms": alert.raised_unix_ms, "threshold": threshold,
    })
}
