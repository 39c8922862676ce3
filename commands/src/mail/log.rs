//! A mailer for development: it sends nothing and logs the link.

use secrecy::ExposeSecret as _;
use tracing::info;

use super::{Mail, Mailer, Sending};

/// Logs who would get a mail and the link in it, never the address.
///
/// Whoever reads the log can use the link: for development only.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogMailer;

impl Mailer for LogMailer {
    fn send<'a>(&'a self, mail: &'a Mail) -> Sending<'a> {
        let Mail { user_id, subject, link, .. } = mail;
        if let Some(link) = link {
            info!(%user_id, subject, link = %link.expose_secret(), "no mail server is set, here is the link");
        } else {
            info!(%user_id, subject, "no mail server is set, nothing is sent");
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
