//! The cookie that binds a dance with a provider to the browser that has begun it.
//!
//! It is sealed, and its seal covers provider and state: it opens only for the provider and the
//! state that it was made with, and the comparison takes as long for any wrong one.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use chrono::{DateTime, TimeDelta, Utc};
use orion_domain::values::{OAuthProvider, SessionId, UserId};
use rand::RngCore as _;
use reqwest::Url;
use serde::{Deserialize, Serialize};

/// How long a person may take at the provider.
const GOOD_FOR: TimeDelta = TimeDelta::minutes(10);

/// The length of a nonce of XChaCha20-Poly1305, in bytes.
const NONCE_BYTES: usize = 24;

/// The longest value that can be one of ours, in bytes.
const VALUE_MAX: usize = 1024;

/// What is remembered from the start of a dance to its end, by the browser and by nobody else.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Dance {
    /// Proves to the provider that the code is shown by the one who has asked for it.
    pub verifier: String,
    /// Who wants to link an identity, and in which session; `None` signs in.
    pub link: Option<(UserId, SessionId)>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    dance: Dance,
    /// From when on it is refused, in seconds since 1970.
    until: i64,
}

/// Makes and opens the cookies.
pub(super) struct Cookies {
    cipher: XChaCha20Poly1305,
    name: &'static str,
    /// What follows the value.
    attributes: String,
}

impl Cookies {
    /// For browsers that reach the server at this address.
    pub fn new(key: &[u8; 32], public_url: &Url) -> Self {
        let cipher = XChaCha20Poly1305::new(key.into());
        // Lax, for the way back from the provider is a navigation from another site.
        let (name, attributes) = if public_url.scheme() == "https" {
            // No other host and no page without TLS can set a cookie of such a name; its price is
            // that it is good for all paths.
            ("__Host-orion-oauth", "; Path=/; Secure; HttpOnly; SameSite=Lax".to_owned())
        } else {
            let path = public_url.path().trim_end_matches('/');
            ("orion-oauth", format!("; Path={path}/auth; HttpOnly; SameSite=Lax"))
        };
        Self { cipher, name, attributes }
    }

    /// `Set-Cookie` that keeps a dance.
    pub fn keep(
        &self,
        dance: Dance,
        provider: OAuthProvider,
        state: &str,
        now: DateTime<Utc>,
    ) -> HeaderValue {
        let value =
            self.seal(&Sealed { dance, until: (now + GOOD_FOR).timestamp() }, provider, state);
        self.header(&value, GOOD_FOR.num_seconds())
    }

    /// `Set-Cookie` that removes the cookie: each is good for one try.
    pub fn remove(&self) -> HeaderValue {
        self.header("", 0)
    }

    /// The dance that this browser has begun with this provider and this state.
    pub fn open(
        &self,
        headers: &HeaderMap,
        provider: OAuthProvider,
        state: &str,
        now: DateTime<Utc>,
    ) -> Option<Dance> {
        let sealed = self.unseal(self.value(headers)?, provider, state)?;
        (now.timestamp() < sealed.until).then_some(sealed.dance)
    }

    /// The value in the request. Of two cookies one was planted, and nobody knows which.
    fn value<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
        let mut ours = pairs.filter(|(name, _)| name.trim() == self.name).map(|(_, value)| value);
        let value = ours.next()?.trim();
        (ours.next().is_none() && value.len() <= VALUE_MAX).then_some(value)
    }

    fn seal(&self, sealed: &Sealed, provider: OAuthProvider, state: &str) -> String {
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let aad = place(provider, state);
        #[expect(clippy::expect_used, reason = "texts and numbers are always JSON")]
        let msg = serde_json::to_vec(sealed).expect("a dance can be written");
        let payload = Payload { msg: &msg, aad: aad.as_bytes() };
        #[expect(clippy::expect_used, reason = "the cipher fails only beyond 256 GiB")]
        let ciphertext =
            self.cipher.encrypt(XNonce::from_slice(&nonce), payload).expect("a dance is small");
        URL_SAFE_NO_PAD.encode([nonce.as_slice(), &ciphertext].concat())
    }

    fn unseal(&self, value: &str, provider: OAuthProvider, state: &str) -> Option<Sealed> {
        let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
        let (nonce, msg) = bytes.split_at_checked(NONCE_BYTES)?;
        let aad = place(provider, state);
        let payload = Payload { msg, aad: aad.as_bytes() };
        let clear = self.cipher.decrypt(XNonce::from_slice(nonce), payload).ok()?;
        serde_json::from_slice(&clear).ok()
    }

    fn header(&self, value: &str, seconds: i64) -> HeaderValue {
        let text = format!("{}={value}; Max-Age={seconds}{}", self.name, self.attributes);
        #[expect(clippy::expect_used, reason = "names, base64 and the path of a URL are ASCII")]
        HeaderValue::from_str(&text).expect("a cookie is a header's value")
    }
}

