//! The server's life: start everything in order, serve, drain, stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use orion_commands::mail::{CountedMailer, LogMailer, Mailer};
use orion_commands::reactors::{
    self, Deliveries, EraseBelongings, MarkPublished, SESSION_RESTS, SendVerification, Tell,
    expire_trends, remove_sessions,
};
use orion_commands::{
    Admin, Bus, CommandError, Password, Passwords, Refusal, Webhooks, first_start,
};
use orion_projections::{Progress, Projector};
use orion_store::embedded::{Embedded, EmbeddedError};
use orion_store::seal::{LogKey, LogPublicKey, run_sealer};
use orion_store::{ConnectError, Kept, Keys, KeysError, Log, MasterKeys, StoreError};
use rand::distr::{Alphanumeric, SampleString as _};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::auth::rights::Rights;
use crate::auth::{TokenError, Tokens};
use crate::config::{Config, ConfigError, Switch};
use crate::graphql::context::App;
use crate::graphql::limits::Lines;
use crate::graphql::schema;
use crate::http::oauth::{OAuth, Providers};
use crate::http::serve::{self, Bounds};
use crate::http::{Edge, Services, Sockets, Watches, router};
use crate::limits::Limits;
use crate::reads::{Reads, Replica};
use crate::relay::{NatsServers, Relay};
use crate::telemetry::{chain, figures};

/// How long open requests may take to end when the server stops.
const DRAIN_FOR: Duration = Duration::from_secs(3);

/// How long the tasks may take to end after that.
const STOP_FOR: Duration = Duration::from_secs(1);

/// The characters of a generated password.
const PASSWORD_CHARS: usize = 20;

