//! The rows in which the served tables differ from those beside them, and how they are made alike.

use sqlx::PgConnection;

use super::SIDE;
use crate::place::Shape;

/// The tables that foreign keys lead to. A test compares them with the database.
pub(super) const PARENTS: [&str; 4] =
    ["orion.users", "orion.trends", "orion.contents", "orion.social_accounts"];

/// Fills `differing` with the keys of all rows that are not alike; says how many there are in each table.
pub(super) async fn compare(
    connection: &mut PgConnection,
    shapes: &[Shape],
) -> Result<Vec<(&'static str, u64)>, sqlx::Error> {
    sqlx::query(&format!("CREATE UNLOGGED TABLE {SIDE}.differing (live text, id uuid)"))
        .execute(&mut *connection)
        .await?;
    let mut differing = Vec::new();
    for shape in shapes {
        // As text: `json` has no equality, and its text is what a client sees.
        let statement = format!(
            "INSERT INTO {SIDE}.differing
             SELECT $1, id FROM {live} live FULL JOIN {side} side USING (id)
             WHERE live::text IS DISTINCT FROM side::text",
            live = shape.name,
            side = side(shape),
        );
        let inserted = sqlx::query(&statement).bind(shape.name).execute(&mut *connection).await?;
        differing.push((shape.name, inserted.rows_affected()));
    }
    sqlx::query(&format!("ANALYZE {SIDE}.differing")).execute(connection).await?;
    Ok(differing)
}

/// Makes the rows in `differing` as they are beside the served tables.
///
/// Other rows stay untouched, so that they are never in the way: a value that must be unique may
/// move from one row to another, and a row that should not be there may be led to.
pub(super) async fn apply(
    connection: &mut PgConnection,
    shapes: &[Shape],
) -> Result<(), sqlx::Error> {
    let (parents, leaves): (Vec<&Shape>, Vec<&Shape>) =
        shapes.iter().partition(|shape| PARENTS.contains(&shape.name));
    for leaf in leaves {
        let rows = format!("DELETE FROM {} served USING {SIDE}.differing WHERE true", leaf.name);
        on_differing(connection, leaf, &rows).await?;
    }
    // Of the parents only users have unique values. They are given up before others take them.
    let users = parents.iter().filter(|shape| shape.name == "orion.users");
    for users in users {
        let rows = format!(
            "UPDATE {} served SET email = 'rebuilt-' || served.id, username = NULL
             FROM {SIDE}.differing WHERE true",
            users.name
        );
        on_differing(connection, users, &rows).await?;
    }
    for shape in shapes {
        let columns = shape.columns.join(", ");
        let excluded: Vec<_> =
            shape.columns.iter().map(|column| format!("excluded.{column}")).collect();
        let statement = format!(
            "INSERT INTO {live} ({columns})
             SELECT {columns} FROM {side}
             WHERE id IN (SELECT id FROM {SIDE}.differing WHERE live = $1)
             ON CONFLICT (id) DO UPDATE SET ({columns}) = ROW ({excluded})",
            live = shape.name,
            side = side(shape),
            excluded = excluded.join(", "),
        );
        sqlx::query(&statement).bind(shape.name).execute(&mut *connection).await?;
    }
    // Nothing leads to them any more.
    for parent in parents.iter().rev() {
        let rows = format!(
            "DELETE FROM {} served USING {SIDE}.differing
             WHERE NOT EXISTS (SELECT FROM {} side WHERE side.id = served.id)",
            parent.name,
            side(parent)
        );
        on_differing(connection, parent, &rows).await?;
    }
    Ok(())
}

/// Runs a statement that joins a table's rows with `differing`, on those that differ.
async fn on_differing(
    connection: &mut PgConnection,
    shape: &Shape,
    statement: &str,
) -> Result<(), sqlx::Error> {
    let statement = format!("{statement} AND differing.live = $1 AND differing.id = served.id");
    sqlx::query(&statement).bind(shape.name).execute(connection).await?;
    Ok(())
}

fn side(shape: &Shape) -> String {
    super::side().table(shape.name)
}
