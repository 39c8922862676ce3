//! Connecting and migrating, and what is said when it cannot be done.

use orion_store::{ConnectError, connect, migrate};
use sqlx::Executor;
use uuid::Uuid;

use crate::fixtures::World;

/// Nobody listens there.
const NOBODY: &str = "postgres://orion@127.0.0.1:1/orion";

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let world = World::new().await;
    let applied = "SELECT count(*) FROM _sqlx_migrations WHERE success";
    let before = world.count(applied).await;
    migrate(world.url(), world.url()).await.unwrap();
    migrate(world.url(), world.url()).await.unwrap();
    assert_eq!(world.count(applied).await, before);
}

#[tokio::test]
async fn servers_that_start_together_migrate_once() {
    let world = World::new().await;
    let name = format!("orion_empty_{}", Uuid::new_v4().simple());
    world.owner.execute(format!("CREATE DATABASE {name}").as_str()).await.unwrap();
    let (server, old_name) = world.url().split_once("/orion_test_").unwrap();
    let parameters = old_name.split_once('?').map_or("", |(_, parameters)| parameters);
    let url = format!("{server}/{name}?{parameters}");

    let (one, two, three) =
        tokio::join!(migrate(&url, &url), migrate(&url, &url), migrate(&url, &url));
    assert!(one.is_ok() && two.is_ok() && three.is_ok(), "{one:?} {two:?} {three:?}");
    let pool = connect(&url, 1).await.unwrap();
    let events: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&pool).await.unwrap();
    assert_eq!(events, 0);
    pool.close().await;
    world.owner.execute(format!("DROP DATABASE {name}").as_str()).await.unwrap();
}

/// What a newer program leaves that has applied a migration of this name.
async fn migrated_to(world: &World, version: i64, description: &str) {
    sqlx::query(
        "INSERT INTO _sqlx_migrations SELECT $1, $2, now(), true, checksum, 0 FROM _sqlx_migrations LIMIT 1",
    )
    .bind(version)
    .bind(description)
    .execute(&world.owner)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_newer_database_is_refused_only_where_it_breaks_with_older_programs() {
    let world = World::new().await;
    migrated_to(&world, 99_990_101, "of the future").await;
    migrated_to(&world, 99_990_102, "no breaking news").await;
    migrate(world.url(), world.url()).await.unwrap();
    migrated_to(&world, 99_990_103, "breaking streams").await;
    let error = migrate(world.url(), world.url()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Newer { version: 99_990_103, .. }), "{error}");
}

#[tokio::test]
async fn a_changed_migration_is_refused() {
    let world = World::new().await;
    world.owner.execute("UPDATE _sqlx_migrations SET checksum = '\\x00'").await.unwrap();
    let error = migrate(world.url(), world.url()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Migrate(_)), "{error}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_so() {
    for error in [migrate(NOBODY, NOBODY).await.unwrap_err(), connect(NOBODY, 1).await.unwrap_err()]
    {
        assert!(matches!(error, ConnectError::Unreachable(_)), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let error = migrate("orion.example", "orion.example").await.unwrap_err();
    assert!(matches!(error, ConnectError::Address(_)), "{error}");
}

#[tokio::test]
async fn connections_work_under_the_role_of_the_server() {
    let world = World::new().await;
    let pool = connect(world.url(), 3).await.unwrap();
    let who = "SELECT current_user::text || ' ' || current_setting('timezone')";
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut connection = pool.acquire().await.unwrap();
        let found: String = sqlx::query_scalar(who).fetch_one(&mut *connection).await.unwrap();
        assert_eq!(found, "orion_app UTC");
        connections.push(connection);
    }
}
