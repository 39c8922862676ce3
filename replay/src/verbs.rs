//! What the command line does. Each verb says whether all is well.

use std::error::Error;

use orion_projections::{Difference, READ_MODEL, Status};
use serde_json::Value;
use sqlx::PgPool;

type Outcome = Result<bool, Box<dyn Error>>;

/// Prints the head of the log and each projection.
pub async fn status(pool: &PgPool) -> Outcome {
    let head = orion_store::log::head(pool).await?;
    let checkpoint = orion_projections::checkpoint(pool, READ_MODEL).await?;
    let lag = (head.0 - checkpoint.position.0).max(0);
    println!("head        {head}");
    println!("projection  {READ_MODEL}");
    println!("position    {}", checkpoint.position);
    println!("lag         {lag}");
    match checkpoint.status {
        Status::Running => {
            println!("status      running");
            Ok(true)
        }
        Status::Stopped { error } => {
            println!("status      stopped");
            println!("error       {error}");
            Ok(false)
        }
    }
}

/// Lets a stopped projection go on.
pub async fn resume(pool: &PgPool, projection: &str) -> Outcome {
    orion_projections::resume(pool, projection).await?;
    println!("{projection} goes on");
    Ok(true)
}

/// Compares every row with the fold of the log.
pub async fn check(pool: &PgPool, show_personal: bool) -> Outcome {
    let (position, differences) = orion_projections::check(pool).await?;
    for difference in &differences {
        print(difference, show_personal);
    }
    let count = differences.len();
    println!("{count} rows differ from the log at position {position}");
    Ok(differences.is_empty())
}

fn print(Difference { table, id, expected, found }: &Difference, show_personal: bool) {
    let (Some(expected), Some(found)) = (expected, found) else {
        let what = if found.is_none() { "is missing" } else { "should not be there" };
        println!("{table} {id} {what}");
        return;
    };
    for (column, wanted) in expected.as_object().into_iter().flatten() {
        let has = found.get(column).unwrap_or(&Value::Null);
        if has == wanted {
            continue;
        }
        if show_personal {
            println!("{table} {id} {column}: {has} should be {wanted}");
        } else {
            println!("{table} {id} {column} differs");
        }
    }
}
