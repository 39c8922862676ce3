//! The log itself: its events in order, picked by what is known of them, and those to come.

use std::error::Error;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::ValueEnum;
use orion_store::{Kept, Position, RecordedEvent, Selection, Tail};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::output::{FAINT, columns, harmless, say, styled};
use crate::verbs::Outcome;

/// How many events are read at a time.
const READ_MAX: i64 = 1_000;

/// How many events that come are taken at a time.
const FOLLOW_MAX: usize = 1_000;

/// Which events, and how they are written.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Of these types, such as `content.approved`, separated by commas.
    #[arg(long = "type", value_delimiter = ',')]
    types: Vec<String>,
    /// Of a noun, such as `content`, or of one aggregate: `content/<id>`.
    #[arg(long)]
    aggregate: Option<String>,
    /// Caused by this actor, such as `user:<id>`.
    #[arg(long)]
    actor: Option<String>,
    /// Recorded then or later, such as 2026-02-01T12:00:00Z.
    #[arg(long)]
    from: Option<DateTime<Utc>>,
    /// Recorded earlier.
    #[arg(long)]
    to: Option<DateTime<Utc>>,
    /// After this position.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    after: i64,
    /// At most so many.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
    limit: Option<i64>,
    /// Goes on with events as they come, until it is stopped; for programs with `--format ndjson`, as a JSON
    /// array would have no end.
    #[arg(long)]
    follow: bool,
    /// How they are written.
    #[arg(long, value_enum, default_value_t = LogFormat::Table)]
    format: LogFormat,
}

/// How events are written. Personal and secret values of payloads are hidden in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Columns, for people.
    Table,
    /// One JSON array.
    Json,
    /// One JSON object in each line.
    Ndjson,
    /// Comma-separated values with a header, as RFC 4180 has them.
    Csv,
}

/// Prints events.
pub async fn log(pool: &PgPool, options: &Options) -> Outcome {
    if options.follow && options.format == LogFormat::Json {
        return Err("--follow has no end, and a JSON array has one: take --format ndjson".into());
    }
    let selection = options.selection()?;
    let head = orion_store::log::head(pool).await?;
    if !options.follow && options.after > head.0 {
        return Err(format!("--after: the log ends at {head}, before {}", options.after).into());
    }
    let mut printer = Printer { format: options.format, printed: 0 };
    printer.begin()?;
    let mut after = Position(options.after);
    let mut left = options.limit.unwrap_or(i64::MAX);
    while left > 0 {
        let limit = left.min(READ_MAX);
        let events = orion_store::select(pool, &selection, Some(after), None, false, limit).await?;
        let Some(last) = events.last() else { break };
        after = last.position;
        left -= i64::try_from(events.len()).unwrap_or(i64::MAX);
        printer.print(events.iter())?;
    }
    if options.follow && left > 0 {
        follow(pool, &selection, after, left, &mut printer).await?;
    }
    printer.end()?;
    Ok(true)
}

/// Goes on after a position with what comes. Positions have no gap, so that nothing is missed.
async fn follow(
    pool: &PgPool,
    selection: &Selection,
    mut after: Position,
    mut left: i64,
    printer: &mut Printer,
) -> Result<(), Box<dyn Error>> {
    let stop = CancellationToken::new();
    let _stop_at_the_end = stop.clone().drop_guard();
    let tail = Tail::start(Kept::new(pool.clone(), "log").patient(), stop).await?;
    while left > 0 {
        let events = tail.next(after, FOLLOW_MAX).await?;
        let Some(last) = events.last() else { break };
        after = last.position;
        let is_over = selection.before.is_some_and(|before| last.recorded_at >= before);
        let wanted = events.iter().filter(|event| selection.matches(event));
        let wanted: Vec<&RecordedEvent> =
            wanted.map(AsRef::as_ref).take(usize::try_from(left).unwrap_or(usize::MAX)).collect();
        left -= i64::try_from(wanted.len()).unwrap_or(i64::MAX);
        printer.print(wanted.into_iter())?;
        if is_over {
            break;
        }
    }
    Ok(())
}

