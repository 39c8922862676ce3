//! What is heard on a socket, and what is said to it: a state machine.
//!
//! `connection_init` begins a lookup of who it is; with its answer the client becomes a guest, who may
//! have operations. The socket ends when the guest's rights or access token end, whatever goes on.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Response};
use axum::extract::ws::{Message, WebSocket};
use chrono::{DateTime, Utc};
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{BoxStream, SelectAll, SplitStream};
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::message::{Acknowledged, Close, Heard, Operation, Renewed, Said, token_of};
use super::places::Place;
use crate::auth::rights::Standing;
use crate::auth::{AuthError, Known, recognise};
use crate::graphql::context::Caller;
use crate::graphql::error::{coded, internal};
use crate::graphql::request_of;
use crate::http::graphql::execute;
use crate::http::{Sender, Shared, bearer_of, caller_of};

/// The most operations that go on over one socket at the same time.
const STREAMS_MAX: usize = 100;

/// What becomes of a message: the socket goes on, or is closed.
type Heeded = Result<(), Close>;

/// What is found out about a token, with room to say so.
type Lookup = BoxFuture<'static, (OwnedPermit<Message>, Result<Guest, Close>)>;

/// One socket.
pub struct Conversation<'a> {
    shared: Shared,
    /// Held to the end: until then the connection counts as open.
    sender: Sender,
    queue: mpsc::Sender<Message>,
    /// True when something of the queue was taken.
    has_taken: &'a AtomicBool,
    /// When somebody must have said who it is.
    init_until: Instant,
    has_begun: bool,
    lookup: Option<Lookup>,
    guest: Option<Guest>,
    active: HashMap<String, AbortHandle>,
    answers: SelectAll<BoxStream<'static, (String, Option<Response>)>>,
}

/// A client who was recognised.
struct Guest {
    caller: Caller,
    standing: Standing,
    expires_at: Option<DateTime<Utc>>,
    /// Kept when the token is renewed.
    place: Option<Place>,
}

impl<'a> Conversation<'a> {
    /// Nothing was said yet.
    pub fn new(
        shared: Shared,
        sender: Sender,
        queue: mpsc::Sender<Message>,
        has_taken: &'a AtomicBool,
    ) -> Self {
        Self {
            init_until: Instant::now() + shared.edge.head_within,
            shared,
            sender,
            queue,
            has_taken,
            has_begun: false,
            lookup: None,
            guest: None,
            active: HashMap::new(),
            answers: SelectAll::new(),
        }
    }

    /// Talks until one side ends it; gives the server's reason, if it was the server.
    pub async fn run(mut self, incoming: &mut SplitStream<WebSocket>) -> Option<Close> {
        let ping_every = self.shared.sockets.ping_every;
        let mut ticks = interval_at(Instant::now() + ping_every, ping_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.shared.sockets.stop.clone();
        let mut was_asked = false;
        loop {
            let is_renewing = self.guest.is_some() && self.lookup.is_some();
            // From the most to the least urgent: nothing is shown to whom it is too late for.
            let heeded = tokio::select! {
                biased;
                () = stop.cancelled() => Err(Close::GOING_AWAY),
                close = ended(self.guest.as_ref(), self.init_until) => Err(close),
                (permit, found) = found(&mut self.lookup) => self.recognised(permit, found),
                (permit, message) = with_room(&self.queue, incoming.next()), if !is_renewing => {
                    was_asked = false;
                    match message {
                        Some(Ok(Message::Close(_))) | None => return None,
                        Some(Ok(message)) => self.hear(permit, message),
                        Some(Err(error)) => Err(broken(&error)),
                    }
                }
                (permit, answer) = with_room(&self.queue, self.answers.next()), if !self.answers.is_empty() => {
                    self.answer(permit, answer)
                }
                _ = ticks.tick() => {
                    // Who takes what was queued is slow, not gone; and a ping would have to queue up, too.
                    let is_slow = self.queue.capacity() == 0 && self.has_taken.load(Ordering::Relaxed);
                    self.has_taken.store(false, Ordering::Relaxed);
                    if was_asked && !is_slow {
                        Err(Close::TIMEOUT)
                    } else {
                        was_asked = true;
                        let _ = self.queue.try_send(Message::Ping(Vec::new().into()));
                        Ok(())
                    }
                }
            };
            if let Err(close) = heeded {
                return Some(close);
            }
        }
    }

    fn hear(&mut self, permit: OwnedPermit<Message>, message: Message) -> Heeded {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(Close::INVALID),
            // Answered by the library.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(()),
        };
        match serde_json::from_str(&text).map_err(|_| Close::INVALID)? {
            Heard::ConnectionInit { .. } if self.has_begun => Err(Close::TOO_MANY_INITS),
            Heard::ConnectionInit { payload } => {
                self.has_begun = true;
                let token = token_of(payload.as_ref()).or_else(|| bearer_of(&self.sender));
                self.look_up(permit, welcome(self.shared.clone(), self.sender.clone(), token));
                Ok(())
            }
            Heard::Subscribe { id, payload } => self.subscribe(permit, id, payload),
            Heard::Complete { id } => {
                if let Some(operation) = self.active.remove(&id) {
                    operation.abort();
                }
                Ok(())
            }
            Heard::Ping { payload } => {
                if let Some(token) = token_of(payload.as_ref()) {
                    let guest = self.guest.as_ref().ok_or(Close::UNAUTHORIZED)?.copy();
                    self.look_up(permit, renewed(self.shared.clone(), guest, token));
                } else {
                    permit.send(Said::Pong { payload: None }.message()?);
                }
                Ok(())
            }
            Heard::Pong {} => Ok(()),
        }
    }

