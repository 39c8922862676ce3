//! The schema over a database without a server around it: to choose what a server does not let one
//! choose, and to measure nothing but the schema.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Request, Variables};
use orion_api::auth::Tokens;
use orion_api::auth::rights::Rights;
use orion_api::graphql::context::{App, Caller};
use orion_api::graphql::limits::{Introspection, Lines, Rules};
use orion_api::graphql::{OrionSchema, request_of, schema};
use orion_api::limits::Limits;
use orion_api::reads::Reads;
use orion_commands::{Actor, Bus, Client, Passwords};
use orion_domain::values::{Role, SessionId, UserId};
use orion_projections::Projector;
use orion_store::{Kept, testing};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// How long an operation may take: longer than its statements wait for a connection.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A schema whose only caller is an admin.
pub struct InProcess {
    schema: OrionSchema,
    caller: Caller,
    _stop: DropGuard,
}

impl InProcess {
    /// Over a migrated database, with so many connections for queries.
    pub async fn new(url: &str, queries: u32) -> Self {
        let stop = CancellationToken::new();
        let pool = orion_store::connect(url, 16).await.unwrap();
        let log = testing::log(pool.clone(), stop.clone()).await;
        let (projector, progress) = Projector::new(log.clone());
        tokio::spawn(projector.run(stop.clone()));
        let (projector, notified) = Projector::of_notifications(log.clone());
        tokio::spawn(projector.run(stop.clone()));
        let rights = Rights::new(log.tail().head());
        let queries = orion_store::connect_to_read(url, queries, TIMEOUT).await.unwrap();
        let app = App {
            bus: Bus::new(log),
            log_keys: Arc::default(),
            passwords: Passwords::new(4).unwrap(),
            tokens: Arc::new(Tokens::new(&[7; 32], &[]).unwrap()),
            limits: Arc::new(Limits::new(false)),
            lines: Lines::new(16),
            rights,
            recognised: Arc::default(),
            progress,
            notified,
            // However busy the machine is: nobody is to be refused here.
            reads: Reads::new(Kept::new(queries, "queries"), None).patient(),
        };
        let rules =
            Rules { timeout: TIMEOUT, introspection: Introspection::On, suggestions: false };
        let caller = Caller {
            actor: Actor::Anonymous,
            address: Ipv4Addr::LOCALHOST.into(),
            request_id: "in process".to_owned(),
            traceparent: None,
            expires_at: None,
            client: Client { ip: None, user_agent: None },
        };
        let mut new = Self { schema: schema(app, rules), caller, _stop: stop.drop_guard() };
        let input = json!({ "email": "ada@example.org", "password": "a password for tests", "name": "ada" });
        let query = "mutation ($input: RegisterInput!) { register(input: $input) { user { id } } }";
        let answer = new.data(query, json!({ "input": input })).await;
        let id = answer["register"]["user"]["id"].as_str().unwrap().parse().unwrap();
        let session_id = SessionId(Uuid::now_v7());
        new.caller.actor = Actor::User { id: UserId(id), role: Role::Admin, session_id };
        new
    }

    /// The whole answer as it is sent.
    pub async fn ask(&self, query: &str, variables: Value) -> String {
        let request = Request::new(query).variables(Variables::from_json(variables));
        let response = self.schema.execute(request_of(request, self.caller.clone())).await;
        serde_json::to_string(&response).unwrap()
    }

    /// The data of an answer in which nothing failed.
    pub async fn data(&self, query: &str, variables: Value) -> Value {
        let mut answer: Value = serde_json::from_str(&self.ask(query, variables).await).unwrap();
        assert!(answer.get("errors").is_none(), "{query}: {answer:#}");
        answer["data"].take()
    }
}
