//! A server whose machine's clock is not that of its database.

use chrono::{TimeDelta, Utc};
use orion_store::testing::{TestDatabase, database};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::rights::end_of;
use crate::server::Server;

/// Access tokens are good for this long.
const LIFETIME: TimeDelta = TimeDelta::minutes(15);

/// More than the server's start and a sign-in take.
const ABOUT: TimeDelta = TimeDelta::minutes(2);

/// From now on the database's clock is an hour ahead: only it has this function, under a name that PostgreSQL's own had.
async fn put_ahead(database: &TestDatabase) {
    let mut owner = PgConnection::connect(&database.url).await.unwrap();
    for sql in [
        "SET allow_system_table_mods = on",
        "ALTER FUNCTION pg_catalog.clock_timestamp() RENAME TO true_clock_timestamp",
        "CREATE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
         AS 'SELECT pg_catalog.true_clock_timestamp() + interval ''1 hour'''",
    ] {
        owner.execute(sql).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_has_the_time_of_its_database() {
    let database = database().await;
    put_ahead(&database).await;
    let server = Server::start(&database.url).await;
    let admin = server.admin().await;
    let expected = Utc::now() + TimeDelta::hours(1) + LIFETIME;
    let off = end_of(&admin) - expected.timestamp();
    assert!(off.abs() < ABOUT.num_seconds(), "the token ends {off} s after that");
    admin.query("{ me { id } }", json!({})).await;
    let said = server.stderr();
    assert_eq!(said.matches("PostgreSQL's clock differs from this machine's").count(), 1, "{said}");
}
