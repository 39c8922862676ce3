//! Computing tables anew: those that are served, or as they were.

use std::collections::BTreeMap;

use orion_projections::{READ_MODEL, Rebuilt, checkpoint};
use orion_store::{MasterKeys, Vault};
use serde_json::json;
use sqlx::PgPool;

use crate::Format;
use crate::moment::Moment;
use crate::output::{columns, done, progress_bar, say};
use crate::verbs::Outcome;

/// Mends the rows that differ from the log; with `dry_run` only says which tables have some.
pub async fn rebuild(pool: &PgPool, masters: MasterKeys, dry_run: bool, format: Format) -> Outcome {
    let vault = Vault::of(pool.clone(), masters);
    let bar = progress_bar(checkpoint(pool, READ_MODEL).await?.position.0.unsigned_abs());
    let rebuilt =
        orion_projections::rebuild(pool, &vault, dry_run, &|events| bar.inc(events)).await;
    bar.finish_and_clear();
    let Rebuilt { position, differing } = rebuilt?;
    let differing: Vec<_> = differing.into_iter().filter(|(_, rows)| *rows > 0).collect();
    let total: u64 = differing.iter().map(|(_, rows)| rows).sum();
    let what = if dry_run { "differ from the log" } else { "were mended" };
    match format {
        Format::Text => {
            let line = |(table, rows): &(&str, u64)| vec![(*table).to_owned(), rows.to_string()];
            let tables = columns(&differing.iter().map(line).collect::<Vec<_>>());
            say(&format!("{tables}{total} rows {what} at position {position}\n"))?;
        }
        Format::Json => {
            let tables: BTreeMap<_, _> = differing.into_iter().collect();
            let json = json!({ "position": position, "mended": !dry_run, "rows": total, "tables": tables });
            say(&format!("{json:#}\n"))?;
        }
    }
    Ok(!dry_run || total == 0)
}

/// Writes the documented tables as they were into a new schema.
pub async fn materialize(
    pool: &PgPool,
    masters: MasterKeys,
    at: Moment,
    schema: &str,
    format: Format,
) -> Outcome {
    let vault = Vault::of(pool.clone(), masters);
    let position = at.position(pool).await?;
    let bar = progress_bar(position.0.unsigned_abs());
    let written =
        orion_projections::materialize(pool, &vault, position, schema, &|events| bar.inc(events))
            .await;
    bar.finish_and_clear();
    written?;
    done(
        format,
        format_args!("schema {schema} shows the tables as they were at position {position}"),
        &json!({ "schema": schema, "position": position }),
    )
}
