//! Who opens an account, or asks for it, gets a mail with a link that verifies the address.

use std::sync::Arc;
use std::time::Duration;

use orion_domain::values::{Email, Personal, UserId};
use orion_domain::{Event, User, UserEvent};
use orion_store::Fact;
use secrecy::ExposeSecret as _;
use tracing::{info, warn};

use super::runner::{Reactor, command_id};
use crate::bus::Bus;
use crate::error::CommandError;
use crate::mail::{Mail, MailError, Mailer};
use crate::verification::verification_token;

/// How long to wait after the first failure; each further one doubles it.
const BACK_OFF: Duration = Duration::from_secs(1);

/// How long to wait at most.
const BACK_OFF_MAX: Duration = Duration::from_mins(1);

/// How often a mail is tried that the server does not take although it works: the others must not
/// wait behind one address for ever.
const ATTEMPTS_MAX: u32 = 5;

/// The reactor.
#[derive(Clone)]
pub struct SendVerification {
    mailer: Arc<dyn Mailer>,
    public_url: String,
    back_off: Duration,
}

impl SendVerification {
    /// Sends by a mailer. Links begin with `public_url`, which does not end with a slash.
    pub fn new(mailer: Arc<dyn Mailer>, public_url: String) -> Self {
        Self { mailer, public_url, back_off: BACK_OFF }
    }

    /// The same with another wait after the first failure.
    #[must_use]
    pub fn backing_off(self, back_off: Duration) -> Self {
        Self { back_off, ..self }
    }

    fn mail(&self, bus: &Bus, fact: &Fact, email: &Email) -> Mail {
        let user_id = UserId(fact.aggregate_id);
        let token = verification_token(bus.keys(), user_id, email, orion_store::now());
        let link = format!("{}/verify-email?token={}", self.public_url, token.expose_secret());
        // Nothing that the user wrote, not even the name: the address may be somebody else's, and
        // nobody shall send him words of his own choice by way of us.
        let text = format!(
            "Hello,\n\n\
             an account at Orion was opened with this e-mail address. To verify that it\n\
             is yours, open this link and press the button:\n\n\
             {link}\n\n\
             The link is good for 24 hours. If it was not you, do nothing: without you\n\
             the address stays unverified.\n"
        );
        Mail {
            id: command_id(Self::NAME, fact.position),
            user_id,
            to: Personal::new(email.clone()),
            subject: "Verify your e-mail address",
            text: text.into(),
            link: Some(link.into()),
        }
    }
}

/// True of the events that a mail follows.
fn asks_for_mail(event: &Event) -> bool {
    let Event::User(event) = event else { return false };
    match event {
        UserEvent::Registered { email_verified, .. } => !email_verified,
        UserEvent::VerificationRequested { .. } => true,
        UserEvent::ProfileUpdated { .. }
        | UserEvent::EmailVerified {}
        | UserEvent::PasswordChanged { .. }
        | UserEvent::SettingsUpdated { .. }
        | UserEvent::NotificationsRead { .. }
        | UserEvent::RoleChanged { .. }
        | UserEvent::Deactivated {}
        | UserEvent::Reactivated {}
        | UserEvent::LoggedIn { .. }
        | UserEvent::OAuthAccountLinked { .. }
        | UserEvent::OAuthAccountUnlinked { .. }
        | UserEvent::Erased { .. } => false,
    }
}

/// The address that waits to be verified, as the user is now.
fn recipient(user: &User) -> Option<&Email> {
    user.email().filter(|_| user.active_role().is_some() && !user.is_email_verified())
}

impl Reactor for SendVerification {
    const NAME: &'static str = "send_verification";

    async fn react(&self, bus: &Bus, fact: &Fact) -> Result<(), CommandError> {
        if !asks_for_mail(&fact.event) {
            return Ok(());
        }
        let user_id = fact.aggregate_id;
        let (mut deferred, mut wait) = (0, self.back_off);
        loop {
            // Each time anew: by now the address may be verified, or the user gone.
            let user = bus.store().load::<User>(user_id).await?;
            let Some(email) = recipient(&user.aggregate) else { return Ok(()) };
            let error = match self.mailer.send(&self.mail(bus, fact, email)).await {
                Ok(()) => {
                    info!(%user_id, "verification mail handed over");
                    return Ok(());
                }
                Err(error) => error,
            };
            let gives_up = match &error {
                MailError::Unavailable { .. } => false,
                MailError::Deferred { .. } => {
                    deferred += 1;
                    deferred == ATTEMPTS_MAX
                }
                MailError::Refused { .. } => true,
            };
            if gives_up {
                warn!(%user_id, %error, "verification mail given up");
                return Ok(());
            }
            warn!(%user_id, %error, wait_s = wait.as_secs(), "verification mail not sent, trying again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACK_OFF_MAX);
        }
    }

    fn leaves_orion(&self, fact: &Fact) -> bool {
        asks_for_mail(&fact.event)
    }
}
