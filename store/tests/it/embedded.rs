//! The embedded PostgreSQL and the test cluster: what survives, what is refused, what is left.

#![allow(clippy::unwrap_used, reason = "in the helpers, too, a panic is the failure of the test")]

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use orion_store::embedded::{Embedded, EmbeddedError};
use orion_store::testing::{TestCluster, database};
use sqlx::{Connection, Executor, PgConnection};

/// A data directory that PostgreSQL's user can enter.
fn data_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

async fn run(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
}

async fn number(url: &str, sql: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    number
}

fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.contains("(postgres)") && !stat.contains(") Z "))
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn data_survives_a_stop_and_nothing_runs_after_it() {
    let dir = data_dir();
    let first = Embedded::start(dir.path()).await.unwrap();
    run(first.url(), "CREATE TABLE kept AS SELECT 7::bigint AS n").await;
    let pid = first.pid();
    assert!(is_alive(pid));
    assert!(Embedded::is_running(dir.path()).await.unwrap());
    first.stop().await.unwrap();
    assert!(!is_alive(pid));
    assert!(!Embedded::is_running(dir.path()).await.unwrap());
    assert_eq!(Embedded::running_url(dir.path()).await.unwrap(), None);

    let second = Embedded::start(dir.path()).await.unwrap();
    assert_eq!(number(second.url(), "SELECT n FROM kept").await, 7);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn the_next_start_adopts_what_a_killed_server_left() {
    let dir = data_dir();
    let first = Embedded::start(dir.path()).await.unwrap();
    let (pid, url) = (first.pid(), first.url().to_owned());
    // What is left after `kill -9` of the server: no stop, and no lock.
    drop(first);
    assert!(is_alive(pid));
    assert_eq!(Embedded::running_url(dir.path()).await.unwrap(), Some(url.clone()));

    let second = Embedded::start(dir.path()).await.unwrap();
    assert_eq!((second.pid(), second.url()), (pid, url.as_str()));
    assert_eq!(number(second.url(), "SELECT 1::bigint").await, 1);
    second.stop().await.unwrap();
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_killed_postmaster_is_started_again() {
    let dir = data_dir();
    let first = Embedded::start(dir.path()).await.unwrap();
    run(first.url(), "CREATE TABLE kept AS SELECT 7::bigint AS n").await;
    let pid = first.pid();
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    drop(first);

    let second = Embedded::start(dir.path()).await.unwrap();
    assert_ne!(second.pid(), pid);
    assert_eq!(number(second.url(), "SELECT n FROM kept").await, 7);
    second.stop().await.unwrap();
}

/// After a container's restart the process ids start over, and the old one is somebody else's.
#[tokio::test]
async fn a_stranger_with_the_process_id_of_the_dead_postmaster_is_no_obstacle() {
    let dir = data_dir();
    Embedded::start(dir.path()).await.unwrap().stop().await.unwrap();
    let cluster = dir.path().join("postgres");
    let stranger = format!("{}\n{}\n1\n20000\n", std::process::id(), cluster.display());
    fs::write(cluster.join("postmaster.pid"), stranger).unwrap();
    assert!(!Embedded::is_running(dir.path()).await.unwrap());

    let second = Embedded::start(dir.path()).await.unwrap();
    assert_eq!(number(second.url(), "SELECT 1::bigint").await, 1);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_orion_is_refused() {
    let dir = data_dir();
    let first = Embedded::start(dir.path()).await.unwrap();
    let error = Embedded::start(dir.path()).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use by another Orion (data directory /"), "{error}");
    // The refused start did no harm to the first.
    assert_eq!(number(first.url(), "SELECT 1::bigint").await, 1);
    first.stop().await.unwrap();
}

#[tokio::test]
async fn secrets_are_private_and_the_network_is_local() {
    let dir = data_dir();
    let embedded = Embedded::start(dir.path()).await.unwrap();
    let password = fs::metadata(dir.path().join("postgres.password")).unwrap();
    assert_eq!(password.permissions().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(dir.path().join("postgres.password")).unwrap();
    assert!(embedded.url().contains(&secret) && !format!("{embedded:?}").contains(&secret));
    let sql = "SELECT count(*) FROM pg_settings WHERE (name, setting) IN
        (('listen_addresses', '127.0.0.1'), ('unix_socket_directories', ''),
         ('data_checksums', 'on'), ('TimeZone', 'UTC'), ('password_encryption', 'scram-sha-256'))";
    assert_eq!(number(embedded.url(), sql).await, 5);
    let stranger = embedded.url().replace(&secret, "another");
    assert!(PgConnection::connect(&stranger).await.is_err());
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_named() {
    let dir = data_dir();
    // Root may write anywhere, but not below a file.
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Embedded::start(&file.join("data")).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::DataDir { .. }), "{error}");
    assert!(error.to_string().contains("file/data"), "{error}");
}

#[tokio::test]
async fn a_folder_closed_to_its_user_gets_a_cluster_elsewhere() {
    if !rustix::process::geteuid().is_root() {
        return; // Everyone else runs PostgreSQL as themselves.
    }
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let dir = closed.path().join("data");
    let first = Embedded::start(&dir).await.unwrap();
    run(first.url(), "CREATE TABLE kept AS SELECT 7::bigint AS n").await;
    first.stop().await.unwrap();
    let pointer = fs::read_to_string(dir.join("cluster")).unwrap();
    let home = Path::new(&pointer).parent().unwrap();
    assert!(home.starts_with("/var/lib/orion"), "{pointer}");
    assert_eq!(fs::metadata(home).unwrap().permissions().mode() & 0o777, 0o700);

    let second = Embedded::start(&dir).await.unwrap();
    assert_eq!(number(second.url(), "SELECT n FROM kept").await, 7);
    second.stop().await.unwrap();

    fs::remove_dir_all(home).unwrap();
    let error = Embedded::start(&dir).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::PointerDangles { .. }), "{error}");
    // Ours only when it is empty now.
    let _ = fs::remove_dir("/var/lib/orion");
}

#[tokio::test]
async fn a_broken_cluster_is_not_replaced() {
    let dir = data_dir();
    let cluster = dir.path().join("postgres");
    let error = async |version: &str| {
        fs::write(cluster.join("PG_VERSION"), version).unwrap();
        let error = Embedded::start(dir.path()).await.unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
        error
    };
    fs::create_dir(&cluster).unwrap();
    let damaged = error("\0\0").await;
    assert!(matches!(damaged, EmbeddedError::NotACluster { .. }), "{damaged}");
    let old = error("9.6\n").await;
    assert!(matches!(old, EmbeddedError::NotACluster { .. }), "{old}");
    let older = error("14\n").await;
    assert!(matches!(older, EmbeddedError::VersionUnsupported { major: 14, .. }), "{older}");
}

#[tokio::test]
async fn a_postmaster_that_fails_says_why() {
    let dir = data_dir();
    Embedded::start(dir.path()).await.unwrap().stop().await.unwrap();
    let settings = dir.path().join("postgres/postgresql.conf");
    fs::write(&settings, "no_such_setting = 1\n").unwrap();
    let error = Embedded::start(dir.path()).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Start { .. }), "{error}");
    assert!(error.to_string().contains("FATAL:"), "{error}");
    assert!(!Embedded::is_running(dir.path()).await.unwrap());
}

