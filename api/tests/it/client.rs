//! A GraphQL client that expects what it gets.

use std::time::Duration;

use serde_json::{Value, json};

use crate::sdl;
use crate::server::ADMIN_PASSWORD;

/// No answer takes longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What every payload says.
const OUTCOME: &str = "position projected errors { code message field }";

/// Somebody who talks to one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Where the server is: `http://127.0.0.1:port`.
    pub url: String,
    /// The access token, if somebody has signed in.
    pub token: Option<String>,
}

/// An answer to a GraphQL request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer(pub Value);

impl Answer {
    /// The code of the first top-level error.
    pub fn code(&self) -> Option<&str> {
        self.0.pointer("/errors/0/extensions/code")?.as_str()
    }

    /// The data, of which nothing failed.
    #[track_caller]
    pub fn data(self) -> Value {
        assert!(self.0.get("errors").is_none(), "{:#}", self.0);
        self.0["data"].clone()
    }

    /// The answer failed as a whole, or in the field, with this code.
    #[track_caller]
    pub fn fails(&self, code: &str) {
        assert_eq!(self.code(), Some(code), "{:#}", self.0);
    }
}

/// What became of a mutation.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload(pub Value);

impl Payload {
    /// It was done, and queries show it.
    #[track_caller]
    pub fn done(self) -> Value {
        assert_eq!(self.0["errors"], json!([]), "{:#}", self.0);
        assert_eq!(self.0["projected"], json!(true), "{:#}", self.0);
        self.0
    }

    /// It was refused with this code, about this field of the input.
    #[track_caller]
    pub fn refused<'a>(&self, code: &str, field: impl Into<Option<&'a str>>) {
        let errors = self.0["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{:#}", self.0);
        let found = (&errors[0]["code"], &errors[0]["field"]);
        assert_eq!(found, (&json!(code), &json!(field.into())), "{:#}", self.0);
        assert_eq!(self.0["position"], Value::Null, "{:#}", self.0);
    }

    /// The code of the refusal, if it was refused.
    pub fn code(&self) -> Option<&str> {
        self.0.pointer("/errors/0/code")?.as_str()
    }

    /// The last event that it wrote.
    pub fn position(&self) -> i64 {
        position(&self.0["position"])
    }
}

/// Reads a `Position`.
#[track_caller]
pub fn position(value: &Value) -> i64 {
    value.as_str().unwrap_or_else(|| panic!("{value} is no position")).parse().unwrap()
}

impl Client {
    /// Nobody, at a server.
    pub fn anonymous(url: &str) -> Self {
        Self { http: http(), url: url.to_owned(), token: None }
    }

    /// The same client with another token.
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// The same person at another server.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// The user of this address, signed in.
    pub async fn sign_in(&self, email: &str, password: &str) -> Self {
        let input = json!({ "email": email, "password": password });
        let nobody = Self { token: None, ..self.clone() };
        let payload = nobody.mutate("login", input, "accessToken").await.done();
        self.with_token(payload["accessToken"].as_str().unwrap())
    }

    /// A new viewer, signed in, with the user's id.
    pub async fn register(&self, name: &str) -> (Self, String) {
        let email = format!("{name}@example.org");
        let input = json!({ "email": email, "password": ADMIN_PASSWORD, "name": name });
        let payload = self.mutate("register", input, "accessToken user { id }").await.done();
        let client = self.with_token(payload["accessToken"].as_str().unwrap());
        (client, payload["user"]["id"].as_str().unwrap().to_owned())
    }

    /// Sends a request.
    pub async fn ask(&self, query: &str, variables: Value) -> Answer {
        match self.try_ask(query, variables).await {
            Ok(answer) => answer,
            Err(error) => panic!("{query}: {error}"),
        }
    }

    /// Sends a request to a server that may be gone.
    pub async fn try_ask(&self, query: &str, variables: Value) -> reqwest::Result<Answer> {
        let body = json!({ "query": query, "variables": variables });
        self.post(body.to_string()).await?.json().await.map(Answer)
    }

    /// Posts a body as it is.
    pub async fn post(&self, body: String) -> reqwest::Result<reqwest::Response> {
        let request = self.http.post(format!("{}/graphql", self.url));
        let request = request.header("content-type", "application/json").body(body);
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await
    }

    /// The data of a query that succeeds.
    pub async fn query(&self, query: &str, variables: Value) -> Value {
        self.ask(query, variables).await.data()
    }

    /// Runs a mutation; the selection is what is wanted beside the outcome.
    pub async fn mutate(&self, field: &str, input: Value, selection: &str) -> Payload {
        let mut data =
            self.ask(&mutation(field, selection), json!({ "input": input })).await.data();
        Payload(data[field].take())
    }

    /// Runs a mutation at a server that may be gone: the payload, if the server answered with one.
    pub async fn try_mutate(
        &self,
        field: &str,
        input: Value,
        selection: &str,
    ) -> reqwest::Result<Result<Payload, Answer>> {
        let variables = json!({ "input": input });
        let mut answer = self.try_ask(&mutation(field, selection), variables).await?;
        if answer.code().is_some() {
            return Ok(Err(answer));
        }
        Ok(Ok(Payload(answer.0["data"][field].take())))
    }
}

/// Speaks HTTP, and waits for no answer for ever.
pub fn http() -> reqwest::Client {
    // It fails when another test was faster.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(ANSWER_WITHIN).build().unwrap()
}

/// A mutation with its input as a variable.
pub fn mutation(field: &str, selection: &str) -> String {
    let input = sdl::input_of(field);
    format!("mutation ($input: {input}!) {{ {field}(input: $input) {{ {OUTCOME} {selection} }} }}")
}
