//! The server's settings: flags, each with a variable and a default.

mod keys;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use clap::{Parser, Subcommand, ValueEnum};
use orion_commands::mail::{MailSettingError, SmtpMailer};
use orion_domain::values::Email;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use crate::graphql::limits::{Introspection, Rules};
use crate::http::oauth::{OAuthSettings, below, web_address};
use crate::relay::NatsServers;
use crate::telemetry::traces::Otlp;

use crate::http::{Origins, TrustedProxies};

/// The event-sourced backend of an AI content pipeline.
#[derive(Clone, Debug, Parser)]
#[command(name = "orion", version)]
pub struct Config {
    /// The primary PostgreSQL, 15 or later; unset: an embedded one in the data directory.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<SecretString>,

    /// A streaming standby of the primary, which queries are read from while it keeps up; unset: all is read
    /// from the primary.
    #[arg(long, env = "ORION_READ_DATABASE_URL", hide_env_values = true)]
    pub read_database_url: Option<SecretString>,

    /// Another login for the migrations, where the server's own may not create tables.
    #[arg(long, env = "ORION_MIGRATE_DATABASE_URL", hide_env_values = true)]
    pub migrate_database_url: Option<SecretString>,

    /// Connections of the main pool; queries have as many of their own.
    #[arg(long, env = "ORION_DATABASE_POOL", default_value_t = 16, value_parser = clap::value_parser!(u32).range(4..=1000))]
    pub database_pool: u32,

    /// Keys, and the embedded database or a pointer to it.
    #[arg(long, env = "ORION_DATA_DIR", default_value = ".orion")]
    pub data_dir: PathBuf,

    /// The server's address.
    #[arg(long, env = "ORION_LISTEN", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,

    /// Where people reach the server: in links and redirects.
    #[arg(long, env = "ORION_PUBLIC_URL", default_value = "http://127.0.0.1:8000", value_parser = parse_public_url)]
    pub public_url: String,

    /// The mail server, such as `smtps://user:password@host`; unset: links are logged.
    #[arg(long, env = "ORION_SMTP_URL", hide_env_values = true)]
    pub smtp_url: Option<SecretString>,

    /// The sender of mail, such as `Orion <orion@example.org>`.
    #[arg(long, env = "ORION_MAIL_FROM")]
    pub mail_from: Option<String>,

    /// Sign-in at other providers.
    #[command(flatten)]
    pub oauth: OAuthSettings,

    /// The first admin's e-mail.
    #[arg(long, env = "ORION_ADMIN_EMAIL", default_value = "admin@orion.local")]
    pub admin_email: String,

    /// The first admin's password; unset: generated and printed once.
    #[arg(long, env = "ORION_ADMIN_PASSWORD", hide_env_values = true)]
    pub admin_password: Option<SecretString>,

    /// 32 bytes in base64: wraps all other keys; unset: made in the data directory.
    #[arg(long, env = "ORION_MASTER_KEY", hide_env_values = true)]
    pub master_key: Option<SecretString>,

    /// Earlier master keys, separated by commas: they still open what they wrapped.
    #[arg(long, env = "ORION_MASTER_KEY_OLD", hide_env_values = true, value_delimiter = ',')]
    pub master_key_old: Vec<SecretString>,

    /// An Ed25519 seed in base64: signs access tokens; unset: made in the data directory.
    #[arg(long, env = "ORION_TOKEN_KEY", hide_env_values = true)]
    pub token_key: Option<SecretString>,

    /// Earlier token keys, separated by commas: their tokens are good until they expire.
    #[arg(long, env = "ORION_TOKEN_KEYS_OLD", hide_env_values = true, value_delimiter = ',')]
    pub token_keys_old: Vec<SecretString>,

    /// How long an access token is valid.
    #[arg(long, env = "ORION_ACCESS_TOKEN_TTL", default_value = "15m", value_parser = parse_duration)]
    pub access_token_ttl: Duration,

    /// An Ed25519 seed in base64: signs the log's checkpoints; unset: made in the data directory.
    #[arg(long, env = "ORION_LOG_KEY", hide_env_values = true)]
    pub log_key: Option<SecretString>,

    /// Earlier log keys, separated by commas: seeds, or only the public keys as
    /// `/.well-known/orion-log-key` shows them. Their checkpoints stay good.
    #[arg(long, env = "ORION_LOG_KEYS_OLD", hide_env_values = true, value_delimiter = ',')]
    pub log_keys_old: Vec<SecretString>,

    /// The cost of password hashes: 2^cost rounds.
    #[arg(long, env = "ORION_BCRYPT_COST", default_value_t = 12, value_parser = clap::value_parser!(u32).range(4..=31))]
    pub bcrypt_cost: u32,

