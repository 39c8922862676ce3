//! A mailer that speaks SMTP.

use std::time::Duration;

use lettre::message::header::{ContentTransferEncoding, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox};
use lettre::transport::smtp::Error as SmtpError;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use secrecy::ExposeSecret as _;
use tokio::time::timeout;

use super::{Mail, MailError, Mailer, Sending};

/// How long the server may take for one mail, and how long to say that it is well.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// The longest line that may be sent as it is, in bytes (RFC 5322).
const LINE_MAX: usize = 998;

/// Hands each mail to an SMTP server, on a connection of its own.
#[derive(Clone)]
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    answer_within: Duration,
}

/// A setting that mail cannot be sent with. Never quotes it: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailSettingError {
    /// The server's address.
    #[error("the value must be smtps://user:password@host, or smtp://host:port with ?tls=required")]
    Url,
    /// The sender.
    #[error("the value must be an address, such as Orion <orion@example.org>")]
    From,
}

impl SmtpMailer {
    /// Sends by the server of a URL: `smtps://user:password@host:port` speaks TLS from the start,
    /// `smtp://…?tls=required` upgrades to it, `smtp://…` does without. `from` is the sender.
    pub fn new(url: &str, from: &str) -> Result<Self, MailSettingError> {
        if is_telling_a_password(url) {
            return Err(MailSettingError::Url);
        }
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url);
        let builder = builder.map_err(|_| MailSettingError::Url)?;
        let from = from.parse().map_err(|_| MailSettingError::From)?;
        Ok(Self { transport: builder.build(), from, answer_within: ANSWER_WITHIN })
    }

    /// The same with another patience.
    #[must_use]
    pub fn answering_within(self, answer_within: Duration) -> Self {
        Self { answer_within, ..self }
    }

    async fn deliver(&self, mail: &Mail) -> Result<(), MailError> {
        let message = self.message(mail).ok_or(MailError::Refused { code: None })?;
        let error = match timeout(self.answer_within, self.transport.send(message)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        // Whose fault was it? A server that greets and lets us in is well, so it was the mail's.
        match timeout(self.answer_within, self.transport.test_connection()).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Err(unavailable("it hung up")),
            Ok(Err(ill)) => return Err(unavailable(reason(&ill))),
            Err(_) => return Err(unavailable("it does not answer")),
        }
        let code = error.as_ref().and_then(SmtpError::status).map(u16::from);
        // The client itself refuses what the server could never take, such as an address beyond ASCII.
        Err(if error.is_some_and(|error| error.is_permanent() || error.is_client()) {
            MailError::Refused { code }
        } else {
            MailError::Deferred { code }
        })
    }

    /// The mail as it is sent, unless its address is none to SMTP.
    fn message(&self, mail: &Mail) -> Option<Message> {
        let to: Address = mail.to.expose()?.as_str().parse().ok()?;
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject)
            .message_id(Some(format!("<{}@{}>", mail.id, self.from.email.domain())))
            .body(body(mail.text.expose_secret()))
            .ok()?;
        // Nobody on holiday shall answer (RFC 3834).
        let name = HeaderName::new_from_ascii_str("Auto-Submitted");
        message.headers_mut().insert_raw(HeaderValue::new(name, "auto-generated".to_owned()));
        Some(message)
    }
}

/// True of an address with user and password that would go over the network in clear.
fn is_telling_a_password(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("smtp://") else { return false };
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let Some((_, host)) = authority.rsplit_once('@') else { return false };
    let is_here = ["localhost", "127.0.0.1", "[::1]"].iter().any(|here| host.starts_with(here));
    !is_here && !query.split('&').any(|option| option == "tls=required")
}

impl Mailer for SmtpMailer {
    fn send<'a>(&'a self, mail: &'a Mail) -> Sending<'a> {
        Box::pin(self.deliver(mail))
    }
}

impl std::fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SmtpMailer(***)")
    }
}

/// The text as it is, where SMTP carries it: an encoding would cut the link in two, and not every
/// program that looks for it puts the parts together.
fn body(text: &str) -> Body {
    let is_plain = text.is_ascii() && text.lines().all(|line| line.len() <= LINE_MAX);
    if is_plain {
        let lines = text.lines().collect::<Vec<_>>().join("\r\n");
        Body::dangerous_pre_encoded(lines.into_bytes(), ContentTransferEncoding::SevenBit)
    } else {
        Body::new(text.to_owned())
    }
}

fn unavailable(reason: impl Into<String>) -> MailError {
    MailError::Unavailable { reason: reason.into() }
}

/// What failed before any mail was named: connecting, TLS, the greeting, signing in. What the server
/// said is left out, it may quote the login.
fn reason(error: &SmtpError) -> String {
    match error.status() {
        Some(code) => format!("it answers {code}"),
        None if error.is_response() => "it does not speak SMTP".to_owned(),
        None => error.to_string().replace(['\r', '\n'], " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_and_not_quoted() {
        let from = "Orion <orion@example.org>";
        for good in [
            "smtp://127.0.0.1:2525",
            "smtp://localhost",
            "smtp://mail.example.org?tls=required",
            "smtps://user:p%40ss@mail.example.org:465/orion.example.org",
        ] {
            assert!(SmtpMailer::new(good, from).is_ok(), "{good}");
        }
        for bad in ["", "mail.example.org", "smtp://", "https://example.org", "smtp://h?tls=maybe"]
        {
            let refused = SmtpMailer::new(bad, from).map(|_| ());
            assert_eq!(refused, Err(MailSettingError::Url), "{bad}");
        }
        for bad in ["", "orion", "Orion <orion>", "a@b.org, c@d.org", "a@b.org\r\nBcc: c@d.org"] {
            let refused = SmtpMailer::new("smtp://localhost", bad).map(|_| ());
            assert_eq!(refused, Err(MailSettingError::From), "{bad}");
        }
    }

    #[test]
    fn a_password_is_sent_by_tls_or_not_off_this_machine() {
        for good in [
            "smtps://ada:secret@mail.example.org",
            "smtp://ada:secret@mail.example.org:587?tls=required",
            "smtp://ada:secret@localhost:25",
            "smtp://mail.example.org:25",
        ] {
            assert!(!is_telling_a_password(good), "{good}");
        }
        for bad in [
            "smtp://ada:secret@mail.example.org",
            "smtp://ada:secret@mail.example.org:25?tls=opportunistic",
        ] {
            assert!(is_telling_a_password(bad), "{bad}");
            assert!(SmtpMailer::new(bad, "orion@example.org").is_err(), "{bad}");
        }
    }
}
