//! Counts what becomes of mail, whichever way it is sent and whatever for.

use metrics::counter;

use super::{Mail, MailError, Mailer, Sending};

/// A mailer that counts each try of another.
pub struct CountedMailer<M>(pub M);

impl<M: Mailer> Mailer for CountedMailer<M> {
    fn send<'a>(&'a self, mail: &'a Mail) -> Sending<'a> {
        Box::pin(async {
            let sent = self.0.send(mail).await;
            let outcome = match &sent {
                Ok(()) => "sent",
                Err(MailError::Unavailable { .. }) => "unavailable",
                Err(MailError::Deferred { .. }) => "deferred",
                Err(MailError::Refused { .. }) => "refused",
            };
            counter!("orion_mails_total", "outcome" => outcome).increment(1);
            sent
        })
    }
}
