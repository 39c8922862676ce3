//! What is heard on a socket, and what is said to it: a state machine.
//!
//! `connection_init` begins a lookup of who it is; with its answer the client becomes a guest, who may
//! have operations. The socket ends when the guest's rights or access token end, whatever goes on.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_graphql::Request;
use async_graphql::parser::types::OperationType;
use axum::extract::ws::{Message, WebSocket};
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{BoxStream, SelectAll, SplitStream};
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::message::{Acknowledged, Close, Heard, Operation, Renewed, Said, next, token_of};
use super::places::{Kind, Place};
use crate::auth::rights::Standing;
use crate::auth::{AuthError, expired};
use crate::graphql::began::Began;
use crate::graphql::context::Caller;
use crate::graphql::error::{coded, internal};
use crate::http::detached::detached;
use crate::http::graphql::{execute, kind_of};
use crate::http::watch::Told;
use crate::http::{BODY_MAX, Sender, Shared, bearer_of, caller_with};

/// The most operations that go on over one socket at the same time.
const STREAMS_MAX: usize = 100;

/// The most bytes of the name that a client gives an operation.
const ID_BYTES_MAX: usize = 256;

/// How many bytes the operations of one socket may have together: two messages of the largest size,
/// so that one of them may always follow another.
const OPERATIONS_BYTES_MAX: usize = 2 * BODY_MAX + 2 * OPERATION_BYTES;

/// What an operation takes beside the message that it came in.
const OPERATION_BYTES: usize = 1 << 10;

/// How many pings in a row may be unanswered. Between a slow client and its next ping may lie what the
/// buffers of both systems hold, some megabytes.
const UNANSWERED_MAX: u32 = 3;

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
    /// True when something was taken that had to wait for it.
    has_taken: &'a AtomicBool,
    /// When somebody must have said who it is.
    init_until: Instant,
    has_begun: bool,
    lookup: Option<Lookup>,
    guest: Option<Guest>,
    active: HashMap<String, AbortHandle>,
    /// What is left of the bytes that operations may have.
    room: Arc<Semaphore>,
    answers: SelectAll<BoxStream<'static, (String, Option<Arc<Told>>)>>,
}