    /// A trend expires when it was not rescored for this long, such as `72h`, `90m` or `30s`.
    #[arg(long, env = "ORION_TREND_TTL", default_value = "72h", value_parser = parse_duration)]
    pub trend_ttl: Duration,

    /// Whether clients may do things only so often, and hold so many sockets.
    #[arg(long, env = "ORION_RATE_LIMITS", value_enum, default_value_t = Switch::On)]
    pub rate_limits: Switch,

    /// Proxies whose `X-Forwarded-For` is believed: addresses and networks, separated by commas.
    #[arg(long, env = "ORION_TRUSTED_PROXIES", default_value = "", hide_default_value = true, value_parser = TrustedProxies::parse)]
    pub trusted_proxies: TrustedProxies,

    /// Sites whose pages may call the server from a browser: exact origins, separated by commas.
    #[arg(long, env = "ORION_CORS_ORIGINS", default_value = "", hide_default_value = true, value_parser = Origins::parse)]
    pub cors_origins: Origins,

    /// How many connections are open at the same time; more have to wait.
    #[arg(long, env = "ORION_CONNECTIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,

    /// How many connections one client address may have at the same time; proxies that are trusted
    /// may have all.
    #[arg(long, env = "ORION_CONNECTIONS_PER_ADDRESS", default_value_t = 1_000)]
    pub connections_per_address: usize,

    /// How long a client may take for the head of a request, and a connection may be idle.
    #[arg(long, env = "ORION_HEADER_TIMEOUT", default_value = "10s", value_parser = parse_duration)]
    pub header_timeout: Duration,

    /// How long a client may take for the body of a request.
    #[arg(long, env = "ORION_BODY_TIMEOUT", default_value = "30s", value_parser = parse_duration)]
    pub body_timeout: Duration,

    /// How long a query or mutation may take; then its SQL is cancelled, too.
    #[arg(long, env = "ORION_QUERY_TIMEOUT", default_value = "10s", value_parser = parse_duration)]
    pub query_timeout: Duration,

    /// Who may ask for the schema.
    #[arg(long, env = "ORION_INTROSPECTION", value_enum, default_value_t = Introspection::On)]
    pub introspection: Introspection,

    /// Whether errors name what may have been meant.
    #[arg(long, env = "ORION_SUGGESTIONS", value_enum, default_value_t = Switch::Off)]
    pub suggestions: Switch,

    /// Whether several GraphQL requests may come in one body, ten at most.
    #[arg(long, env = "ORION_BATCHING", value_enum, default_value_t = Switch::Off)]
    pub batching: Switch,

    /// Whether webhooks may be sent to addresses that are not public, such as this machine.
    #[arg(long, env = "ORION_WEBHOOK_PRIVATE", value_enum, default_value_t = Switch::Off)]
    pub webhook_private: Switch,

    /// NATS with JetStream, which the log is relayed to, such as `nats://user:password@host:4222`; several servers
    /// of one NATS are separated by commas. Unset: nowhere.
    #[arg(long, env = "ORION_NATS_URL", hide_env_values = true)]
    pub nats_url: Option<SecretString>,

    /// Where spans are exported to by OTLP over HTTP, such as `http://127.0.0.1:4318`; unset:
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, and without that nowhere.
    #[arg(long, env = "ORION_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// How often the server asks a socket for a sign of life; one that leaves three pings unanswered is closed.
    #[arg(long, env = "ORION_SOCKET_PING", default_value = "20s", value_parser = parse_duration)]
    pub socket_ping: Duration,

    /// What is logged, in tracing's filter language.
    #[arg(long, env = "ORION_LOG", default_value = "info")]
    pub log: String,

    /// How it is logged.
    #[arg(long, env = "ORION_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Something else to do than to serve.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `orion` does beside serving.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Command {
    /// Wraps every key of the database by the present master key; no event is touched.
    RewrapKeys,
    /// Replaces the key that unique personal values are hashed with; restart the servers afterwards.
    RotateClaimsKey,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It is done.
    On,
    /// It is not.
    Off,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// A setting that cannot be used: one line that names the variable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The value is not of its kind.
    #[error("{variable}: {problem}")]
    Value {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it; never the value of a secret.
        problem: String,
    },
    /// A key cannot be read or made.
    #[error("ORION_DATA_DIR: the key file {path} cannot be read or made: {source}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Config {
    /// The first admin's e-mail, checked.
    pub fn admin_email(&self) -> Result<Email, ConfigError> {
        Email::parse(&self.admin_email).map_err(|error| ConfigError::Value {
            variable: "ORION_ADMIN_EMAIL",
            problem: error.to_string(),
        })
    }

    /// Where people reach the server.
    pub fn public_url(&self) -> Result<Url, ConfigError> {
        web_address(&self.public_url).ok_or_else(|| ConfigError::Value {
            variable: "ORION_PUBLIC_URL",
            problem: "it is not a plain web address, such as https://orion.example".to_owned(),
        })
    }

