//! Mail over SMTP, and the reactor that sends it: what arrives, what is tried again, what is given up.

use std::sync::Arc;
use std::time::Duration;

use orion_commands::mail::{Mail, MailError, Mailer as _, SmtpMailer};
use orion_commands::reactors::{SendVerification, begin, run};
use orion_commands::{Actor, Single, VerifyEmail};
use orion_domain::values::{Email, Name, Personal, Role, UserId};
use orion_domain::{User, UserCommand};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fixtures::{World, eventually};
use crate::smtp_sink::Sink;

const FROM: &str = "Orion <orion@example.org>";

/// Long enough for a server on this machine.
const PATIENCE: Duration = Duration::from_secs(5);

fn mailer(url: &str) -> SmtpMailer {
    SmtpMailer::new(url, FROM).unwrap().answering_within(PATIENCE)
}

fn mail(to: &str) -> Mail {
    Mail {
        id: Uuid::from_u128(7),
        user_id: UserId(Uuid::from_u128(1)),
        to: Personal::new(Email::parse(to).unwrap()),
        subject: "A subject",
        text: "Hello,\n\n.a line with a dot\nhttp://x/verify-email?token=T\n".into(),
        link: Some("http://x/verify-email?token=T".into()),
    }
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_written() {
    let sink = Sink::guarded("orion", "p@ss").await;
    let url = sink.url().replace("smtp://", "smtp://orion:p%40ss@");
    mailer(&url).send(&mail("ada@example.org")).await.unwrap();
    let [received] = &sink.mails()[..] else { panic!("{:?}", sink.mails()) };
    assert_eq!((received.to.as_str(), received.token().as_str()), ("ada@example.org", "T"));
    let body = "Hello,\r\n\r\n.a line with a dot\r\nhttp://x/verify-email?token=T\r\n";
    assert_eq!(received.data.split_once("\r\n\r\n").unwrap().1, body);
    for (header, value) in [
        ("From", "Orion <orion@example.org>"),
        ("To", "ada@example.org"),
        ("Subject", "A subject"),
        ("Message-ID", "<00000000-0000-0000-0000-000000000007@example.org>"),
        ("Auto-Submitted", "auto-generated"),
    ] {
        assert_eq!(received.header(header), value);
    }
}

#[tokio::test]
async fn a_failure_is_blamed_on_the_mail_or_on_the_server() {
    let sink = Sink::start().await;
    let guarded = Sink::guarded("orion", "right").await;
    let wrong_password = guarded.url().replace("smtp://", "smtp://orion:wrong@");
    let nobody = format!("smtp://{}", Sink::free_address().await);
    let open = |url: &str| mailer(url).answering_within(Duration::from_millis(500));
    let send = async |url: &str, to: &str| open(url).send(&mail(to)).await.unwrap_err();

    let refused = MailError::Refused { code: Some(550) };
    assert_eq!(send(&sink.url(), "refused@example.org").await, refused);
    let deferred = MailError::Deferred { code: Some(451) };
    assert_eq!(send(&sink.url(), "later@example.org").await, deferred);
    let no_answer = MailError::Deferred { code: None };
    assert_eq!(send(&sink.url(), "tarpit@example.org").await, no_answer);
    let beyond_ascii = MailError::Refused { code: None };
    assert_eq!(send(&sink.url(), "ädä@example.org").await, beyond_ascii);
    // Nobody's mail would get through: not this mail's fault, and nothing is sent in clear.
    for url in [&wrong_password, &nobody, &format!("{}?tls=required", sink.url())] {
        let error = send(url, "ada@example.org").await;
        let MailError::Unavailable { reason } = &error else { panic!("{url}: {error}") };
        assert!(!reason.contains("wrong"), "{error}");
    }
    assert_eq!(sink.mails(), []);
    assert_eq!(sink.named("ada@example.org") + guarded.named("ada@example.org"), 0);
}

#[test]
fn the_debug_of_a_mail_shows_nothing_of_it() {
    let shown = format!("{:?}", mail("ada@example.org"));
    assert!(!shown.contains("ada") && !shown.contains("Hello") && !shown.contains("token"));
}

/// A server with a reactor that sends to a sink, until the value is gone.
struct Sending {
    world: World,
    sink: Sink,
    _stop: tokio_util::sync::DropGuard,
}

impl Sending {
    async fn start() -> Self {
        let (world, sink) = (World::new().await, Sink::start().await);
        begin::<SendVerification>(world.bus.log()).await.unwrap();
        let stop = CancellationToken::new();
        let mailer = Arc::new(mailer(&sink.url()));
        let reactor = SendVerification::new(mailer, "https://orion.test/app".to_owned());
        let reactor = reactor.backing_off(Duration::from_millis(10));
        tokio::spawn(run(world.bus.clone(), reactor, stop.clone()));
        Self { world, sink, _stop: stop.drop_guard() }
    }

    async fn register(&self, email: &str, email_verified: bool) -> UserId {
        let id = UserId(Uuid::now_v7());
        let register = UserCommand::Register {
            email: Personal::new(Email::parse(email).unwrap()),
            password_hash: None,
            name: Personal::new(Name::parse("Click http://evil.example").unwrap()),
            role: Role::Viewer,
            email_verified,
        };
        self.user(id, register).await;
        id
    }

    async fn user(&self, id: UserId, command: UserCommand) {
        self.world.run(Actor::System, &Single::<User>::new(id, command)).await.unwrap();
    }

    /// Waits until the reactor has done everything that is in the log.
    async fn done(&self) {
        eventually("the reactor is done", async || {
            let sql = "SELECT coalesce(max(position), -1) FROM reactor_checkpoints";
            self.world.count(sql).await == self.world.bus.log().head().await.unwrap().0
        })
        .await;
    }
}

#[tokio::test]
async fn who_registers_gets_one_mail_with_a_link_that_verifies() {
    let sending = Sending::start().await;
    let ada = sending.register("ada@example.org", false).await;
    sending.register("known@example.org", true).await;
    sending.done().await;
    let [mail] = &sending.sink.mails()[..] else { panic!("{:?}", sending.sink.mails()) };
    assert_eq!(mail.to, "ada@example.org");
    assert!(mail.link().starts_with("https://orion.test/app/verify-email?token="));
    assert!(!mail.data.contains("evil"), "somebody else's words: {}", mail.data);
    let verify = VerifyEmail::new(&mail.token()).unwrap();
    assert_eq!(verify.user_id(), ada);
    sending.world.run(verify.actor(), &verify).await.unwrap();
    assert_eq!(sending.world.events("user.email_verified").await, 1);
}

#[tokio::test]
async fn who_asks_again_gets_another_mail_unless_there_is_nothing_to_verify() {
    let sending = Sending::start().await;
    let now = chrono::Utc::now();
    let (ada, bob) = (
        sending.register("ada@example.org", false).await,
        sending.register("bob@example.org", false).await,
    );
    sending.done().await;
    sending.user(ada, UserCommand::RequestVerification { now }).await;
    sending.done().await;
    let mails = sending.sink.mails_to("ada@example.org");
    let [first, second] = &mails[..] else { panic!("{mails:?}") };
    assert_ne!(first.header("Message-ID"), second.header("Message-ID"));

    // Held up by a mail that hangs, the request comes too late.
    sending.register("held@example.org", false).await;
    let held = async || sending.sink.named("held@example.org") == 1;
    eventually("the mail is held", held).await;
    sending.user(bob, UserCommand::RequestVerification { now }).await;
    sending.user(bob, UserCommand::VerifyEmail).await;
    sending.sink.release();
    sending.done().await;
    assert_eq!(sending.sink.mails_to("bob@example.org").len(), 1);
    assert_eq!(sending.sink.mails().len(), 4);
}

#[tokio::test]
async fn an_address_that_the_server_does_not_take_holds_nobody_up_for_ever() {
    let sending = Sending::start().await;
    sending.register("refused@example.org", false).await;
    sending.register("later@example.org", false).await;
    sending.register("ada@example.org", false).await;
    sending.done().await;
    let tries = ["refused@example.org", "later@example.org", "ada@example.org"];
    assert_eq!(tries.map(|to| sending.sink.named(to)), [1, 5, 1]);
    assert_eq!(sending.sink.mails().len(), 1);
}

#[tokio::test]
async fn the_checkpoint_follows_each_mail() {
    let sending = Sending::start().await;
    let named = async |to: &str| {
        eventually("the server is asked", async || sending.sink.named(to) > 0).await;
    };
    // The last two are read in one batch: the reactor stands at the first while they come.
    sending.register("held@example.org", false).await;
    named("held@example.org").await;
    sending.register("ada@example.org", false).await;
    sending.register("tarpit@example.org", false).await;
    sending.sink.release();
    named("tarpit@example.org").await;
    // Whatever happens now, nothing that was sent is sent again.
    let checkpoint = "SELECT max(position) FROM reactor_checkpoints";
    assert_eq!(sending.world.count(checkpoint).await, 2);
}
