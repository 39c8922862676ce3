//! The auditor's and operator's command line. It reads the log and the tables; it cannot issue a
//! command, for the crate that does is not among its dependencies.

mod keys;
mod verbs;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use orion_store::open_database;

use self::keys::MasterKeySettings;

/// A difference or fault was found.
const FOUND: u8 = 1;

/// Wrong use, or no database.
const UNUSABLE: u8 = 2;

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

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows the head of the log, and each projection's position, lag and error.
    Status,
    /// Lets a stopped projection try its event again, after the fix is deployed.
    Resume {
        /// The projection's name, as `status` shows it.
        projection: String,
    },
    /// Folds the log and compares every row; prints what differs.
    Check {
        /// Shows the values that differ; they may be personal.
        #[arg(long)]
        show_personal: bool,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unusable(&error),
    };
    match runtime.block_on(run(args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FOUND),
        Err(error) => unusable(error.as_ref()),
    }
}

/// True when all is well.
async fn run(args: Args) -> Result<bool, Box<dyn Error>> {
    let database = open_database(args.database_url, &args.data_dir).await?;
    let outcome = match args.verb {
        Verb::Status => verbs::status(&database.pool).await,
        Verb::Resume { projection } => verbs::resume(&database.pool, &projection).await,
        Verb::Check { show_personal } => match args.keys.load(&args.data_dir) {
            Ok(masters) => verbs::check(&database.pool, masters, show_personal).await,
            Err(error) => Err(error.into()),
        },
    };
    database.close().await?;
    outcome
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
    text.replace('\n', " ")
}
