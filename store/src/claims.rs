//! The unique values that streams hold, computed from their events.

use orion_domain::{AggregateRoot, Claim, ClaimChange, Event, Provider, ServiceToken, User};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::StoreError;
use crate::keys::{Secret, claim_value};
use crate::log::EVENT_COLUMNS;
use crate::page::PageSize;
use crate::record::{Fact, RecordedEvent};
use crate::vault::Vault;

/// Computes from the log which unique values the streams of some nouns hold, and writes them, the personal
/// ones hashed by `key`. Says how many there are. It opens every event of these nouns, and so finds a key that is missing.
pub(crate) async fn write_claims(
    transaction: &mut PgConnection,
    vault: &Vault,
    nouns: &[&str],
    key: &Secret,
) -> Result<usize, StoreError> {
    let mut holders = Holders::default();
    let mut written = 0;
    let (mut read, mut size) = (Default::default(), PageSize::first());
    loop {
        let events = next_events(transaction, nouns, &mut read, &mut size).await?;
        if events.is_empty() {
            break;
        }
        let ring = vault.ring_within(transaction, &events).await?;
        for event in &events {
            let position = event.position;
            if let Some(subject) = ring.lacks(event) {
                return Err(StoreError::NoKey { position, subject });
            }
            let fact =
                ring.read(event).map_err(|source| StoreError::Unreadable { position, source })?;
            holders.take(fact);
        }
        written += holders.write(transaction, key).await?;
    }
    holders.end();
    Ok(written + holders.write(transaction, key).await?)
}

/// The next events of these nouns, stream by stream: those after the one that was `read` last, by aggregate type, id
/// and sequence.
async fn next_events(
    transaction: &mut PgConnection,
    nouns: &[&str],
    read: &mut (String, String, i64),
    size: &mut PageSize,
) -> Result<Vec<RecordedEvent>, StoreError> {
    let (noun, id, sequence) = read.clone();
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM events
         WHERE (aggregate_type, aggregate_id, sequence) > ($1, $2, $3) AND aggregate_type = ANY ($4)
         ORDER BY aggregate_type, aggregate_id, sequence LIMIT $5"
    );
    let rows = sqlx::query_as(&sql)
        .bind(noun)
        .bind(id)
        .bind(sequence)
        .bind(nouns)
        .bind(size.limit())
        .fetch(transaction);
    size.fill(rows, "reading who holds what", |row| row.place_in_stream(read)).await
}

/// Holds what one stream after the other holds.
#[derive(Debug, Default)]
struct Holders {
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
    fn take(&mut self, fact: Fact) {
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
    fn end(&mut self) {
        self.done.extend(self.open.take().map(|holder| (holder.id, holder.claims)));
    }

    /// Writes what the streams that have ended hold; says how much it is.
    async fn write(
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