/// A client who was recognised.
struct Guest {
    caller: Caller,
    standing: Standing,
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
            room: Arc::new(Semaphore::new(OPERATIONS_BYTES_MAX)),
            answers: SelectAll::new(),
        }
    }

    /// Talks until one side ends it; gives the server's reason, if it was the server.
    pub async fn run(mut self, incoming: &mut SplitStream<WebSocket>) -> Option<Close> {
        let ping_every = self.shared.sockets.ping_every;
        let mut ticks = interval_at(Instant::now() + ping_every, ping_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.shared.sockets.stop.clone();
        let mut unanswered = 0;
        loop {
            let is_renewing = self.guest.is_some() && self.lookup.is_some();
            // From the most to the least urgent: nothing is shown to whom it is too late for.
            let heeded = tokio::select! {
                biased;
                () = stop.cancelled() => Err(Close::GOING_AWAY),
                close = ended(self.guest.as_ref(), self.init_until) => Err(close),
                (permit, found) = found(&mut self.lookup) => self.recognised(permit, found),
                (permit, message) = with_room(&self.queue, incoming.next()), if !is_renewing => {
                    unanswered = 0;
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
                    // Who takes what had to wait is slow, not gone; a ping has to wait, too.
                    if self.has_taken.swap(false, Ordering::Relaxed) {
                        unanswered = 0;
                    }
                    if unanswered == UNANSWERED_MAX {
                        Err(Close::TIMEOUT)
                    } else {
                        unanswered += 1;
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
            Heard::Subscribe { id, .. } if id.len() > ID_BYTES_MAX => Err(Close::INVALID),
            Heard::Subscribe { id, payload } => self.subscribe(permit, id, payload, text.len()),
            Heard::Complete { id } => {
                if let Some(operation) = self.active.remove(&id) {
                    operation.abort();
                }
                Ok(())
            }
            Heard::Ping { payload } => {
                if let Some(token) = token_of(payload.as_ref()) {
                    let guest = self.guest.as_ref().ok_or(Close::UNAUTHORIZED)?.copy();
                    let (shared, sender) = (self.shared.clone(), self.sender.clone());
                    self.look_up(permit, renewed(shared, sender, guest, token));
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
        bytes: usize,
    ) -> Heeded {
        let guest = self.guest.as_ref().ok_or(Close::UNAUTHORIZED)?;
        if self.active.contains_key(&id) {
            return Err(Close::already_exists(&id));
        }
        let refuse = |permit: OwnedPermit<Message>, why: &str| {
            let error = coded(why, "TOO_MANY_STREAMS");
            permit.send(Said::Error { id: &id, payload: Told::error(error).errors() }.message()?);
            Ok(())
        };
        if self.active.len() >= STREAMS_MAX {
            return refuse(permit, "too many operations on this socket");
        }
        let bytes = u32::try_from(bytes + OPERATION_BYTES).map_err(|_| Close::TOO_BIG)?;
        let Ok(held) = self.room.clone().try_acquire_many_owned(bytes) else {
            return refuse(permit, "the operations on this socket are too large together");
        };
        let name = id.clone();
        let answers = guest.execute(&self.shared, operation.into())?;
        let answers = answers.map(Some).chain(stream::iter([None])).map(move |answer| {
            // Not given back when the operation ends, but when nothing is kept of it any more.
            let _ = &held;
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
        answer: Option<(String, Option<Arc<Told>>)>,
    ) -> Heeded {
        let Some((id, answer)) = answer else { return Ok(()) };
        // The stream may have found out first.
        if self.guest.as_ref().is_none_or(|guest| guest.standing.actor().is_none()) {
            return Err(Close::FORBIDDEN);
        }
        let (message, is_last) = match &answer {
            Some(told) if told.is_refusal => {
                (Said::Error { id: &id, payload: told.errors() }.message()?, true)
            }
            Some(told) => (next(&id, told)?, false),
            None => (Said::Complete { id: &id }.message()?, true),
        };
        permit.send(message);
        if is_last && let Some(operation) = self.active.remove(&id) {
            operation.abort();
        }
        Ok(())
    }
}

impl Guest {
    /// The same guest, but for the place.
    fn copy(&self) -> Self {
        let Self { caller, standing, place: _ } = self;
        Self { caller: caller.clone(), standing: standing.clone(), place: None }
    }

    /// The answers of an operation, while the guest has rights.
    fn execute(
        &self,
        shared: &Shared,
        mut request: Request,
    ) -> Result<BoxStream<'static, Arc<Told>>, Close> {
        let standing = self.standing.clone();
        let caller = self.caller.clone();
        if kind_of(&mut request) == Some(OperationType::Subscription) {
            return Ok(shared.watches.clone().watch(request, caller, standing).boxed());
        }
        let caller = Caller { actor: standing.actor().ok_or(Close::FORBIDDEN)?, ..caller };
        let shared = shared.clone();
        let answer = async move {
            let began = Began::default();
            let response = execute(&shared, caller, request.data(began.clone())).await;
            Arc::new(Told::of(response, began.has()))
        };
        Ok(detached(stream::once(answer)).boxed())
    }
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
    tokio::select! {
        biased;
        () = guest.standing.ended() => Close::FORBIDDEN,
        () = expired(guest.caller.expires_at) => Close::EXPIRED,
    }
}

/// Finds out who says to be somebody, and whether there is a place.
async fn welcome(shared: Shared, sender: Sender, token: Option<String>) -> Result<Guest, Close> {
    let caller = caller_with(&shared.app, &sender, token.as_deref()).await.map_err(unknown)?;
    let place = shared.sockets.place(Kind::Socket, caller.account());
    let place = Some(place.ok_or(Close::TOO_MANY_SOCKETS)?);
    let standing = shared.app.rights.admit(&shared.app, caller.actor).await.map_err(unknown)?;
    Ok(Guest { caller, standing, place })
}

/// Takes another token of the same user or the same machine.
async fn renewed(
    shared: Shared,
    sender: Sender,
    guest: Guest,
    token: String,
) -> Result<Guest, Close> {
    // Who is here already is not sent away because others want in.
    let app = shared.app.patient();
    let caller = caller_with(&app, &sender, Some(&token)).await.map_err(unknown)?;
    if caller.account() != guest.caller.account() {
        return Err(Close::FORBIDDEN);
    }
    guest.standing.renew(&app, caller.actor).await.map_err(unknown)?;
    Ok(Guest { caller, ..guest })
}

fn unknown(error: AuthError) -> Close {
    match error {
        AuthError::Invalid => Close::FORBIDDEN,
        AuthError::Exceeded(_) => Close::TOO_MANY_TOKENS,
        AuthError::Overloaded => Close::OVERLOADED,
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
