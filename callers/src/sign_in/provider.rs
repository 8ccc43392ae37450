//! The provider, as its discovery document describes it.

use std::time::{Duration, Instant};

use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::sync::Mutex;

use super::SignInError;
use crate::token::{KeySource, Source, secret_url};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1_024;
/// How often the discovery document is read again.
const DISCOVER_AGAIN: Duration = Duration::from_hours(1);

/// What is used of the discovery document.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
}

/// Where to send whom.
pub(super) struct Endpoints {
    pub(super) authorization: Url,
    pub(super) token: Url,
    pub(super) userinfo: Option<Url>,
    pub(super) keys: Source,
}

pub(super) struct Provider {
    issuer: Url,
    pub(super) client: reqwest::Client,
    known: Mutex<Option<(Instant, Arc<Endpoints>)>>,
}

impl Provider {
    pub(super) fn new(issuer: Url) -> Result<Self, SignInError> {
        let client = reqwest::Client::builder()
            .timeout(ANSWER_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| SignInError::Provider(error.to_string()))?;
        Ok(Self { issuer, client, known: Mutex::new(None) })
    }

    /// What the provider says of itself, asked for once in a while.
    pub(super) async fn endpoints(&self) -> Result<Arc<Endpoints>, SignInError> {
        let mut known = self.known.lock().await;
        if let Some((at, endpoints)) = &*known
            && at.elapsed() < DISCOVER_AGAIN
        {
            return Ok(Arc::clone(endpoints));
        }
        let issuer = self.issuer.as_str().trim_end_matches('/');
        let asked = self.client.get(format!("{issuer}/.well-known/openid-configuration"));
        let document: Document = read(asked).await?;
        // Else anybody's document could stand in for it.
        if document.issuer.trim_end_matches('/') != issuer {
            return Err(SignInError::Provider(format!("it calls itself {:?}, not {issuer:?}", document.issuer)));
        }
        let url = |text: &str| {
            secret_url(text).map_err(|error| SignInError::Provider(format!("its endpoint {text:?} {error}")))
        };
        let endpoints = Arc::new(Endpoints {
            authorization: url(&document.authorization_endpoint)?,
            token: url(&document.token_endpoint)?,
            userinfo: document.userinfo_endpoint.as_deref().map(url).transpose()?,
            keys: Source::new(KeySource::Url(url(&document.jwks_uri)?)),
        });
        *known = Some((Instant::now(), Arc::clone(&endpoints)));
        Ok(endpoints)
    }
}

/// Sends a question and reads its answer, which is JSON of a bounded size.
pub(super) async fn read<T: DeserializeOwned>(asked: reqwest::RequestBuilder) -> Result<T, SignInError> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        #[serde(default)]
        error_description: String,
    }

    let failed = |error: reqwest::Error| SignInError::Provider(error.to_string());
    let mut answer = asked.send().await.map_err(failed)?;
    let status = answer.status();
    let mut json = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if json.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(SignInError::Provider(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes")));
        }
        json.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        return Err(match serde_json::from_slice::<Refusal>(&json) {
            Ok(refusal) => SignInError::Refused(format!("{} {}", refusal.error, refusal.error_description)),
            Err(_) => SignInError::Provider(format!("it answers {status}")),
        });
    }
    serde_json::from_slice(&json).map_err(|error| SignInError::Provider(format!("its answer can't be read: {error}")))
}