    fn look_up(
        &mut self,
        permit: OwnedPermit<Message>,
        found: impl Future<Output = Result<Guest, Close>> + Send + 'static,
    ) {
        self.lookup = Some(async { (permit, found.await) }.boxed());
    }

    /// Who it is was found out, for the first time or anew.
    fn recognised(&mut self, permit: OwnedPermit<Message>, found: Result<Guest, Close>) -> Heeded {
        let mut found = found?;
        let said = match self.guest.take() {
            None => {
                let position = self.shared.app.bus.log().tail().head();
                Said::ConnectionAck { payload: Acknowledged::from(position) }
            }
            Some(before) => {
                found.place = before.place;
                Said::Pong { payload: Some(Renewed::YES) }
            }
        };
        self.guest = Some(found);
        permit.send(said.message()?);
        Ok(())
    }

    fn subscribe(
        &mut self,
        permit: OwnedPermit<Message>,
        id: String,
        operation: Operation,
    ) -> Heeded {
        let guest = self.guest.as_ref().ok_or(Close::UNAUTHORIZED)?;
        if self.active.contains_key(&id) {
            return Err(Close::already_exists(&id));
        }
        if self.active.len() >= STREAMS_MAX {
            let error = coded("too many operations on this socket", "TOO_MANY_STREAMS");
            let errors = [error.into_server_error(async_graphql::Pos::default())];
            permit.send(Said::Error { id: &id, payload: &errors }.message()?);
            return Ok(());
        }
        let counted = self.shared.sockets.count_stream();
        let name = id.clone();
        let answers = guest.execute(&self.shared, operation.into());
        let answers = answers.map(Some).chain(stream::iter([None])).map(move |answer| {
            let _counted = &counted;
            (name.clone(), answer)
        });
        let (handle, registration) = AbortHandle::new_pair();
        self.active.insert(id, handle);
        self.answers.push(Abortable::new(answers, registration).boxed());
        Ok(())
    }

    fn answer(
        &mut self,
        permit: OwnedPermit<Message>,
        answer: Option<(String, Option<Response>)>,
    ) -> Heeded {
        let Some((id, answer)) = answer else { return Ok(()) };
        // The stream may have found out first.
        if self.guest.as_ref().is_none_or(|guest| guest.standing.actor().is_none()) {
            return Err(Close::FORBIDDEN);
        }
        let said = match &answer {
            Some(response) if is_refused(response) => {
                Said::Error { id: &id, payload: &response.errors }
            }
            Some(response) => Said::Next { id: &id, payload: response },
            None => Said::Complete { id: &id },
        };
        permit.send(said.message()?);
        if !matches!(said, Said::Next { .. })
            && let Some(operation) = self.active.remove(&id)
        {
            operation.abort();
        }
        Ok(())
    }
}

impl Guest {
    /// The same guest, but for the place.
    fn copy(&self) -> Self {
        let Self { caller, standing, expires_at, place: _ } = self;
        Self {
            caller: caller.clone(),
            standing: standing.clone(),
            expires_at: *expires_at,
            place: None,
        }
    }