/// Why the server could not start, in one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The admin's password is refused.
    #[error("ORION_ADMIN_PASSWORD: {0}")]
    AdminPassword(Refusal),
    /// The data directory cannot be used.
    #[error("ORION_DATA_DIR: {path} cannot be used: {source}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The embedded PostgreSQL did not start.
    #[error("the embedded PostgreSQL: {}", chain(.0))]
    Embedded(#[from] EmbeddedError),
    /// The database cannot be used.
    #[error("DATABASE_URL: {0}")]
    Database(#[from] ConnectError),
    /// The address of the replica is malformed.
    #[error("ORION_READ_DATABASE_URL: {0}")]
    Replica(ConnectError),
    /// The log cannot be read.
    #[error("the log: {}", chain(.0))]
    Log(#[from] StoreError),
    /// The database was begun with another key.
    #[error("ORION_MASTER_KEY: {}", chain(.0))]
    Keys(#[from] KeysError),
    /// The first events cannot be written.
    #[error("the first start: {}", chain(.0))]
    FirstStart(#[from] CommandError),
    /// The key for access tokens is refused.
    #[error("ORION_TOKEN_KEY: {0}")]
    Token(#[from] TokenError),
    /// No connection beyond Orion can be made.
    #[error("webhooks: {}", chain(.0))]
    Webhooks(#[from] reqwest::Error),
    /// The address cannot be listened on.
    #[error("ORION_LISTEN: cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Runs a server until `stop`.
pub async fn run(
    config: Config,
    figures: PrometheusHandle,
    stop: CancellationToken,
) -> Result<(), StartError> {
    // What can be refused without the database is refused before it is started.
    let admin_email = config.admin_email()?;
    let (admin_password, is_generated) = admin_password(&config)?;
    let mailer: Arc<dyn Mailer> = match config.mailer()? {
        Some(mailer) => Arc::new(CountedMailer(mailer)),
        None => Arc::new(CountedMailer(LogMailer)),
    };
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|source| StartError::DataDir { path: config.data_dir.clone(), source })?;
    let providers = Providers::new(&config)?;
    let webhooks = Webhooks::new(config.webhook_private == Switch::On)?;
    let nats = config.nats()?;
    let replica = replica(&config).map_err(StartError::Replica)?;
    let masters = config.master_keys()?;
    let tokens = Tokens::new(&config.token_key()?, &config.token_keys_old()?)?
        .living_for(config.access_token_ttl);
    let seals = Seals { key: config.log_key()?, old: config.log_keys_old()? };
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| StartError::Listen { address: config.listen, source })?;
    // With port 0 the system has chosen one.
    let address = listener.local_addr().unwrap_or(config.listen);

    let embedded = match &config.database_url {
        Some(_) => None,
        None => Some(Embedded::start(&config.data_dir).await?),
    };
    let named = config.database_url.as_ref().map(|url| url.expose_secret().to_owned());
    let url = named
        .or_else(|| embedded.as_ref().map(|embedded| embedded.url().to_owned()))
        .unwrap_or_default();
    let admin = Admin { email: admin_email, password: admin_password.0 };
    let opened = tokio::select! {
        opened = open(&config, &url, masters, admin) => opened.map(Some),
        () = stop.cancelled() => Ok(None),
    };
    let served = match opened {
        Ok(Some(opened)) => {
            let new_admin = opened.is_new.then_some((&admin_password.1, is_generated));
            announce(&config, address, embedded.is_some(), new_admin);
            let parts =
                Parts { tokens, seals, providers, mailer, webhooks, nats, replica, figures };
            serve(&config, opened, parts, listener, stop).await;
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Some(embedded) = embedded
        && let Err(error) = embedded.stop().await
    {
        warn!(error = chain(&error), "the embedded PostgreSQL did not stop in order");
    }
    served
}

/// The replica of the settings; it may be away.
fn replica(config: &Config) -> Result<Option<Replica>, ConnectError> {
    let url = config.read_database_url.as_ref().map(SecretString::expose_secret);
    let of = |url| Replica::new(url, config.database_pool, config.query_timeout);
    url.map(of).transpose()
}

fn admin_password(config: &Config) -> Result<((Password, String), bool), StartError> {
    let (text, is_generated) = match &config.admin_password {
        Some(password) => (password.expose_secret().to_owned(), false),
        None => (Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_CHARS), true),
    };
    let password = Password::parse(&text).map_err(StartError::AdminPassword)?;
    Ok(((password, text), is_generated))
}

/// What was made ready in the database.
struct Opened {
    queries: PgPool,
    bus: Bus,
    passwords: Passwords,
    /// True when this start has made the admin.
    is_new: bool,
    /// The tasks outlive the requests: an open mutation may wait for the read model.
    stop_tasks: CancellationToken,
}

async fn open(
    config: &Config,
    url: &str,
    masters: MasterKeys,
    admin: Admin,
) -> Result<Opened, StartError> {
    let migrations_url = config.migrate_database_url.as_ref().map(SecretString::expose_secret);
    orion_store::migrate(migrations_url.unwrap_or(url), url).await?;
    let pool = orion_store::connect(url, config.database_pool).await?;
    let queries =
        orion_store::connect_to_read(url, config.database_pool, config.query_timeout).await?;
    let keys = Keys::load(&pool, masters).await?;
    let passwords = Passwords::new(config.bcrypt_cost)?;
    let stop_tasks = CancellationToken::new();
    let log = Log::open(pool, keys, stop_tasks.clone()).await?;
    let bus = Bus::new(log);
    let is_new = first_start(&bus, &passwords, admin).await?;
    // Before the first request: what a reactor has not seen of it, it would never see.
    reactors::begin::<MarkPublished>(bus.log()).await?;
    reactors::begin::<EraseBelongings>(bus.log()).await?;
    reactors::begin::<SendVerification>(bus.log()).await?;
    reactors::begin::<Tell>(bus.log()).await?;
    Ok(Opened { queries, bus, passwords, is_new, stop_tasks })
}

/// What was made of the settings before the database was opened.
struct Parts {
    tokens: Tokens,
    seals: Seals,
    providers: Providers,
    mailer: Arc<dyn Mailer>,
    webhooks: Webhooks,
    nats: Option<NatsServers>,
    replica: Option<Replica>,
    figures: PrometheusHandle,
}

/// What the log is sealed with.
struct Seals {
    key: LogKey,
    old: Vec<LogPublicKey>,
}

impl Seals {
    /// The keys as others get them, the present one first.
    fn public(&self) -> Arc<[LogPublicKey]> {
        std::iter::once(self.key.public()).chain(self.old.iter().cloned()).collect()
    }
}

/// Serves requests until `stop`, then ends what is open.
async fn serve(
    config: &Config,
    opened: Opened,
    Parts { tokens, seals, providers, mailer, webhooks, nats, replica, figures }: Parts,
    listener: TcpListener,
    stop: CancellationToken,
) {
    let Opened { queries, bus, passwords, stop_tasks, .. } = opened;
    let mut tasks = JoinSet::new();
    let (progress, notified) =
        start_tasks(&mut tasks, config, &bus.patient(), (mailer, webhooks), &stop_tasks);

    let log_keys = seals.public();
    tasks.spawn(run_sealer(bus.log().clone(), seals.key, seals.old, stop_tasks.clone()));

    let relay = nats.map(|servers| {
        let (relay, status) = Relay::new(bus.log().clone(), servers);
        tasks.spawn(relay.run(stop_tasks.clone()));
        status
    });

    if let Some(replica) = &replica {
        let watch = replica.clone().watch(queries.clone(), progress.clone(), stop_tasks.clone());
        tasks.spawn(watch);
    }

    let limits = Arc::new(Limits::new(config.rate_limits == Switch::On));
    tasks.spawn(limits.clone().forget_full(stop_tasks.clone()));
    tasks.spawn(figures::keep_up(figures.clone(), stop_tasks.clone()));

    let tail = bus.log().tail().clone();
    let rights = Rights::new(tail.head());
    tasks.spawn(rights.clone().follow(tail.read_by("rights"), stop_tasks.clone()));
    let sockets = Sockets::new(config.rate_limits == Switch::On, config.socket_ping, stop.clone());

    let tokens = Arc::new(tokens);
    let reads = Reads::new(Kept::new(queries, "queries"), replica);
    let recognised = Arc::default();
    let app = App {
        bus,
        log_keys,
        passwords,
        tokens,
        limits,
        lines: Lines::new(config.database_pool),
        rights,
        recognised,
        progress,
        notified,
        reads,
    };
    let edge = Edge {
        proxies: Arc::new(config.trusted_proxies.clone()),
        origins: Arc::new(config.cors_origins.clone()),
        head_within: config.header_timeout,
        body_within: config.body_timeout,
        batching: config.batching == Switch::On,
        stop: stop.clone(),
    };
    let bounds = Bounds {
        head: config.header_timeout,
        connections: config.connections,
        per_address: config.connections_per_address,
        proxies: edge.proxies.clone(),
    };
    let oauth = Arc::new(OAuth::new(providers, &app.bus.keys().derived("oauth cookie")));
    let schema = schema(app.clone(), config.rules());
    let watches = Watches::new(schema.clone());
    let open = sockets.clone();
    let shared = Arc::new(Services { app, schema, oauth, edge, figures, sockets, watches, relay });
    let server = async {
        serve::serve(listener, router(shared), bounds, stop.clone()).await;
        open.closed().await;
    };
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_FOR).await;
    };
    tokio::select! {
        () = server => {}
        () = overdue => info!("requests were cut off after {} s", DRAIN_FOR.as_secs()),
    }
    stop_tasks.cancel();
    if tokio::time::timeout(STOP_FOR, async { while tasks.join_next().await.is_some() {} })
        .await
        .is_err()
    {
        warn!("tasks did not end in {} s", STOP_FOR.as_secs());
    }
}

/// Starts what works beside the requests. Gives the progress of the read model and that of the
/// notifications.
fn start_tasks(
    tasks: &mut JoinSet<()>,
    config: &Config,
    bus: &Bus,
    (mailer, webhooks): (Arc<dyn Mailer>, Webhooks),
    stop: &CancellationToken,
) -> (Progress, Progress) {
    let (projector, progress) = Projector::new(bus.log().clone());
    tasks.spawn(projector.run(stop.clone()));
    let (projector, notified) = Projector::of_notifications(bus.log().clone());
    tasks.spawn(projector.run(stop.clone()));
    tasks.spawn(reactors::run(bus.clone(), MarkPublished, stop.clone()));
    tasks.spawn(reactors::run(bus.clone(), EraseBelongings, stop.clone()));
    let deliveries = Deliveries::new(mailer.clone(), webhooks);
    tasks.spawn(reactors::run(bus.clone(), deliveries.reactor(), stop.clone()));
    tasks.spawn(deliveries.run(bus.clone(), stop.clone()));
    let send_verification = SendVerification::new(mailer, config.public_url.clone());
    tasks.spawn(reactors::run(bus.clone(), send_verification, stop.clone()));
    tasks.spawn(expire_trends(bus.clone(), config.trend_ttl, stop.clone()));
    tasks.spawn(remove_sessions(bus.clone(), SESSION_RESTS, stop.clone()));
    (progress, notified)
}

/// Tells the operator where everything is; the generated password is shown only here and once.
fn announce(
    config: &Config,
    address: SocketAddr,
    is_embedded: bool,
    new_admin: Option<(&String, bool)>,
) {
    println!("Orion is ready");
    println!("  GraphQL    http://{address}/graphql");
    println!("  explorer   http://{address}/graphiql");
    println!("  health     http://{address}/health/ready");
    if is_embedded {
        println!("  data       {}", config.data_dir.display());
    }
    if let Some((password, is_generated)) = new_admin {
        println!("  admin      {}", config.admin_email);
        if is_generated {
            println!("  password   {password}   (shown only this once)");
        }
    }
}
