//! JetStream: one connection to it, the stream, and what is asked of both.

use std::time::Duration;

use async_nats::Event;
use async_nats::jetstream;
use async_nats::jetstream::context::{
    ContextBuilder, CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind,
};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, LastRawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use orion_store::leadership::Leader;
use orion_store::{Log, LogReader, Position, RecordedEvent};
use tokio_util::sync::CancellationToken;

use super::error::RelayError;
use super::message::{is_of, message, subject};
use super::on_the_way::Sent;
use super::read;
use super::servers::NatsServers;

/// The stream. Its message number `n` is the event at position `n`.
const STREAM: &str = "ORION";

/// What the stream takes, and nothing else.
const SUBJECTS: &str = "orion.events.>";

/// How long a server may take to let a client in.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How long JetStream may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// For how long JetStream itself knows a position again. The number of its last message does that, too, without end.
const DUPLICATES_FOR: Duration = Duration::from_mins(2);

/// One connection. It is not mended: who lost it makes another and looks where JetStream stands.
pub struct JetStream {
    context: jetstream::Context,
    lost: CancellationToken,
}

impl JetStream {
    /// Connects to one of the servers.
    pub async fn connect(servers: &NatsServers) -> Result<Self, RelayError> {
        let lost = CancellationToken::new();
        let on_event = lost.clone();
        let client = servers
            .options()
            .name("orion relay")
            .connection_timeout(CONNECT_WITHIN)
            .request_timeout(Some(ANSWER_WITHIN))
            // Each server once at the start; and soon after the end the client gives up.
            .max_reconnects(servers.addresses().len())
            .event_callback(move |event| {
                if matches!(event, Event::Disconnected | Event::Closed) {
                    on_event.cancel();
                }
                std::future::ready(())
            })
            .connect(servers.addresses())
            .await
            .map_err(RelayError::Unreachable)?;
        let context = ContextBuilder::new().timeout(ANSWER_WITHIN).build(client);
        Ok(Self { context, lost })
    }

    /// The result of some work, unless the connection is lost before.
    pub async fn unless_lost<T>(
        &self,
        work: impl Future<Output = Result<T, RelayError>>,
    ) -> Result<T, RelayError> {
        self.lost.run_until_cancelled(work).await.unwrap_or(Err(RelayError::Lost))
    }

    /// How far the log is in JetStream, by JetStream's own word; at the beginning where there is no stream.
    pub async fn last(&self) -> Result<Position, RelayError> {
        match self.context.get_stream(STREAM).await {
            Ok(stream) => Ok(last(stream.cached_info())),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(why) if why.code() == 404 => Ok(Position::START),
                GetStreamErrorKind::JetStream(_)
                | GetStreamErrorKind::EmptyName
                | GetStreamErrorKind::InvalidStreamName
                | GetStreamErrorKind::Request => Err(failed("looking at the stream")(error)),
            },
        }
    }

    /// The same for who is about to go on after it. Makes the stream if there is none, and looks at
    /// its last message: it must be the event at its place.
    pub async fn position(&self, log: &Log, leader: &mut Leader) -> Result<Position, RelayError> {
        let stream = leader.at_work(self.stream()).await?;
        let position = last(stream.cached_info());
        if position == Position::START {
            return Ok(position);
        }
        let mut reader = LogReader::new(Position(position.0 - 1), position);
        let Some(event) = read(leader, &mut reader).await?.pop() else {
            let log = orion_store::log::head(log.pool()).await?;
            return Err(RelayError::Ahead { jetstream: position, log });
        };
        let message = leader
            .at_work(async {
                Ok::<_, RelayError>(stream.get_raw_message(position.0.unsigned_abs()).await)
            })
            .await?;
        match message {
            Ok(message) if is_of(&message, &event) => Ok(position),
            Ok(_) => Err(RelayError::Differs { position }),
            // The stream's limits, or its owner, have taken it away. The number stays.
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(position),
            Err(error) => Err(failed("reading the last message")(error)),
        }
    }

    /// Sends an event.
    pub async fn publish(&self, event: &RecordedEvent) -> Result<Sent, RelayError> {
        let position = event.position;
        let subject = subject(event).ok_or(RelayError::Unnamed { position })?;
        let refused = move |source| RelayError::Refused { position, source };
        let sent = self.context.send_publish(subject, message(event)).await;
        let acknowledged = sent.map_err(|source| {
            if source.kind() == PublishErrorKind::MaxPayloadExceeded {
                return RelayError::TooLarge { position, source };
            }
            refused(source)
        })?;
        Ok(Box::pin(async move {
            let acknowledged = acknowledged.await.map_err(refused)?;
            // Another number: JetStream knew the position from a stream that has lost messages since.
            let is_there = acknowledged.sequence == position.0.unsigned_abs();
            is_there.then_some(position).ok_or(RelayError::Differs { position })
        }))
    }

    /// The stream, made if there is none. One that is there is never changed.
    async fn stream(&self) -> Result<Stream<Info>, RelayError> {
        let config = Config {
            name: STREAM.to_owned(),
            description: Some("The log of Orion: message n is the event at position n".to_owned()),
            subjects: vec![SUBJECTS.to_owned()],
            storage: StorageType::File,
            num_replicas: 1,
            duplicate_window: DUPLICATES_FOR,
            ..Config::default()
        };
        let stream = self.context.get_or_create_stream(config).await;
        let stream = stream.map_err(|error| {
            // Such as: another stream has these subjects.
            if let CreateStreamErrorKind::JetStream(why) = error.kind()
                && why.code() == 400
            {
                return RelayError::Unfit(why.to_string());
            }
            failed("opening the stream")(error)
        })?;
        match unfit(&stream.cached_info().config) {
            Some(why) => Err(RelayError::Unfit(why)),
            None => Ok(stream),
        }
    }
}

