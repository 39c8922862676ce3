//! Computing tables anew: those that are served, or as they were.

use std::collections::BTreeMap;

use orion_projections::{NOTIFICATIONS, READ_MODEL, Rebuilt, checkpoint, rebuild_notifications};
use orion_store::{MasterKeys, Position, Vault, log};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::Format;
use crate::moment::Moment;
use crate::output::{columns, done, progress_bar, say};
use crate::verbs::Outcome;

/// Mends the rows that differ from the log; with `dry_run` only says which tables have some.
pub async fn rebuild(pool: &PgPool, masters: MasterKeys, dry_run: bool, format: Format) -> Outcome {
    let vault = Vault::of(pool.clone(), masters);
    let shown = checkpoint(pool, READ_MODEL).await?.position;
    // Empty tables are filled to the head.
    let until = if shown == Position::START { log::head(pool).await? } else { shown };
    let bar = progress_bar(until.0.unsigned_abs());
    let tables = orion_projections::rebuild(pool, &vault, dry_run, &|events| bar.inc(events)).await;
    bar.finish_and_clear();
    let tables = told("rows", tables?);
    if format == Format::Text {
        // At once: the notifications may fail after the tables were mended.
        say(&text(&tables, dry_run))?;
    }

    let told_of = checkpoint(pool, NOTIFICATIONS).await?.position;
    let bar = progress_bar(told_of.0.unsigned_abs());
    let notifications =
        rebuild_notifications(pool, &vault, dry_run, &|events| bar.inc(events)).await;
    bar.finish_and_clear();
    let notifications = told("rows of notifications", notifications?);
    let is_well = tables.total == 0 && notifications.total == 0;
    match format {
        Format::Text => say(&text(&notifications, dry_run))?,
        Format::Json => {
            let all = json!([as_json(&tables, dry_run), as_json(&notifications, dry_run)]);
            say(&format!("{all:#}\n"))?;
        }
    }
    Ok(!dry_run || is_well)
}

/// What a rebuild found.
struct Told {
    what: &'static str,
    position: Position,
    /// The tables with rows that differ.
    differing: Vec<(&'static str, u64)>,
    total: u64,
}

fn told(what: &'static str, Rebuilt { position, mut differing }: Rebuilt) -> Told {
    differing.retain(|(_, rows)| *rows > 0);
    let total = differing.iter().map(|(_, rows)| rows).sum();
    Told { what, position, differing, total }
}

fn text(Told { what, position, differing, total }: &Told, dry_run: bool) -> String {
    let line = |(table, rows): &(&str, u64)| vec![(*table).to_owned(), rows.to_string()];
    let tables = columns(&differing.iter().map(line).collect::<Vec<_>>());
    let done = if dry_run { "differ from the log" } else { "were mended" };
    format!("{tables}{total} {what} {done} at position {position}\n")
}

fn as_json(Told { what, position, differing, total }: &Told, dry_run: bool) -> Value {
    let tables: BTreeMap<_, _> = differing.iter().copied().collect();
    json!({
        "compared": what, "position": position, "mended": !dry_run, "rows": total,
        "tables": tables,
    })
}

/// Which tables are written where.
#[derive(Debug, clap::Args)]
pub struct Materialize {
    /// When: a position, or a time such as 2026-02-01T12:00:00Z.
    #[arg(long)]
    at: Moment,
    /// The schema's name; there must be none of it yet.
    #[arg(long)]
    schema: String,
    /// A documented table that is wanted, without its schema; may be given more than once. Without it, all are.
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// How what was done is told.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Writes the documented tables as they were into a new schema.
pub async fn materialize(pool: &PgPool, masters: MasterKeys, wanted: Materialize) -> Outcome {
    let Materialize { at, schema, tables, format } = wanted;
    let vault = Vault::of(pool.clone(), masters);
    let position = at.position(pool).await?;
    let bar = progress_bar(position.0.unsigned_abs());
    let folded = |events| bar.inc(events);
    let written =
        orion_projections::materialize(pool, &vault, position, &schema, &tables, &folded).await;
    bar.finish_and_clear();
    written?;
    done(
        format,
        format_args!("schema {schema} shows the tables as they were at position {position}"),
        &json!({ "schema": schema, "position": position }),
    )
}
