//! What resolvers work with: the application, the caller, and the way from input to outcome.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::dataloader::DataLoader;
use async_graphql::parser::types::OperationType;
use async_graphql::{Context, Error, ID, Result, ScalarType as _};
use chrono::{DateTime, Utc};
use orion_commands::{Action, Actor, Bus, Client, Envelope, Passwords, Refusal, UseCase, policy};
use orion_projections::{Progress, READ_MODEL, checkpoint};
use orion_store::seal::LogPublicKey;
use orion_store::{Kept, Position as LogPosition};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::error::{UserError, bad_input, coded, failure, internal, not_reached};
use super::found::Found;
use super::limits::Lines;
use super::plan::Plan;
use super::reader::{Entity, Reader, RowKey};
use super::scalars::{Position, uuid};
use super::selection::Document;
use super::snapshot::Snapshot;
use crate::auth::Tokens;
use crate::auth::recognised::Recognised;
use crate::auth::rights::Rights;
use crate::limits::Limits;
use crate::reads::{Extent, Reads};
use crate::telemetry::traces::traceparent;

/// How long an answer waits for the read model before it says `projected: false`.
const PROJECTED_WITHIN: Duration = Duration::from_secs(5);

/// How often tables that a crash of PostgreSQL has taken back are looked at, until they show an event again.
pub const BEHIND_EVERY: Duration = Duration::from_millis(100);

/// The field that is read from a projection of its own.
const NOTIFICATIONS: &str = "notifications";

/// What all requests share.
#[derive(Clone)]
pub struct App {
    /// Takes commands.
    pub bus: Bus,
    /// Whoever signs the log's checkpoints, the present key first.
    pub log_keys: Arc<[LogPublicKey]>,
    /// Hashes passwords.
    pub passwords: Passwords,
    /// Issues and checks access tokens.
    pub tokens: Arc<Tokens>,
    /// How often anybody may do what.
    pub limits: Arc<Limits>,
    /// Who waits to be worked for.
    pub lines: Lines,
    /// Who still has the rights that it came with.
    pub rights: Arc<Rights>,
    /// Who was recognised lately.
    pub recognised: Arc<Recognised>,
    /// How far the read model is.
    pub progress: Progress,
    /// How far the notifications are.
    pub notified: Progress,
    /// Connections for queries, to the primary and to a replica if there is one.
    pub reads: Reads,
}

impl App {
    /// The same for those who must not be sent away: what they have begun is to be ended, or they are few.
    #[must_use]
    pub fn patient(&self) -> Self {
        Self { bus: self.bus.patient(), reads: self.reads.patient(), ..self.clone() }
    }

    /// Waits until queries show what is in the log up to here; false when they do not in time.
    pub async fn shows(&self, position: LogPosition) -> bool {
        self.progress.reached(position, PROJECTED_WITHIN).await
            && self.reads.show(Extent { tables: position, ..Extent::default() }).await
    }

    /// The same of what was done before: a crash of PostgreSQL may have taken back what the tables have shown, which the
    /// server does not know at once, so they are asked.
    async fn shows_again(&self, position: LogPosition) -> bool {
        let asked = async {
            while !tables_are_at(&self.reads.primary().patient(), position).await.unwrap_or(false) {
                sleep(BEHIND_EVERY).await;
            }
        };
        self.shows(position).await && timeout(PROJECTED_WITHIN, asked).await.is_ok()
    }

    /// The same for notifications.
    pub async fn notifies(&self, position: LogPosition) -> bool {
        self.notified.reached(position, PROJECTED_WITHIN).await
            && self.reads.show(Extent { notifications: position, ..Extent::default() }).await
    }
}

async fn tables_are_at(kept: &Kept, position: LogPosition) -> Result<bool, sqlx::Error> {
    let mut connection = kept.take().await?;
    let tables = checkpoint(&mut *connection, READ_MODEL).await;
    let tables = tables.map_err(|error| sqlx::Error::Decode(error.into()))?;
    kept.give_back(connection);
    Ok(tables.position >= position)
}

