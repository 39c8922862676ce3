//! The user that PostgreSQL runs under: ourselves, or an unprivileged one when we are root.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::EmbeddedError;
use super::error::file;

/// The user that owns the cluster and runs every program of PostgreSQL.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// User and group to switch to; `None` when we stay who we are.
    switch_to: Option<(u32, u32)>,
    /// For messages.
    pub(crate) name: String,
}

impl Account {
    /// The account for a new cluster.
    pub(crate) async fn for_new_cluster() -> Result<Self, EmbeddedError> {
        if !is_root() {
            return Ok(Self::ourselves());
        }
        for name in ["postgres", "nobody"] {
            if let (Some(user), Some(group)) = (id_of("-u", name).await?, id_of("-g", name).await?)
            {
                return Ok(Self { switch_to: Some((user, group)), name: name.to_owned() });
            }
        }
        Err(EmbeddedError::NoAccount)
    }

    /// The account that an existing cluster belongs to. It may have been made before Orion was
    /// started as root, and PostgreSQL runs a cluster under its owner only.
    pub(crate) async fn of_cluster(cluster: &Path) -> Result<Self, EmbeddedError> {
        if !is_root() {
            return Ok(Self::ourselves());
        }
        let owner = fs::metadata(cluster).map_err(file("read", cluster))?;
        if owner.uid() == 0 {
            return Self::for_new_cluster().await;
        }
        Ok(Self {
            switch_to: Some((owner.uid(), owner.gid())),
            name: format!("with the id {}", owner.uid()),
        })
    }

    fn ourselves() -> Self {
        Self { switch_to: None, name: "that runs Orion".to_owned() }
    }

    /// True when the account is another user than ourselves.
    pub(crate) fn is_other(&self) -> bool {
        self.switch_to.is_some()
    }

    /// A command that will run as this account, in a folder that it can enter, and knows nothing
    /// of our environment: the postmaster would keep our secrets, and `PG…` variables would
    /// redirect it. It gets its own process group, so that Ctrl-C in a terminal reaches only us.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir("/").stdin(Stdio::null()).process_group(0);
        // English messages, so that the log can be searched.
        command.env("LC_ALL", "C");
        for kept in ["PATH", "LD_LIBRARY_PATH", "TMPDIR"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        if let Some((user, group)) = self.switch_to {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes a folder that only this account can read.
    pub(crate) fn make_dir(&self, dir: &Path) -> Result<(), EmbeddedError> {
        DirBuilder::new().mode(0o700).create(dir).map_err(file("create", dir))?;
        self.give(dir)
    }

    /// Makes this account the owner of a file or folder.
    pub(crate) fn give(&self, path: &Path) -> Result<(), EmbeddedError> {
        match self.switch_to {
            Some((user, group)) => {
                chown(path, Some(user), Some(group)).map_err(file("change the owner of", path))
            }
            None => Ok(()),
        }
    }

    /// True when the account can enter and write the folder. Tried, not computed: modes, access
    /// lists, mounts and every folder above have a say.
    pub(crate) async fn can_use(&self, dir: &Path) -> Result<bool, EmbeddedError> {
        let mut command = self.command("/bin/sh");
        command.args(["-c", r#"test -x "$1" && test -w "$1""#, "sh"]).arg(dir);
        Ok(run(command).await?.status.success())
    }
}

/// Runs a command to its end and takes its output. When the caller is dropped, it is killed.
pub(crate) async fn run(command: Command) -> Result<Output, EmbeddedError> {
    let program = command.get_program().to_string_lossy().into_owned();
    tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| EmbeddedError::Spawn { program, source })
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// One id of a user, by the system's own `id`, which also knows directory services.
async fn id_of(which: &str, name: &str) -> Result<Option<u32>, EmbeddedError> {
    let mut command = Command::new("id");
    command.args([which, name]).stdin(Stdio::null());
    let output = match run(command).await {
        Err(EmbeddedError::Spawn { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        output => output?,
    };
    let id = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    // An account with the id 0 is root under another name.
    Ok(id.filter(|id| output.status.success() && *id != 0))
}
