//! Wrong use and unusable databases: exit status 2, and one line that says why.

use std::fs;
use std::path::Path;

use crate::program::orion_replay;
use crate::world::World;

#[tokio::test]
async fn wrong_use_is_told() {
    for args in [&[][..], &["nonsense"], &["resume"], &["status", "--nonsense"]] {
        let said = orion_replay(args.iter().copied()).exits(2).await;
        assert!(said.contains("Usage: orion-replay"), "{said}");
    }
}

#[tokio::test]
async fn a_malformed_address_is_told_once() {
    let program = orion_replay(["status"]).with("DATABASE_URL", "postgres://localhost:port/orion");
    assert_eq!(
        program.exits(2).await,
        "orion-replay: the database address is malformed: error with configuration: invalid port number\n"
    );
}

/// sqlx says a cause in an error's own text, and gives it as the cause too.
#[tokio::test]
async fn each_cause_is_told_once() {
    let (world, _) = World::with_trend(1).await;
    world.spoil("ALTER TABLE orion.trends RENAME TO elsewhere").await;
    assert_eq!(
        world.orion_replay(["check"]).exits(2).await,
        "orion-replay: reading the tables: error returned from database: \
         relation \"orion.trends\" does not exist\n"
    );
}

#[tokio::test]
async fn a_folder_without_a_database_gets_none() {
    let dir = tempfile::tempdir().unwrap();
    // What a server leaves whose database is elsewhere.
    fs::write(dir.path().join("keys"), "secret").unwrap();
    for verb in ["status", "check"] {
        has_no_database(dir.path(), verb).await;
        assert_eq!(names_in(dir.path()), ["keys"]);
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    has_no_database(&dir.path().join("data"), "status").await;
    assert_eq!(names_in(dir.path()), [""; 0]);
}

/// A first start was killed between its pointer and its cluster.
#[tokio::test]
async fn a_cluster_that_was_only_promised_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let home = tempfile::tempdir().unwrap();
    let cluster = home.path().join("postgres");
    fs::write(dir.path().join("cluster"), cluster.to_str().unwrap()).unwrap();
    has_no_database(dir.path(), "status").await;
    assert_eq!(names_in(dir.path()), ["cluster"]);
    assert_eq!(names_in(home.path()), [""; 0]);
}

async fn has_no_database(data_dir: &Path, verb: &str) {
    let said = orion_replay([verb]).with("ORION_DATA_DIR", data_dir).exits(2).await;
    let expected = format!(
        "orion-replay: there is no database in {}; set DATABASE_URL or ORION_DATA_DIR\n",
        data_dir.display()
    );
    assert_eq!(said, expected);
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
