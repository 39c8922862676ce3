//! A real `nats-server` with JetStream: started, killed, started again on what it has kept, gone with the test.

use std::env::{split_paths, var_os};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use async_nats::ConnectOptions;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, Stream};
use async_nats::jetstream::{self, Context};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::eventually::eventually;

/// Where Debian has it, which is not in everybody's `PATH`.
const ALSO_IN: &str = "/usr/sbin";

/// Set where a missing `nats-server` is a failure, as in CI.
const REQUIRED: &str = "ORION_TEST_NATS_REQUIRED";

/// What a relay may do, and no more: as `docs/operations.md` says it.
const RIGHTS: &str = r#"{
    publish: ["orion.events.>", "$JS.API.STREAM.INFO.ORION", "$JS.API.STREAM.CREATE.ORION", "$JS.API.STREAM.MSG.GET.ORION"]
    subscribe: ["_INBOX.>"]
}"#;

/// The password of the relay's user; it must not be seen anywhere.
pub const PASSWORD: &str = "kept-to-itself";

/// The largest message, unless a test says otherwise: NATS's own default.
const MAX_PAYLOAD: usize = 1 << 20;

/// A NATS server with a folder of its own.
pub struct Nats {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Nats {
    /// Starts one; none where there is no `nats-server` and nobody insists.
    pub async fn start() -> Option<Self> {
        Self::start_with(MAX_PAYLOAD).await
    }

    /// Starts one that takes no larger messages.
    pub async fn start_with(max_payload: usize) -> Option<Self> {
        let Some(program) = program() else {
            assert!(var_os(REQUIRED).is_none(), "there is no nats-server, and {REQUIRED} is set");
            // Past the harness, which keeps to itself what good tests print.
            let said = "skipped: there is no nats-server (Debian: apt-get install nats-server)";
            let _ = writeln!(std::io::stderr(), "{said}");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("orion-nats-test-").tempdir().unwrap();
        // The system chooses the port.
        let child = spawn(&program, &folder, -1, max_payload);
        let mut nats = Self { child, folder, port: 0 };
        nats.port = nats.announced_port().await;
        Some(nats)
    }

    /// For `ORION_NATS_URL`.
    pub fn url(&self) -> String {
        format!("nats://orion:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// Sends it a signal, such as the one that lets it stand still.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Kills it without a warning; what it has stored stays.
    pub async fn kill9(&mut self) {
        self.child.kill().await.unwrap();
        fs::remove_file(self.ports_file().unwrap()).unwrap();
    }

    /// Starts it again after a kill, on the same port and store.
    pub async fn start_again(&mut self) {
        self.start_again_with(MAX_PAYLOAD).await;
    }

    /// The same with another size of the largest message.
    pub async fn start_again_with(&mut self, max_payload: usize) {
        let program = program().unwrap();
        self.child = spawn(&program, &self.folder, self.port.into(), max_payload);
        assert_eq!(self.announced_port().await, self.port);
    }

    /// A client of the test's own.
    pub async fn jetstream(&self) -> Context {
        let client = eventually("the test reaches NATS", async || {
            async_nats::connect_with_options(
                format!("127.0.0.1:{}", self.port),
                ConnectOptions::with_user_and_password("test".to_owned(), "test".to_owned()),
            )
            .await
            .ok()
        });
        jetstream::new(client.await)
    }

    /// The stream, when it is there.
    pub async fn stream(&self) -> Stream<Info> {
        let jetstream = self.jetstream().await;
        eventually("the stream is there", async || jetstream.get_stream("ORION").await.ok()).await
    }

    /// Waits until the stream has so many messages; gives all of them.
    pub async fn messages(&self, count: i64) -> Vec<StreamMessage> {
        let stream = self.stream().await;
        let count = count.unsigned_abs();
        eventually("the messages are there", async || {
            (stream.get_info().await.ok()?.state.last_sequence >= count).then_some(())
        })
        .await;
        let mut messages = Vec::new();
        for sequence in 1..=stream.get_info().await.unwrap().state.last_sequence {
            messages.push(stream.get_raw_message(sequence).await.unwrap());
        }
        messages
    }

    /// Waits until it has written down where it listens.
    async fn announced_port(&mut self) -> u16 {
        eventually("nats-server listens", async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                let said = fs::read_to_string(self.folder.path().join("said")).unwrap();
                panic!("nats-server ended, {status}: {said}");
            }
            let ports = fs::read_to_string(self.ports_file()?).ok()?;
            let ports: Value = serde_json::from_str(&ports).ok()?;
            ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
        })
        .await
    }

    fn ports_file(&self) -> Option<PathBuf> {
        let files = fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path());
        files.into_iter().find(|file| file.extension().is_some_and(|end| end == "ports"))
    }
}

fn program() -> Option<PathBuf> {
    let folders = var_os("PATH").unwrap_or_default();
    let folders = split_paths(&folders).chain([PathBuf::from(ALSO_IN)]);
    folders.map(|folder| folder.join("nats-server")).find(|program| program.is_file())
}

fn spawn(program: &PathBuf, folder: &TempDir, port: i32, max_payload: usize) -> Child {
    let path = folder.path().display();
    let settings = format!(
        "host: 127.0.0.1\nport: {port}\nports_file_dir: \"{path}\"\nmax_payload: {max_payload}\n\
         jetstream {{ store_dir: \"{path}/store\" }}\n\
         authorization {{ users: [\n\
           {{ user: test, password: test }}\n\
           {{ user: orion, password: {PASSWORD}, permissions: {RIGHTS} }}\n\
         ] }}\n"
    );
    let file = folder.path().join("nats.conf");
    fs::write(&file, settings).unwrap();
    Command::new(program)
        .arg("-c")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(folder.path().join("said")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
