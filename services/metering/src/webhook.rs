//! Alerts to webhooks: signed, and tried again within bounds.
//!
//! The body is the alert as JSON. `x-signalbox-signature` is `v1=` and the HMAC-SHA-256, in hexadecimal, of the value of
//! `x-signalbox-timestamp` (Unix seconds), a full stop, and the body. Who receives it compares that, refuses old timestamps,
//! and knows by `x-signalbox-alert`, the alert's id, what it has had already.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use ring::hmac;
use signalbox_config::Secret;
use signalbox_mesh::{Clock, Shutdown};
use tokio::sync::mpsc;

use crate::{
    alerts::Alert,
    config,
    http::{Http, NoAnswer},
};

/// Alerts that wait at most.
pub(crate) const WAITING: usize = 256;
/// Tries of one delivery: within about a minute.
const TRIES: u32 = 6;
/// The pause before the second try; each further one is twice as long.
pub(crate) const PAUSE: Duration = Duration::from_secs(2);

/// One receiver.
pub(crate) struct Webhook {
    url: String,
    key: Option<hmac::Key>,
    /// Empty: all.
    tenants: Vec<String>,
}

impl Webhook {
    /// Reads the configuration.
    ///
    /// # Errors
    /// What to change.
    pub(crate) fn of(config: &config::Receiver) -> Result<Self, String> {
        let well = config.url.starts_with("https://") || config.url.starts_with("http://");
        if !well || config.url.parse::<http::Uri>().is_err() {
            return Err("metering.alerts.webhooks.url must begin with https:// or http://".to_owned());
        }
        let secret = match (&config.secret_env, &config.secret_file) {
            (Some(name), None) => Some(Secret::from_env(name)),
            (None, Some(file)) => Some(Secret::from_file(file)),
            (None, None) => None,
            _ => return Err("metering.alerts.webhooks: give one of secret_env and secret_file".to_owned()),
        };
        let secret = secret.transpose().map_err(|error| format!("metering.alerts.webhooks: {error}"))?;
        let key = secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()));
        Ok(Self { url: config.url.clone(), key, tenants: config.tenants.clone() })
    }

    fn request(&self, alert: &Alert, now: i64) -> Result<Request<Full<Bytes>>, NoAnswer> {
        let body = serde_json::to_vec(alert).map_err(|_| NoAnswer::Address)?;
        let timestamp = now.div_euclid(1_000).to_string();
        let mut request = Request::post(&self.url)
            .header("content-type", "application/json")
            .header("x-signalbox-alert", &alert.id)
            .header("x-signalbox-timestamp", &timestamp);
        if let Some(key) = &self.key {
            let signed = [timestamp.as_bytes(), b".", &body].concat();
            let signature = hex::encode(hmac::sign(key, &signed));
            request = request.header("x-signalbox-signature", format!("v1={signature}"));
        }
        request.body(Full::new(Bytes::from(body))).map_err(|_| NoAnswer::Address)
    }

    async fn deliver(&self, http: &Http, alert: &Alert, clock: &dyn Clock, mut pause: Duration) {
        for left in (0..TRIES).rev() {
            let sent = match self.request(alert, clock.unix_ms()) {
                Ok(request) => http.send(request).await.map(drop),
                Err(error) => return tracing::error!(id = alert.id, %error, "an alert cannot be sent"),
            };
            match sent {
                Ok(()) => return,
                // It is refused for what it is: asking again changes nothing.
                Err(NoAnswer::Status(status))
                    if (400..500).contains(&status) && status != 429 && status != 408 =>
                {
                    return tracing::error!(id = alert.id, status, "a webhook refused an alert");
                }
                Err(error) if left == 0 => {
                    return tracing::error!(id = alert.id, %error, "an alert was given up: its webhook does not take it");
                }
                Err(error) => {
                    tracing::warn!(id = alert.id, %error, "a webhook does not take an alert; it is tried again");
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

/// Delivers alerts until the end, one after the other, each to all of its receivers at the same time.
pub(crate) async fn run(
    hooks: Vec<Webhook>,
    http: Http,
    clock: Arc<dyn Clock>,
    (mut alerts, pause): (mpsc::Receiver<Alert>, Duration),
    shutdown: Shutdown,
) {
    loop {
        let alert = tokio::select! {
            () = shutdown.started() => return,
            alert = alerts.recv() => alert,
        };
        let Some(alert) = alert else { return };
        let wanted = |hook: &&Webhook| hook.tenants.is_empty() || hook.tenants.contains(&alert.tenant);
        let calls: Vec<_> =
            hooks.iter().filter(wanted).map(|hook| hook.deliver(&http, &alert, &*clock, pause)).collect();
        tokio::select! {
            () = shutdown.started() => return,
            _ = futures_util::future::join_all(calls) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use signalbox_mesh::ManualClock;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::alerts::{Alerts, Kind};

    fn alert() -> Alert {
        Alert {
            id: "budget-1-0-80".to_owned(),
            kind: Kind::Budget,
            tenant: "acme".to_owned(),
            subject: "month".to_owned(),
            message: "passed".to_owned(),
            raised_unix_ms: 5,
            until_unix_ms: 9,
            percent: 80,
        }
    }

    /// Takes one request and answers with a status; returns its head and body.
    async fn take(listener: &TcpListener, status: u16) -> (String, Vec<u8>) {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        loop {
            let mut piece = [0; 4_096];
            let count = socket.read(&mut piece).await.unwrap();
            seen.extend_from_slice(&piece[..count]);
            let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(seen[..end].to_vec()).unwrap().to_lowercase();
            let length: usize =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
            let body = seen[end + 4..].to_vec();
            if body.len() >= length {
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
                return (head, body);
            }
        }
    }

    #[tokio::test]
    async fn an_alert_is_signed_and_tried_again_until_it_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let hook = Webhook { url, key: Some(key.clone()), tenants: vec!["acme".to_owned()] };
        let (alerts, shutdown) = (Alerts::new(), Shutdown::new());
        let waiting = alerts.deliver(4);
        let clock = Arc::new(ManualClock::new(7_000));
        shutdown.spawn(run(
            vec![hook],
            Http::new().unwrap(),
            clock,
            (waiting, Duration::ZERO),
            shutdown.clone(),
        ));
        alerts.tell(Alert { tenant: "other".to_owned(), ..alert() });
        alerts.tell(alert());
        let (first, _) = take(&listener, 503).await;
        let (second, body) = take(&listener, 200).await;
        assert_eq!(first, second);
        assert_eq!(serde_json::from_slice::<Alert>(&body).unwrap(), alert());
        let header = |name: &str| {
            second.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap().to_owned()
        };
        assert_eq!(
            (header("x-signalbox-timestamp"), header("x-signalbox-alert")),
            ("7".to_owned(), alert().id)
        );
        let signature = hex::decode(header("x-signalbox-signature").trim_start_matches("v1=")).unwrap();
        hmac::verify(&key, &[b"7.", &body[..]].concat(), &signature).unwrap();
        shutdown.complete().await;
    }

    #[test]
    fn a_receiver_must_be_an_address_and_its_secret_readable() {
        let with = |url: &str, secret_env: Option<&str>| {
            let secret_env = secret_env.map(str::to_owned);
            Webhook::of(&config::Receiver { url: url.to_owned(), secret_env, ..config::Receiver::default() })
                .map(drop)
        };
        assert!(with("https://example.com/x", None).is_ok());
        assert!(with("ftp://example.com", None).is_err());
        assert!(
            with("https://example.com", Some("SIGNALBOX_NO_SUCH_VARIABLE"))
                .unwrap_err()
                .contains("SIGNALBOX_NO_SUCH")
        );
    }
}
