//! The settings of sign-in at other providers.

use orion_domain::values::OAuthProvider;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::ConfigError;

/// Which providers are there: each needs an id and a secret, which it gives to those who register.
#[derive(Clone, Debug, clap::Args)]
pub struct OAuthSettings {
    /// What GitHub calls this Orion; unset: no sign-in with GitHub.
    #[arg(long, env = "ORION_GITHUB_CLIENT_ID")]
    pub github_client_id: Option<String>,

    /// The secret to that id.
    #[arg(long, env = "ORION_GITHUB_CLIENT_SECRET", hide_env_values = true)]
    pub github_client_secret: Option<SecretString>,

    /// What Google calls this Orion; unset: no sign-in with Google.
    #[arg(long, env = "ORION_GOOGLE_CLIENT_ID")]
    pub google_client_id: Option<String>,

    /// The secret to that id.
    #[arg(long, env = "ORION_GOOGLE_CLIENT_SECRET", hide_env_values = true)]
    pub google_client_secret: Option<SecretString>,

    /// Where another GitHub is, such as an Enterprise Server; unset: github.com.
    #[arg(long, env = "ORION_OAUTH_GITHUB_URL")]
    pub oauth_github_url: Option<String>,

    /// Where something is that speaks as Google does; unset: Google.
    #[arg(long, env = "ORION_OAUTH_GOOGLE_URL")]
    pub oauth_google_url: Option<String>,
}

/// What is known of one provider from the settings.
pub(super) struct Registration {
    /// What the provider calls this Orion.
    pub client_id: String,
    /// What proves to the provider that it is this Orion.
    pub client_secret: String,
    /// Where the provider is, if not where everybody knows it.
    pub base: Option<Url>,
}

impl OAuthSettings {
    /// What is set for a provider; `None` when nothing is.
    pub(super) fn registration(
        &self,
        provider: OAuthProvider,
    ) -> Result<Option<Registration>, ConfigError> {
        fn shown(secret: Option<&SecretString>) -> Option<&str> {
            secret.map(SecretString::expose_secret)
        }
        let [(id_variable, id), (secret_variable, secret), (url_variable, url)] = match provider {
            OAuthProvider::GitHub => [
                ("ORION_GITHUB_CLIENT_ID", self.github_client_id.as_deref()),
                ("ORION_GITHUB_CLIENT_SECRET", shown(self.github_client_secret.as_ref())),
                ("ORION_OAUTH_GITHUB_URL", self.oauth_github_url.as_deref()),
            ],
            OAuthProvider::Google => [
                ("ORION_GOOGLE_CLIENT_ID", self.google_client_id.as_deref()),
                ("ORION_GOOGLE_CLIENT_SECRET", shown(self.google_client_secret.as_ref())),
                ("ORION_OAUTH_GOOGLE_URL", self.oauth_google_url.as_deref()),
            ],
        };
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let base = given(url).map(|url| base_url(url_variable, &url)).transpose()?;
        let missing = |variable, other| ConfigError::Value {
            variable,
            problem: format!("it is missing, and {other} is set"),
        };
        match (given(id), given(secret)) {
            (None, None) => Ok(None),
            (Some(client_id), Some(client_secret)) => {
                Ok(Some(Registration { client_id, client_secret, base }))
            }
            (Some(_), None) => Err(missing(secret_variable, id_variable)),
            (None, Some(_)) => Err(missing(id_variable, secret_variable)),
        }
    }
}

/// An address below which the endpoints are. Secrets go there: it is https, or this machine.
fn base_url(variable: &'static str, text: &str) -> Result<Url, ConfigError> {
    let refused = |problem: &str| ConfigError::Value { variable, problem: problem.to_owned() };
    let url = web_address(text).ok_or_else(|| refused("it is not a plain web address"))?;
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() == "https" || is_here {
        Ok(url)
    } else {
        Err(refused("it must be https, for secrets are sent there"))
    }
}

/// An address by http or https that has a host and perhaps a path, and nothing else.
pub(crate) fn web_address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = url.has_host()
        && matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    is_plain.then_some(url)
}

/// The address of a path below another.
pub(crate) fn below(base: &Url, path: &str) -> String {
    format!("{}{path}", base.as_str().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(id: Option<&str>, secret: Option<&str>, url: Option<&str>) -> OAuthSettings {
        OAuthSettings {
            github_client_id: id.map(str::to_owned),
            github_client_secret: secret.map(SecretString::from),
            google_client_id: None,
            google_client_secret: None,
            oauth_github_url: url.map(str::to_owned),
            oauth_google_url: None,
        }
    }

    fn refused(settings: &OAuthSettings) -> String {
        match settings.registration(OAuthProvider::GitHub) {
            Ok(_) => panic!("{settings:?} is good"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_provider_is_there_with_both_halves_or_not_at_all() {
        let there = |id, secret| {
            let found = settings(id, secret, None).registration(OAuthProvider::GitHub);
            found.map(|found| found.is_some()).map_err(|error| error.to_string())
        };
        assert_eq!(there(None, None), Ok(false));
        assert_eq!(there(Some(""), Some("")), Ok(false));
        assert_eq!(there(Some("id"), Some("secret")), Ok(true));
        let error = there(Some("id"), None).unwrap_err();
        assert!(error.starts_with("ORION_GITHUB_CLIENT_SECRET: "), "{error}");
        let error = there(Some(""), Some("secret")).unwrap_err();
        assert!(error.starts_with("ORION_GITHUB_CLIENT_ID: "), "{error}");
        assert!(!error.contains("secret\""), "{error}");
    }

    #[test]
    fn secrets_are_sent_over_tls_or_not_off_this_machine() {
        for good in ["https://github.example", "http://127.0.0.1:1234", "http://localhost/path/"] {
            let found = settings(Some("id"), Some("secret"), Some(good));
            assert!(found.registration(OAuthProvider::GitHub).is_ok(), "{good}");
        }
        for bad in [
            "http://github.example",
            "http://127.0.0.1.example.org",
            "ftp://github.example",
            "https://user@github.example",
            "https://github.example?query",
            "https://github.example#fragment",
            "github.example",
            "https://",
        ] {
            let error = refused(&settings(Some("id"), Some("secret"), Some(bad)));
            assert!(error.starts_with("ORION_OAUTH_GITHUB_URL: "), "{bad}: {error}");
        }
    }

    #[test]
    fn paths_are_joined_by_one_slash() {
        for base in ["https://a.example/b", "https://a.example/b/"] {
            assert_eq!(below(&web_address(base).unwrap(), "/c"), "https://a.example/b/c");
        }
    }
}
