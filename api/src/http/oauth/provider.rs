//! One provider: where it is, how a person is sent there, and who comes back.

use chrono::TimeDelta;
use oauth2::basic::{BasicClient, BasicErrorResponseType as Refused, BasicTokenType};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    TokenResponse as _, TokenUrl,
};
use orion_commands::Identity;
use orion_domain::values::OAuthProvider;
use reqwest::Url;

use super::fetch::{Fetch, FetchError};
use super::identity::{GitHubEmail, GitHubUser, GoogleUser, Person};
use super::settings::{Registration, below};

/// How many random bytes a state has.
const STATE_BYTES: u32 = 32;

/// The longest life of an access token that is believed.
const EXPIRES_MAX: TimeDelta = TimeDelta::days(3650);

type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// A provider that knows this Orion.
pub(super) struct Provider {
    /// Which.
    pub kind: OAuthProvider,
    client: Client,
    scopes: &'static [&'static str],
    user: String,
    /// Where the addresses are, if not with the user.
    emails: Option<String>,
}

/// A person's way to a provider.
pub(super) struct Departure {
    /// Where the browser goes.
    pub url: Url,
    /// What comes back with the browser.
    pub state: String,
    /// What stays here, sealed, until it does.
    pub verifier: String,
}

/// The addresses of a provider.
struct Endpoints {
    authorize: String,
    token: String,
    user: String,
    emails: Option<String>,
    scopes: &'static [&'static str],
}

impl Endpoints {
    fn of(kind: OAuthProvider, base: Option<&Url>) -> Self {
        // The hosts that everybody knows, or one base for all; GitHub's paths below a base are those
        // of its Enterprise Server.
        let at = |host: &str, path: &str| match base {
            Some(base) => below(base, path),
            None => format!("{host}{path}"),
        };
        match kind {
            OAuthProvider::GitHub => {
                let api = if base.is_some() { "/api/v3" } else { "" };
                let user = at("https://api.github.com", &format!("{api}/user"));
                Self {
                    authorize: at("https://github.com", "/login/oauth/authorize"),
                    token: at("https://github.com", "/login/oauth/access_token"),
                    emails: Some(format!("{user}/emails?per_page=100")),
                    user,
                    scopes: &["user:email"],
                }
            }
            OAuthProvider::Google => Self {
                authorize: at("https://accounts.google.com", "/o/oauth2/v2/auth"),
                token: at("https://oauth2.googleapis.com", "/token"),
                user: at("https://openidconnect.googleapis.com", "/v1/userinfo"),
                emails: None,
                scopes: &["openid", "email", "profile"],
            },
        }
    }
}

impl Provider {
    /// A provider that was registered with; it sends people back to `public_url`.
    pub fn new(
        kind: OAuthProvider,
        registration: Registration,
        public_url: &Url,
    ) -> Result<Self, oauth2::url::ParseError> {
        let endpoints = Endpoints::of(kind, registration.base.as_ref());
        let redirect = below(public_url, &format!("/auth/{kind}/callback"));
        let client = BasicClient::new(ClientId::new(registration.client_id))
            .set_client_secret(ClientSecret::new(registration.client_secret))
            .set_auth_type(AuthType::RequestBody)
            .set_auth_uri(AuthUrl::new(endpoints.authorize)?)
            .set_token_uri(TokenUrl::new(endpoints.token)?)
            .set_redirect_uri(RedirectUrl::new(redirect)?);
        let Endpoints { user, emails, scopes, .. } = endpoints;
        Ok(Self { kind, client, scopes, user, emails })
    }

    /// Sends a person away, with a fresh state and a fresh verifier.
    pub fn depart(&self) -> Departure {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let state = CsrfToken::new_random_len(STATE_BYTES);
        let (url, state) = self
            .client
            .authorize_url(|| state)
            .add_scopes(self.scopes.iter().map(|scope| Scope::new((*scope).to_owned())))
            .set_pkce_challenge(challenge)
            .url();
        Departure { url, state: state.into_secret(), verifier: verifier.into_secret() }
    }

