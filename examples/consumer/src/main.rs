//! Counts Orion's events by type, as they come out of NATS JetStream: each one once, whatever breaks.
//!
//! JetStream delivers at least once. What makes that "once" is that the counts and the position they reach are kept
//! together, in one file that is replaced at once: an event that comes again is at or before that position, and
//! nothing is done. A consumer with a database keeps its position in the same transaction as its rows.

mod tally;

use std::path::PathBuf;

use async_nats::jetstream;
use async_nats::jetstream::consumer::AckPolicy;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::{ConnectOptions, HeaderValue};
use clap::Parser;
use futures::StreamExt as _;

use self::tally::Tally;

/// Counts Orion's events by type, each one once.
#[derive(Parser)]
struct Settings {
    /// NATS, such as `nats://127.0.0.1:4222`.
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:4222")]
    nats: String,

    /// Who signs in there, with `--password`; nobody if it is not given.
    #[arg(long, env = "NATS_USER", requires = "password")]
    user: Option<String>,

    /// The user's password.
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true)]
    password: Option<String>,

    /// Which events: `orion.events.content.>`, `orion.events.*.published`, …
    #[arg(long, default_value = "orion.events.>")]
    subject: String,

    /// The name that JetStream keeps this consumer's place under. Another choice of events is another name.
    #[arg(long, default_value = "tally")]
    name: String,

    /// Where the counts are kept.
    #[arg(long, default_value = "tally.json")]
    file: PathBuf,
}

#[tokio::main]
async fn main() -> Result<(), async_nats::Error> {
    let settings = Settings::parse();
    let mut tally = Tally::open(settings.file)?;
    println!("events up to position {} are counted", tally.position());

    let options = match (settings.user, settings.password) {
        (Some(user), Some(password)) => ConnectOptions::with_user_and_password(user, password),
        (None, _) | (_, None) => ConnectOptions::new(),
    };
    let client = options.connect(&settings.nats).await?;
    let stream = jetstream::new(client).get_stream("ORION").await?;
    let config = Config {
        durable_name: Some(settings.name.clone()),
        filter_subject: settings.subject,
        ack_policy: AckPolicy::Explicit,
        // One at a time. With more, an event that comes again could come after a later one, and one position would
        // not tell what is done. Who needs more speed keeps the position of each aggregate, or reads from the
        // position on with an ordered consumer: the number of a message is the position of its event.
        max_ack_pending: 1,
        ..Config::default()
    };
    let consumer = stream.get_or_create_consumer(&settings.name, config).await?;

    let mut messages = consumer.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let event_type = message.subject.trim_start_matches("orion.events.").to_owned();
        let position = message.info()?.stream_sequence;
        let state = if tally.count(position, &event_type)? { "counted" } else { "seen before" };
        // Only now: what is not acknowledged comes again.
        message.ack().await?;
        let header = |name| message.headers.as_ref()?.get(name).map(HeaderValue::as_str);
        let time = header("ce-time").unwrap_or_default();
        let subject = header("ce-subject").unwrap_or_default();
        println!("{position}  {event_type}  {subject}  {time}  {state}");
    }
    Ok(())
}