/// What is known of one request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who asks.
    pub actor: Actor,
    /// When the token ends that was shown.
    pub expires_at: Option<DateTime<Utc>>,
    /// Where the request comes from.
    pub address: IpAddr,
    /// Ties together what belongs to the request.
    pub request_id: String,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
    /// The program that asks.
    pub client: Client,
}

/// What became of a mutation, as every payload says it.
#[derive(Clone, Debug, async_graphql::SimpleObject)]
pub struct Outcome {
    /// The last event that the mutation wrote; null when it wrote none.
    pub position: Option<Position>,
    /// True when queries show what the mutation has done.
    pub projected: bool,
    /// Why it was refused; empty when it was done.
    pub errors: Vec<UserError>,
    /// The ids that the command made.
    #[graphql(skip)]
    pub ids: Value,
}

impl Outcome {
    /// A mutation that was refused.
    pub fn refused(refusal: Refusal) -> Self {
        Self { position: None, projected: true, errors: vec![refusal.into()], ids: Value::Null }
    }

    /// An id that the command made, unless it was refused.
    pub fn id(&self, name: &str) -> Option<Uuid> {
        self.ids.get(name)?.as_str()?.parse().ok()
    }

    /// The id of an aggregate that was there before, unless the command was refused.
    pub fn unless_refused(&self, id: impl Into<Uuid>) -> Option<Uuid> {
        self.errors.is_empty().then(|| id.into())
    }
}

/// The parts of an input that every mutation on an aggregate has.
#[derive(Clone, Debug, Default)]
pub struct CommandArgs {
    /// The id that the client gave the command.
    pub command_id: Option<ID>,
    /// The version that the client decided on.
    pub expected_version: Option<i32>,
}

