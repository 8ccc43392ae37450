//! Servers' keys: `pgk_<id>_<secret>`, with scopes.
//!
//! A node holds all keys in memory, and reads them again every few seconds, so a check costs a hash and waits for nothing.
//! A key that is made, changed or revoked is so on every node within [`READ_AGAIN`] and a query. While the database is
//! away the keys that are known stay good, for [`STALE_MAX`]; then nobody can say any more what was revoked.

mod store;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use store::{Listed, Made, StoreError, create, list, revoke, rotate};

use crate::scope::Scopes;

/// How often keys are read.
pub const READ_AGAIN: Duration = Duration::from_secs(3);
/// For how long keys are good that could not be read again.
pub const STALE_MAX: Duration = Duration::from_hours(1);
/// How often it is written which keys were used, and no key's use more often than once an hour.
const WRITE_USE: Duration = Duration::from_mins(1);

/// What every key begins with, so that one is recognised where it shouldn't be.
pub const PREFIX: &str = "pgk_";
const SECRET_BYTES: usize = 32;
const ID_LEN: usize = 12;
/// Longest text that is looked at.
const KEY_LEN_MAX: usize = 128;

/// The hash of a secret.
///
/// A plain SHA-256, and no slow hash as for passwords: the secret is 256 random bits, so there is nothing to guess, and a
/// slow one would be paid for at every request.
pub(crate) type SecretHash = [u8; 32];

/// What may be known of a key by whoever keeps it: its id and the hash of its secret. As text, `id.hash`, the hash in
/// base64url.
///
/// So a key can be drawn where it will be used, and made known somewhere else, where it must not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The key's id.
    pub id: String,
    pub(crate) hash: SecretHash,
}

/// A text that is nothing that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be what `keys draw` says beside the key: its id and a hash, with a dot between")]
pub struct NotDrawn;

/// The system has no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, URL_SAFE_NO_PAD.encode(self.hash))
    }
}

impl FromStr for Drawn {
    type Err = NotDrawn;

    fn from_str(text: &str) -> Result<Self, NotDrawn> {
        let (id, hash) = text.split_once('.').ok_or(NotDrawn)?;
        let hash = URL_SAFE_NO_PAD.decode(hash).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(NotDrawn)?;
        if !is_id(id) {
            return Err(NotDrawn);
        }
        Ok(Self { id: id.to_owned(), hash })
    }
}

/// Draws a key, which is kept nowhere, and what may be known of it; for a key that there is, by its id.
///
/// # Errors
/// Where the system has no random numbers.
pub fn draw(id: Option<&str>) -> Result<(String, Drawn), NoRandom> {
    let id = match id {
        Some(id) => id.to_owned(),
        None => new_id()?,
    };
    let mut bytes = [0; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandom)?;
    let secret = URL_SAFE_NO_PAD.encode(bytes);
    Ok((format!("{PREFIX}{id}_{secret}"), Drawn { id, hash: hash_of(&secret) }))
}

fn hash_of(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).into()
}

/// What ids are of: letters and digits only, as one ends at the next `_`.
const ID_LETTERS: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz2345678";

fn new_id() -> Result<String, NoRandom> {
    let mut bytes = [0; ID_LEN];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes.iter().map(|byte| char::from(ID_LETTERS[usize::from(byte % 32)])).collect())
}

/// Whether a text can be a key's id.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && text.bytes().all(|byte| ID_LETTERS.contains(&byte))
}

/// Who shows a good key.
#[derive(Debug)]
pub struct Server {
    /// The key's id, which is no secret.
    pub id: String,
    /// What its maker called it.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// When it runs out, in seconds since 1970.
    expires_at: Option<i64>,
    /// Each with its end, in seconds since 1970: two while a key rotates.
    secrets: Vec<(SecretHash, Option<i64>)>,
    used: AtomicBool,
}

/// Why a key isn't good. [`KeysAway`](Self::KeysAway) may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// No such key, or another secret.
    #[error("there is no such key, or it was revoked")]
    Unknown,
    /// It has run out.
    #[error("the key has run out")]
    Expired,
    /// They couldn't be read, or not for too long.
    #[error("the keys are not known here: the database is away")]
    KeysAway,
}

#[derive(Default)]
struct Inner {
    keys: ArcSwap<HashMap<String, Arc<Server>>>,
    /// When they were read, in seconds since 1970; 0 before the first time.
    read_at: AtomicI64,
}

/// Every key, in memory; cheap to clone.
#[derive(Clone, Default)]
pub struct KeyRing {
    inner: Arc<Inner>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.inner.keys.load().len()).finish()
    }
}

impl KeyRing {
    /// Whose key it is, at `now` in seconds since 1970.
    pub fn check(&self, key: &str, now: i64) -> Result<Arc<Server>, KeyError> {
        let read_at = self.inner.read_at.load(Ordering::Relaxed);
        if now.saturating_sub(read_at) > STALE_MAX.as_secs().cast_signed() {
            return Err(KeyError::KeysAway);
        }
        if key.len() > KEY_LEN_MAX {
            return Err(KeyError::Unknown);
        }
        let (id, secret) = key.strip_prefix(PREFIX).and_then(|key| key.split_once('_')).ok_or(KeyError::Unknown)?;
        let server = self.inner.keys.load().get(id).cloned().ok_or(KeyError::Unknown)?;
        let hash = hash_of(secret);
        // Each is compared, and in constant time.
        let mut found = None;
        for (known, until) in &server.secrets {
            if bool::from(known.as_slice().ct_eq(hash.as_slice())) {
                found = Some(*until);
            }
        }
        let until = found.ok_or(KeyError::Unknown)?;
        let is_over = |end: Option<i64>| end.is_some_and(|end| now >= end);
        if is_over(until) || is_over(server.expires_at) {
            return Err(KeyError::Expired);
        }
        server.used.store(true, Ordering::Relaxed);
        Ok(server)
    }