#[tokio::test]
async fn test_databases_are_apart_and_migrated() {
    let (one, two) = tokio::join!(database(), database());
    assert_ne!(one.url, two.url);
    run(&one.url, "CREATE TABLE only_here ()").await;
    let sql = "SELECT count(*) FROM pg_tables WHERE tablename = 'only_here'";
    assert_eq!((number(&one.url, sql).await, number(&two.url, sql).await), (1, 0));
    assert!(number(&two.url, "SELECT count(*) FROM _sqlx_migrations WHERE success").await > 0);
}

#[test]
fn tests_on_many_runtimes_share_one_cluster() {
    let made: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let database = database().await;
                    number(&database.url, "SELECT current_setting('port')::bigint").await
                })
            })
        })
        .collect();
    let ports: HashSet<i64> = made.into_iter().map(|made| made.join().unwrap()).collect();
    assert_eq!(ports.len(), 1);
}

/// The server starts it from a task, which may move between threads.
#[test]
fn starting_and_stopping_can_be_spawned() {
    fn is_send<T: Send>(_: T) {}
    is_send(Embedded::start(Path::new("/")));
    is_send(Embedded::running_url(Path::new("/")));
    is_send(async { Embedded::start(Path::new("/")).await.unwrap().stop().await });
    is_send(TestCluster::start());
    is_send(database());
}

#[tokio::test]
async fn a_private_cluster_can_be_killed_and_started_again() {
    let cluster = TestCluster::start().await;
    let url = cluster.url();
    run(&url, "CREATE TABLE kept AS SELECT 7::bigint AS n").await;
    cluster.kill9().await;
    assert_eq!(cluster.pid(), None);
    assert!(PgConnection::connect(&url).await.is_err());
    cluster.start_again().await;
    assert_eq!(number(&url, "SELECT n FROM kept").await, 7);
    cluster.stop().await;
    assert_eq!(cluster.pid(), None);
    cluster.start_again().await;
    assert_eq!(number(&cluster.url(), "SELECT n FROM kept").await, 7);
}

/// Not a test: what [`nothing_is_left_of_a_killed_test_process`] kills.
#[tokio::test]
#[ignore = "waits to be killed"]
async fn victim() {
    let cluster = TestCluster::start().await;
    println!("postmaster {}", cluster.pid().unwrap());
    std::future::pending::<()>().await;
}

#[test]
fn nothing_is_left_of_a_killed_test_process() {
    let temp = data_dir();
    fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "embedded::victim", "--nocapture"])
        .env("TMPDIR", temp.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = BufReader::new(victim.stdout.take().unwrap())
        .lines()
        .find_map(|line| line.unwrap().split_once("postmaster ")?.1.parse().ok())
        .unwrap();
    assert!(is_alive(pid));
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until("the end of the postmaster", || !is_alive(pid));
    wait_until("the end of its folder", || temp.path().read_dir().unwrap().next().is_none());
}
