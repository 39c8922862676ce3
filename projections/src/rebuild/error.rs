//! Why tables could not be computed anew.

use crate::facts::FactsError;
use crate::progress::ProgressError;

/// Why the tables could not be computed anew. Those that are served are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// There is no connection as the owner of the tables.
    #[error("connecting as the owner of the tables")]
    Connect(#[source] sqlx::Error),
    /// One at a time.
    #[error("another rebuild of this database is running")]
    Busy,
    /// The checkpoint could not be read.
    #[error(transparent)]
    Progress(#[from] ProgressError),
    /// There is no place for the new rows.
    #[error("making the schema and tables beside the served ones")]
    Side(#[source] sqlx::Error),
    /// The log could not be folded.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// A task that folds has died.
    #[error("folding the log")]
    Worker(#[source] tokio::task::JoinError),
    /// Folded rows do not fit.
    #[error("copying rows of {table}")]
    Copy {
        /// The served table that they are of.
        table: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// Keys, indexes or statistics could not be made.
    #[error("making keys and indexes")]
    Keys(#[source] sqlx::Error),
    /// Events since the fold could not be applied to the new rows.
    #[error("applying what has happened since to the new rows")]
    CatchUp(#[source] sqlx::Error),
    /// The rows could not be compared.
    #[error("comparing the rows")]
    Compare(#[source] sqlx::Error),
    /// The empty tables could not be filled.
    #[error("moving the rows into the empty tables")]
    Fill(#[source] sqlx::Error),
    /// The served rows could not be changed.
    #[error("changing the rows that differ")]
    Mend(#[source] sqlx::Error),
    /// It cannot be said whether a rebuild was interrupted.
    #[error("looking for what an interrupted rebuild has left")]
    Leftover(#[source] sqlx::Error),
    /// The schema that was asked for is there.
    #[error("the schema {schema} exists already")]
    SchemaExists {
        /// Its name.
        schema: String,
    },
    /// No documented table has this name.
    #[error("there is no documented table {name}")]
    UnknownTable {
        /// As it was asked for.
        name: String,
    },
    /// A name that PostgreSQL would not take as it is.
    #[error(
        "a schema is named by at most 63 of a-z, 0-9 and _, beginning with a letter, and not pg_… or orion_rebuild"
    )]
    SchemaName,
    /// The new tables might show somebody who is erased.
    #[error("somebody was erased meanwhile, so that nothing was written: run it again")]
    Erased,
}
