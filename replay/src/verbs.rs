//! What the command line does. Each verb says whether all is well.

use std::error::Error;

use orion_projections::{CheckError, Checkpoint, Difference, READ_MODEL, Status};
use orion_store::{Keys, MasterKeys, Vault};
use serde_json::Value;
use sqlx::PgPool;

type Outcome = Result<bool, Box<dyn Error>>;

/// Prints the head of the log and each projection.
pub async fn status(pool: &PgPool) -> Outcome {
    // In this order: a log that grows meanwhile is never behind.
    let Checkpoint { position, status } = orion_projections::checkpoint(pool, READ_MODEL).await?;
    let head = orion_store::log::head(pool).await?;
    println!("head        {head}");
    println!("projection  {READ_MODEL}");
    println!("position    {position}");
    println!("lag         {}", (head.0 - position.0).max(0));
    let mut is_well = true;
    match status {
        Status::Running => println!("status      running"),
        Status::Stopped { error } => {
            println!("status      stopped");
            println!("error       {error}");
            is_well = false;
        }
    }
    if head < position {
        println!("fault       {}", CheckError::LogEnds { head, position });
        is_well = false;
    }
    Ok(is_well)
}

/// Lets a stopped projection go on.
pub async fn resume(pool: &PgPool, projection: &str) -> Outcome {
    orion_projections::resume(pool, projection).await?;
    println!("{projection} goes on");
    Ok(true)
}

/// Compares every row with the fold of the log.
pub async fn check(pool: &PgPool, masters: MasterKeys, show_personal: bool) -> Outcome {
    let vault = Vault::new(pool.clone(), &Keys::load(pool, masters).await?);
    let (position, differences) = match orion_projections::check(pool, &vault).await {
        Ok(checked) => checked,
        Err(fault @ CheckError::LogEnds { .. }) => {
            println!("{fault}");
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
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
