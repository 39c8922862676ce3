//! The program `orion-replay` beside the server.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::eventually::SOON;
use crate::server::MASTER_KEY;

/// The program with its arguments. It is another package's: `cargo test --workspace` builds both.
pub struct Replay(Command);

impl Replay {
    /// On a database, as its owner.
    pub fn on<'a>(database_url: &str, args: impl IntoIterator<Item = &'a str>) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_orion")).with_file_name("orion-replay");
        assert!(program.exists(), "`cargo test --workspace` builds {}", program.display());
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        command.env("DATABASE_URL", database_url).env("ORION_MASTER_KEY", MASTER_KEY);
        Self(command)
    }

    /// Starts it; what it says is lost.
    pub fn spawn(mut self) -> Child {
        self.0.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs it to its end, which must have this status; gives what it says.
    pub async fn exits(mut self, status: i32) -> String {
        let ended = tokio::time::timeout(SOON, self.0.output()).await;
        let output = ended.expect("orion-replay does not end").unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Kills it after a time; false if it has ended by itself before.
    pub async fn killed_after(self, time: Duration) -> bool {
        let mut child = self.spawn();
        let ended = tokio::time::timeout(time, child.wait()).await;
        child.kill().await.unwrap();
        ended.is_err()
    }
}