    /// Trades the code for a token, and asks with the token who it is.
    pub async fn identify(
        &self,
        fetch: &Fetch,
        code: String,
        verifier: String,
    ) -> Result<Identity, FetchError> {
        let token = self
            .client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier))
            .request_async(fetch)
            .await
            .map_err(without_words)?;
        if *token.token_type() != BasicTokenType::Bearer {
            return Err(FetchError::Malformed);
        }
        let access_token = token.access_token().secret().clone();
        let person = match (self.kind, &self.emails) {
            (OAuthProvider::GitHub, emails) => {
                let user: GitHubUser = fetch.get(&self.user, &access_token).await?;
                let emails: Vec<GitHubEmail> = match emails {
                    Some(emails) => fetch.get(emails, &access_token).await?,
                    None => Vec::new(),
                };
                Person::at_github(&user, emails)?
            }
            (OAuthProvider::Google, _) => {
                let user: GoogleUser = fetch.get(&self.user, &access_token).await?;
                Person::at_google(user)?
            }
        };
        let expires_in = token.expires_in().and_then(|life| TimeDelta::from_std(life).ok());
        let expires_in = expires_in.filter(|life| *life <= EXPIRES_MAX);
        Ok(Identity {
            provider: self.kind,
            provider_user_id: person.id,
            email: person.email,
            email_verified: person.email_verified,
            name: person.name,
            access_token,
            refresh_token: token.refresh_token().map(|token| token.secret().clone()),
            token_expires_at: expires_in.map(|life| orion_store::now() + life),
        })
    }
}

/// A failed exchange without the provider's words: only the codes of the standard are told.
fn without_words(
    error: RequestTokenError<FetchError, oauth2::basic::BasicErrorResponse>,
) -> FetchError {
    match error {
        RequestTokenError::ServerResponse(answer) => {
            FetchError::CodeRefused(match answer.error() {
                Refused::InvalidClient => "invalid_client",
                Refused::InvalidGrant => "invalid_grant",
                Refused::InvalidRequest => "invalid_request",
                Refused::InvalidScope => "invalid_scope",
                Refused::UnauthorizedClient => "unauthorized_client",
                Refused::UnsupportedGrantType => "unsupported_grant_type",
                Refused::Extension(_) => "another reason",
            })
        }
        RequestTokenError::Request(error) => error,
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => FetchError::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn provider(kind: OAuthProvider, base: Option<&str>) -> Provider {
        let registration = Registration {
            client_id: "orion".to_owned(),
            client_secret: "hidden".to_owned(),
            base: base.map(|base| Url::parse(base).unwrap()),
        };
        let public_url = Url::parse("https://orion.example").unwrap();
        Provider::new(kind, registration, &public_url).unwrap()
    }

    #[test]
    fn people_are_sent_to_where_everybody_knows_the_provider() {
        for (kind, expected) in [
            (OAuthProvider::GitHub, "https://github.com/login/oauth/authorize"),
            (OAuthProvider::Google, "https://accounts.google.com/o/oauth2/v2/auth"),
        ] {
            let url = provider(kind, None).depart().url;
            assert!(url.as_str().starts_with(&format!("{expected}?")), "{url}");
        }
        let endpoints = Endpoints::of(OAuthProvider::GitHub, None);
        assert_eq!(endpoints.user, "https://api.github.com/user");
        assert_eq!(endpoints.emails.unwrap(), "https://api.github.com/user/emails?per_page=100");
    }

    #[test]
    fn an_enterprise_server_has_its_own_paths() {
        let base = Url::parse("https://github.example/").unwrap();
        let endpoints = Endpoints::of(OAuthProvider::GitHub, Some(&base));
        assert_eq!(endpoints.user, "https://github.example/api/v3/user");
        assert_eq!(endpoints.token, "https://github.example/login/oauth/access_token");
    }

    #[test]
    fn what_the_browser_carries_is_fresh_and_has_no_secret() {
        let provider = provider(OAuthProvider::GitHub, Some("https://github.example"));
        let (first, second) = (provider.depart(), provider.depart());
        assert!(first.state != second.state && first.verifier != second.verifier);
        assert!(first.state.len() >= 43 && first.verifier.len() >= 43);
        let query: BTreeMap<_, _> = first.url.query_pairs().into_owned().collect();
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["state"], first.state);
        assert_eq!(query["redirect_uri"], "https://orion.example/auth/github/callback");
        assert!(!first.url.as_str().contains("hidden"));
        assert!(!first.url.as_str().contains(&first.verifier));
    }
}
