//! The unique values that streams hold, computed from their events.

use orion_domain::{AggregateRoot, Claim, ClaimChange, Event, Provider, ServiceToken, User};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::StoreError;
use crate::keys::{Secret, claim_value};
use crate::record::Fact;

/// Holds what one stream after the other holds.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    open: Option<Holder>,
    done: Vec<(Uuid, Vec<Claim>)>,
}

/// A stream that goes on.
#[derive(Debug)]
struct Holder {
    id: Uuid,
    state: State,
    claims: Vec<Claim>,
}

/// The nouns that claim something.
#[derive(Debug)]
enum State {
    User(Box<User>),
    Provider(Provider),
    ServiceToken(ServiceToken),
}

impl Holders {
    /// Takes a fact in; the facts of a stream come together and in order.
    pub fn take(&mut self, fact: Fact) {
        if self.open.as_ref().is_some_and(|holder| holder.id != fact.aggregate_id) {
            self.end();
        }
        if self.open.is_none() {
            self.open = State::of(&fact.event).map(|state| Holder {
                id: fact.aggregate_id,
                state,
                claims: Vec::new(),
            });
        }
        if let Some(holder) = &mut self.open {
            holder.take(fact.event);
        }
    }

    /// The last stream has ended.
    pub fn end(&mut self) {
        self.done.extend(self.open.take().map(|holder| (holder.id, holder.claims)));
    }

    /// Writes what the streams that have ended hold; says how much it is.
    pub async fn write(
        &mut self,
        connection: &mut PgConnection,
        key: &Secret,
    ) -> Result<usize, StoreError> {
        let (mut namespaces, mut values, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for (id, claims) in self.done.drain(..) {
            for claim in claims {
                namespaces.push(claim.namespace);
                values.push(claim_value(key, &claim));
                ids.push(id.to_string());
            }
        }
        sqlx::query(
            "INSERT INTO claims (namespace, value, aggregate_id)
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[])",
        )
        .bind(namespaces)
        .bind(values)
        .bind(&ids)
        .execute(connection)
        .await
        .map_err(StoreError::database("writing the claims"))?;
        Ok(ids.len())
    }
}

impl State {
    /// Before a stream's first event; `None` for a noun that claims nothing.
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::User(_) => Some(Self::User(Box::default())),
            Event::Provider(_) => Some(Self::Provider(Provider::default())),
            Event::ServiceToken(_) => Some(Self::ServiceToken(ServiceToken::default())),
            Event::Session(_)
            | Event::Trend(_)
            | Event::Content(_)
            | Event::Publish(_)
            | Event::SocialAccount(_) => None,
        }
    }
}

impl Holder {
    fn take(&mut self, event: Event) {
        let changes = match (&mut self.state, event) {
            (State::User(user), Event::User(event)) => {
                let changes = changes(user.as_mut(), event);
                if user.is_erased() {
                    self.claims.clear();
                    return;
                }
                changes
            }
            (State::Provider(provider), Event::Provider(event)) => changes(provider, event),
            (State::ServiceToken(token), Event::ServiceToken(event)) => changes(token, event),
            _ => return,
        };
        for change in changes {
            match change {
                ClaimChange::Take(claim) => self.claims.push(claim),
                ClaimChange::Release(claim) => self.claims.retain(|held| *held != claim),
            }
        }
    }
}

fn changes<A: AggregateRoot>(aggregate: &mut A, event: A::Event) -> Vec<ClaimChange> {
    let changes = aggregate.claims(&event);
    aggregate.apply(event);
    changes
}
