//! Runs the program and looks at what it leaves.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use orion_store::seal::LogKey;
use tokio::process::Command;

/// What takes longer than this does not come.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The master key of the logs that tests open: 32 times the byte 7.
const MASTER_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// The key that signs the logs of tests: 32 times the byte 8.
const LOG_KEY: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";

/// The same key, for those who seal.
pub fn log_key() -> LogKey {
    LogKey::from_seed(&[8; 32])
}

/// The program, with nothing of this process's own settings.
pub fn orion_replay<'a>(args: impl IntoIterator<Item = &'a str>) -> Program {
    let mut program = Program::of(env!("CARGO_BIN_EXE_orion-replay"));
    program.add(args);
    program
}

pub struct Program(Command);

impl Program {
    /// Another program, in the same surroundings.
    pub fn of(path: &str) -> Self {
        let mut command = Command::new(path);
        command.env_remove("DATABASE_URL").env_remove("ORION_DATA_DIR");
        // In no folder of ours: a default must not find anything there.
        command.current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
        command.env("ORION_MASTER_KEY", MASTER_KEY).env("ORION_LOG_KEY", LOG_KEY);
        Self(command)
    }

    pub fn with(mut self, variable: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(variable, value);
        self
    }

    pub fn without(mut self, variable: &str) -> Self {
        self.0.env_remove(variable);
        self
    }

    pub fn add<'a>(&mut self, args: impl IntoIterator<Item = &'a str>) {
        self.0.args(args);
    }

    pub fn command(&mut self) -> &mut Command {
        &mut self.0
    }

    /// Runs it to its end, which must have this status. Gives stdout if that is good or a fault,
    /// stderr if it is neither; the other of the two must be empty.
    pub async fn exits(mut self, status: i32) -> String {
        let (stdout, stderr) = self.ends(status).await;
        let (said, silent) = if status == 2 { (stderr, stdout) } else { (stdout, stderr) };
        assert_eq!(silent, "", "beside: {said}");
        said
    }

    /// Runs it to its end, which must have this status. Gives stdout and stderr.
    pub async fn ends(&mut self, status: i32) -> (String, String) {
        let ended = tokio::time::timeout(PATIENCE, self.0.output()).await;
        let output = ended.expect("the program does not end").unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let code = output.status.code();
        assert_eq!(code, Some(status), "stdout: {stdout}\nstderr: {stderr}");
        (stdout, stderr)
    }
}
