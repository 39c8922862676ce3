//! The bus: takes a use case from its sender into the log.

use metrics::counter;
use orion_store::{AppendError, EventStore, Keys, Log, Position, Receipt, ReceiptKey};
use serde_json::Value;
use tracing::{Instrument as _, debug, debug_span};
use uuid::Uuid;

use crate::actor::Envelope;
use crate::error::{CommandError, Refusal};
use crate::policy::allow;
use crate::turns::Turns;
use crate::unit::{Unit, UseCase};

/// How often a use case is decided anew because a stream has changed in between.
const ATTEMPTS_MAX: usize = 16;

/// Takes commands. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    store: EventStore,
    turns: Turns,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The last event that it wrote; `None` when there was nothing to change.
    pub position: Option<Position>,
    /// The ids that it made: those of the first answer when it was sent again.
    pub ids: Value,
    /// It was sent again, and nothing was done now.
    pub is_repeated: bool,
}

impl Bus {
    /// A bus over a log.
    pub fn new(log: Log) -> Self {
        Self { store: EventStore::new(log), turns: Turns::default() }
    }

    /// The same bus for those who must not be sent away: what they have begun is to be ended, or they are few.
    #[must_use]
    pub fn patient(&self) -> Self {
        Self { store: self.store.patient(), ..self.clone() }
    }

    /// The log below.
    pub fn log(&self) -> &Log {
        self.store.log()
    }

    /// The keys that all servers share.
    pub fn keys(&self) -> &Keys {
        self.log().keys()
    }

    /// The event store below.
    pub fn store(&self) -> &EventStore {
        &self.store
    }

    /// Decides a use case and writes its events, all or none.
    ///
    /// A command that was answered before gets the same answer, whatever has happened since.
    pub async fn run<U: UseCase>(
        &self,
        envelope: &Envelope,
        use_case: &U,
    ) -> Result<Done, CommandError> {
        let span = debug_span!("command", action = ?use_case.action());
        let result = self.decide_and_append(envelope, use_case).instrument(span).await;
        counter!("orion_commands_total", "code" => code(&result)).increment(1);
        result
    }

    async fn decide_and_append<U: UseCase>(
        &self,
        envelope: &Envelope,
        use_case: &U,
    ) -> Result<Done, CommandError> {
        allow(&envelope.actor, use_case.action())?;
        let receipt = envelope.command.as_ref().map(|(command_id, input)| {
            let key = ReceiptKey { actor: envelope.actor.name(), command_id: *command_id };
            (key, self.keys().input_hash(input))
        });
        if let Some((key, input_hash)) = &receipt
            && let Some(known) = self.log().receipt(key).await?
        {
            return answer_again(&known, input_hash);
        }
        let _turn = match use_case.contended() {
            Some(id) => Some(self.turns.take(id).await?),
            None => None,
        };
        for attempt in 1..=ATTEMPTS_MAX {
            let command_id = receipt.as_ref().map_or_else(Uuid::now_v7, |(key, _)| key.command_id);
            let mut unit = Unit::new(&self.store, envelope, command_id, attempt);
            use_case.decide(&mut unit).await?;
            let (mut commit, snapshots, verdict) = unit.into_parts();
            let ids = use_case.ids();
            let changes_nothing = commit.is_empty();
            if let Some((key, input_hash)) = &receipt {
                // Also of a command that changes nothing: its repeat must change nothing either.
                commit.receipt(key.clone(), input_hash.clone(), ids.to_string());
            } else if changes_nothing {
                return Ok(Done { position: None, ids, is_repeated: false });
            }
            let claims = commit.taken_claims();
            match self.log().append(commit).await {
                Ok(appended) => {
                    for snapshot in snapshots {
                        tokio::spawn(snapshot(self.store.clone()));
                    }
                    if let Some(refusal) = verdict {
                        return Err(refusal.into());
                    }
                    let position = (!changes_nothing).then_some(appended.last);
                    return Ok(Done { position, ids, is_repeated: false });
                }
                Err(AppendError::Conflict) => {
                    debug!(attempt, "a stream has changed, deciding anew");
                }
                Err(AppendError::Repeated(known)) => {
                    let input_hash = receipt.as_ref().map_or(&[][..], |(_, hash)| hash);
                    return answer_again(&known, input_hash);
                }
                Err(AppendError::Taken { namespace }) => {
                    let claim = claims.into_iter().find(|claim| claim.namespace == namespace);
                    return Err(claim.map_or(CommandError::Conflict, |claim| {
                        let message = format!("this {} is taken", claim.field);
                        Refusal::new(claim.taken_code, message).at(claim.field).into()
                    }));
                }
                Err(AppendError::Overloaded) => return Err(CommandError::Overloaded),
                Err(
                    error @ (AppendError::Data(_)
                    | AppendError::DiskFull(_)
                    | AppendError::Unavailable(_)),
                ) => {
                    return Err(CommandError::Append(error));
                }
            }
        }
        Err(CommandError::Conflict)
    }
}

/// What became of a command, as clients are told.
fn code(result: &Result<Done, CommandError>) -> &'static str {
    match result {
        Ok(_) => "OK",
        Err(CommandError::Refused(refusal)) => refusal.code,
        Err(CommandError::Conflict) => "CONFLICT",
        Err(CommandError::Unauthenticated) => "UNAUTHENTICATED",
        Err(CommandError::Forbidden) => "FORBIDDEN",
        Err(CommandError::Overloaded) => "RATE_LIMITED",
        Err(CommandError::Store(_) | CommandError::Append(_) | CommandError::Hash(_)) => "INTERNAL",
    }
}

fn answer_again(known: &Receipt, input_hash: &[u8]) -> Result<Done, CommandError> {
    if known.input_hash != input_hash {
        let message = "this command id was used with another input";
        return Err(Refusal::new("COMMAND_ID_REUSED", message).at("commandId").into());
    }
    let ids = serde_json::from_str(&known.ids).unwrap_or_default();
    let position = Some(known.position).filter(|position| *position > Position::START);
    Ok(Done { position, ids, is_repeated: true })
}
