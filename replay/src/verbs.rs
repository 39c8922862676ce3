//! What the command line does. Each verb says whether all is well.

use std::error::Error;

use orion_projections::{CheckError, Difference};
use orion_store::{Keys, MasterKeys, Position, Vault};
use serde_json::Value;
use sqlx::PgPool;

/// Whether all is well, or why that cannot be said.
pub type Outcome = Result<bool, Box<dyn Error>>;

/// Lets a stopped projection go on.
pub async fn resume(pool: &PgPool, projection: &str) -> Outcome {
    orion_projections::resume(pool, projection).await?;
    println!("{projection} goes on");
    Ok(true)
}

/// Compares every row with what the log says.
pub async fn check(pool: &PgPool, masters: MasterKeys, show_personal: bool) -> Outcome {
    let vault = Vault::new(pool.clone(), &Keys::load(pool, masters).await?);
    let tables = orion_projections::check(pool, &vault).await;
    let tables_are_well = report("rows", tables, show_personal)?;
    let notifications = orion_projections::check_notifications(pool, &vault).await;
    Ok(report("rows of notifications", notifications, show_personal)? && tables_are_well)
}

fn report(
    what: &str,
    checked: Result<(Position, Vec<Difference>), CheckError>,
    show_personal: bool,
) -> Outcome {
    let (position, differences) = match checked {
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
    println!("{} {what} differ from the log at position {position}", differences.len());
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
