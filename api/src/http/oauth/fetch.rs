//! Requests to providers, whose answers are not trusted: bounded in time, size and number.

use std::pin::Pin;
use std::time::Duration;

use oauth2::http::{Response, StatusCode};
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::redirect::Policy;
use tokio::sync::Semaphore;

/// How long a whole conversation with a provider may take.
const TALK_WITHIN: Duration = Duration::from_secs(10);

/// The longest answer, in bytes. A user with many addresses needs some thousand.
const ANSWER_MAX: usize = 65_536;

/// How many conversations there are at once.
const TALKS_MAX: usize = 32;

/// Speaks with providers.
pub(super) struct Fetch {
    client: reqwest::Client,
    talks: Semaphore,
}

/// Why a provider's word could not be had. None of it quotes the provider: its answers hold codes
/// and tokens, and whatever else somebody has put there.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// Too many are asking.
    #[error("too many conversations with providers")]
    Busy,
    /// The provider takes too long.
    #[error("the provider did not answer within {} s", TALK_WITHIN.as_secs())]
    Late,
    /// No request could be made, or no answer was had.
    #[error("the provider cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The answer does not end.
    #[error("the provider's answer is longer than {ANSWER_MAX} bytes")]
    TooLong,
    /// The answer is a refusal.
    #[error("the provider refuses with status {0}")]
    Refused(StatusCode),
    /// The provider refuses the code or this Orion.
    #[error("the provider refuses the code: {0}")]
    CodeRefused(&'static str),
    /// The answer is not what it should be.
    #[error("the provider's answer has another form")]
    Malformed,
}

impl Fetch {
    /// Needs the certificates of the system.
    pub fn new() -> Result<Self, reqwest::Error> {
        // It fails when somebody was faster, who has chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            // A provider must not send secrets, or this server, elsewhere.
            .redirect(Policy::none())
            .referer(false)
            .timeout(TALK_WITHIN)
            .user_agent("orion")
            .build()?;
        Ok(Self { client, talks: Semaphore::new(TALKS_MAX) })
    }

    /// Lets a conversation take place, if there is room, and ends it in time.
    pub async fn talk<T>(
        &self,
        talk: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        let _permit = self.talks.try_acquire().map_err(|_| FetchError::Busy)?;
        tokio::time::timeout(TALK_WITHIN, talk).await.unwrap_or(Err(FetchError::Late))
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let request = request.try_into().map_err(FetchError::unreachable)?;
        let mut answer = self.client.execute(request).await.map_err(FetchError::unreachable)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(FetchError::unreachable)? {
            if body.len() + chunk.len() > ANSWER_MAX {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = Response::new(body);
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }

    /// The JSON at an address, as the holder of a token sees it.
    pub async fn get<T: serde::de::DeserializeOwned>(
        &self,
        url: &str,
        token: &str,
    ) -> Result<T, FetchError> {
        let request = oauth2::http::Request::get(url)
            .header("accept", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .body(Vec::new())
            .map_err(|_| FetchError::Malformed)?;
        let answer = self.send(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Refused(answer.status()));
        }
        serde_json::from_slice(answer.body()).map_err(|_| FetchError::Malformed)
    }
}

impl<'c> AsyncHttpClient<'c> for Fetch {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl FetchError {
    fn unreachable(error: reqwest::Error) -> Self {
        Self::Unreachable(error.without_url())
    }
}
