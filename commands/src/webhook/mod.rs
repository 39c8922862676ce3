//! Webhooks: what a user is told is posted to an address of the user's own, signed.
//!
//! The address is whatever the user has written, so it is the way of an attacker into the network of
//! this server. No redirect is followed, no proxy used, and the addresses that a name stands for are
//! looked at by the very look-up that the connection is made with.

mod address;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use orion_domain::values::UserId;
use orion_store::Keys;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use uuid::Uuid;

use self::address::is_public;

/// How long the receiver may take, from the look-up of its name to the head of its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Posts webhooks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Webhooks {
    client: Client,
    private: bool,
}

/// One message to one address.
pub(crate) struct Message {
    pub url: String,
    /// The same for each repeat of the same message.
    pub id: Uuid,
    pub body: String,
    pub secret: SecretString,
}

/// Why a webhook was not taken. Never says where it went nor what was answered: both are the user's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WebhookError {
    /// It is no web address.
    #[error("the address is none")]
    Malformed,
    /// It leads into a network that is not everybody's.
    #[error("the address is not public")]
    Private,
    /// Nobody is there, or TLS fails.
    #[error("the receiver cannot be reached")]
    Unreachable,
    /// It takes too long.
    #[error("the receiver did not answer within {} s", ANSWER_WITHIN.as_secs())]
    Late,
    /// The answer is no success.
    #[error("the receiver answers {0}")]
    Answered(u16),
}

impl WebhookError {
    /// True where another try cannot help.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Malformed | Self::Private => true,
            Self::Unreachable | Self::Late | Self::Answered(_) => false,
        }
    }
}

/// What a user checks the signatures of webhooks with.
pub fn webhook_secret(keys: &Keys, user_id: UserId) -> SecretString {
    hex::encode(keys.derived(&format!("webhook {user_id}"))).into()
}

impl Webhooks {
    /// Posts to public addresses, or to `private` ones as well. Needs the certificates of the system.
    pub fn new(private: bool) -> Result<Self, reqwest::Error> {
        // It fails when somebody was faster, who has chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(Policy::none())
            .referer(false)
            // A proxy would look up the name itself.
            .no_proxy()
            .timeout(ANSWER_WITHIN)
            .user_agent("orion")
            // Each message looks its address up again.
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(LookUp { private }))
            .build()?;
        Ok(Self { client, private })
    }

    pub(crate) async fn post(&self, message: &Message) -> Result<(), WebhookError> {
        let url = self.target(&message.url)?;
        let signature = signature(&message.secret, message.body.as_bytes());
        let request = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .header("x-orion-delivery", message.id.to_string())
            .header("x-orion-signature", signature)
            .body(message.body.clone());
        let answer = request.send().await.map_err(|error| reason(&error))?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(WebhookError::Answered(answer.status().as_u16()))
        }
    }

    /// The parsed address. One that names a machine by its number never comes to the look-up, so it
    /// is checked here; parsing has brought all ways to write a number into one form.
    fn target(&self, url: &str) -> Result<Url, WebhookError> {
        let url = Url::parse(url).map_err(|_| WebhookError::Malformed)?;
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"));
        let host = host.ok_or(WebhookError::Malformed)?;
        let number: Option<IpAddr> =
            host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        match number {
            Some(address) if !self.private && !is_public(address) => Err(WebhookError::Private),
            Some(_) | None => Ok(url),
        }
    }
}

/// `sha256=` and the HMAC of the body in hex.
fn signature(secret: &SecretString, body: &[u8]) -> String {
    #[expect(clippy::expect_used, reason = "new_from_slice of an HMAC never fails")]
    let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(secret.expose_secret().as_bytes())
        .expect("HMAC takes any key");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

fn reason(error: &reqwest::Error) -> WebhookError {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = source {
        if cause.is::<NotPublic>() {
            return WebhookError::Private;
        }
        source = cause.source();
    }
    if error.is_timeout() { WebhookError::Late } else { WebhookError::Unreachable }
}

/// The look-up that connections are made with.
struct LookUp {
    private: bool,
}

/// A name that stands for an address which is not public.
#[derive(Debug, thiserror::Error)]
#[error("the address is not public")]
struct NotPublic;

impl Resolve for LookUp {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // One private address among public ones is no accident.
            if !private && !found.iter().all(|address| is_public(address.ip())) {
                return Err(NotPublic.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(url: &str) -> Message {
        let secret = SecretString::from("secret");
        Message { url: url.to_owned(), id: Uuid::from_u128(7), body: "{}".to_owned(), secret }
    }

    #[tokio::test]
    async fn no_way_to_write_a_private_address_leads_there() {
        let webhooks = Webhooks::new(false).unwrap();
        for url in [
            "http://127.0.0.1/",
            "http://127.0.0.1:5432/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://0/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[fe80::1]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://10.0.0.1/",
            "https://192.168.0.1/",
            "http://user:password@127.0.0.1/",
            "http://example.org@127.0.0.1/",
            "http://\u{ff11}27.0.0.1/",
            // By the look-up of the name.
            "http://localhost/",
        ] {
            let found = webhooks.post(&message(url)).await;
            assert_eq!(found, Err(WebhookError::Private), "{url}");
        }
        for url in ["", "x", "ftp://example.org/", "file:///etc/passwd", "http://"] {
            assert_eq!(webhooks.post(&message(url)).await, Err(WebhookError::Malformed), "{url}");
        }
    }

    #[test]
    fn public_addresses_are_targets_and_private_ones_where_they_are_allowed() {
        for url in ["https://hooks.example.org/x", "http://8.8.8.8/", "http://[2606:4700::1]/"] {
            assert!(Webhooks::new(false).unwrap().target(url).is_ok(), "{url}");
        }
        assert!(Webhooks::new(true).unwrap().target("http://127.0.0.1:9/").is_ok());
    }

    #[test]
    fn the_signature_is_the_hmac_of_the_body() {
        // echo -n '{}' | openssl dgst -sha256 -hmac secret
        assert_eq!(
            signature(&"secret".into(), b"{}"),
            "sha256=77325902caca812dc259733aacd046b73817372c777b8d95b402647474516e13"
        );
    }
}
