//! The embedded database of a data directory, running or not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use orion_store::embedded::Embedded;
use orion_store::migrate;

use crate::program::orion_replay;

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