fn last(stream: &Info) -> Position {
    Position(i64::try_from(stream.state.last_sequence).unwrap_or(i64::MAX))
}

/// Why a stream cannot be the log; none if it can. Limits on its age and size are its owner's choice, if they
/// take away what is old and refuse nothing.
fn unfit(config: &Config) -> Option<String> {
    if config.subjects != [SUBJECTS] {
        let subjects = config.subjects.join(", ");
        return Some(format!("its subjects must be {SUBJECTS}, and are {subjects}"));
    }
    let is_copy = config.mirror.is_some() || config.sources.iter().flatten().next().is_some();
    [
        (config.storage != StorageType::File, "it is not kept in files"),
        (config.retention != RetentionPolicy::Limits, "it forgets messages once they were read"),
        (config.no_ack, "it does not acknowledge messages"),
        (config.sealed, "it is sealed"),
        (
            config.discard != DiscardPolicy::Old,
            "it refuses new messages where its limits are reached",
        ),
        (
            config.max_message_size > 0,
            "it refuses messages that are larger than a limit of its own",
        ),
        (is_copy, "it takes messages from other streams"),
    ]
    .into_iter()
    .find_map(|(is_so, why)| is_so.then(|| why.to_owned()))
}

fn failed<E: std::error::Error + Send + Sync + 'static>(
    doing: &'static str,
) -> impl FnOnce(E) -> RelayError {
    move |error| RelayError::JetStream { doing, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_must_be_able_to_be_the_log() {
        let good = || Config { subjects: vec![SUBJECTS.to_owned()], ..Config::default() };
        assert_eq!(unfit(&good()), None);
        assert_eq!(unfit(&Config { max_messages: 10, max_message_size: -1, ..good() }), None);
        for bad in [
            Config { subjects: vec!["orion.>".to_owned()], ..good() },
            Config { subjects: Vec::new(), ..good() },
            Config { storage: StorageType::Memory, ..good() },
            Config { retention: RetentionPolicy::WorkQueue, ..good() },
            Config { retention: RetentionPolicy::Interest, ..good() },
            Config { no_ack: true, ..good() },
            Config { sealed: true, ..good() },
            Config { discard: DiscardPolicy::New, ..good() },
            Config { max_message_size: 100, ..good() },
            Config { mirror: Some(jetstream::stream::Source::default()), ..good() },
        ] {
            assert!(unfit(&bad).is_some(), "{bad:?}");
        }
    }
}
