//! Computing tables anew: those that are served, or as they were.

use orion_projections::{READ_MODEL, Rebuilt, checkpoint};
use orion_store::{Keys, MasterKeys, Vault};
use sqlx::PgPool;

use crate::moment::Moment;
use crate::output::{columns, progress_bar, say};
use crate::verbs::Outcome;

/// Mends the rows that differ from the log; with `dry_run` only says which tables have some.
pub async fn rebuild(pool: &PgPool, masters: MasterKeys, dry_run: bool) -> Outcome {
    let vault = Vault::new(pool.clone(), &Keys::load(pool, masters).await?);
    let bar = progress_bar(checkpoint(pool, READ_MODEL).await?.position.0.unsigned_abs());
    let rebuilt =
        orion_projections::rebuild(pool, &vault, dry_run, &|events| bar.inc(events)).await;
    bar.finish_and_clear();
    let Rebuilt { position, differing } = rebuilt?;
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut total = 0;
    for (table, rows) in differing.into_iter().filter(|(_, rows)| *rows > 0) {
        total += rows;
        lines.push(vec![table.to_owned(), rows.to_string()]);
    }
    let what = if dry_run { "differ from the log" } else { "were mended" };
    say(&format!("{}{total} rows {what} at position {position}\n", columns(&lines)))?;
    Ok(!dry_run || total == 0)
}

/// Writes the documented tables as they were into a new schema.
pub async fn materialize(pool: &PgPool, masters: MasterKeys, at: Moment, schema: &str) -> Outcome {
    let vault = Vault::new(pool.clone(), &Keys::load(pool, masters).await?);
    let position = at.position(pool).await?;
    let bar = progress_bar(position.0.unsigned_abs());
    let written =
        orion_projections::materialize(pool, &vault, position, schema, &|events| bar.inc(events))
            .await;
    bar.finish_and_clear();
    written?;
    say(&format!("schema {schema} shows the tables as they were at position {position}\n"))?;
    Ok(true)
}
