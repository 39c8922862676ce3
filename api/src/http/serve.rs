//! Takes connections and serves them, each for a bounded time: who dawdles is hung up on.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::serve::Listener;
use futures::{StreamExt as _, stream};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::debug;

use super::TrustedProxies;
use crate::limits::network;

/// What a server bears.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How long a client may take for the head of a request. It begins with the answer before, so an
    /// idle connection is closed after as long.
    pub head: Duration,
    /// How many connections are open at the same time; more have to wait.
    pub connections: u32,
    /// How many of them one address may have; more are closed at once.
    pub per_address: usize,
    /// Whom that does not count for: many clients come through them.
    pub proxies: Arc<TrustedProxies>,
}

/// How many connections each address has.
#[derive(Clone, Debug, Default)]
struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of an address, until it is dropped.
#[derive(Debug)]
struct Counted {
    peers: Peers,
    network: IpAddr,
}

impl Peers {
    fn count(&self, network: IpAddr, max: usize) -> Option<Counted> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(network).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Counted { peers: self.clone(), network })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut peers = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.network);
            }
        }
    }
}

/// A connection that requests come on. It counts as open until the last clone is gone.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The other end: the client, or a proxy.
    pub peer: SocketAddr,
    _place: Arc<(OwnedSemaphorePermit, Option<Counted>)>,
}

/// Serves until `stop`, then until the last open request is answered.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    bounds: Bounds,
    stop: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head);
    let places = usize::try_from(bounds.connections).unwrap_or(usize::MAX);
    let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
    let open = TaskTracker::new();
    let peers = Peers::default();
    let mut accept = async || {
        // The semaphore is never closed.
        let place = places.clone().acquire_owned().await.ok()?;
        loop {
            let (stream, peer) = Listener::accept(&mut listener).await;
            if bounds.proxies.contain(peer.ip().to_canonical()) {
                return Some((stream, Connection { peer, _place: Arc::new((place, None)) }));
            }
            let counted = peers.count(network(peer.ip()), bounds.per_address);
            if counted.is_some() {
                return Some((stream, Connection { peer, _place: Arc::new((place, counted)) }));
            }
            debug!(%peer, "an address has too many connections");
        }
    };
    while let Some(Some((stream, connection))) = stop.run_until_cancelled(accept()).await {
        open.spawn(answer(http.clone(), stream, connection, router.clone(), stop.clone()));
    }
    drop(listener);
    open.close();
    open.wait().await;
}

/// Answers the requests of one connection.
async fn answer(
    http: http1::Builder,
    stream: TcpStream,
    connection: Connection,
    router: Router,
    stop: CancellationToken,
) {
    let peer = connection.peer;
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        router.clone().oneshot(request)
    });
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a connection was closed");
    }
}

/// A request whose body fails unless it has come within this time.
pub fn with_deadline(request: Request, within: Duration) -> Request {
    let deadline = Instant::now() + within;
    request.map(|body| {
        Body::from_stream(stream::try_unfold(
            body.into_data_stream(),
            move |mut chunks| async move {
                match timeout_at(deadline, chunks.next()).await {
                    Ok(Some(chunk)) => Ok(Some((chunk?, chunks))),
                    Ok(None) => Ok(None),
                    Err(late) => Err(axum::Error::new(late)),
                }
            },
        ))
    })
}
