//! Where the issuer's keys come from: a file, or an address that is asked again now and then, and when a token names a key
//! that is not known yet, though never more often than its turn comes.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use jsonwebtoken::Algorithm;
use reqwest::Url;
use thiserror::Error;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

use super::TokenError;
use super::keys::{Key, KeySet, KeySetError};

/// How often a file is read again.
const FILE_AGAIN: Duration = Duration::from_secs(5);
/// How often an address is asked again.
const URL_AGAIN: Duration = Duration::from_mins(5);
/// How soon after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// A token with an unknown key makes the keys be read again at most once in this time, so that nobody can have the issuer
/// asked as often as they like.
const UNKNOWN_AGAIN: Duration = Duration::from_secs(10);
const UNKNOWN_AGAIN_FILE: Duration = Duration::from_secs(1);
/// How long an answer may take.
const FETCH_MAX: Duration = Duration::from_secs(3);
/// Longest list of keys, in bytes.
const SET_BYTES_MAX: usize = 256 * 1_024;
/// Most requests that wait for keys to be read; more are answered by what is known.
const WAITING_MAX: usize = 64;

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// At an address.
    Url(Url),
}

/// A text that says no place that keys may come from.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoSource {
    /// Nothing at all.
    #[error("must be a file or a URL")]
    Empty,
    /// Anybody on the way could put keys of their own there.
    #[error("must be https, or http to this machine")]
    NotSecret,
    /// No URL.
    #[error("must be a file or a URL: {0}")]
    NoUrl(String),
}

impl FromStr for KeySource {
    type Err = NoSource;

    fn from_str(text: &str) -> Result<Self, NoSource> {
        match text {
            "" => Err(NoSource::Empty),
            text if text.contains("://") => secret_url(text).map(Self::Url),
            text => Ok(Self::File(text.into())),
        }
    }
}

/// A URL whose answer nobody on the way can change.
pub(crate) fn secret_url(text: &str) -> Result<Url, NoSource> {
    let url = Url::parse(text).map_err(|error| NoSource::NoUrl(error.to_string()))?;
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() == "https" || url.scheme() == "http" && is_here { Ok(url) } else { Err(NoSource::NotSecret) }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

#[derive(Debug, Error)]
enum FetchError {
    #[error("{0}")]
    File(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("longer than {SET_BYTES_MAX} bytes")]
    TooLong,
    #[error("{0}")]
    Set(#[from] KeySetError),
}

/// Keys and where they come from.
pub(crate) struct Source {
    place: KeySource,
    client: Option<reqwest::Client>,
    set: ArcSwap<KeySet>,
    /// When they were last asked for; held while they are.
    asked: Mutex<Option<Instant>>,
    /// How often they have been had.
    had: AtomicU64,
    waiting: Semaphore,
}

impl Source {
    pub(crate) fn new(place: KeySource) -> Self {
        let client =
            || reqwest::Client::builder().timeout(FETCH_MAX).redirect(reqwest::redirect::Policy::none()).build();
        Self {
            client: matches!(place, KeySource::Url(_)).then(client).and_then(Result::ok),
            place,
            set: ArcSwap::default(),
            asked: Mutex::new(None),
            had: AtomicU64::new(0),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }

    pub(super) const fn what(&self) -> &KeySource {
        &self.place
    }

    pub(super) fn set(&self) -> Guard<Arc<KeySet>> {
        self.set.load()
    }

    /// Reads the keys now and then until `shutdown`.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        loop {
            let again = match self.read(Duration::ZERO).await {
                Ok(()) => self.is_url(URL_AGAIN, FILE_AGAIN),
                Err(()) => AFTER_FAILURE,
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(again) => {}
            }
        }
    }

    fn is_url<T>(&self, url: T, file: T) -> T {
        if matches!(self.place, KeySource::Url(_)) { url } else { file }
    }

    /// The key of a token, with the epoch of its set; read anew where it isn't known and its turn has come.
    pub(crate) async fn key(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<(Key, u64), TokenError> {
        if let Some(found) = self.look(kid, algorithm) {
            return Ok(found);
        }
        if let Ok(_turn) = self.waiting.try_acquire() {
            // Failed or not, what is known afterwards decides.
            let _ = self.read(self.is_url(UNKNOWN_AGAIN, UNKNOWN_AGAIN_FILE)).await;
        }
        match self.look(kid, algorithm) {
            Some(found) => Ok(found),
            None if self.set.load().is_empty() => Err(TokenError::KeysAway),
            None => Err(TokenError::KeyUnknown),
        }
    }

    fn look(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<(Key, u64)> {
        let set = self.set.load();
        set.find(kid, algorithm).map(|key| (key.clone(), set.epoch()))
    }

    /// Reads the keys unless they were asked for within `at_most_every`; whoever comes meanwhile waits for the same answer.
    async fn read(&self, at_most_every: Duration) -> Result<(), ()> {
        let had_before = self.had.load(Ordering::Relaxed);
        let mut asked = self.asked.lock().await;
        let is_too_soon = asked.is_some_and(|at| at.elapsed() < at_most_every);
        if is_too_soon || !at_most_every.is_zero() && self.had.load(Ordering::Relaxed) != had_before {
            return Ok(());
        }
        *asked = Some(Instant::now());
        match self.fetch().await {
            Ok(set) => {
                let before = self.set.load_full();
                self.set.store(Arc::new(set.following(&before)));
                self.had.fetch_add(1, Ordering::Relaxed);
                metrics::counter!("pulsegate_token_keys_read_total", "outcome" => "read").increment(1);
                Ok(())
            }
            Err(error) => {
                metrics::counter!("pulsegate_token_keys_read_total", "outcome" => "failed").increment(1);
                // What was good before stays so: an issuer that is away is no reason to stop anybody's film.
                tracing::warn!(%error, keys = %self.place, "the keys of tokens could not be read; those that are known stay");
                Err(())
            }
        }
    }

    #[cfg(test)]
    pub(super) async fn read_now(&self) -> Result<(), ()> {
        self.read(Duration::ZERO).await
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let json = match (&self.place, &self.client) {
            (KeySource::File(path), _) => tokio::fs::read(path).await?,
            (KeySource::Url(url), Some(client)) => {
                let mut answer = client.get(url.clone()).send().await?.error_for_status()?;
                let mut json = Vec::new();
                while let Some(chunk) = answer.chunk().await? {
                    if json.len() + chunk.len() > SET_BYTES_MAX {
                        return Err(FetchError::TooLong);
                    }
                    json.extend_from_slice(&chunk);
                }
                json
            }
            (KeySource::Url(_), None) => return Err(std::io::Error::other("no HTTP client").into()),
        };
        if json.len() > SET_BYTES_MAX {
            return Err(FetchError::TooLong);
        }
        Ok(KeySet::parse(&json)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_a_file_or_a_way_that_nobody_can_change() {
        assert_eq!("/etc/keys.json".parse(), Ok(KeySource::File("/etc/keys.json".into())));
        assert!(matches!("https://login.example/jwks".parse(), Ok(KeySource::Url(_))));
        assert!(matches!("http://127.0.0.1:9/jwks".parse(), Ok(KeySource::Url(_))));
        assert_eq!("http://login.example/jwks".parse::<KeySource>(), Err(NoSource::NotSecret));
        assert_eq!("ftp://login.example/jwks".parse::<KeySource>(), Err(NoSource::NotSecret));
        assert_eq!("".parse::<KeySource>(), Err(NoSource::Empty));
        assert!(matches!("https://".parse::<KeySource>(), Err(NoSource::NoUrl(_))));
    }
}