    /// The answers of an operation.
    fn execute(&self, shared: &Shared, mut request: Request) -> BoxStream<'static, Response> {
        let caller = Caller {
            actor: self.standing.actor().unwrap_or(self.caller.actor),
            ..self.caller.clone()
        };
        if is_subscription(&mut request) {
            let request = request_of(request, &shared.app, caller).data(self.standing.clone());
            return shared.schema.execute_stream(request).boxed();
        }
        let shared = shared.clone();
        stream::once(async move { execute(&shared, caller, request).await }).boxed()
    }
}

/// False for what does not parse: it is refused when it is executed.
fn is_subscription(request: &mut Request) -> bool {
    let wanted = request.operation_name.clone();
    let Ok(document) = request.parsed_query() else { return false };
    let mut operations = document.operations.iter();
    operations.any(|(name, operation)| {
        let is_it = wanted.is_none() || name.map(ToString::to_string) == wanted;
        is_it && operation.node.ty == OperationType::Subscription
    })
}

/// True when an operation was not even begun: its errors have no place in an answer.
fn is_refused(response: &Response) -> bool {
    !response.errors.is_empty()
        && response.data == async_graphql::Value::Null
        && response.errors.iter().all(|error| error.path.is_empty())
}

/// Waits for room to say something before it waits for something to say.
async fn with_room<T>(
    queue: &mpsc::Sender<Message>,
    what: impl Future<Output = T>,
) -> (OwnedPermit<Message>, T) {
    match queue.clone().reserve_owned().await {
        Ok(permit) => (permit, what.await),
        // Nobody takes anything any more: the socket is about to end.
        Err(_) => pending().await,
    }
}

async fn found(lookup: &mut Option<Lookup>) -> (OwnedPermit<Message>, Result<Guest, Close>) {
    match lookup {
        Some(running) => {
            let found = running.await;
            *lookup = None;
            found
        }
        None => pending().await,
    }
}

/// Waits until the socket has to end, for whom it belongs to.
async fn ended(guest: Option<&Guest>, init_until: Instant) -> Close {
    let Some(guest) = guest else {
        tokio::time::sleep_until(init_until).await;
        return Close::INIT_TIMEOUT;
    };
    let expired = async {
        let Some(end) = guest.expires_at else { return pending().await };
        // By the clock that the token's end was told by, which may be set.
        while let Ok(left) = (end - Utc::now()).to_std() {
            sleep(left.min(Duration::from_secs(1))).await;
        }
    };
    tokio::select! {
        biased;
        () = guest.standing.ended() => Close::FORBIDDEN,
        () = expired => Close::EXPIRED,
    }
}

/// Finds out who says to be somebody, and whether there is a place.
async fn welcome(shared: Shared, sender: Sender, token: Option<String>) -> Result<Guest, Close> {
    let Known { actor, expires_at } =
        recognise(&shared.app, token.as_deref()).await.map_err(unknown)?;
    let caller = caller_of(&sender, actor);
    let place = shared.sockets.place(caller.account()).ok_or(Close::TOO_MANY_SOCKETS)?;
    let standing = shared.app.rights.admit(&shared.app, actor).await.map_err(unknown)?;
    Ok(Guest { caller, standing, expires_at, place: Some(place) })
}

/// Takes another token of the same user or the same machine.
async fn renewed(shared: Shared, guest: Guest, token: String) -> Result<Guest, Close> {
    let Known { actor, expires_at } =
        recognise(&shared.app, Some(&token)).await.map_err(unknown)?;
    let caller = Caller { actor, ..guest.caller.clone() };
    if caller.account() != guest.caller.account() {
        return Err(Close::FORBIDDEN);
    }
    guest.standing.renew(&shared.app, actor).await.map_err(unknown)?;
    Ok(Guest { caller, expires_at, ..guest })
}

fn unknown(error: AuthError) -> Close {
    match error {
        AuthError::Invalid => Close::FORBIDDEN,
        AuthError::Database(_) | AuthError::Store(_) => {
            internal(error);
            Close::INTERNAL
        }
    }
}

/// What a client did that the library gave up on.
fn broken(error: &axum::Error) -> Close {
    // The error itself is of a crate that axum does not show.
    if error.to_string().starts_with("Space limit exceeded") {
        Close::TOO_BIG
    } else {
        Close::PROTOCOL
    }
}
