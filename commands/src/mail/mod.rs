//! Mail: what is sent to a person, and the ways to send it.

mod counted;
mod log;
mod smtp;

use std::pin::Pin;

use orion_domain::values::{Email, Personal, UserId};
use secrecy::SecretString;
use uuid::Uuid;

pub use self::counted::CountedMailer;
pub use self::log::LogMailer;
pub use self::smtp::{MailSettingError, SmtpMailer};

/// A mail to one person. Its `Debug` shows neither the address nor what it says.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The same for each repeat of the same mail, so that a mailbox may know it again.
    pub id: Uuid,
    /// Who gets it.
    pub user_id: UserId,
    /// Where it goes.
    pub to: Personal<Email>,
    /// What it is about.
    pub subject: &'static str,
    /// What it says, with the link in it.
    pub text: SecretString,
    /// The link, if it is sent for one.
    pub link: Option<SecretString>,
}

/// Why a mail was not sent. Never says what the server said: that may quote the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The server takes no mail at all, whoever it is for. Trying again helps when it is back.
    #[error("the mail server cannot be used: {reason}")]
    Unavailable {
        /// What failed.
        reason: String,
    },
    /// The server works, but does not take this mail now.
    #[error("the mail server does not take the mail now, {}", answer(*.code))]
    Deferred {
        /// The reply's code, if there was a reply.
        code: Option<u16>,
    },
    /// The server works and will never take this mail.
    #[error("the mail server refuses the mail, {}", answer(*.code))]
    Refused {
        /// The reply's code, if there was a reply.
        code: Option<u16>,
    },
}

fn answer(code: Option<u16>) -> String {
    code.map_or_else(|| "without a reply".to_owned(), |code| format!("with reply {code}"))
}

/// What a mailer is doing.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), MailError>> + Send + 'a>>;

/// A way to send mail. It answers in bounded time.
pub trait Mailer: Send + Sync {
    /// Hands a mail over.
    fn send<'a>(&'a self, mail: &'a Mail) -> Sending<'a>;
}
