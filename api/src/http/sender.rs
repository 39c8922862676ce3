//! Where a request comes from: the client's address, whichever proxies it came through, and the
//! request's id, which its answer repeats.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ipnet::IpNet;
use uuid::Uuid;

use super::serve::Connection;

/// Says which request an answer belongs to.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses and networks, separated by commas.
    pub fn parse(text: &str) -> Result<Self, String> {
        let networks = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let parse = |item: &str| {
            let address =
                || item.parse().map(|address: IpAddr| IpNet::from(address.to_canonical()));
            item.parse().or_else(|_| address()).map_err(|_| {
                format!("{item:?} is neither an address nor a network such as 10.0.0.0/8")
            })
        };
        networks.map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// True of an address that is one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client: the peer itself or, behind proxies that are trusted, the last address that the
    /// outermost of them has seen. What stands further left anybody can have written.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        // A line that is not text is read as one that names nobody.
        let mut seen = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        while self.contain(client) {
            match seen.next().and_then(forwarded) {
                Some(address) => client = address,
                None => break,
            }
        }
        client
    }
}

/// An item of `X-Forwarded-For`; some proxies write the port as well.
fn forwarded(item: &str) -> Option<IpAddr> {
    let item = item.trim();
    let address = item.parse().or_else(|_| item.parse().map(|address: SocketAddr| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

/// What is known of who sent a request, before anybody has looked at a token.
#[derive(Clone)]
pub struct Sender {
    /// The client's address.
    pub address: IpAddr,
    /// Ties together what belongs to the request.
    pub request_id: String,
    /// The request's headers.
    pub headers: HeaderMap,
    /// Held for as long as somebody works for the sender, on a WebSocket too.
    _connection: Connection,
}

impl Sender {
    /// A header, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl<S: Sync> FromRequestParts<S> for Sender {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        // Every route lies behind `identify`.
        parts.extensions.get().cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Finds out who sends a request, and puts its id into the answer.
pub async fn identify(
    State(proxies): State<Arc<TrustedProxies>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(connection) = request.extensions().get::<Connection>().cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = request.headers().clone();
    let address = proxies.client(connection.peer.ip(), &headers);
    let request_id = request_id(&headers);
    let header = HeaderValue::from_str(&request_id);
    request.extensions_mut().insert(Sender {
        address,
        request_id,
        headers,
        _connection: connection,
    });
    let mut response = next.run(request).await;
    if let Ok(value) = header {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}

/// The client's own id if it is harmless, else a fresh one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(X_REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()))
        .filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: &str, peer: &str, forwarded_for: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded_for {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let proxies = TrustedProxies::parse(proxies).unwrap();
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn nobody_is_believed_unless_it_is_said() {
        assert_eq!(client("", "192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client("10.0.0.0/8", "192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_not_a_proxy() {
        let proxies = "10.0.0.0/8, 2001:db8::/32,192.0.2.9";
        for (forwarded_for, expected) in [
            (&["198.51.100.7"][..], "198.51.100.7"),
            (&["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
            (&["1.1.1.1, 198.51.100.7, 10.9.9.9"], "198.51.100.7"),
            (&["1.1.1.1", "198.51.100.7", "192.0.2.9"], "198.51.100.7"),
            (&["198.51.100.7:4711"], "198.51.100.7"),
            (&["[2001:dead::1]:4711"], "2001:dead::1"),
            (&["::ffff:198.51.100.7"], "198.51.100.7"),
            // All are proxies: it began at the first.
            (&["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            // Who writes nonsense, or nothing, is the last that is known.
            (&["198.51.100.7, unknown, 10.2.2.2"], "10.2.2.2"),
            (&[""], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(client(proxies, "10.0.0.1", forwarded_for), expected, "{forwarded_for:?}");
        }
        assert_eq!(client(proxies, "::ffff:10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("::ffff:10.0.0.1", "10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn proxies_are_addresses_and_networks() {
        assert!(TrustedProxies::parse(" ").unwrap().0.is_empty());
        assert_eq!(TrustedProxies::parse("10.0.0.1, fd00::/8,").unwrap().0.len(), 2);
        for bad in ["10.0.0.0/33", "proxy.example.org", "10.0.0.1 10.0.0.2", "10.0.0.1:80"] {
            assert!(TrustedProxies::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_id_is_short_and_printable() {
        let id = |value: &'static str| {
            request_id(&HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_static(value))]))
        };
        assert_eq!(id("abc-1"), "abc-1");
        for bad in ["", "a b"] {
            assert_eq!(id(bad).len(), 36, "{bad:?}");
        }
    }
}
