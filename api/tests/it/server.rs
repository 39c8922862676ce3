//! The program `orion` as a process: started, killed, terminated, and gone with the test.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::client::{Client, http};
use crate::eventually::{eventually, within};

/// The first admin of every server here.
pub const ADMIN_EMAIL: &str = "admin@orion.local";

/// The admin's password.
pub const ADMIN_PASSWORD: &str = "a password for tests";

/// The master key of every server here: 32 times the byte 7, as tests of the log have it.
pub const MASTER_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// The key that every server here signs checkpoints with: 32 times the byte 8.
const LOG_KEY: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";

/// How long a server may take to end: the contract's 10 s and a little for a busy machine.
const STOPS_WITHIN: Duration = Duration::from_secs(12);

/// How often a test looks whether the postmaster that it ends has ended.
const POSTMASTER_LOOKS: usize = 250;

/// A server process with a data directory.
pub struct Server {
    child: Child,
    http: reqwest::Client,
    /// `http://127.0.0.1:port`, once it is ready.
    url: String,
    settings: Settings,
    data_dir: DataDir,
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    variables: Vec<(&'static str, String)>,
    /// What to do other than to serve.
    command: Option<&'static str>,
}

/// Where a server keeps its keys, and its embedded PostgreSQL if it has one.
pub struct DataDir(TempDir);

/// What a process has said and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What was said on standard output.
    pub stdout: String,
    /// What was said on standard error.
    pub stderr: String,
}

impl Settings {
    /// With a database of its own choice.
    pub fn on(database_url: &str) -> Self {
        Self::embedded().with("DATABASE_URL", database_url)
    }

    /// With the embedded database, and without limits unless a test asks for them.
    pub fn embedded() -> Self {
        let variables = [
            ("ORION_LISTEN", "127.0.0.1:0"),
            ("ORION_BCRYPT_COST", "4"),
            ("ORION_ADMIN_PASSWORD", ADMIN_PASSWORD),
            ("ORION_DATABASE_POOL", "10"),
            ("ORION_MASTER_KEY", MASTER_KEY),
            ("ORION_LOG_KEY", LOG_KEY),
            ("ORION_RATE_LIMITS", "off"),
        ];
        let variables = variables.map(|(name, value)| (name, value.to_owned())).to_vec();
        Self { variables, command: None }
    }

    /// For a command other than to serve.
    pub fn doing(self, command: &'static str) -> Self {
        Self { command: Some(command), ..self }
    }

