//! The embedded database of a data directory, running or not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use orion_store::embedded::Embedded;
use orion_store::migrate;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::program::{PATIENCE, orion_replay};

#[tokio::test]
async fn it_is_found_running_or_not_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    // PostgreSQL's user must get through; the other case is the store's to test.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let embedded = Embedded::start(dir.path()).await.unwrap();
    migrate(embedded.url(), embedded.url()).await.unwrap();

    let status = || orion_replay(["status"]).with("ORION_DATA_DIR", dir.path());
    let while_running = status().exits(0).await;
    assert!(while_running.starts_with("head        0\nsealed      0\n"), "{while_running}");
    assert_eq!(Embedded::running_url(dir.path()).await.unwrap().as_deref(), Some(embedded.url()));

    embedded.stop().await.unwrap();
    assert_eq!(status().exits(0).await, while_running);
    assert!(!Embedded::is_running(dir.path()).await.unwrap());

    // Also after a verb that fails.
    orion_replay(["resume", "nonsense"]).with("ORION_DATA_DIR", dir.path()).exits(2).await;
    assert!(!Embedded::is_running(dir.path()).await.unwrap());
}

#[tokio::test]
async fn a_verb_that_is_interrupted_leaves_it_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let embedded = Embedded::start(dir.path()).await.unwrap();
    migrate(embedded.url(), embedded.url()).await.unwrap();
    embedded.stop().await.unwrap();

    for signal in ["-INT", "-TERM"] {
        let mut program = orion_replay(["log", "--follow", "--format", "csv"]);
        let command = program.command().env("ORION_DATA_DIR", dir.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The header: the database is open.
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(said.next_line().await.unwrap().is_some());
        assert!(Embedded::is_running(dir.path()).await.unwrap());
        let id = child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
        let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let ended = ended.expect("it ends").unwrap();
        assert_eq!(ended.status.code(), Some(130));
        assert_eq!(ended.stderr, b"orion-replay: interrupted\n");
        assert!(!Embedded::is_running(dir.path()).await.unwrap());
    }
}
