//! The call of `append_events`: commits into columns, rows into outcomes.

use chrono::{DateTime, Utc};
use orion_domain::ClaimChange;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::commit::{AppendError, Appended, Commit, Receipt, StoredClaim};
use crate::record::Position;

/// The arguments of `append_events`, column by column; `commits` number the commit of each row.
#[derive(Default)]
struct Columns {
    streams: StreamColumns,
    events: EventColumns,
    claims: ClaimColumns,
    receipts: ReceiptColumns,
    keys: KeyColumns,
}

#[derive(Default)]
struct StreamColumns {
    commits: Vec<i32>,
    types: Vec<&'static str>,
    ids: Vec<String>,
    versions: Vec<i64>,
}

#[derive(Default)]
struct EventColumns {
    commits: Vec<i32>,
    aggregate_types: Vec<&'static str>,
    aggregate_ids: Vec<String>,
    sequences: Vec<i64>,
    event_types: Vec<String>,
    event_versions: Vec<String>,
    payloads: Vec<String>,
    metadatas: Vec<String>,
}

#[derive(Default)]
struct ClaimColumns {
    commits: Vec<i32>,
    namespaces: Vec<&'static str>,
    values: Vec<String>,
    holders: Vec<String>,
    takes: Vec<bool>,
}

#[derive(Default)]
struct ReceiptColumns {
    commits: Vec<i32>,
    actors: Vec<String>,
    commands: Vec<Uuid>,
    hashes: Vec<Vec<u8>>,
    ids: Vec<String>,
}

#[derive(Default)]
struct KeyColumns {
    commits: Vec<i32>,
    subjects: Vec<Uuid>,
    wrapped: Vec<Option<String>>,
}

impl Columns {
    fn of(commits: &[Commit]) -> Self {
        let mut columns = Self::default();
        for (commit, number) in commits.iter().zip(1..) {
            columns.add(commit, number);
        }
        columns
    }

    fn add(&mut self, commit: &Commit, number: i32) {
        for (stream, version) in &commit.streams {
            self.streams.commits.push(number);
            self.streams.types.push(stream.aggregate_type);
            self.streams.ids.push(stream.aggregate_id.to_string());
            self.streams.versions.push(*version);
        }
        let metadata = serde_json::json!(commit.metadata).to_string();
        for event in &commit.events {
            self.events.commits.push(number);
            self.events.aggregate_types.push(event.stream.aggregate_type);
            self.events.aggregate_ids.push(event.stream.aggregate_id.to_string());
            self.events.sequences.push(event.sequence);
            self.events.event_types.push(event.event_type.clone());
            self.events.event_versions.push(event.event_version.clone());
            self.events.payloads.push(event.payload.clone());
            self.events.metadatas.push(metadata.clone());
        }
        for StoredClaim { holder, change } in &commit.claims {
            let (claim, is_take) = match change {
                ClaimChange::Take(claim) => (claim, true),
                ClaimChange::Release(claim) => (claim, false),
            };
            self.claims.commits.push(number);
            self.claims.namespaces.push(claim.namespace);
            self.claims.values.push(claim.value.clone());
            self.claims.holders.push(holder.clone());
            self.claims.takes.push(is_take);
        }
        let fresh = commit.sealing.iter().filter(|key| key.fresh.is_some());
        let fresh = fresh.map(|key| (key.subject(), key.fresh.clone()));
        for (subject, wrapped) in fresh.chain(commit.erased.iter().map(|id| (*id, None))) {
            self.keys.commits.push(number);
            self.keys.subjects.push(subject);
            self.keys.wrapped.push(wrapped);
        }
        if let Some((key, receipt)) = &commit.receipt {
            self.receipts.commits.push(number);
            self.receipts.actors.push(key.actor.clone());
            self.receipts.commands.push(key.command_id);
            self.receipts.hashes.push(receipt.input_hash.clone());
            self.receipts.ids.push(receipt.ids.clone());
        }
    }
}

#[derive(sqlx::FromRow)]
struct OutcomeRow {
    outcome: String,
    commit_number: Option<i32>,
    log_position: Option<i64>,
    log_time: Option<DateTime<Utc>>,
    first_hash: Option<Vec<u8>>,
    first_ids: Option<String>,
    claim_namespace: Option<String>,
}

