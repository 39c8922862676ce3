//! `ORION_NATS_URL`: where NATS is, and how to sign in there.

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

/// What is said of every address that cannot be used; never the address, for a password may be in it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not a NATS address, such as nats://user:password@host:4222 or tls://token@host, or several separated by commas"
)]
pub struct NatsUrlError;

/// The servers of one NATS.
#[derive(Clone, Debug)]
pub struct NatsServers {
    /// Without what is secret: the client logs them.
    addresses: Vec<ServerAddr>,
    login: Option<Login>,
}

#[derive(Clone, Debug)]
enum Login {
    User { name: String, password: SecretString },
    Token(SecretString),
}

impl NatsServers {
    /// Reads addresses that are separated by commas. The first that has a login has it for all.
    pub fn parse(text: &str) -> Result<Self, NatsUrlError> {
        let (mut addresses, mut login) = (Vec::new(), None);
        for part in text.split(',') {
            let mut url = parse_one(part.trim())?;
            let own = Login::of(&url)?;
            login = login.or(own);
            url.set_username("")
                .and_then(|()| url.set_password(None))
                .map_err(|()| NatsUrlError)?;
            addresses.push(ServerAddr::from_url(url).map_err(|_| NatsUrlError)?);
        }
        Ok(Self { addresses, login })
    }

    /// The addresses, one at least.
    pub fn addresses(&self) -> &[ServerAddr] {
        &self.addresses
    }

    /// What a client is told at first: how to sign in.
    pub fn options(&self) -> ConnectOptions {
        match &self.login {
            None => ConnectOptions::new(),
            Some(Login::User { name, password }) => ConnectOptions::with_user_and_password(
                name.clone(),
                password.expose_secret().to_owned(),
            ),
            Some(Login::Token(token)) => {
                ConnectOptions::with_token(token.expose_secret().to_owned())
            }
        }
    }
}

fn parse_one(text: &str) -> Result<Url, NatsUrlError> {
    let url =
        if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("nats://{text}")) };
    let url = url.map_err(|_| NatsUrlError)?;
    let is_plain = matches!(url.scheme(), "nats" | "tls")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none();
    is_plain.then_some(url).ok_or(NatsUrlError)
}

impl Login {
    /// A name with a password is a user; a name alone is a token.
    fn of(url: &Url) -> Result<Option<Self>, NatsUrlError> {
        let decoded = |text| {
            let text = percent_decode_str(text).decode_utf8().map_err(|_| NatsUrlError)?;
            Ok(text.into_owned())
        };
        Ok(match (decoded(url.username())?, url.password()) {
            (name, None) if name.is_empty() => None,
            (token, None) => Some(Self::Token(token.into())),
            (name, Some(password)) => {
                Some(Self::User { name, password: decoded(password)?.into() })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(servers: &NatsServers) -> Vec<&str> {
        servers.addresses().iter().map(ServerAddr::as_url_str).collect()
    }

    #[test]
    fn addresses_lose_their_login() {
        let servers = NatsServers::parse("nats://ann:p%40ss@one:4222, tls://two").unwrap();
        assert_eq!(shown(&servers), ["nats://one:4222", "tls://two"]);
        let Some(Login::User { name, password }) = &servers.login else { panic!("{servers:?}") };
        assert_eq!((name.as_str(), password.expose_secret()), ("ann", "p@ss"));
        assert!(!format!("{servers:?}").contains("p@ss"));

        let servers = NatsServers::parse("s3cret@localhost").unwrap();
        assert_eq!(shown(&servers), ["nats://localhost"]);
        let Some(Login::Token(token)) = &servers.login else { panic!("{servers:?}") };
        assert_eq!(token.expose_secret(), "s3cret");

        assert!(NatsServers::parse("[::1]:4222").unwrap().login.is_none());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "nats://",
            "http://host",
            "ws://host",
            "nats://host/path",
            "nats://host?x=1",
            "nats://host:port",
            "nats://one,,nats://two",
            "nats://%ff@host",
        ] {
            assert_eq!(NatsServers::parse(bad).err(), Some(NatsUrlError), "{bad}");
        }
    }
}