    /// Reads the keys again and again, and writes which were used, until `shutdown`.
    pub async fn run(&self, pool: PgPool, shutdown: CancellationToken) {
        let mut again = tokio::time::interval(READ_AGAIN);
        let mut write = tokio::time::interval(WRITE_USE);
        for interval in [&mut again, &mut write] {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                () = shutdown.cancelled() => {
                    self.write_use(&pool).await;
                    return;
                }
                _ = again.tick() => {
                    if let Err(error) = self.read(&pool).await {
                        metrics::counter!("pulsegate_keys_unread_total").increment(1);
                        tracing::warn!(%error, "the keys could not be read again; those that are known stay");
                    }
                }
                _ = write.tick() => self.write_use(&pool).await,
            }
        }
    }

    /// Reads the keys.
    pub async fn read(&self, pool: &PgPool) -> Result<(), StoreError> {
        let asked_at = Utc::now().timestamp();
        let keys = store::read(pool).await?;
        let known = self.inner.keys.load();
        for key in keys.values() {
            // Used since it was last written, and not to be forgotten.
            let was_used = known.get(&key.id).is_some_and(|old| old.used.swap(false, Ordering::Relaxed));
            key.used.fetch_or(was_used, Ordering::Relaxed);
        }
        self.inner.keys.store(Arc::new(keys));
        self.inner.read_at.store(asked_at, Ordering::Relaxed);
        Ok(())
    }

    async fn write_use(&self, pool: &PgPool) {
        let keys = self.inner.keys.load_full();
        let used: Vec<_> =
            keys.values().filter(|key| key.used.swap(false, Ordering::Relaxed)).map(|key| key.id.clone()).collect();
        if !used.is_empty()
            && let Err(error) = store::note_use(pool, &used).await
        {
            tracing::debug!(%error, "which keys were used could not be written");
        }
    }

    /// A ring of given keys, for tests.
    #[must_use]
    pub fn of(keys: impl IntoIterator<Item = Server>) -> Self {
        let ring = Self::default();
        ring.inner.keys.store(Arc::new(keys.into_iter().map(|key| (key.id.clone(), Arc::new(key))).collect()));
        ring.inner.read_at.store(Utc::now().timestamp(), Ordering::Relaxed);
        ring
    }
}

impl Server {
    /// A key with one secret, and how it is shown; for tests.
    pub fn new(name: &str, scopes: Scopes) -> Result<(Self, String), NoRandom> {
        let (shown, Drawn { id, hash }) = draw(None)?;
        let (name, secrets) = (name.to_owned(), vec![(hash, None)]);
        Ok((Self { id, name, scopes, expires_at: None, secrets, used: AtomicBool::new(false) }, shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Scope;

    #[test]
    fn a_key_is_good_by_its_secret_until_it_runs_out() {
        let (mut server, shown) = Server::new("cdn", [Scope::Signals].into_iter().collect()).unwrap();
        let now = Utc::now().timestamp();
        server.expires_at = Some(now + 100);
        let ring = KeyRing::of([server]);
        let found = ring.check(&shown, now).unwrap();
        assert_eq!((found.name.as_str(), found.scopes.to_string().as_str()), ("cdn", "signals"));
        assert_eq!(ring.check(&shown, now + 100).err(), Some(KeyError::Expired));
        let (head, _) = shown.rsplit_once('_').unwrap();
        for bad in ["", "pgk_", "pgk__", "pgk_x_y", &shown[1..], &format!("{shown}x"), head, &"x".repeat(1_000)] {
            assert_eq!(ring.check(bad, now).err(), Some(KeyError::Unknown), "{bad}");
        }
    }

    #[test]
    fn while_it_rotates_a_key_has_two_secrets() {
        let (mut server, old) = Server::new("cdn", Scopes::ALL).unwrap();
        let now = Utc::now().timestamp();
        let (new, drawn) = draw(Some(&server.id)).unwrap();
        server.secrets[0].1 = Some(now + 10);
        server.secrets.push((drawn.hash, None));
        let ring = KeyRing::of([server]);
        assert!(ring.check(&old, now + 9).is_ok() && ring.check(&new, now + 9).is_ok());
        assert_eq!(ring.check(&old, now + 10).err(), Some(KeyError::Expired));
        assert!(ring.check(&new, now + 10).is_ok());
    }

    #[test]
    fn what_was_drawn_is_read_as_it_is_written_and_does_not_tell_the_key() {
        let (key, drawn) = draw(None).unwrap();
        let text = drawn.to_string();
        assert_eq!(text.parse(), Ok(drawn.clone()));
        assert!(!text.contains(key.rsplit_once('_').unwrap().1));
        for bad in ["", ".", &key, &drawn.id, &text[1..], &text[..text.len() - 2], &format!("{text}AA")] {
            assert_eq!(bad.parse::<Drawn>(), Err(NotDrawn), "{bad}");
        }
    }

    #[test]
    fn keys_that_nobody_could_read_for_an_hour_are_no_keys() {
        let (server, shown) = Server::new("cdn", Scopes::ALL).unwrap();
        let now = Utc::now().timestamp();
        let ring = KeyRing::of([server]);
        assert!(ring.check(&shown, now + 3_599).is_ok());
        assert_eq!(ring.check(&shown, now + 3_700).err(), Some(KeyError::KeysAway));
        assert_eq!(KeyRing::default().check(&shown, now).err(), Some(KeyError::KeysAway));
    }
}
