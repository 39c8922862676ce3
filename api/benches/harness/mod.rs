//! The real server as a process of its own, and plain HTTP connections to it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot run says so and ends"
)]

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const ADMIN: (&str, &str) = ("admin@orion.local", "a password for figures");

/// How long the server may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A server over a database, with its defaults but for what would only keep a bench out.
pub struct Server {
    pub address: SocketAddr,
    _child: Child,
    _data: tempfile::TempDir,
}

impl Server {
    /// Starts it and waits until it is ready. Gives its process id, too.
    pub async fn start(database_url: &str) -> (Self, u32) {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let data = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_orion"))
            .env_clear()
            .env("DATABASE_URL", database_url)
            .env("ORION_DATA_DIR", data.path())
            .env("ORION_LISTEN", address.to_string())
            // In base64, the same for all servers; the first and the last are those of a log for tests.
            .env("ORION_MASTER_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=")
            .env("ORION_TOKEN_KEY", "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=")
            .env("ORION_LOG_KEY", "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=")
            .env("ORION_ADMIN_PASSWORD", ADMIN.1)
            .env("ORION_BCRYPT_COST", "4")
            .env("ORION_RATE_LIMITS", "off")
            .env("ORION_CONNECTIONS", "20000")
            .env("ORION_CONNECTIONS_PER_ADDRESS", "20000")
            .env("ORION_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = child.id().unwrap();
        let server = Self { address, _child: child, _data: data };
        let ready = async {
            while !server.is_ready().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(READY_WITHIN, ready).await.expect("the server becomes ready");
        (server, pid)
    }

    /// True when it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        self.get("/health/ready").await.is_some_and(|(status, _)| status == 200)
    }

    /// The status and the text of a path, if the server answers.
    pub async fn get(&self, path: &str) -> Option<(u16, Bytes)> {
        TcpStream::connect(self.address).await.ok()?;
        let mut connection = Connection::open(self.address, None).await;
        let request = Request::get(path).header("host", "orion").body(Body::empty()).unwrap();
        let answer = connection.sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        let text = axum::body::to_bytes(Body::new(answer.into_body()), usize::MAX).await.ok()?;
        Some((status, text))
    }

    /// The access token of another session of the admin.
    pub async fn sign_in(&self) -> String {
        let mut connection = Connection::open(self.address, None).await;
        let input = json!({ "email": ADMIN.0, "password": ADMIN.1 });
        let query = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";
        let answer = connection.data(query, json!({ "input": input })).await;
        answer["login"]["accessToken"].as_str().unwrap().to_owned()
    }

    /// So many connections of one session.
    pub async fn connections(&self, count: usize) -> Vec<Connection> {
        let token = self.sign_in().await;
        let mut connections = Vec::new();
        for _ in 0..count {
            connections.push(Connection::open(self.address, Some(&token)).await);
        }
        connections
    }
}

/// An HTTP connection that stays open.
pub struct Connection {
    sender: SendRequest<Body>,
    authorization: Option<String>,
}

impl Connection {
    async fn open(address: SocketAddr, token: Option<&str>) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, authorization: token.map(|token| format!("Bearer {token}")) }
    }

    /// Sends a request that is JSON already; gives the answer as it comes, which may be a refusal.
    pub async fn ask(&mut self, body: impl Into<Bytes>) -> Bytes {
        let mut request = Request::post("/graphql")
            .header("host", "orion")
            .header("content-type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        self.sender.ready().await.unwrap();
        let request = request.body(Body::from(body.into())).unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        let status = answer.status();
        let answer = axum::body::to_bytes(Body::new(answer.into_body()), usize::MAX).await.unwrap();
        assert!(matches!(status.as_u16(), 200 | 429), "{}", String::from_utf8_lossy(&answer));
        answer
    }

    /// The data of an answer in which nothing failed.
    pub async fn data(&mut self, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let mut answer: Value = serde_json::from_slice(&self.ask(body).await).unwrap();
        assert!(answer.get("errors").is_none(), "{query}: {answer:#}");
        answer["data"].take()
    }
}