/// What became of a batch.
pub(super) struct Outcomes {
    /// Of each commit.
    pub results: Vec<Result<Appended, AppendError>>,
    /// The head of the log before the events that this very call wrote, and their time; if it is known.
    pub follow: Option<(Position, DateTime<Utc>)>,
}

/// Calls `append_events` with a batch, and tells each commit what became of it.
pub(super) async fn append_once(
    connection: &mut PgConnection,
    claims_key: &str,
    commits: &[Commit],
) -> Result<Outcomes, sqlx::Error> {
    let columns = Columns::of(commits);
    let rows: Vec<OutcomeRow> = sqlx::query_as(
        "SELECT outcome, commit_number, log_position, log_time, first_hash, first_ids, claim_namespace
         FROM append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
                            $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26)",
    )
    .bind(columns.streams.commits)
    .bind(columns.streams.types)
    .bind(columns.streams.ids)
    .bind(columns.streams.versions)
    .bind(columns.events.commits)
    .bind(columns.events.aggregate_types)
    .bind(columns.events.aggregate_ids)
    .bind(columns.events.sequences)
    .bind(columns.events.event_types)
    .bind(columns.events.event_versions)
    .bind(columns.events.payloads)
    .bind(columns.events.metadatas)
    .bind(columns.claims.commits)
    .bind(columns.claims.namespaces)
    .bind(columns.claims.values)
    .bind(columns.claims.holders)
    .bind(columns.claims.takes)
    .bind(columns.receipts.commits)
    .bind(columns.receipts.actors)
    .bind(columns.receipts.commands)
    .bind(columns.receipts.hashes)
    .bind(columns.receipts.ids)
    .bind(columns.keys.commits)
    .bind(columns.keys.subjects)
    .bind(columns.keys.wrapped)
    .bind(claims_key)
    .fetch_all(connection)
    .await?;
    Ok(outcomes(commits, rows))
}

/// Tells each commit its refusal, or its positions: the accepted ones follow the head in order.
fn outcomes(commits: &[Commit], rows: Vec<OutcomeRow>) -> Outcomes {
    let mut refusals: Vec<Option<AppendError>> = commits.iter().map(|_| None).collect();
    let mut head = 0;
    let mut follow = None;
    for row in rows {
        let index = row.commit_number.and_then(|number| usize::try_from(number - 1).ok());
        let Some(slot) = index.and_then(|index| refusals.get_mut(index)) else {
            head = row.log_position.unwrap_or(head);
            follow = row.log_time.map(|time| (Position(head), time));
            continue;
        };
        *slot = Some(match row.outcome.as_str() {
            "repeated" => AppendError::Repeated(Receipt {
                input_hash: row.first_hash.unwrap_or_default(),
                position: Position(row.log_position.unwrap_or_default()),
                ids: row.first_ids.unwrap_or_default(),
            }),
            "taken" => AppendError::Taken { namespace: row.claim_namespace.unwrap_or_default() },
            _ => AppendError::Conflict,
        });
    }
    let mut results = Vec::with_capacity(commits.len());
    for (commit, refusal) in commits.iter().zip(refusals) {
        let Some(refusal) = refusal else {
            let appended = Appended::after(Position(head), commit);
            head = appended.last.0;
            results.push(Ok(appended));
            continue;
        };
        results.push(Err(refusal));
    }
    Outcomes { results, follow }
}

/// Where the events of a commit stand, if this very commit wrote them.
pub(super) async fn written(
    pool: &PgPool,
    commit: &Commit,
) -> Result<Option<Appended>, sqlx::Error> {
    let (Some(first), Some(command_id)) =
        (commit.events.first(), commit.metadata.get("command_id"))
    else {
        return Ok(None);
    };
    let position: Option<i64> = sqlx::query_scalar(
        "SELECT position FROM events
         WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = $3
           AND metadata ->> 'command_id' = $4",
    )
    .bind(first.stream.aggregate_type)
    .bind(first.stream.aggregate_id.to_string())
    .bind(first.sequence)
    .bind(command_id)
    .fetch_optional(pool)
    .await?;
    Ok(position.map(|first| Appended::after(Position(first - 1), commit)))
}
