//! An SMTP server that keeps what it gets. The tests of the server use this file, too.
//!
//! What it does with a mail is written in the recipient: `refused…@` is unknown for good, `later…@` is
//! put off, `tarpit…@` gets no answer, and a mail to `held…@` is taken but answered only after
//! [`Sink::release`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A mail that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub to: String,
    /// Headers and body.
    pub data: String,
}

impl Received {
    /// The line of the body that is a link.
    #[track_caller]
    pub fn link(&self) -> String {
        let link = self.data.lines().find(|line| line.starts_with("http"));
        link.unwrap_or_else(|| panic!("no link in {}", self.data)).to_owned()
    }

    /// The token in that link.
    #[track_caller]
    pub fn token(&self) -> String {
        self.link().split_once("/verify-email?token=").expect("a token").1.to_owned()
    }

    /// The value of a header.
    #[track_caller]
    pub fn header(&self, name: &str) -> String {
        let start = format!("{name}: ");
        let value = self.data.lines().find_map(|line| line.strip_prefix(&start));
        value.unwrap_or_else(|| panic!("no {name} in {}", self.data)).to_owned()
    }
}

#[derive(Default)]
struct Book {
    mails: Vec<Received>,
    /// How often each recipient was named.
    named: HashMap<String, usize>,
}

/// The server; it ends with the value.
pub struct Sink {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    released: watch::Sender<bool>,
    _stop: DropGuard,
}

impl Sink {
    /// On a port of the system's choice, open to all.
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), None).await
    }

    /// One that takes mail only from who signs in.
    pub async fn guarded(login: &str, password: &str) -> Self {
        let plain = BASE64.encode(format!("\0{login}\0{password}"));
        Self::at("127.0.0.1:0".parse().unwrap(), Some(plain)).await
    }

    /// On a port of the caller's choice.
    pub async fn at(address: SocketAddr, plain: Option<String>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let book = Arc::new(Mutex::new(Book::default()));
        let (released, hold) = watch::channel(false);
        let stop = CancellationToken::new();
        let (stopped, shared) = (stop.clone(), book.clone());
        tokio::spawn(async move {
            while let Some(Ok((socket, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let talk = talk(socket, shared.clone(), hold.clone(), plain.clone());
                let stopped = stopped.clone();
                tokio::spawn(async move { stopped.run_until_cancelled(talk).await });
            }
        });
        Self { address, book, released, _stop: stop.drop_guard() }
    }

    /// A port that nobody listens on, until somebody does.
    pub async fn free_address() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    /// For `ORION_SMTP_URL`.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Everything that was taken, in order.
    pub fn mails(&self) -> Vec<Received> {
        self.book.lock().unwrap().mails.clone()
    }

    /// What was taken for one address.
    pub fn mails_to(&self, to: &str) -> Vec<Received> {
        self.mails().into_iter().filter(|mail| mail.to == to).collect()
    }

    /// How often somebody wanted to send to an address.
    pub fn named(&self, to: &str) -> usize {
        self.book.lock().unwrap().named.get(to).copied().unwrap_or_default()
    }

    /// Answers what was held.
    pub fn release(&self) {
        self.released.send_replace(true);
    }
}

/// One connection, until the client hangs up.
async fn talk(
    socket: TcpStream,
    book: Arc<Mutex<Book>>,
    mut hold: watch::Receiver<bool>,
    plain: Option<String>,
) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    let (mut to, mut is_in) = (String::new(), plain.is_none());
    socket.write_all(b"220 sink ESMTP\r\n").await?;
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let verb = line.split_whitespace().next().unwrap_or_default().to_uppercase();
        let reply = match verb.as_str() {
            "EHLO" if plain.is_some() => "250-sink\r\n250 AUTH PLAIN".to_owned(),
            "EHLO" => "250 sink".to_owned(),
            "AUTH" => {
                is_in = line.split_whitespace().nth(2) == plain.as_deref();
                if is_in { "235 welcome" } else { "535 who are you" }.to_owned()
            }
            "MAIL" if !is_in => "530 sign in first".to_owned(),
            "RCPT" => {
                let between = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
                between.unwrap().0.clone_into(&mut to);
                *book.lock().unwrap().named.entry(to.clone()).or_default() += 1;
                if to.starts_with("refused") {
                    format!("550 5.1.1 <{to}> is unknown")
                } else if to.starts_with("later") {
                    format!("451 4.2.2 <{to}> is full")
                } else if to.starts_with("tarpit") {
                    std::future::pending().await
                } else {
                    "250 fine".to_owned()
                }
            }
            "DATA" => {
                socket.write_all(b"354 go on\r\n").await?;
                let data = data(&mut socket).await?;
                book.lock().unwrap().mails.push(Received { to: to.clone(), data });
                if to.starts_with("held") {
                    let _ = hold.wait_for(|released| *released).await;
                }
                "250 taken".to_owned()
            }
            "MAIL" | "NOOP" | "RSET" => "250 fine".to_owned(),
            "QUIT" => "221 bye".to_owned(),
            _ => "502 what".to_owned(),
        };
        socket.write_all(format!("{reply}\r\n").as_bytes()).await?;
        if verb == "QUIT" {
            return Ok(());
        }
    }
}

/// The lines up to the one with a dot.
async fn data(socket: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut data = String::new();
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 || line == ".\r\n" {
            return Ok(data);
        }
        data.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}