    /// With another value of a variable.
    pub fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self = self.without(variable);
        self.variables.push((variable, value.into()));
        self
    }

    /// Without a variable.
    pub fn without(mut self, variable: &str) -> Self {
        self.variables.retain(|(name, _)| *name != variable);
        self
    }

    /// Starts the program; it may or may not become ready.
    fn spawn(&self, data_dir: &DataDir) -> Child {
        let file = |name| File::create(data_dir.path().join(name)).unwrap();
        Command::new(env!("CARGO_BIN_EXE_orion"))
            .args(self.command)
            .env_clear()
            .envs(
                ["PATH", "HOME", "TMPDIR", "LANG"]
                    .iter()
                    .filter_map(|name| std::env::var_os(name).map(|value| (*name, value))),
            )
            .env("ORION_DATA_DIR", data_dir.orion())
            .envs(self.variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Runs the program to its end, which must come soon.
    pub async fn run_to_end(&self, data_dir: &DataDir) -> Ended {
        let mut child = self.spawn(data_dir);
        let status = tokio::time::timeout(crate::eventually::SOON, child.wait()).await;
        let status = status.expect("the program goes on").unwrap();
        data_dir.ended(status)
    }
}

impl DataDir {
    /// A fresh one, that PostgreSQL's user can enter.
    pub fn fresh() -> Self {
        let folder = tempfile::Builder::new().prefix("orion-api-test-").tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    /// The folder around it, where the output of its servers is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// `ORION_DATA_DIR`.
    pub fn orion(&self) -> std::path::PathBuf {
        self.path().join("orion")
    }

    fn ended(&self, status: ExitStatus) -> Ended {
        let read = |name| fs::read_to_string(self.path().join(name)).unwrap();
        Ended { status, stdout: read("stdout"), stderr: read("stderr") }
    }

    /// The process id of the embedded postmaster, if its file is there.
    pub fn postmaster(&self) -> Option<i32> {
        let file = fs::read_to_string(self.orion().join("postgres/postmaster.pid")).ok()?;
        file.lines().next()?.parse().ok()
    }
}

/// A server that was killed leaves its postmaster; a failed test must not.
impl Drop for DataDir {
    fn drop(&mut self) {
        let Some(pid) = self.postmaster().and_then(Pid::from_raw) else { return };
        let _ = kill_process(pid, Signal::QUIT);
        // It removes the file at its end; then the folder can go.
        for _ in 0..POSTMASTER_LOOKS {
            if self.postmaster().is_none() {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Server {
    /// Starts on a database and waits until the server is ready.
    pub async fn start(database_url: &str) -> Self {
        Self::with(Settings::on(database_url)).await
    }

    /// Starts with its embedded database and waits until the server is ready.
    pub async fn start_embedded() -> Self {
        Self::with(Settings::embedded()).await
    }

    /// Starts and waits until the server is ready.
    pub async fn with(settings: Settings) -> Self {
        Self::start_in(settings, DataDir::fresh()).await
    }

    async fn start_in(settings: Settings, data_dir: DataDir) -> Self {
        let child = settings.spawn(&data_dir);
        let mut server = Self { child, http: http(), url: String::new(), settings, data_dir };
        server.url = eventually("the server announces its address", async || {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("the server ended: {:?}", server.data_dir.ended(status));
            }
            let stdout = server.stdout();
            let address = stdout.lines().find_map(|line| line.trim().strip_prefix("GraphQL"))?;
            Some(address.trim().strip_suffix("/graphql")?.to_owned())
        })
        .await;
        server.until_ready().await;
        server
    }

    /// Waits until the server says that it is ready.
    pub async fn until_ready(&self) {
        eventually("the server is ready", async || (self.ready().await == 200).then_some(())).await;
    }

    /// The status of `/health/ready`; 0 when nobody answers.
    pub async fn ready(&self) -> u16 {
        self.status_of("/health/ready").await
    }

    /// The status of any path; 0 when nobody answers.
    pub async fn status_of(&self, path: &str) -> u16 {
        match self.http.get(format!("{}{path}", self.url)).send().await {
            Ok(answer) => answer.status().as_u16(),
            Err(_) => 0,
        }
    }

    /// Where it listens: `http://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The figures of `/metrics`.
    pub async fn metrics(&self) -> String {
        let answer = self.http.get(format!("{}/metrics", self.url)).send().await.unwrap();
        answer.text().await.unwrap()
    }

    /// A client whom nobody knows.
    pub fn anonymous(&self) -> Client {
        Client::anonymous(&self.url)
    }

    /// The first admin, signed in.
    pub async fn admin(&self) -> Client {
        self.anonymous().sign_in(ADMIN_EMAIL, ADMIN_PASSWORD).await
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap()
    }

    /// Where its data are.
    pub fn data_dir(&self) -> &DataDir {
        &self.data_dir
    }

    /// What it has said on standard output so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.data_dir.path().join("stdout")).unwrap()
    }

    /// What it has said on standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.data_dir.path().join("stderr")).unwrap()
    }

    /// Kills it without a warning; its data directory stays for another start.
    pub async fn kill9(mut self) -> Stopped {
        self.child.kill().await.unwrap();
        Stopped { settings: self.settings, data_dir: self.data_dir }
    }

    /// Keeps it from doing anything; its connections stay.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after a [`pause`](Self::pause).
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// True while it leads in this office.
    pub async fn leads(&self, office: &str) -> bool {
        self.metrics().await.contains(&format!("orion_leader{{office=\"{office}\"}} 1"))
    }

    /// Asks it to stop, as an operator does, and waits for its end.
    pub async fn terminate(mut self) -> (Ended, Stopped) {
        self.signal(Signal::TERM);
        let ended = within(STOPS_WITHIN, async || self.child.try_wait().unwrap()).await;
        let status = ended.expect("the server stops in time");
        let ended = self.data_dir.ended(status);
        (ended, Stopped { settings: self.settings, data_dir: self.data_dir })
    }
}

/// A server that does not run.
pub struct Stopped {
    settings: Settings,
    /// Its data.
    pub data_dir: DataDir,
}

impl Stopped {
    /// Starts it with the same settings and data, on another port.
    pub async fn start_again(self) -> Server {
        Server::start_in(self.settings, self.data_dir).await
    }
}