    /// The mailer of the settings; none where links are logged.
    pub fn mailer(&self) -> Result<Option<SmtpMailer>, ConfigError> {
        let value = |variable, problem: String| ConfigError::Value { variable, problem };
        let Some(url) = &self.smtp_url else { return Ok(None) };
        let Some(from) = &self.mail_from else {
            let problem = "ORION_SMTP_URL is set, so mail needs a sender".to_owned();
            return Err(value("ORION_MAIL_FROM", problem));
        };
        SmtpMailer::new(url.expose_secret(), from).map(Some).map_err(|error| match error {
            MailSettingError::Url => value("ORION_SMTP_URL", error.to_string()),
            MailSettingError::From => value("ORION_MAIL_FROM", error.to_string()),
        })
    }

    /// Where the log is relayed to, if anywhere.
    pub fn nats(&self) -> Result<Option<NatsServers>, ConfigError> {
        let servers = self.nats_url.as_ref().map(|url| NatsServers::parse(url.expose_secret()));
        servers.transpose().map_err(|error| ConfigError::Value {
            variable: "ORION_NATS_URL",
            problem: error.to_string(),
        })
    }

    /// What operations may do.
    pub fn rules(&self) -> Rules {
        Rules {
            timeout: self.query_timeout,
            introspection: self.introspection,
            suggestions: self.suggestions == Switch::On,
        }
    }

    /// Where spans go to, if anywhere.
    pub fn otlp(&self) -> Result<Option<Otlp>, ConfigError> {
        let (own, usual) = ("ORION_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
        let set = |text: &String| !text.is_empty();
        let own = self.otlp_endpoint.clone().filter(set).map(|text| (own, text));
        let usual = || std::env::var(usual).ok().filter(set).map(|text| (usual, text));
        let Some((variable, text)) = own.or_else(usual) else { return Ok(None) };
        let problem = "it is not a plain web address, such as http://127.0.0.1:4318".to_owned();
        let base = web_address(&text).ok_or(ConfigError::Value { variable, problem })?;
        // As OpenTelemetry says it: each signal has its path below the endpoint.
        let url = below(&base, "/v1/traces");
        let url = Url::parse(&url)
            .map_err(|error| ConfigError::Value { variable, problem: error.to_string() })?;
        Ok(Some(Otlp { url, variable }))
    }
}

/// An address that paths can be appended to: no slash at its end, no query.
fn parse_public_url(text: &str) -> Result<String, String> {
    let expected = || "an http or https address, such as https://orion.example.org".to_owned();
    let url: Uri = text.parse().map_err(|_| expected())?;
    let is_web = matches!(url.scheme_str(), Some("http" | "https"));
    let has_host = url.host().is_some_and(|host| !host.is_empty());
    if !is_web || !has_host || text.contains(['?', '#', '@']) {
        return Err(expected());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || "a number with s, m, h or d, such as 72h".to_owned();
    let (number, unit) =
        text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(expected)?;
    let number: u64 = number.parse().map_err(|_| expected())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(expected()),
    };
    let total = number.checked_mul(seconds).filter(|total| (1..=3_153_600_000).contains(total));
    total.map(Duration::from_secs).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_containers_are_given_settings_that_there_are() {
        let files =
            [include_str!("../../docker-compose.yml"), include_str!("../../Dockerfile")].concat();
        // What the file itself is filled in with, for PostgreSQL.
        let not_ours = ["ORION_DATABASE_PASSWORD"];
        let command = Config::command();
        let known: Vec<_> =
            command.get_arguments().filter_map(|setting| setting.get_env()?.to_str()).collect();
        let is_part = |letter: char| letter.is_ascii_uppercase() || letter == '_';
        let named =
            files.split(|letter| !is_part(letter)).filter(|word| word.starts_with("ORION_"));
        let named: Vec<_> = named.filter(|word| !not_ours.contains(word)).collect();
        assert!(named.len() > 5, "{named:?}");
        for word in named {
            assert!(known.contains(&word), "{word}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("72h"), Ok(Duration::from_hours(72)));
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        for bad in ["", "h", "72", "-1h", "1w", "0s", "1é", "99999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_can_be_appended_to_the_public_url() {
        for (good, kept) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("https://orion.example.org/", "https://orion.example.org"),
            ("https://example.org/orion/", "https://example.org/orion"),
        ] {
            assert_eq!(parse_public_url(good).as_deref(), Ok(kept));
        }
        for bad in [
            "",
            "/",
            "orion.example.org",
            "ftp://example.org",
            "http://",
            "https://example.org?x=1",
            "https://example.org/#x",
            "https://user@example.org",
            "https://exämple.org",
        ] {
            assert!(parse_public_url(bad).is_err(), "{bad}");
        }
    }
}