impl Options {
    fn selection(&self) -> Result<Selection, Box<dyn Error>> {
        let (aggregate_type, aggregate_id) = match &self.aggregate {
            None => (None, None),
            Some(text) => match text.split_once('/') {
                None => (Some(text.clone()), None),
                Some((noun, id)) => {
                    let id: Uuid = id.parse().map_err(|_| format!("--aggregate: {id} is no id"))?;
                    (Some(noun.to_owned()), Some(id))
                }
            },
        };
        let selection = Selection {
            event_types: (!self.types.is_empty()).then(|| self.types.clone()),
            aggregate_type,
            aggregate_id,
            actor: self.actor.clone(),
            since: self.from,
            before: self.to,
        };
        selection.check_names()?;
        Ok(selection)
    }
}

/// Prints events one after the other.
struct Printer {
    format: LogFormat,
    printed: u64,
}

impl Printer {
    fn begin(&self) -> Result<(), Box<dyn Error>> {
        match self.format {
            LogFormat::Json => say("["),
            LogFormat::Csv => say(
                "position,aggregate_type,aggregate_id,sequence,event_type,event_version,recorded_at,actor,payload\r\n",
            ),
            LogFormat::Table | LogFormat::Ndjson => Ok(()),
        }
    }

    fn print<'e>(
        &mut self,
        events: impl ExactSizeIterator<Item = &'e RecordedEvent>,
    ) -> Result<(), Box<dyn Error>> {
        let count = events.len() as u64;
        let text: String = match self.format {
            LogFormat::Table => columns(&events.map(row).collect::<Vec<_>>()),
            LogFormat::Ndjson => {
                events.flat_map(|event| [as_json(event).to_string(), "\n".to_owned()]).collect()
            }
            LogFormat::Csv => events.map(csv).collect(),
            LogFormat::Json => {
                let mut text = String::new();
                for (place, event) in (self.printed..).zip(events) {
                    text.push_str(if place == 0 { "\n" } else { ",\n" });
                    text.push_str(&as_json(event).to_string());
                }
                text
            }
        };
        self.printed += count;
        say(&text)
    }

    fn end(&self) -> Result<(), Box<dyn Error>> {
        match self.format {
            LogFormat::Json => say("\n]\n"),
            LogFormat::Table | LogFormat::Ndjson | LogFormat::Csv => Ok(()),
        }
    }
}

fn time(event: &RecordedEvent) -> String {
    event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn actor(event: &RecordedEvent) -> &str {
    event.metadata.get("actor").map_or("", String::as_str)
}

fn row(event: &RecordedEvent) -> Vec<String> {
    vec![
        event.position.to_string(),
        time(event),
        harmless(&event.event_type),
        format!("{}/{}", harmless(&event.aggregate_type), event.aggregate_id),
        harmless(actor(event)),
        styled(FAINT, &harmless(&event.redacted_payload().to_string())),
    ]
}

/// An event for machines, personal and secret values hidden.
pub fn as_json(event: &RecordedEvent) -> Value {
    json!({
        "position": event.position, "aggregateType": event.aggregate_type,
        "aggregateId": event.aggregate_id, "sequence": event.sequence,
        "eventType": event.event_type, "eventVersion": event.event_version,
        "recordedAt": time(event), "metadata": event.metadata, "payload": event.redacted_payload(),
    })
}

fn csv(event: &RecordedEvent) -> String {
    let fields = [
        event.position.to_string(),
        event.aggregate_type.clone(),
        event.aggregate_id.to_string(),
        event.sequence.to_string(),
        event.event_type.clone(),
        event.event_version.clone(),
        time(event),
        actor(event).to_owned(),
        event.redacted_payload().to_string(),
    ];
    let quoted = fields.map(|field| {
        if field.contains([',', '"', '\r', '\n']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field
        }
    });
    format!("{}\r\n", quoted.join(","))
}
