//! The auditor's and operator's command line. It reads the log and the tables; it cannot issue a
//! command, for the crate that does is not among its dependencies.

mod hide;
mod keys;
mod log;
mod log_keys;
mod moment;
mod output;
mod rebuild;
mod seals;
mod show;
mod status;
mod transfer;
mod verbs;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use orion_store::{Access, create_database, open_database};
use sqlx::PgPool;
use tokio::signal::unix::{SignalKind, signal};

use self::keys::{MasterKeyError, MasterKeySettings};
use self::log_keys::{LogKeyError, LogKeySettings};
use self::output::{Closed, harmless, say};

/// Events are made of many small values that live shortly: with libc's allocator a rebuild takes a tenth longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A difference or fault was found.
const FOUND: u8 = 1;

/// Wrong use, or no database.
const UNUSABLE: u8 = 2;

/// What shells say of a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// Reads, checks and repairs what Orion keeps.
#[derive(Debug, Parser)]
#[command(name = "orion-replay", version)]
struct Args {
    /// The primary PostgreSQL; unset: the embedded one of the data directory.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    database_url: Option<String>,

    /// Where the embedded PostgreSQL is.
    #[arg(long, env = "ORION_DATA_DIR", default_value = ".orion", global = true)]
    data_dir: PathBuf,

    #[command(flatten)]
    keys: MasterKeySettings,

    #[command(flatten)]
    log_keys: LogKeySettings,

    #[command(subcommand)]
    verb: Verb,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows the head of the log, how far it is sealed, and each projection's position, lag and error.
    #[command(after_help = "Example: orion-replay status --format json")]
    Status {
        /// How it is written.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Lets a stopped projection try its event again, after the fix is deployed.
    #[command(after_help = "Example: orion-replay resume read_model")]
    Resume {
        /// The projection's name, as `status` shows it.
        projection: String,
        /// How what was done is told.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Folds the log and compares every row; prints what differs.
    #[command(after_help = "Example: orion-replay check --format json")]
    Check {
        /// How the differences are written.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        /// Personal values, too; secrets are never shown.
        #[arg(long)]
        show_personal: bool,
    },
    /// Prints the events of the log, in order.
    #[command(
        after_help = "Example: orion-replay log --type content.approved,content.rejected --from 2026-02-01T00:00:00Z"
    )]
    Log(log::Options),
    /// Shows one aggregate as it was at a moment, and what happened to it until then.
    #[command(
        after_help = "Example: orion-replay show content 0197a000-0000-7000-8000-000000000301 --at 2026-02-01T12:00:00Z --diff"
    )]
    Show(show::Show),
    /// Computes the tables and notifications anew beside the served ones, and mends the rows that differ, while servers run.
    #[command(after_help = "Example: orion-replay rebuild --dry-run")]
    Rebuild {
        /// How it is written.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        /// Only compares: exit status 1 if a row differs.
        #[arg(long)]
        dry_run: bool,
    },
    /// Writes the documented tables as they were into a new schema, ready for SQL.
    #[command(
        after_help = "Example: orion-replay materialize --at 2026-02-01T12:00:00Z --schema february"
    )]
    Materialize(rebuild::Materialize),
    /// Writes the log into a file, as `CloudEvents`, one on each line.
    #[command(
        after_help = "Example: orion-replay export log.ndjson.zst --compress zstd --keys log.keys"
    )]
    Export(transfer::Export),
    /// Reads an exported log into an empty database, which is made if there is none.
    #[command(
        after_help = "Example: orion-replay import log.ndjson.zst --keys log.keys --key log-key.txt"
    )]
    Import(transfer::Import),
    /// Prints completions for a shell.
    #[command(
        after_help = "Example: orion-replay completions bash > /etc/bash_completion.d/orion-replay"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Recomputes the tree of all events and compares it with what was signed; names what is wrong, by position.
    #[command(after_help = "Example: orion-replay verify --checkpoint kept.txt --key log-key.txt")]
    Verify {
        /// A checkpoint that was kept elsewhere: without one, a log that was cut off together with its
        /// checkpoints looks whole.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// The log's public keys, as `/.well-known/orion-log-key` gives them; unset: those of the settings.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// How the findings are written.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Prints a proof that an event is in the log: a file that convinces whoever has the public key.
    #[command(after_help = "Example: orion-replay prove 42 > 42.proof")]
    Prove {
        /// The event's position.
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        position: i64,
    },
    /// Checks a proof; needs the file and the public key, and no database.
    #[command(after_help = "Example: orion-replay verify-proof 42.proof --key log-key.txt")]
    VerifyProof {
        /// What `prove` has printed.
        file: PathBuf,
        /// The log's public keys, as `/.well-known/orion-log-key` gives them; unset: those of the settings.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// How what it proves is written.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

impl Verb {
    /// Few verbs write.
    fn access(&self) -> Access {
        match self {
            Self::Resume { .. } | Self::Rebuild { .. } | Self::Materialize(_) | Self::Import(_) => {
                Access::Write
            }
            Self::Status { .. }
            | Self::Check { .. }
            | Self::Log(_)
            | Self::Show(_)
            | Self::Export(_)
            | Self::Completions { .. }
            | Self::Verify { .. }
            | Self::Prove { .. }
            | Self::VerifyProof { .. } => Access::Read,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unusable(&error),
    };
    match runtime.block_on(run(args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FOUND),
        // Whoever reads has enough, as in `log | head`.
        Err(error) if error.is::<Closed>() => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("orion-replay: {error}");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => unusable(error.as_ref()),
    }
}

/// True when all is well.
async fn run(args: Args) -> Result<bool, Box<dyn Error>> {
    if let Verb::VerifyProof { file, key, format } = &args.verb {
        let keys = args.log_keys.load(&args.data_dir, key.as_deref())?;
        return seals::verify_proof(file, &keys, *format);
    }
    if let Verb::Completions { shell } = args.verb {
        let mut command = Args::command();
        // In memory first: the generator panics where it cannot write.
        let mut completions = Vec::new();
        clap_complete::generate(shell, &mut command, "orion-replay", &mut completions);
        say(&String::from_utf8(completions)?)?;
        return Ok(true);
    }
    let interruption = interruption()?;
    let database = if let Verb::Import(import) = &args.verb {
        import.look()?;
        args.keys.load(&args.data_dir)?;
        create_database(args.database_url.clone(), &args.data_dir).await?
    } else {
        open_database(args.database_url.clone(), &args.data_dir, args.verb.access()).await?
    };
    let outcome = tokio::select! {
        outcome = perform(&database.pool, args) => outcome,
        () = interruption => Err(Interrupted.into()),
    };
    database.close().await?;
    outcome
}

/// Somebody does not want to wait any longer.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

/// Comes when somebody wants the program to end. From this call on a signal does not end it at once: files that are
/// not whole are removed first, and a PostgreSQL that was started is stopped.
fn interruption() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    })
}

