//! The sealed log as an auditor meets it at a running server, and who seals when servers come and go.

use std::time::Duration;

use orion_store::seal::{Checkpoint, LogKey, LogPublicKey, Verdict, Verification};
use orion_store::testing::{database, vault};
use serde_json::json;

use crate::client::http;
use crate::eventually::{eventually, within};
use crate::log::Records;
use crate::people::id_at;
use crate::server::{Server, Settings};

/// How far behind the log a seal may be: 1 s, and a little for a busy machine.
const SEALED_WITHIN: Duration = Duration::from_secs(3);

/// The log key of every server here: 32 times the byte 8.
fn keys() -> Vec<LogPublicKey> {
    vec![LogKey::from_seed(&[8; 32]).public()]
}

/// Another one: 32 times the byte 9.
pub const OTHER_KEY: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";

/// What a server says at a path, with its status.
async fn get(server: &Server, path: &str) -> (u16, String) {
    let answer = http().get(format!("{}{path}", server.url())).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The newest checkpoint, if one of our keys has signed it.
async fn checkpoint(server: &Server) -> Option<Checkpoint> {
    let (status, note) = get(server, "/log/checkpoint").await;
    (status == 200).then(|| Checkpoint::open(&note, &keys()).expect("a checkpoint of ours"))
}

/// Waits until everything that is in the log is sealed.
pub async fn all_sealed(server: &Server, records: &Records) -> Checkpoint {
    eventually("the log is sealed", async || {
        let head = records.head().await.unsigned_abs();
        checkpoint(server).await.filter(|checkpoint| checkpoint.size == head)
    })
    .await
}

pub async fn verify(records: &Records) -> Verdict {
    let verification =
        Verification { keys: keys(), kept: None, vault: Some(vault(&records.pool).await) };
    let verdict = verification.run(&records.pool, |_, _| {}).await.unwrap();
    assert_eq!(verdict.faults, []);
    verdict
}

#[tokio::test]
async fn an_auditor_finds_the_key_and_a_checkpoint_of_what_just_happened() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let (status, key) = get(&server, "/.well-known/orion-log-key").await;
    assert_eq!((status, LogPublicKey::parse_all(&key)), (200, Some(keys())));
    let ada = server.editor("ada").await;
    all_sealed(&server, &records).await;
    for topic in ["one", "two", "three"] {
        ada.detect_trend(topic).await;
        let head = records.head().await.unsigned_abs();
        let is_sealed =
            async || checkpoint(&server).await.filter(|checkpoint| checkpoint.size >= head);
        within(SEALED_WITHIN, is_sealed).await.expect("the sealer is close behind the log");
    }
    let sealed = all_sealed(&server, &records).await;
    assert_eq!(verify(&records).await.sealed, Some(sealed));
    let admin = server.admin().await;
    // Her sign-in is an event as well.
    let sealed = all_sealed(&server, &records).await;
    let log = admin.query("{ log { head sealedSize sealedRoot } }", json!({})).await;
    let size = sealed.size.to_string();
    assert_eq!(
        log["log"],
        json!({ "head": size, "sealedSize": size, "sealedRoot": sealed.root_text() })
    );
    let metrics = server.metrics().await;
    assert!(metrics.contains(&format!("\norion_sealed_position {size}\n")), "{metrics}");
    assert!(metrics.contains("\norion_seal_lag_events 0\n"), "{metrics}");
}

#[tokio::test]
async fn another_server_takes_over_when_the_sealer_is_killed() {
    let database = database().await;
    // Any 32 bytes will do: tokens of the one are good at the other.
    let settings = Settings::on(&database.url).with("ORION_TOKEN_KEY", OTHER_KEY);
    let first = Server::with(settings.clone()).await;
    let records = Records::of(&database.url).await;
    let ada = first.editor("ada").await;
    all_sealed(&first, &records).await;
    let leads = |server: &Server| server.stderr().contains("sealer leads");
    assert!(leads(&first));
    let second = Server::with(settings).await;
    let ada = ada.at(second.url());
    ada.detect_trend("with both").await;
    all_sealed(&second, &records).await;
    assert!(!leads(&second), "one seals");

    first.kill9().await;
    ada.detect_trend("with one").await;
    all_sealed(&second, &records).await;
    assert!(leads(&second));
    verify(&records).await;
}

