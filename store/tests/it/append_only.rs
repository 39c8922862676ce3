//! Nobody changes the log: the server's role may not, and triggers stop even the superuser.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use crate::fixtures::{World, commit, one_event};
use uuid::Uuid;

const CHANGES: [&str; 7] = [
    "UPDATE events SET payload = '{}' WHERE position = 1",
    "UPDATE events SET position = position + 10",
    "DELETE FROM events WHERE position = 2",
    "DELETE FROM events",
    "TRUNCATE events CASCADE",
    "INSERT INTO events SELECT * FROM events ON CONFLICT (position) DO UPDATE SET metadata = '{}'",
    "MERGE INTO events e USING (SELECT 1) AS one ON true WHEN MATCHED THEN DELETE",
];

/// `insufficient_privilege`.
const NO_RIGHT: &str = "42501";

/// `restrict_violation`, as the trigger says it.
const APPEND_ONLY: &str = "23001";

async fn log_with_events() -> World {
    let world = World::new().await;
    world.log.append(commit(Uuid::now_v7(), Uuid::now_v7(), 0, 2)).await.unwrap();
    world.log.append(one_event()).await.unwrap();
    world
}

async fn all_of_it(world: &World) -> Vec<String> {
    let sql = "SELECT events::text FROM events ORDER BY position";
    sqlx::query_scalar(sql).fetch_all(&world.owner).await.unwrap()
}

/// The code with which PostgreSQL refuses a statement.
async fn refusal<'c>(
    connection: impl Executor<'c, Database = sqlx::Postgres>,
    sql: &str,
) -> String {
    match connection.execute(sql).await {
        Ok(_) => panic!("not refused: {sql}"),
        Err(error) => error.as_database_error().unwrap().code().unwrap().into_owned(),
    }
}

#[tokio::test]
async fn the_role_of_the_server_may_not_change_events() {
    let world = log_with_events().await;
    let before = all_of_it(&world).await;
    for sql in CHANGES {
        assert_eq!(refusal(world.log.pool(), sql).await, NO_RIGHT, "{sql}");
    }
    assert_eq!(all_of_it(&world).await, before);
}

#[tokio::test]
async fn the_superuser_is_stopped_too() {
    let world = log_with_events().await;
    let before = all_of_it(&world).await;
    for sql in CHANGES {
        assert_eq!(refusal(&world.owner, sql).await, APPEND_ONLY, "{sql}");
    }
    assert_eq!(all_of_it(&world).await, before);
}

#[tokio::test]
async fn the_role_of_the_server_may_not_lift_the_guard() {
    let world = log_with_events().await;
    for sql in [
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "DROP TRIGGER events_refuse_change ON events",
        "CREATE OR REPLACE FUNCTION events_are_append_only() RETURNS trigger LANGUAGE plpgsql
         AS 'BEGIN RETURN NULL; END'",
        "SET session_replication_role = replica",
        "DROP TABLE events",
    ] {
        assert_eq!(refusal(world.log.pool(), sql).await, NO_RIGHT, "{sql}");
    }
}

#[tokio::test]
async fn answers_and_claims_are_not_rewritten() {
    let world = log_with_events().await;
    for sql in [
        "UPDATE receipts SET position = 1",
        "DELETE FROM receipts",
        "TRUNCATE receipts",
        "UPDATE claims SET aggregate_id = ''",
        "TRUNCATE claims",
    ] {
        assert_eq!(refusal(world.log.pool(), sql).await, NO_RIGHT, "{sql}");
    }
}

#[tokio::test]
async fn only_the_role_of_the_server_may_append() {
    let world = log_with_events().await;
    let mut connection = PgConnection::connect(world.url()).await.unwrap();
    // A role of another test may have the name: roles belong to the cluster.
    let role = format!("stranger_{}", Uuid::new_v4().simple());
    connection.execute(format!("CREATE ROLE {role}; SET ROLE {role}").as_str()).await.unwrap();
    for sql in ["SELECT * FROM events", "INSERT INTO receipts SELECT * FROM receipts"] {
        assert_eq!(refusal(&mut connection, sql).await, NO_RIGHT, "{sql}");
    }
    let function = "SELECT has_function_privilege(current_user,
        (SELECT oid FROM pg_proc WHERE proname = 'append_events'), 'EXECUTE')";
    let may: bool = sqlx::query_scalar(function).fetch_one(&mut connection).await.unwrap();
    assert!(!may);
    connection.execute(format!("RESET ROLE; DROP ROLE {role}").as_str()).await.unwrap();
}

#[tokio::test]
async fn checkpoints_are_not_rewritten_either() {
    let world = log_with_events().await;
    let seal = "INSERT INTO seals (size, root, checkpoint) VALUES (1, sha256('x'), 'x')";
    world.log.pool().execute(seal).await.unwrap();
    for sql in [
        "UPDATE seals SET checkpoint = 'y'",
        "UPDATE seals SET size = size + 1",
        "DELETE FROM seals",
        "TRUNCATE seals",
        "INSERT INTO seals SELECT * FROM seals ON CONFLICT (size) DO UPDATE SET checkpoint = 'y'",
    ] {
        assert_eq!(refusal(world.log.pool(), sql).await, NO_RIGHT, "{sql}");
        assert_eq!(refusal(&world.owner, sql).await, APPEND_ONLY, "{sql}");
    }
}
