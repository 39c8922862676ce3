//! A browser that signs in at a provider: it keeps cookies, and goes where it is sent.

use reqwest::redirect::Policy;
use reqwest::{Response, Url};
use serde_json::Value;

use crate::client::Client;
use crate::server::Server;

/// A browser with at most one cookie.
#[derive(Clone)]
pub struct Browser {
    http: reqwest::Client,
    /// `name=value`, as it is sent.
    pub cookie: Option<String>,
}

/// What Orion answered.
#[derive(Debug)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// All headers, as text.
    pub headers: String,
    /// The JSON.
    pub body: Value,
}

impl Page {
    /// It is what one gets who has done it.
    #[track_caller]
    pub fn done(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.body
    }

    /// It is a problem with this status and code.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert!(self.headers.contains("application/problem+json"), "{self:?}");
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{self:?}");
    }
}

impl Browser {
    /// A fresh one.
    pub fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        Self { http, cookie: None }
    }

    /// Goes somewhere, with the cookie.
    pub async fn go(&mut self, url: &str) -> Response {
        let request = self.http.get(url);
        let request = match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        };
        let answer = request.send().await.unwrap();
        self.keep(&answer);
        answer
    }

    fn keep(&mut self, answer: &Response) {
        if let Some(set) = answer.headers().get("set-cookie") {
            let set = set.to_str().unwrap();
            let pair = set.split(';').next().unwrap().to_owned();
            self.cookie = (!set.contains("Max-Age=0")).then_some(pair);
        }
    }

    /// Begins a sign-in; gives where the provider is.
    pub async fn start(&mut self, server: &Server, provider: &str) -> String {
        let answer = self.go(&format!("{}/auth/{provider}/start", server.url())).await;
        assert_eq!(answer.status(), 303);
        location(&answer)
    }

    /// Asks for a link, as the page does in which somebody is signed in; gives where the provider is.
    pub async fn link(&mut self, client: &Client, provider: &str) -> String {
        let url = format!("{}/auth/{provider}/link", client.url);
        let request = self.http.post(url).bearer_auth(client.token.as_deref().unwrap());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        self.keep(&answer);
        let body: Value = answer.json().await.unwrap();
        body["url"].as_str().unwrap().to_owned()
    }

    /// Is signed in at the provider; gives the path at which it comes back.
    pub async fn at_provider(&self, url: &str) -> String {
        let answer = self.http.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 302, "{}", answer.text().await.unwrap());
        let back = Url::parse(&location(&answer)).unwrap();
        format!("{}?{}", back.path(), back.query().unwrap())
    }

    /// Comes back.
    pub async fn back(&mut self, server: &Server, path: &str) -> Page {
        let answer = self.go(&format!("{}{path}", server.url())).await;
        // Nothing leads on from here: no token can be in an address.
        assert!(!answer.headers().contains_key("location"));
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
        let (status, headers) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
        Page { status, headers, body: answer.json().await.unwrap() }
    }

    /// From the start to the end.
    pub async fn sign_in(&mut self, server: &Server, provider: &str) -> Page {
        let url = self.start(server, provider).await;
        let path = self.at_provider(&url).await;
        self.back(server, &path).await
    }
}

/// Where an answer sends to.
pub fn location(answer: &Response) -> String {
    answer.headers()["location"].to_str().unwrap().to_owned()
}
