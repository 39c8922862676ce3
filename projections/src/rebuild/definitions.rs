//! Keys and indexes of tables, as PostgreSQL describes them: they are made after the rows.

use sqlx::PgConnection;

use crate::place::{Place, Shape};

/// Keys and indexes of some served tables.
#[derive(Debug)]
pub(super) struct Definitions {
    /// Primary keys first, foreign keys last.
    constraints: Vec<Constraint>,
    indexes: Vec<Index>,
}

#[derive(Debug, sqlx::FromRow)]
struct Constraint {
    table: String,
    name: String,
    definition: String,
    is_primary: bool,
}

#[derive(Debug, sqlx::FromRow)]
struct Index {
    table: String,
    name: String,
    definition: String,
}

impl Definitions {
    /// What the served tables have, foreign keys to other tables aside.
    pub async fn read(
        connection: &mut PgConnection,
        shapes: &[Shape],
    ) -> Result<Self, sqlx::Error> {
        let tables: Vec<&str> = shapes.iter().map(|shape| shape.name).collect();
        let constraints = sqlx::query_as(
            r#"SELECT conrelid::regclass::text AS "table", quote_ident(conname) AS name,
                      pg_get_constraintdef(oid) AS definition, contype = 'p' AS is_primary
               FROM pg_constraint
               WHERE conrelid = ANY ($1::text[]::regclass[]) AND contype IN ('p', 'u', 'f')
                 -- Of a foreign key, the table that it leads to.
                 AND (contype <> 'f' OR confrelid = ANY ($1::text[]::regclass[]))
               ORDER BY contype = 'p' DESC, contype = 'u' DESC, oid"#,
        )
        .bind(&tables)
        .fetch_all(&mut *connection)
        .await?;
        let indexes = sqlx::query_as(
            r#"SELECT i.indrelid::regclass::text AS "table", i.indexrelid::regclass::text AS name,
                      pg_get_indexdef(i.indexrelid) AS definition
               FROM pg_index i
               WHERE i.indrelid = ANY ($1::text[]::regclass[])
                 AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
               ORDER BY i.indexrelid"#,
        )
        .bind(&tables)
        .fetch_all(connection)
        .await?;
        Ok(Self { constraints, indexes })
    }

    /// Takes them away from the served tables.
    pub async fn drop_live(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        for Index { name, .. } in &self.indexes {
            sqlx::query(&format!("DROP INDEX {name}")).execute(&mut *connection).await?;
        }
        for Constraint { table, name, .. } in self.constraints.iter().rev() {
            let statement = format!("ALTER TABLE {table} DROP CONSTRAINT {name}");
            sqlx::query(&statement).execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// Makes the primary keys only.
    pub async fn create_primary_keys(
        &self,
        connection: &mut PgConnection,
        place: &Place,
    ) -> Result<(), sqlx::Error> {
        for constraint in self.constraints.iter().filter(|constraint| constraint.is_primary) {
            constraint.create(connection, place).await?;
        }
        Ok(())
    }

    /// Makes all of them, under the same names.
    pub async fn create(
        &self,
        connection: &mut PgConnection,
        place: &Place,
    ) -> Result<(), sqlx::Error> {
        for constraint in &self.constraints {
            constraint.create(connection, place).await?;
        }
        for Index { table, definition, .. } in &self.indexes {
            let on = format!(" ON {} ", place.table(table));
            let statement = definition.replacen(&format!(" ON {table} "), &on, 1);
            sqlx::query(&statement).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

impl Constraint {
    async fn create(
        &self,
        connection: &mut PgConnection,
        place: &Place,
    ) -> Result<(), sqlx::Error> {
        let Self { table, name, definition, .. } = self;
        let definition = references(definition, place);
        let statement =
            format!("ALTER TABLE {} ADD CONSTRAINT {name} {definition}", place.table(table));
        sqlx::query(&statement).execute(connection).await?;
        Ok(())
    }
}

/// A foreign key leads to the table of the same place.
fn references(definition: &str, place: &Place) -> String {
    let Some((before, after)) = definition.split_once(" REFERENCES ") else {
        return definition.to_owned();
    };
    let end = after.find('(').unwrap_or(after.len());
    let (parent, columns) = after.split_at(end);
    format!("{before} REFERENCES {}{columns}", place.table(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_key_stays_in_its_place() {
        let definition = "FOREIGN KEY (user_id) REFERENCES orion.users(id) ON DELETE CASCADE";
        assert_eq!(references(definition, &Place::Live), definition);
        assert_eq!(
            references(definition, &Place::Beside("\"then\"".to_owned())),
            "FOREIGN KEY (user_id) REFERENCES \"then\".users(id) ON DELETE CASCADE"
        );
        assert_eq!(references("UNIQUE (email)", &Place::Live), "UNIQUE (email)");
    }
}