/// Declares the inputs of mutations that only name what they change.
macro_rules! naming_inputs {
    ($($(#[$meta:meta])* $name:ident { $(#[$id_meta:meta])* $id:ident })*) => {
        $(
            $(#[$meta])*
            #[derive(async_graphql::InputObject)]
            pub struct $name {
                $(#[$id_meta])*
                $id: async_graphql::ID,
                /// Repeat it to get the first answer again.
                command_id: Option<async_graphql::ID>,
                /// The version that the decision was made on.
                expected_version: Option<i32>,
            }

            impl From<$name> for (async_graphql::ID, $crate::graphql::context::CommandArgs) {
                fn from(input: $name) -> Self {
                    let $name { $id, command_id, expected_version } = input;
                    ($id, $crate::graphql::context::CommandArgs { command_id, expected_version })
                }
            }
        )*
    };
}
pub(crate) use naming_inputs;

/// What resolvers ask of their context.
pub trait ContextExt {
    /// What all requests share.
    fn app(&self) -> &App;
    /// What is known of this request.
    fn caller(&self) -> &Caller;
    /// Reads rows in batches.
    fn loader(&self) -> &DataLoader<Reader>;
    /// The state of the tables that this operation sees.
    fn snapshot(&self) -> &Snapshot;
    /// The caller, if its role may do this.
    fn allow(&self, action: Action) -> Result<Actor>;
    /// Waits until the read model has reached a position that the client has seen.
    fn reach(&self, min_position: Option<Position>) -> impl Future<Output = Result<()>> + Send;
    /// The row that the field shows which is resolved, with all that is selected below it, if the
    /// caller may see it.
    fn row<T: Entity>(&self, id: Uuid) -> impl Future<Output = Result<Option<Found<T>>>> + Send;
    /// A whole row that the caller may see, loaded together with others of its table.
    fn load<T: Entity>(&self, id: Uuid) -> impl Future<Output = Result<Option<Found<T>>>> + Send;
    /// Builds a use case from the input, runs it, and waits for the read model.
    fn command<U: UseCase + Send>(
        &self,
        action: Action,
        args: CommandArgs,
        build: impl FnOnce(&Actor) -> Result<U, Refusal> + Send,
    ) -> impl Future<Output = Result<Outcome>> + Send;
    /// Runs a use case of authentication, or one that was built already.
    fn run<U: UseCase>(
        &self,
        envelope: &Envelope,
        use_case: &U,
    ) -> impl Future<Output = Result<Outcome>> + Send;
    /// The same by a bus of one's own: by a patient one what ends something that was begun.
    fn run_by<U: UseCase>(
        &self,
        bus: &Bus,
        envelope: &Envelope,
        use_case: &U,
    ) -> impl Future<Output = Result<Outcome>> + Send;
    /// The plain envelope of this request.
    fn envelope(&self) -> Envelope;
}

impl ContextExt for Context<'_> {
    fn app(&self) -> &App {
        self.data_unchecked()
    }

    fn caller(&self) -> &Caller {
        self.data_unchecked()
    }

    fn loader(&self) -> &DataLoader<Reader> {
        self.data_unchecked()
    }

    fn snapshot(&self) -> &Snapshot {
        &self.loader().loader().snapshot
    }

    fn allow(&self, action: Action) -> Result<Actor> {
        let actor = self.caller().actor;
        policy::allow(&actor, action).map_err(|error| match failure(error) {
            Ok(refusal) => coded(refusal.message, refusal.code),
            Err(error) => error,
        })?;
        Ok(actor)
    }

    async fn reach(&self, min_position: Option<Position>) -> Result<()> {
        // The first field that reads takes the snapshot for all of them, so each waits for the positions
        // of all. Whether the others' were reached, they say themselves.
        let app = self.app();
        let own = min_position.map(|Position(position)| position);
        let mut asked = min_positions(self);
        asked.extend(own.map(|position| ("", position)));
        let Some(highest) = asked.iter().map(|(_, position)| *position).max() else {
            read_replica(self, Some(Extent::default())).await;
            return Ok(());
        };
        let head = if read_position(app) >= highest {
            highest
        } else {
            let is_mutation = self.query_env.operation.node.ty == OperationType::Mutation;
            // Something may have been done before it.
            let bus = if is_mutation { app.bus.patient() } else { app.bus.clone() };
            bus.log().head().await.map_err(internal)?
        };
        // What is asked for of what is there.
        let asked = |tables, notifications| Extent {
            tables: newest(&asked, tables, |_| true),
            notifications: newest(&asked, notifications, |field| field == NOTIFICATIONS),
        };
        // At the same time, so that all of it takes no longer than one of them may.
        let needed = asked(head, head);
        let reached = tokio::join!(
            app.progress.reached(needed.tables, PROJECTED_WITHIN),
            app.notified.reached(needed.notifications, PROJECTED_WITHIN),
        );
        let shown = read_position(app);
        self.snapshot().promise(asked(shown, app.notified.now().position));
        // What the primary does not show, or not yet, is not looked for elsewhere.
        let is_there = highest <= head && reached == (true, true);
        read_replica(self, is_there.then_some(needed)).await;
        match own {
            Some(own) if own > head => {
                Err(coded("the position is beyond the end of the log", "POSITION_AHEAD"))
            }
            Some(own) if own > shown => Err(not_reached()),
            Some(_) | None => Ok(()),
        }
    }

    async fn row<T: Entity>(&self, id: Uuid) -> Result<Option<Found<T>>> {
        self.loader().loader().row(&Plan::of_row::<T>(self), id).await.map_err(internal)
    }

    async fn load<T: Entity>(&self, id: Uuid) -> Result<Option<Found<T>>> {
        self.loader().load_one(RowKey::<T>(id, PhantomData)).await.map_err(internal)
    }

    async fn command<U: UseCase + Send>(
        &self,
        action: Action,
        args: CommandArgs,
        build: impl FnOnce(&Actor) -> Result<U, Refusal> + Send,
    ) -> Result<Outcome> {
        let actor = self.allow(action)?;
        let use_case = match build(&actor) {
            Ok(use_case) => use_case,
            Err(refusal) => return Ok(Outcome::refused(refusal)),
        };
        let command_id = args.command_id.as_ref().map(uuid).transpose()?;
        let envelope = Envelope {
            command: command_id.map(|id| Ok::<_, Error>((id, input_of(self)?))).transpose()?,
            expected_version: args.expected_version.map(i64::from),
            ..self.envelope()
        };
        let mut outcome = self.run(&envelope, &use_case).await?;
        for error in outcome.errors.iter_mut().filter(|error| error.field.is_none()) {
            error.field = use_case.subject().map(str::to_owned);
        }
        Ok(outcome)
    }

    async fn run<U: UseCase>(&self, envelope: &Envelope, use_case: &U) -> Result<Outcome> {
        self.run_by(&self.app().bus, envelope, use_case).await
    }

    async fn run_by<U: UseCase>(
        &self,
        bus: &Bus,
        envelope: &Envelope,
        use_case: &U,
    ) -> Result<Outcome> {
        // What is read afterwards has to show what was done.
        self.snapshot().end().await;
        let done = match bus.run(envelope, use_case).await {
            Ok(done) => done,
            Err(error) => return failure(error).map(Outcome::refused),
        };
        let projected = match done.position {
            Some(position) if done.is_repeated => self.app().shows_again(position).await,
            Some(position) => self.app().shows(position).await,
            None => true,
        };
        if let (true, Some(tables)) = (projected, done.position) {
            self.snapshot().promise(Extent { tables, ..Extent::default() });
        }
        let position = done.position.map(Position);
        Ok(Outcome { position, projected, errors: Vec::new(), ids: done.ids })
    }

    fn envelope(&self) -> Envelope {
        let caller = self.caller();
        Envelope {
            correlation_id: Some(caller.request_id.clone()),
            traceparent: traceparent().or_else(|| caller.traceparent.clone()),
            ..Envelope::of(caller.actor)
        }
    }
}

/// Lets a query read the replica if that shows so much; without it, the primary is read. Whatever else is
/// read is for a mutation, which has to see its own work, or for an event, which has to be there.
async fn read_replica(ctx: &Context<'_>, needed: Option<Extent>) {
    match (ctx.query_env.operation.node.ty, needed) {
        (OperationType::Query, Some(needed)) => ctx.snapshot().may_be_of_replica(needed).await,
        (OperationType::Query, None)
        | (OperationType::Mutation | OperationType::Subscription, _) => {
            ctx.snapshot().is_of_primary().await;
        }
    }
}

/// The fields of an operation that ask for a position, with it.
fn min_positions<'a>(ctx: &Context<'a>) -> Vec<(&'a str, LogPosition)> {
    let document = Document::of(ctx);
    let asked = document.root_fields().into_iter().filter_map(|field| {
        let position = document.arguments(field).remove("minPosition")?;
        Some((field.name.node.as_str(), Position::parse(position).ok()?.0))
    });
    asked.collect()
}

/// The newest of the positions up to this one that such fields ask for.
fn newest(
    asked: &[(&str, LogPosition)],
    up_to: LogPosition,
    is_asking: impl Fn(&str) -> bool,
) -> LogPosition {
    let asked = asked.iter().filter(|(field, position)| is_asking(field) && *position <= up_to);
    asked.map(|(_, position)| *position).max().unwrap_or_default()
}

/// The mutation and its input as bytes, to know a repeated command again.
fn input_of(ctx: &Context<'_>) -> Result<Vec<u8>> {
    let field = ctx.field();
    let arguments = field.arguments().map_err(|error| bad_input(error.message))?;
    // By way of a value, for its objects are sorted by key: the order of the fields says nothing.
    let input = serde_json::to_value((field.name(), arguments)).map_err(internal)?;
    serde_json::to_vec(&input).map_err(internal)
}

/// The position that the read model had reached when an answer was begun.
pub fn read_position(app: &App) -> LogPosition {
    app.progress.now().position
}
