//! Who leads: one at a time; whose connection stands although work waits is replaced, whoever works is not.

use std::time::Duration;

use orion_domain::Trend;
use orion_store::leadership::{Leader, Office, elected};
use orion_store::locks::Lock;
use orion_store::testing::{append_as_earlier, log};
use orion_store::{EventStore, Log, connect};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fixtures::World;

/// A standby has the place of a leader that stands within this time: 4 s, and the machine is busy.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(20);

/// What is not taken over within this time is left alone.
const LEFT_ALONE_FOR: Duration = Duration::from_secs(6);

const SIMPLE: Lock = Lock::Number(4_711);

/// An office of the test, with or without work that waits.
struct Test {
    lock: Lock,
    /// How far its leader is.
    behind: Option<i64>,
}

impl Office for Test {
    type Error = sqlx::Error;

    fn name(&self) -> &'static str {
        "test"
    }

    fn lock(&self) -> Lock {
        self.lock
    }

    async fn look_on(&mut self, _: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
        Ok(self.behind)
    }
}

async fn lead(log: &Log, lock: Lock) -> Leader {
    timeout(TAKEN_OVER_WITHIN, elected(log, &mut Test { lock, behind: None }))
        .await
        .expect("nobody else leads")
        .unwrap()
}

/// Another server becomes the leader.
async fn takes_over(log: &Log, lock: Lock, behind: Option<i64>) -> Leader {
    let elected = timeout(TAKEN_OVER_WITHIN, elected(log, &mut Test { lock, behind })).await;
    elected.unwrap_or_else(|_| panic!("{lock:?} is not taken over")).unwrap()
}

/// Another server waits for the place, and goes on waiting.
async fn is_left_alone(log: &Log, lock: Lock, behind: Option<i64>) {
    let elected = timeout(LEFT_ALONE_FOR, elected(log, &mut Test { lock, behind })).await;
    assert!(elected.is_err(), "{lock:?}: {elected:?}");
}

#[tokio::test]
async fn a_leader_that_stands_is_replaced_and_cannot_write_any_more() {
    let world = World::new().await;
    let other = world.another_log().await;
    // Names are hashed, to negative numbers, too.
    let stands =
        [(SIMPLE, "SELECT 1"), (Lock::Number(4_712), "BEGIN"), (Lock::Reactor("a"), "BEGIN")];
    let replaced =
        stands.into_iter().chain(["b", "c"].map(|name| (Lock::Reactor(name), "SELECT 1")));
    let replaced = replaced.map(async |(lock, does)| {
        let mut stands = lead(&world.log, lock).await;
        stands.connection.execute(does).await.unwrap();
        takes_over(&other, lock, Some(1)).await;
        assert!(stands.connection.execute("SELECT 1").await.is_err(), "it lost its connection");
    });
    futures::future::join_all(replaced).await;
}

#[tokio::test]
async fn a_leader_that_does_not_read_what_it_asked_for_is_replaced() {
    let world = World::new().await;
    let mut stands = lead(&world.log, SIMPLE).await;
    // More than fits between the two.
    let large = "SELECT repeat('x', 1000000) FROM generate_series(1, 100)";
    let mut rows = stands.connection.fetch(large);
    assert!(futures::StreamExt::next(&mut rows).await.is_some());
    takes_over(&world.another_log().await, SIMPLE, Some(1)).await;
}

