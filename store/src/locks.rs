//! The advisory locks of a database: their numbers stand here and nowhere else, but for the first, which
//! a migration has, too.
//!
//! Two that were the same would have strangers wait for each other. Reactors, each with a lock until its
//! connection ends, hash their names to 64 bits instead.

use sqlx::PgConnection;

/// Who appends, until the end of the transaction: `append_events` for one batch; an import and a new key for
/// claims for all that they do, so that nothing is appended meanwhile. The number stands in
/// `migrations/0001_log.sql`, too.
pub const APPEND: i64 = 7_165_914_211;

/// The leading projector of the documented tables, for as long as its connection lives; and an import, until its
/// end, so that no server works meanwhile.
pub const READ_MODEL: i64 = 7_165_914_212;

/// The leading projector of notifications, for as long as its connection lives.
pub const NOTIFICATIONS: i64 = 7_165_914_213;

/// The sealer that leads, for as long as its connection lives.
pub const SEALER: i64 = 7_165_914_214;

/// The relay that publishes the log to NATS JetStream, for as long as its connection lives.
pub const RELAY: i64 = 7_165_914_217;

/// The rebuild of the documented tables, until its connection ends.
pub const REBUILD: i64 = 7_165_914_216;

/// The lock that elects a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// One of the numbers above.
    Number(i64),
    /// That of the reactor of this name.
    Reactor(&'static str),
}

impl Lock {
    /// Its number; PostgreSQL hashes names.
    pub(crate) async fn number(self, connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Reactor(name) => {
                sqlx::query_scalar("SELECT hashtextextended('orion reactor ' || $1, 0)")
                    .bind(name)
                    .fetch_one(connection)
                    .await
            }
        }
    }
}
