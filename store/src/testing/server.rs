//! Makes databases on a server for tests, each copied from one that was migrated once.

use orion_migrations::MIGRATOR;
use sha2::{Digest, Sha256};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use uuid::Uuid;

use super::{TestDatabase, on_own_runtime, or_panic};
use crate::connect::options;

/// Held by the process that makes the template, since others may share the server.
const TEMPLATE_LOCK: i64 = 0x6f72_696f_6e5f_7470;

/// A server with a migrated template.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// The superuser's login on some database that is not one of ours.
    maintenance_url: String,
    template: String,
}

impl Server {
    /// Makes the template, unless an earlier process made the same on this server.
    pub(super) async fn at(maintenance_url: String) -> Self {
        let template = template_name();
        let server = Self { maintenance_url, template };
        or_panic("making the migrated template database", server.make_template().await);
        server
    }

    /// The same databases at another address, of a standby.
    pub(super) fn copied_to(&self, maintenance_url: String) -> Self {
        Self { maintenance_url, template: self.template.clone() }
    }

    /// A copy of the template under a name of its own.
    pub(super) async fn database(&self) -> TestDatabase {
        let name = format!("orion_test_{}", Uuid::new_v4().simple());
        self.named_database(&name).await;
        TestDatabase { url: self.url_of(&name), name, server: self.clone() }
    }

    /// A copy of the template under this name.
    pub(super) async fn named_database(&self, name: &str) {
        let sql = format!("CREATE DATABASE {name} TEMPLATE {}", self.template);
        or_panic("making a test database", self.run(&sql).await);
    }

    /// Ends the connections to a database and removes it.
    pub(super) async fn drop_database(&self, name: &str) -> Result<(), sqlx::Error> {
        self.run(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
    }

    /// The same login on another database.
    pub(super) fn url_of(&self, database: &str) -> String {
        with_database(&self.maintenance_url, database)
    }

    async fn run(&self, sql: &str) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect(&self.maintenance_url).await?;
        connection.execute(sql).await?;
        connection.close().await
    }

    async fn make_template(&self) -> Result<(), sqlx::Error> {
        let name = &self.template;
        let staging = format!("{name}_new");
        let mut connection = PgConnection::connect(&self.maintenance_url).await?;
        sqlx::query("SELECT pg_advisory_lock($1)")
            .bind(TEMPLATE_LOCK)
            .execute(&mut connection)
            .await?;
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(name)
                .fetch_one(&mut connection)
                .await?;
        if !exists {
            for sql in [
                format!("DROP DATABASE IF EXISTS {staging} WITH (FORCE)"),
                format!("CREATE DATABASE {staging}"),
            ] {
                connection.execute(sql.as_str()).await?;
            }
            let url = self.url_of(&staging);
            on_own_runtime(async move || migrate(&url).await)?;
            for sql in [
                // A database is copied only while nobody is connected to it.
                format!("ALTER DATABASE {staging} ALLOW_CONNECTIONS false"),
                // Under its name only when it is complete.
                format!("ALTER DATABASE {staging} RENAME TO {name}"),
            ] {
                connection.execute(sql.as_str()).await?;
            }
        }
        connection.close().await
    }
}

/// With the settings of every server. Over one connection, which is closed at the end: a pool of
/// sqlx 0.8 may keep one open, and then the database can be neither renamed nor copied. Its future
/// is not `Send`.
async fn migrate(url: &str) -> Result<(), sqlx::Error> {
    let options = or_panic("reading the address of a database", options(url));
    let mut connection = options.connect().await?;
    MIGRATOR.run(&mut connection).await?;
    connection.close().await
}

/// Another set of migrations is another template.
fn template_name() -> String {
    let mut hash = Sha256::new();
    for migration in MIGRATOR.iter() {
        hash.update(&migration.checksum);
    }
    format!("orion_template_{}", &hex::encode(hash.finalize())[..16])
}

/// Puts another database into a URL and keeps its parameters.
fn with_database(url: &str, database: &str) -> String {
    let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
    let authority = address.find("://").map_or(0, |at| at + 3);
    let server = match address[authority..].find('/') {
        Some(slash) => &address[..authority + slash],
        None => address,
    };
    let separator = if parameters.is_empty() { "" } else { "?" };
    format!("{server}/{database}{separator}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn only_the_database_of_a_url_changes() {
        for (url, expected) in [
            ("postgres://u:p@h:1/old?sslmode=disable", "postgres://u:p@h:1/new?sslmode=disable"),
            ("postgres://u@h/old", "postgres://u@h/new"),
            ("postgres://h", "postgres://h/new"),
        ] {
            assert_eq!(with_database(url, "new"), expected);
        }
    }
}