#[tokio::test]
async fn the_proof_of_an_erased_persons_events_stays() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let (admin, ada) = (server.admin().await, server.viewer("ada").await);
    let ada_id = id_at(&ada.query("{ me { id } }", json!({})).await, "/me/id");
    all_sealed(&server, &records).await;
    let before = verify(&records).await;
    admin.mutate("eraseUser", json!({ "userId": ada_id }), "").await.done();
    all_sealed(&server, &records).await;
    let after = verify(&records).await;
    assert!(after.head > before.head);
    // Also against the checkpoint of the time before.
    let verification = Verification { keys: keys(), kept: before.sealed, vault: None };
    let verdict = verification.run(&records.pool, |_, _| {}).await.unwrap();
    assert_eq!(verdict.faults, []);
}

#[tokio::test]
async fn a_server_with_another_key_does_not_seal_and_says_so_once() {
    let database = database().await;
    let first = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let sealed = all_sealed(&first, &records).await;
    first.terminate().await;

    let settings = Settings::on(&database.url).with("ORION_LOG_KEY", OTHER_KEY);
    let foreign = Server::with(settings.clone()).await;
    let is_stopped = async || {
        let metrics = foreign.metrics().await;
        metrics.contains("\norion_sealer_stopped 1\n").then_some(metrics)
    };
    eventually("the sealer stops", is_stopped).await;
    foreign.editor("ada").await.detect_trend("not sealed").await;
    assert_eq!(foreign.ready().await, 200, "all else works");
    let head = records.head().await;
    let lag = format!("\norion_seal_lag_events {}\n", head - sealed.size.cast_signed());
    let metrics = foreign.metrics().await;
    assert!(metrics.contains(&lag), "{metrics}");
    assert_eq!(checkpoint(&foreign).await, None, "it hands out what it vouches for");
    let (ended, _) = foreign.terminate().await;
    assert_eq!(ended.stderr.matches("sealer stopped").count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("ORION_LOG_KEY"), "{}", ended.stderr);

    // With the earlier key among the old ones it goes on; what others get to know are both.
    let old = keys()[0].text();
    let rotated = Server::with(settings.with("ORION_LOG_KEYS_OLD", &old)).await;
    let (_, published) = get(&rotated, "/.well-known/orion-log-key").await;
    let both = LogPublicKey::parse_all(&published).unwrap();
    assert_eq!((both.len(), &both[1..]), (2, &keys()[..]));
    eventually("the rest is sealed", async || {
        let (_, note) = get(&rotated, "/log/checkpoint").await;
        let checkpoint = Checkpoint::open(&note, &both[..1]).ok()?;
        (checkpoint.size == records.head().await.unsigned_abs()).then_some(())
    })
    .await;
    let verification = Verification { keys: both, kept: None, vault: None };
    let verdict = verification.run(&records.pool, |_, _| {}).await.unwrap();
    assert_eq!(verdict.faults, []);
}

/// What only a superuser may do, with the triggers off.
async fn tamper(records: &Records, sql: &str) {
    let sql = format!("BEGIN; SET LOCAL session_replication_role = replica; {sql}; COMMIT");
    sqlx::raw_sql(&sql).execute(&records.pool).await.unwrap();
}

/// Waits until the sealer is stopped (1) or is not (0).
async fn is_stopped(server: &Server, figure: u8) {
    let figure = format!("\norion_sealer_stopped {figure}\n");
    eventually("the sealer's figure changes", async || {
        server.metrics().await.contains(&figure).then_some(())
    })
    .await;
}

/// Changes the stored hash of the first event.
const BEND: &str = "UPDATE seal_tiles SET hashes = sha256('x') || substr(hashes, 33) WHERE (level, index) = (0, 0)";

