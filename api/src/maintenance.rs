//! What `orion` does beside serving: changing keys.

use orion_store::{Access, Keys, MasterKeys, open_database, rewrap_keys, rotate_claims_key};
use secrecy::ExposeSecret as _;
use sqlx::PgPool;

use crate::config::{Command, Config};

/// Runs a command against the database of the settings, and says what it did.
pub async fn run(config: &Config, command: Command) -> Result<(), Box<dyn std::error::Error>> {
    let database_url = config.database_url.as_ref().map(|url| url.expose_secret().to_owned());
    let database = open_database(database_url, &config.data_dir, Access::Write).await?;
    // After the database: where there is none, no key must be made for it.
    let done = match config.master_keys() {
        Ok(masters) => perform(&database.pool, masters, command).await,
        Err(error) => Err(error.into()),
    };
    database.close().await?;
    println!("{}", done?);
    Ok(())
}

async fn perform(
    pool: &PgPool,
    masters: MasterKeys,
    command: Command,
) -> Result<String, Box<dyn std::error::Error>> {
    // Only with the right master key.
    let keys = Keys::load(pool, masters.clone()).await?;
    Ok(match command {
        Command::RewrapKeys => {
            let count = rewrap_keys(pool, &masters).await?;
            format!("{count} keys were wrapped by the present master key")
        }
        Command::RotateClaimsKey => {
            let count = rotate_claims_key(pool, &keys).await?;
            format!("{count} claims were hashed with a new key; restart the servers")
        }
    })
}
