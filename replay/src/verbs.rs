//! What the command line does. Each verb says whether all is well.

use std::error::Error;

use orion_projections::{CheckError, Difference, RebuildError};
use orion_store::{MasterKeys, Position, Vault};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::Format;
use crate::output::{NEW, OLD, done, say, styled};

/// Whether all is well, or why that cannot be said.
pub type Outcome = Result<bool, Box<dyn Error>>;

/// Lets a stopped projection go on.
pub async fn resume(pool: &PgPool, projection: &str, format: Format) -> Outcome {
    let position = orion_projections::resume(pool, projection).await?;
    done(
        format,
        format_args!("{projection} goes on after position {position}"),
        &json!({ "projection": projection, "position": position }),
    )
}

/// Tells of tables that show what the log does not have, as `check` does: this is a fault that was found, and
/// no wrong use. Other errors stay what they are.
pub fn fault(error: Box<dyn Error>, format: Format) -> Outcome {
    let Some(RebuildError::Check(fault @ CheckError::LogEnds { .. })) = error.downcast_ref() else {
        return Err(error);
    };
    done(format, fault, &json!({ "fault": fault.to_string() }))?;
    Ok(false)
}

/// What was compared.
struct Checked {
    what: &'static str,
    position: Position,
    differences: Vec<Difference>,
}

/// Compares every row with what the log says.
pub async fn check(
    pool: &PgPool,
    masters: MasterKeys,
    show_personal: bool,
    format: Format,
) -> Outcome {
    let vault = Vault::of(pool.clone(), masters);
    // Each by itself: a fault of one says nothing of the other.
    let mut all: Vec<Result<Checked, String>> = Vec::new();
    for (what, checked) in [
        ("rows", orion_projections::check(pool, &vault).await),
        ("rows of notifications", orion_projections::check_notifications(pool, &vault).await),
    ] {
        match checked {
            Ok((position, differences)) => all.push(Ok(Checked { what, position, differences })),
            Err(fault @ CheckError::LogEnds { .. }) => all.push(Err(fault.to_string())),
            Err(error) => return Err(error.into()),
        }
    }
    say(&match format {
        Format::Text => all
            .iter()
            .map(|checked| match checked {
                Ok(checked) => text(checked, show_personal),
                Err(fault) => format!("{fault}\n"),
            })
            .collect(),
        Format::Json => {
            let projections = all.iter().map(|checked| match checked {
                Ok(checked) => as_json(checked, show_personal),
                Err(fault) => json!({ "fault": fault }),
            });
            format!("{:#}\n", projections.collect::<Value>())
        }
    })?;
    let is_well = |checked: &Result<Checked, String>| {
        checked.as_ref().is_ok_and(|checked| checked.differences.is_empty())
    };
    Ok(all.iter().all(is_well))
}

fn text(Checked { what, position, differences }: &Checked, show_personal: bool) -> String {
    let mut lines: Vec<String> =
        differences.iter().flat_map(|difference| told(difference, show_personal)).collect();
    lines
        .push(format!("{} {what} differ from the log at position {position}\n", differences.len()));
    lines.join("\n")
}

fn told(
    Difference { table, id, expected, found }: &Difference,
    show_personal: bool,
) -> Vec<String> {
    let (Some(expected), Some(found)) = (expected, found) else {
        let what = if found.is_none() { "is missing" } else { "should not be there" };
        return vec![format!("{table} {id} {what}")];
    };
    let told = |(column, has, wanted): (&String, &Value, &Value)| {
        if show_personal {
            let (has, wanted) = (styled(OLD, &has.to_string()), styled(NEW, &wanted.to_string()));
            format!("{table} {id} {column}: {has} should be {wanted}")
        } else {
            format!("{table} {id} {column} differs")
        }
    };
    unlike(expected, found).map(told).collect()
}

/// The columns that differ: what they have, and what they should.
fn unlike<'a>(
    expected: &'a Value,
    found: &'a Value,
) -> impl Iterator<Item = (&'a String, &'a Value, &'a Value)> {
    expected.as_object().into_iter().flatten().filter_map(|(column, wanted)| {
        let has = found.get(column).unwrap_or(&Value::Null);
        (has != wanted).then_some((column, has, wanted))
    })
}

fn as_json(Checked { what, position, differences }: &Checked, show_personal: bool) -> Value {
    let difference = |difference: &Difference| {
        let Difference { table, id, expected, found } = difference;
        let columns: Vec<&String> = match (expected, found) {
            (Some(expected), Some(found)) => {
                unlike(expected, found).map(|(column, ..)| column).collect()
            }
            (Some(_), None) | (None, _) => Vec::new(),
        };
        let mut json = json!({
            "table": table, "id": id, "columns": columns,
            "isExpected": expected.is_some(), "isFound": found.is_some(),
        });
        if show_personal {
            json["expected"] = json!(expected);
            json["found"] = json!(found);
        }
        json
    };
    let differences: Vec<Value> = differences.iter().map(difference).collect();
    json!({ "compared": what, "position": position, "differences": differences })
}