#[tokio::test]
async fn a_damaged_tree_is_computed_anew() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let ada = server.editor("ada").await;
    all_sealed(&server, &records).await;
    tamper(&records, BEND).await;
    ada.detect_trend("sealed").await;
    all_sealed(&server, &records).await;
    verify(&records).await;
    let said = server.stderr();
    assert_eq!(said.matches("the stored tree was damaged").count(), 1, "{said}");
    let metrics = server.metrics().await;
    assert!(metrics.contains("\norion_seal_trees_mended_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn nothing_is_signed_over_what_somebody_has_changed() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let ada = server.editor("ada").await;
    let sealed = all_sealed(&server, &records).await;
    let change =
        "UPDATE events SET recorded_at = recorded_at - interval '1 day' WHERE position = 1";
    tamper(&records, &format!("{BEND}; {change}")).await;
    ada.detect_trend("not sealed").await;
    is_stopped(&server, 1).await;
    assert_eq!(checkpoint(&server).await, Some(sealed));
    let line = format!("the log cannot be sealed after position {}", sealed.size);
    assert!(server.stderr().contains(&line), "{}", server.stderr());

    tamper(&records, &change.replace(" - ", " + ")).await;
    all_sealed(&server, &records).await;
    is_stopped(&server, 0).await;
    verify(&records).await;
    let said = server.stderr();
    for once in ["sealer leads", "sealer stopped", "the log is sealed again"] {
        assert_eq!(said.matches(once).count(), 1, "{once}: {said}");
    }
}

/// What the server that seals says and does when somebody forges a row meanwhile.
#[tokio::test]
async fn a_row_that_is_forged_beside_the_sealer_is_neither_handed_out_nor_signed_after() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let (admin, ada) = (server.admin().await, server.editor("ada").await);
    let sealed = all_sealed(&server, &records).await;
    let mut forged = sealed;
    forged.size += 1_000_000;
    let note = LogKey::from_seed(&[9; 32]).sign(&forged);
    sqlx::query("INSERT INTO seals (size, root, checkpoint) VALUES ($1, $2, $3)")
        .bind(forged.size.cast_signed())
        .bind(forged.root.as_slice())
        .bind(note)
        .execute(&records.pool)
        .await
        .unwrap();
    assert_eq!(checkpoint(&server).await, Some(sealed));
    let log = admin.query("{ log { sealedSize } }", json!({})).await;
    assert_eq!(log["log"], json!({ "sealedSize": sealed.size.to_string() }));

    ada.detect_trend("not sealed").await;
    is_stopped(&server, 1).await;
    assert_eq!(checkpoint(&server).await, Some(sealed));
    let line = format!("in the row of seals with size {}, is not ours", forged.size);
    assert!(server.stderr().contains(&line), "{}", server.stderr());

    tamper(&records, &format!("DELETE FROM seals WHERE size = {}", forged.size)).await;
    all_sealed(&server, &records).await;
    is_stopped(&server, 0).await;
    verify(&records).await;
}

/// As docs/operations.md tells it.
#[tokio::test]
async fn a_forged_row_is_named_and_can_be_deleted() {
    let database = database().await;
    let first = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    all_sealed(&first, &records).await;
    first.terminate().await;
    let forge = "INSERT INTO seals (size, root, checkpoint)
                 SELECT 1000000000000, root, checkpoint FROM seals ORDER BY size DESC LIMIT 1";
    tamper(&records, forge).await;

    let server = Server::start(&database.url).await;
    is_stopped(&server, 1).await;
    let line = "the newest checkpoint, in the row of seals with size 1000000000000, is not ours: \
                its row says another size or root";
    assert!(server.stderr().contains(line), "{}", server.stderr());
    let verification = Verification { keys: keys(), kept: None, vault: None };
    let verdict = verification.run(&records.pool, |_, _| {}).await.unwrap();
    let [fault] = &verdict.faults[..] else { panic!("{:?}", verdict.faults) };
    let row = "the checkpoint in the row of seals with size 1000000000000";
    assert!(fault.to_string().contains(row), "{fault}");

    let delete = "BEGIN; SET LOCAL session_replication_role = replica;
                  DELETE FROM seals WHERE size = 1000000000000; COMMIT";
    sqlx::raw_sql(delete).execute(&records.pool).await.unwrap();
    all_sealed(&server, &records).await;
    is_stopped(&server, 0).await;
    verify(&records).await;
}