/// What the seal covers beside the content.
fn place(provider: OAuthProvider, state: &str) -> String {
    format!("{provider} {state}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const KEY: [u8; 32] = [7; 32];
    const GITHUB: OAuthProvider = OAuthProvider::GitHub;

    fn cookies() -> Cookies {
        Cookies::new(&KEY, &Url::parse("http://127.0.0.1:8000").unwrap())
    }

    fn dance() -> Dance {
        let link = Some((UserId(Uuid::from_u128(1)), SessionId(Uuid::from_u128(2))));
        Dance { verifier: "a verifier".to_owned(), link }
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    /// What a browser sends after it was told to keep this.
    fn sent(set_cookie: &HeaderValue) -> HeaderMap {
        let pair = set_cookie.to_str().unwrap().split(';').next().unwrap();
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(pair).unwrap())])
    }

    fn kept() -> HeaderMap {
        sent(&cookies().keep(dance(), GITHUB, "state", now()))
    }

    #[test]
    fn it_opens_with_its_state_and_provider_and_key_only() {
        let (cookies, kept) = (cookies(), kept());
        assert!(cookies.open(&kept, GITHUB, "state", now()) == Some(dance()));
        assert!(cookies.open(&kept, GITHUB, "another", now()).is_none());
        assert!(cookies.open(&kept, GITHUB, "", now()).is_none());
        assert!(cookies.open(&kept, OAuthProvider::Google, "state", now()).is_none());
        let other = Cookies::new(&[8; 32], &Url::parse("http://127.0.0.1:8000").unwrap());
        assert!(other.open(&kept, GITHUB, "state", now()).is_none());
        assert!(cookies.open(&HeaderMap::new(), GITHUB, "state", now()).is_none());
    }

    #[test]
    fn it_is_good_for_ten_minutes() {
        let (cookies, kept) = (cookies(), kept());
        let after = |seconds| now() + TimeDelta::seconds(seconds);
        assert!(cookies.open(&kept, GITHUB, "state", after(599)).is_some());
        assert!(cookies.open(&kept, GITHUB, "state", after(600)).is_none());
    }

    #[test]
    fn not_a_bit_of_it_can_be_changed() {
        let cookies = cookies();
        let kept = kept();
        let (_, value) = kept[COOKIE].to_str().unwrap().split_once('=').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(value).unwrap();
        let opens = |bytes: &[u8]| {
            let pair = format!("orion-oauth={}", URL_SAFE_NO_PAD.encode(bytes));
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&pair).unwrap())]);
            cookies.open(&headers, GITHUB, "state", now()).is_some()
        };
        assert!(opens(&bytes));
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert!(!opens(&changed), "byte {index}");
            assert!(!opens(&bytes[..index]), "the first {index} bytes");
        }
    }

    #[test]
    fn nothing_can_be_read_in_it() {
        let kept = kept();
        let (_, value) = kept[COOKIE].to_str().unwrap().split_once('=').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(value).unwrap();
        assert!(!bytes.windows(8).any(|part| part == b"verifier"));
    }

    #[test]
    fn of_two_cookies_none_counts() {
        let mut headers = kept();
        let mine = headers[COOKIE].to_str().unwrap().to_owned();
        let beside = |other: &str| {
            let both = HeaderValue::from_str(&format!("{other}; {mine}")).unwrap();
            let headers = HeaderMap::from_iter([(COOKIE, both)]);
            cookies().open(&headers, GITHUB, "state", now()).is_some()
        };
        assert!(beside("theme=dark"));
        assert!(!beside("orion-oauth=planted"));
        headers.append(COOKIE, HeaderValue::from_static("orion-oauth=planted"));
        assert!(cookies().open(&headers, GITHUB, "state", now()).is_none());
    }

    #[test]
    fn its_attributes_fit_the_address() {
        let attributes = |url: &str| {
            let cookies = Cookies::new(&KEY, &Url::parse(url).unwrap());
            let kept = cookies.keep(dance(), GITHUB, "state", now());
            let removed = cookies.remove().to_str().unwrap().to_owned();
            let (name, rest) = kept.to_str().unwrap().split_once('=').unwrap();
            let attributes = rest.split_once("; ").unwrap().1;
            let expected = format!("{name}=; {}", attributes.replace("Max-Age=600", "Max-Age=0"));
            assert_eq!(removed, expected);
            format!("{name} {attributes}")
        };
        assert_eq!(
            attributes("https://orion.example/below"),
            "__Host-orion-oauth Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            attributes("http://127.0.0.1:8000"),
            "orion-oauth Max-Age=600; Path=/auth; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            attributes("http://localhost/below/"),
            "orion-oauth Max-Age=600; Path=/below/auth; HttpOnly; SameSite=Lax"
        );
    }
}
