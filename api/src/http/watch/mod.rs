//! Subscriptions, over sockets as over server-sent events.
//!
//! A client is first brought to the head of the log by an execution of its own. Then it joins those who
//! ask the same and see the same, for whom one execution answers. Whoever falls so far behind that its
//! next answer is not kept any more is refilled from the log by an execution of its own, at its own
//! pace. Before each answer the client's rights are looked at, as they are at that event.

mod group;
mod question;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_graphql::{Data, Error, Request, Response, Value};
use async_stream::stream;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use metrics::counter;
use orion_store::Position;
use tokio::sync::watch;

use self::group::{Group, Next};
use self::question::{Key, Question};
use super::detached::detached;
use super::graphql::{Answer, checked, refusal};
use crate::auth::rights::Standing;
use crate::graphql::began::Began;
use crate::graphql::context::Caller;
use crate::graphql::error::{bad_input, coded};
use crate::graphql::observe::code;
use crate::graphql::subscription::Run;
use crate::graphql::{OrionSchema, request_of};
use crate::telemetry::figures::Present;

/// What is said about a subscription of no field, or of several.
const ONE_FIELD: &str = "a subscription watches one field, which stands at its root";

/// An answer and the position of its event; what is about none is the last.
type Tell = (Option<Position>, Arc<Told>);

/// One answer, as it is written once for all who get it.
#[derive(Debug)]
pub struct Told {
    /// The answer.
    pub json: String,
    /// The code of its first error, or `OK`.
    pub code: String,
    /// True when there is nothing in it but errors: not even a position to resume after.
    pub is_void: bool,
    /// True when the operation was refused before it began.
    pub is_refusal: bool,
}

impl Told {
    /// What the schema says. `has_begun` is false when the execution was not begun.
    pub fn of(response: Response, has_begun: bool) -> Self {
        let code = code(&response);
        let is_void = response.data == Value::Null && !response.errors.is_empty();
        // An error of a field has its place in an answer.
        let has_place = response.errors.iter().any(|error| !error.path.is_empty());
        let json = Answer::new(response, has_begun).json();
        Self { json, code, is_void, is_refusal: is_void && !has_begun && !has_place }
    }

    /// The errors alone.
    pub fn errors(&self) -> serde_json::Value {
        let mut answer: serde_json::Value = serde_json::from_str(&self.json).unwrap_or_default();
        answer["errors"].take()
    }

    /// An error about the operation as a whole.
    pub fn error(error: Error) -> Arc<Self> {
        Arc::new(Self::of(refusal(error), false))
    }
}

/// All who watch at this server.
pub struct Watches {
    schema: OrionSchema,
    groups: Mutex<HashMap<Key, Weak<Group>>>,
}

/// One client's subscription, counted while it goes on.
struct Counted {
    _present: Present,
    code: String,
}

impl Counted {
    fn tell(&mut self, told: &Told) {
        self.code.clone_from(&told.code);
        counter!("orion_subscription_messages_total").increment(1);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let code = std::mem::take(&mut self.code);
        counter!("orion_graphql_operations_total", "kind" => "subscription", "code" => code)
            .increment(1);
    }
}

impl Watches {
    /// Nobody watches yet.
    pub fn new(schema: OrionSchema) -> Arc<Self> {
        Arc::new(Self { schema, groups: Mutex::default() })
    }