#[tokio::test]
async fn a_leader_that_works_is_left_alone() {
    let world = World::new().await;
    let (locks, mut leaders) = ([1, 2, 3].map(Lock::Number), Vec::new());
    for lock in locks {
        leaders.push(lead(&world.log, lock).await);
    }
    let [idle, elsewhere, long] = &mut leaders[..] else { panic!("three") };
    let other = world.another_log().await;
    let tried = async {
        tokio::join!(
            // Nothing waits.
            is_left_alone(&other, locks[0], None),
            is_left_alone(&other, locks[1], Some(1)),
            is_left_alone(&other, locks[2], Some(1)),
        )
    };
    let elsewhere = elsewhere.at_work(std::future::pending::<Result<(), sqlx::Error>>());
    let long = long.connection.execute("SELECT pg_sleep(60)");
    tokio::select! {
        ((), (), ()) = tried => {}
        ended = elsewhere => panic!("{ended:?}"),
        ended = long => panic!("{ended:?}"),
    }
    idle.connection.execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_leader_that_goes_on_slowly_is_left_alone() {
    let world = World::new().await;
    let mut slow = lead(&world.log, SIMPLE).await;
    let other = world.another_log().await;
    let mut ticks = tokio::time::interval(Duration::from_secs(2));
    let works = async {
        loop {
            ticks.tick().await;
            slow.connection.execute("SELECT 1").await.unwrap();
        }
    };
    tokio::select! {
        () = is_left_alone(&other, SIMPLE, Some(1)) => {}
        () = works => {}
    }
}

#[tokio::test]
async fn work_elsewhere_and_waiting_are_given_up_with_the_place() {
    let world = World::new().await;
    let mut works = lead(&world.log, SIMPLE).await;
    let mut waits = lead(&world.log, Lock::Number(4_712)).await;
    assert!(world.terminate_backends().await >= 2);
    let never = std::future::pending::<Result<(), sqlx::Error>>;
    let work = timeout(TAKEN_OVER_WITHIN, works.at_work(never()));
    let wait = timeout(TAKEN_OVER_WITHIN, waits.idle(never()));
    let (work, wait) = tokio::join!(work, wait);
    work.expect("the work is given up").unwrap_err();
    wait.expect("it waits no longer").unwrap_err();
}

#[tokio::test]
async fn a_leader_that_waits_and_does_not_see_what_there_is_to_do_is_replaced() {
    let world = World::new().await;
    let mut blind = lead(&world.log, SIMPLE).await;
    let other = world.another_log().await;
    tokio::select! {
        ended = blind.idle(std::future::pending::<Result<(), sqlx::Error>>()) => { ended.unwrap_err(); }
        _leader = takes_over(&other, SIMPLE, Some(1)) => {}
    }
}

/// Logins of their own, as the operator's manual says.
struct Logins<'a> {
    world: &'a World,
    names: Vec<String>,
}

impl<'a> Logins<'a> {
    async fn new(world: &'a World) -> Self {
        let mut names = Vec::new();
        for _ in 0..2 {
            let name = format!("orion_test_{}", Uuid::new_v4().simple());
            let sql = format!("CREATE ROLE {name} LOGIN PASSWORD 'p' IN ROLE orion_app");
            world.owner.execute(sql.as_str()).await.unwrap();
            names.push(name);
        }
        Self { world, names }
    }

    /// A server that signs in with the first or the second of them.
    async fn server(&self, number: usize) -> (Log, PgPool) {
        let (_, place) = self.world.url().split_once('@').unwrap();
        let url = format!("postgres://{}:p@{place}", self.names[number]);
        let pool = connect(&url, 3).await.unwrap();
        (log(pool.clone(), CancellationToken::new()).await, pool)
    }

    async fn drop(self) {
        for name in &self.names {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1";
            sqlx::query(end).bind(name).execute(&self.world.owner).await.unwrap();
            let drop = format!("DROP ROLE {name}");
            self.world.owner.execute(drop.as_str()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_login_without_rights_replaces_its_own_leader_and_others_where_it_may() {
    let world = World::new().await;
    let logins = Logins::new(&world).await;
    let (one, _) = logins.server(0).await;
    let stands = lead(&one, SIMPLE).await;
    let (same, _) = logins.server(0).await;
    drop(takes_over(&same, SIMPLE, Some(1)).await);
    drop(stands);

    // Another login neither sees nor ends it, until somebody grants that.
    let _stands = lead(&one, SIMPLE).await;
    let (other, _) = logins.server(1).await;
    is_left_alone(&other, SIMPLE, Some(1)).await;
    for grants in ["pg_read_all_stats", "pg_signal_backend"] {
        let sql = format!("GRANT {grants} TO {}", logins.names[1]);
        world.owner.execute(sql.as_str()).await.unwrap();
    }
    takes_over(&other, SIMPLE, Some(1)).await;
    logins.drop().await;
}

#[tokio::test]
async fn a_program_that_is_older_than_the_log_leads_nothing() {
    let world = World::new().await;
    let older = world.another_log().await;
    assert!(!older.outdated().is_outdated());
    let store = EventStore::new(world.log.clone());
    let newer = ("trend.exploded", "1", json!({}));
    append_as_earlier(&store, Uuid::now_v7(), 0, Trend::default(), &[newer]).await;
    let met = async {
        older.tail().beyond(orion_store::Position::START).await;
        older.outdated().is_outdated()
    };
    assert!(timeout(TAKEN_OVER_WITHIN, met).await.expect("the event comes by"));
    is_left_alone(&older, SIMPLE, Some(1)).await;
    let mut free = PgConnection::connect(world.url()).await.unwrap();
    let is_free: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock(4711)").fetch_one(&mut free).await.unwrap();
    assert!(is_free);
}
