//! A receiver of webhooks on this machine, which keeps what it gets and answers as it is told.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A request that came.
#[derive(Clone, Debug, PartialEq)]
pub struct Posted {
    /// Its path.
    pub path: String,
    /// Its headers, lines in lower case.
    head: String,
    /// Its body.
    pub body: String,
}

impl Posted {
    /// The value of a header.
    pub fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }
}

/// The receiver; it ends with the value.
pub struct WebhookSink {
    port: u16,
    posted: Arc<Mutex<Vec<Posted>>>,
    task: AbortHandle,
}

impl WebhookSink {
    /// It answers the path `/500` with 500, `/redirect` with a redirect to `/`, `/silent` never, and
    /// `/later` with 503 the first two times; all others with 204.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let posted: Arc<Mutex<Vec<Posted>>> = Arc::default();
        let kept = posted.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, kept.clone()));
            }
        });
        Self { port, posted, task: task.abort_handle() }
    }

    /// An address of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What came so far, for a path.
    pub fn posted(&self, path: &str) -> Vec<Posted> {
        let posted = self.posted.lock().unwrap();
        posted.iter().filter(|posted| posted.path == path).cloned().collect()
    }
}

impl Drop for WebhookSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(stream: TcpStream, kept: Arc<Mutex<Vec<Posted>>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        let name = name.to_lowercase();
        if name == "content-length" {
            length = value.trim().parse().ok()?;
        }
        head.extend([&name, ": ", value.trim(), "\n"]);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = String::from_utf8(body).ok()?;
    let earlier = {
        let mut kept = kept.lock().unwrap();
        let earlier = kept.iter().filter(|posted| posted.path == path).count();
        kept.push(Posted { path: path.clone(), head, body });
        earlier
    };
    let status = match path.as_str() {
        "/500" => "500 Broken",
        "/redirect" => "302 Found\r\nlocation: /",
        "/silent" => return std::future::pending().await,
        "/later" if earlier < 2 => "503 Later",
        _ => "204 Taken",
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.ok()
}
