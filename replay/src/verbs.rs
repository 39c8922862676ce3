//! What the command line does. Each verb says whether all is well.

use std::error::Error;

use orion_projections::{
    CheckError, Difference, FactsError, NOTIFICATIONS, READ_MODEL, check_notifications, checkpoint,
};
use orion_store::{MasterKeys, Position, Vault};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::Format;
use crate::hide::{HIDDEN, hidden, hide};
use crate::output::{NEW, OLD, done, harmless, progress_bar, say, styled};

/// What stands in place of a hidden value that is not what it should be.
const HIDDEN_OTHER: &str = "*** (differs)";

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
    let bar = progress_bar(checkpoint(pool, READ_MODEL).await?.position.0.unsigned_abs());
    let rows = orion_projections::check(pool, &vault, &|events| bar.inc(events)).await;
    bar.finish_and_clear();
    let bar = progress_bar(checkpoint(pool, NOTIFICATIONS).await?.position.0.unsigned_abs());
    let notifications = check_notifications(pool, &vault, &|events| bar.inc(events)).await;
    bar.finish_and_clear();
    let mut all: Vec<Result<Checked, String>> = Vec::new();
    for (what, checked) in [("rows", rows), ("rows of notifications", notifications)] {
        match checked {
            Ok((position, mut differences)) => {
                for difference in &mut differences {
                    let Difference { expected, found, personal, secret, .. } = difference;
                    let columns = hidden(personal, secret, show_personal);
                    hide(columns, expected, found, HIDDEN_OTHER);
                }
                all.push(Ok(Checked { what, position, differences }));
            }
            Err(CheckError::Facts(
                fault @ (FactsError::LogEnds { .. } | FactsError::Gap { .. }),
            )) => {
                all.push(Err(fault.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    say(&match format {
        Format::Text => all.iter().map(text).collect(),
        Format::Json => format!("{:#}\n", all.iter().map(as_json).collect::<Value>()),
    })?;
    let is_well = |checked: &Result<Checked, String>| {
        checked.as_ref().is_ok_and(|checked| checked.differences.is_empty())
    };
    Ok(all.iter().all(is_well))
}

fn text(checked: &Result<Checked, String>) -> String {
    match checked {
        Ok(Checked { what, position, differences }) => {
            let mut lines: Vec<String> = differences.iter().flat_map(told).collect();
            let count = differences.len();
            lines.push(format!("{count} {what} differ from the log at position {position}\n"));
            lines.join("\n")
        }
        Err(fault) => format!("{fault}\n"),
    }
}

fn told(Difference { table, id, expected, found, .. }: &Difference) -> Vec<String> {
    let (Some(expected), Some(found)) = (expected, found) else {
        let what = if found.is_none() { "is missing" } else { "should not be there" };
        return vec![format!("{table} {id} {what}")];
    };
    let told = |(column, has, wanted): (&String, &Value, &Value)| {
        // Where one of them is missing, the other one is hidden.
        if has == HIDDEN_OTHER || wanted == HIDDEN {
            return format!("{table} {id} {column} differs");
        }
        let [has, wanted] = [(OLD, has), (NEW, wanted)]
            .map(|(style, value)| styled(style, &harmless(&value.to_string())));
        format!("{table} {id} {column}: {has} should be {wanted}")
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

fn as_json(checked: &Result<Checked, String>) -> Value {
    let difference = |Difference { table, id, expected, found, .. }: &Difference| {
        let columns: Vec<&String> = match (expected, found) {
            (Some(expected), Some(found)) => {
                unlike(expected, found).map(|(column, ..)| column).collect()
            }
            (Some(_), None) | (None, _) => Vec::new(),
        };
        json!({
            "table": table, "id": id, "columns": columns,
            "isExpected": expected.is_some(), "isFound": found.is_some(),
            "expected": expected, "found": found,
        })
    };
    match checked {
        Ok(Checked { what, position, differences }) => {
            let differences: Vec<Value> = differences.iter().map(difference).collect();
            json!({ "compared": what, "position": position, "differences": differences })
        }
        Err(fault) => json!({ "fault": fault }),
    }
}