    /// The answers to a subscription, with the rights that the one who asks has now, and while they last.
    /// The end of rights is told; that of the caller's token is not looked at.
    pub fn watch(
        self: Arc<Self>,
        request: Request,
        caller: Caller,
        standing: Standing,
    ) -> impl Stream<Item = Arc<Told>> + Send + 'static {
        stream! {
            let present = Present::one("orion_subscriptions");
            let mut counted = Counted { _present: present, code: "OK".to_owned() };
            let Some(actor) = standing.actor() else {
                let told = Told::error(rights_have_ended());
                counted.tell(&told);
                yield told;
                return;
            };
            let caller = Caller { actor, ..caller };
            let mut answers = Box::pin(self.answers(request, caller, standing.forgotten()));
            loop {
                let next = tokio::select! {
                    biased;
                    () = standing.ended() => None,
                    next = answers.next() => match next {
                        Some(next) => Some(next),
                        None => break,
                    },
                };
                let (position, told) = match next {
                    // What is about no event shows nothing.
                    Some((None, told)) => (None, told),
                    Some((Some(position), told)) if standing.holds_at(position).await => {
                        (Some(position), told)
                    }
                    Some((Some(_), _)) | None => (None, Told::error(rights_have_ended())),
                };
                counted.tell(&told);
                yield told;
                if position.is_none() {
                    break;
                }
            }
        }
    }

    /// The answers, each with the position of its event; the last word is about none.
    fn answers(
        self: Arc<Self>,
        request: Request,
        caller: Caller,
        forgotten: watch::Receiver<Position>,
    ) -> impl Stream<Item = Tell> + Send + 'static {
        stream! {
            let request = match checked(request) {
                Ok(request) => request,
                Err(error) => {
                    yield (None, Told::error(error));
                    return;
                }
            };
            let (question, request, run) = match Question::of(request) {
                Ok(question) => {
                    let request = question.request();
                    (Some(question), request, Run::first())
                }
                // What it wants to know beside the answers, nobody else wants to.
                Err(request) => (None, *request, Run::alone()),
            };
            let mut is_silent = true;
            for await answer in self.execute(request, &caller, run.clone()) {
                is_silent = false;
                yield answer;
            }
            if run.begun().is_none() && is_silent {
                yield (None, Told::error(bad_input(ONE_FIELD)));
            }
            let (Some(question), Some(mut seen)) = (question, run.done()) else { return };
            let Some(key) = question.key(&caller.actor) else {
                yield (None, Told::error(bad_input(ONE_FIELD)));
                return;
            };
            let group = self.join(key, (&question, &caller), seen, forgotten);
            loop {
                match group.next(seen).await {
                    Next::Told(position, told) => {
                        seen = position;
                        yield (Some(position), told);
                    }
                    Next::Behind(since) => {
                        let run = Run::between(seen, since);
                        for await answer in self.execute(question.request(), &caller, run.clone()) {
                            yield answer;
                        }
                        let Some(done) = run.done() else { return };
                        seen = done;
                    }
                    Next::Over(last) => {
                        if let Some(last) = last {
                            yield (None, last);
                        }
                        return;
                    }
                }
            }
        }
    }

    /// An execution for one client; what it reads it has read, however slowly the client takes it.
    fn execute(
        &self,
        request: Request,
        caller: &Caller,
        run: Run,
    ) -> impl Stream<Item = Tell> + Send + 'static + use<> {
        let began = Began::default();
        let mut answers = self.begin(request, caller, &run, &began);
        detached(stream! {
            let mut seen = None;
            while let Some(response) = answers.next().await {
                let position = run.shown();
                let is_next = run.begun().is_some_and(|begun| position > seen.unwrap_or(begun));
                seen = Some(position);
                let told = Told::of(response, began.has());
                // What is about no event, or shows nothing of it, is the last: the client comes back with
                // the position before it.
                let position = (is_next && !told.is_void).then_some(position);
                yield (position, Arc::new(told));
            }
        })
    }

    fn begin(
        &self,
        request: Request,
        caller: &Caller,
        run: &Run,
        began: &Began,
    ) -> BoxStream<'static, Response> {
        // What is known of the session is known from the beginning, and to those who only look on.
        let mut session = Data::default();
        session.insert(run.clone());
        session.insert(began.clone());
        session.insert(caller.clone());
        let request = request_of(request, caller.clone());
        self.schema.execute_stream_with_session_data(request, Arc::new(session))
    }

    /// Those who are told the same. The first one brings them about.
    fn join(
        &self,
        key: Key,
        (question, caller): (&Question, &Caller),
        seen: Position,
        forgotten: watch::Receiver<Position>,
    ) -> Arc<Group> {
        let mut groups = self.lock();
        let found = groups.get(&key).and_then(Weak::upgrade);
        if let Some(group) = found.filter(|group| !group.is_over()) {
            return group;
        }
        let (run, began) = (Run::onward(seen), Began::default());
        let answers = self.begin(question.request(), caller, &run, &began);
        let group = Arc::new(Group::start(seen, answers, run, began, forgotten));
        groups.retain(|_, group| group.strong_count() > 0);
        groups.insert(key, Arc::downgrade(&group));
        group
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Weak<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client is told whose rights have ended.
fn rights_have_ended() -> Error {
    coded("the rights to see more have ended", "FORBIDDEN")
}