/// What needs a database.
async fn perform(pool: &PgPool, args: Args) -> Result<bool, Box<dyn Error>> {
    match args.verb {
        Verb::Status { format } => status::status(pool, format).await,
        Verb::Resume { projection, format } => verbs::resume(pool, &projection, format).await,
        Verb::Check { show_personal, format } => {
            verbs::check(pool, args.keys.load(&args.data_dir)?, show_personal, format).await
        }
        Verb::Log(options) => log::log(pool, &options).await,
        Verb::Show(show) => show::show(pool, args.keys.load(&args.data_dir)?, &show).await,
        Verb::Rebuild { dry_run, format } => {
            rebuild::rebuild(pool, args.keys.load(&args.data_dir)?, dry_run, format).await
        }
        Verb::Materialize(wanted) => {
            rebuild::materialize(pool, args.keys.load(&args.data_dir)?, wanted).await
        }
        Verb::Verify { checkpoint, key, format } => {
            let masters = match args.keys.load(&args.data_dir) {
                Err(MasterKeyError::Missing { .. }) => None,
                masters => Some(masters?),
            };
            let keys = args.log_keys.load(&args.data_dir, key.as_deref())?;
            seals::verify(pool, keys, masters, checkpoint.as_deref(), format).await
        }
        Verb::Prove { position } => {
            let keys = match args.log_keys.load(&args.data_dir, None) {
                // Whoever verifies the proof has one.
                Err(LogKeyError::Missing { .. }) => Vec::new(),
                keys => keys?,
            };
            seals::prove(pool, &keys, position).await
        }
        Verb::Export(export) => transfer::export(pool, &export).await,
        Verb::Import(import) => {
            let log_keys = match args.log_keys.load(&args.data_dir, import.key.as_deref()) {
                // Nothing has been signed here so far.
                Err(LogKeyError::Missing { .. }) => Vec::new(),
                keys => keys?,
            };
            transfer::import(pool, args.keys.load(&args.data_dir)?, log_keys, &import).await
        }
        // Done before there was a database.
        Verb::VerifyProof { .. } | Verb::Completions { .. } => Ok(true),
    }
}

fn unusable(error: &dyn Error) -> ExitCode {
    eprintln!("orion-replay: {}", line(error));
    ExitCode::from(UNUSABLE)
}

/// An error and its causes on one line, without those whose text an error above them says already.
fn line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let own = cause.to_string();
        if !text.contains(&own) {
            text = format!("{text}: {own}");
        }
        source = cause.source();
    }
    harmless(&text.replace('\n', " "))
}
