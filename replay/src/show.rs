//! One aggregate: its rows as they were at a moment, and what happened to it until then.

use std::collections::BTreeMap;
use std::error::Error;

use orion_projections::{Change, changes};
use orion_store::{Fact, MasterKeys, Position, RecordedEvent, Vault, log};
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::Format;
use crate::hide::{hidden, hide};
use crate::moment::Moment;
use crate::output::{FAINT, NEW, OLD, TITLE, columns, harmless, say, styled};
use crate::verbs::Outcome;

/// What stands in place of a hidden value that was another before.
const HIDDEN_CHANGED: &str = "*** (changed)";

/// What is asked of an aggregate.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The noun, such as content.
    aggregate: String,
    /// Which one.
    id: Uuid,
    /// How it was then: a position, or a time such as 2026-02-01T12:00:00Z; unset: how it is now.
    #[arg(long)]
    at: Option<Moment>,
    /// What each event changed.
    #[arg(long)]
    diff: bool,
    /// Personal values, too; secrets are never shown.
    #[arg(long = "show-personal")]
    is_personal_shown: bool,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// An event and what it changed.
struct Step {
    event: RecordedEvent,
    changes: Vec<Change>,
}

/// Shows an aggregate.
pub async fn show(pool: &PgPool, masters: MasterKeys, show: &Show) -> Outcome {
    let until = match show.at {
        Some(moment) => moment.position(pool).await?,
        None => log::head(pool).await?,
    };
    let events = log::stream(pool, &show.aggregate, show.id, until).await?;
    if events.is_empty() {
        let Show { aggregate, id, .. } = show;
        return Err(format!("there is no {aggregate} {id} at position {until}").into());
    }
    let vault = Vault::of(pool.clone(), masters);
    let steps = steps(&vault, events, show.is_personal_shown).await?;
    let said = match show.format {
        Format::Text => text(show, until, &steps),
        Format::Json => format!("{:#}\n", as_json(show, until, &steps)),
    };
    say(&said)?;
    Ok(true)
}

/// Reads a stream; secrets in rows are hidden, and personal values unless they are to be shown.
async fn steps(
    vault: &Vault,
    events: Vec<RecordedEvent>,
    show_personal: bool,
) -> Result<Vec<Step>, Box<dyn Error>> {
    let ring = vault.ring(&events).await?;
    let mut facts: Vec<Fact> = Vec::new();
    for event in &events {
        let told = |error| format!("position {}: {error}", event.position);
        facts.push(ring.read(event).map_err(told)?);
    }
    let mut changed = changes(&facts).await;
    // How far the read model is in a stream tells nothing of the aggregate.
    for changes in &mut changed {
        changes.retain(|change| change.table != "projection.streams");
    }
    for Change { before, after, personal, secret, .. } in changed.iter_mut().flatten() {
        hide(hidden(personal, secret, show_personal), before, after, HIDDEN_CHANGED);
    }
    Ok(events.into_iter().zip(changed).map(|(event, changes)| Step { event, changes }).collect())
}

/// The rows after the last step, by table and key.
fn rows(steps: &[Step]) -> BTreeMap<(&'static str, Uuid), &Map<String, Value>> {
    let mut rows = BTreeMap::new();
    for change in steps.iter().flat_map(|step| &step.changes) {
        let key = (change.table, change.id);
        match change.after.as_ref().and_then(Value::as_object) {
            Some(row) => rows.insert(key, row),
            None => rows.remove(&key),
        };
    }
    rows
}

fn text(show: &Show, until: Position, steps: &[Step]) -> String {
    let title = format!("{} {} at position {until}", harmless(&show.aggregate), show.id);
    let mut lines = vec![styled(TITLE, &title)];
    for ((table, id), row) in rows(steps) {
        lines.extend([String::new(), styled(TITLE, &format!("{table} {id}"))]);
        let values: Vec<Vec<String>> = row
            .iter()
            .filter(|(column, _)| *column != "id")
            .map(|(column, value)| vec![format!("  {column}"), plain(value)])
            .collect();
        lines.extend(columns(&values).lines().map(str::to_owned));
    }
    lines.extend([String::new(), styled(TITLE, "events")]);
    let events: Vec<Vec<String>> = steps.iter().map(|step| line(&step.event)).collect();
    for (event, step) in columns(&events).lines().zip(steps) {
        lines.push(event.to_owned());
        if show.diff {
            lines.extend(step.changes.iter().flat_map(diff));
        }
    }
    lines.join("\n") + "\n"
}

fn line(event: &RecordedEvent) -> Vec<String> {
    vec![
        event.position.to_string(),
        event.recorded_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        harmless(&event.event_type),
        harmless(event.metadata.get("actor").map_or("", String::as_str)),
    ]
}

/// What a change did, column by column.
fn diff(Change { table, id, before, after, .. }: &Change) -> Vec<String> {
    let row = format!("{table} {id}");
    let title = match (before, after) {
        (None, _) => styled(NEW, &format!("+ {row}")),
        (Some(_), None) => styled(OLD, &format!("- {row}")),
        (Some(_), Some(_)) => styled(FAINT, &format!("~ {row}")),
    };
    let mut lines = vec![format!("    {title}")];
    for (column, new) in after.iter().filter_map(Value::as_object).flatten() {
        let old = before.as_ref().and_then(|before| before.get(column));
        let is_said = column == "id" || new.is_null() && old.is_none();
        if is_said || old == Some(new) {
            continue;
        }
        let new = styled(NEW, &plain(new));
        let change = match old {
            Some(old) => format!("{} -> {new}", styled(OLD, &plain(old))),
            None => new,
        };
        lines.push(format!("        {column}: {change}"));
    }
    lines
}

/// A value for people: texts without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => harmless(text),
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            harmless(&value.to_string())
        }
    }
}

fn as_json(show: &Show, until: Position, steps: &[Step]) -> Value {
    let rows: Vec<Value> = rows(steps)
        .into_iter()
        .map(|((table, _), row)| json!({ "table": table, "row": row }))
        .collect();
    let events: Vec<Value> = steps
        .iter()
        .map(|Step { event, changes }| {
            let mut json = crate::log::as_json(event);
            if show.diff {
                let changes = changes.iter().map(|change| {
                    json!({
                        "table": change.table, "id": change.id,
                        "before": change.before, "after": change.after,
                    })
                });
                json["changes"] = changes.collect();
            }
            json
        })
        .collect();
    json!({
        "aggregate": show.aggregate, "id": show.id, "position": until, "rows": rows,
        "events": events,
    })
}
