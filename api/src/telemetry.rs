//! Log lines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, ConfigError, LogFormat};

/// Sends log lines to standard error.
pub fn start(config: &Config) -> Result<(), ConfigError> {
    // PostgreSQL's notices are noise, and what goes over WebSockets has access tokens in it: neither
    // is logged unless somebody asks for it by name.
    let quiet = "sqlx::postgres::notice=warn,tungstenite=info,tokio_tungstenite=info";
    let filter = format!("{quiet},{}", config.log);
    let filter = EnvFilter::try_new(filter).map_err(|error| ConfigError::Value {
        variable: "ORION_LOG",
        problem: error.to_string(),
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

/// An error with its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.replace('\n', " ")
}
