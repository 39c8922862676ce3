//! Computing tables anew: those that are served, or as they were.

use std::collections::BTreeMap;
use std::error::Error;

use orion_projections::{
    FactsError, NOTIFICATIONS, READ_MODEL, RebuildError, Rebuilt, checkpoint, rebuild_notifications,
};
use orion_store::{MasterKeys, Position, Vault, log};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::Format;
use crate::moment::Moment;
use crate::output::{columns, done, progress_bar, say};
use crate::verbs::Outcome;

/// Mends the rows that differ from the log; with `dry_run` only says which tables have some. Tables that show
/// what the log does not have are a fault that is found, and no wrong use.
pub async fn rebuild(pool: &PgPool, masters: MasterKeys, dry_run: bool, format: Format) -> Outcome {
    let vault = Vault::of(pool.clone(), masters);
    let mut all = Vec::new();
    let ended = rebuild_all(pool, &vault, dry_run, format, &mut all).await;
    // Also where it ended with an error: what was mended before stays mended.
    if format == Format::Json && !all.is_empty() {
        let all: Value = all.iter().map(|one| as_json(one, dry_run)).collect();
        say(&format!("{all:#}\n"))?;
    }
    ended?;
    let is_well =
        |one: &Result<Told, String>| one.as_ref().is_ok_and(|told| !dry_run || told.total == 0);
    Ok(all.iter().all(is_well))
}

/// Rebuilds the tables, then the notifications, if the tables have no fault. People are told of each at once.
async fn rebuild_all(
    pool: &PgPool,
    vault: &Vault,
    dry_run: bool,
    format: Format,
    all: &mut Vec<Result<Told, String>>,
) -> Result<(), Box<dyn Error>> {
    let shown = checkpoint(pool, READ_MODEL).await?.position;
    // Empty tables are filled to the head.
    let until = if shown == Position::START { log::head(pool).await? } else { shown };
    let bar = progress_bar(until.0.unsigned_abs());
    let tables = orion_projections::rebuild(pool, vault, dry_run, &|events| bar.inc(events)).await;
    bar.finish_and_clear();
    let tables = told("rows", tables)?;
    tell(&tables, dry_run, format)?;
    let is_fault = tables.is_err();
    all.push(tables);
    if is_fault {
        return Ok(());
    }

    let told_of = checkpoint(pool, NOTIFICATIONS).await?.position;
    let bar = progress_bar(told_of.0.unsigned_abs());
    let notifications =
        rebuild_notifications(pool, vault, dry_run, &|events| bar.inc(events)).await;
    bar.finish_and_clear();
    let notifications = told("rows of notifications", notifications)?;
    tell(&notifications, dry_run, format)?;
    all.push(notifications);
    Ok(())
}

fn tell(told: &Result<Told, String>, dry_run: bool, format: Format) -> Result<(), Box<dyn Error>> {
    match format {
        Format::Text => say(&text(told, dry_run)),
        Format::Json => Ok(()),
    }
}

/// What a rebuild found.
struct Told {
    what: &'static str,
    position: Position,
    /// The tables with rows that differ.
    differing: Vec<(&'static str, u64)>,
    total: u64,
}

/// What was found, or the fault.
fn told(
    what: &'static str,
    rebuilt: Result<Rebuilt, RebuildError>,
) -> Result<Result<Told, String>, RebuildError> {
    let Rebuilt { position, mut differing } = match rebuilt {
        Ok(rebuilt) => rebuilt,
        Err(RebuildError::Facts(fault @ (FactsError::LogEnds { .. } | FactsError::Gap { .. }))) => {
            return Ok(Err(fault.to_string()));
        }
        Err(error) => return Err(error),
    };
    differing.retain(|(_, rows)| *rows > 0);
    let total = differing.iter().map(|(_, rows)| rows).sum();
    Ok(Ok(Told { what, position, differing, total }))
}

fn text(told: &Result<Told, String>, dry_run: bool) -> String {
    let Told { what, position, differing, total } = match told {
        Ok(told) => told,
        Err(fault) => return format!("{fault}\n"),
    };
    let line = |(table, rows): &(&str, u64)| vec![(*table).to_owned(), rows.to_string()];
    let tables = columns(&differing.iter().map(line).collect::<Vec<_>>());
    let done = if dry_run { "differ from the log" } else { "were mended" };
    format!("{tables}{total} {what} {done} at position {position}\n")
}

fn as_json(told: &Result<Told, String>, dry_run: bool) -> Value {
    let Told { what, position, differing, total } = match told {
        Ok(told) => told,
        Err(fault) => return json!({ "fault": fault }),
    };
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
