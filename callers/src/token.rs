//! Players' tokens: a JWT of the platform's login service, signed by a key that its JWKS names.
//!
//! Only asymmetric signatures count (`ES256`, `EdDSA`, `RS256`), `exp` is obligatory, and the key says which algorithm a
//! token may have, not the token. A token that was found good is remembered until it runs out or its key is gone, so a
//! heartbeat pays for a hash and a look-up.

mod keys;
mod source;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, Validation, decode, decode_header};
use pulsegate_domain::ids::{AccountId, DeviceId, InvalidId, PolicyName, SessionId};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use keys::{KeySet, KeySetError};
pub use source::{KeySource, NoSource};
pub(crate) use source::{Source, secret_url};

use crate::generations::Generations;
use keys::Key;

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 4_096;
/// Most good tokens that are remembered: as many as players that a node has at some ten thousand heartbeats a second,
/// about 30 MB.
const REMEMBERED_MAX: usize = 131_072;

/// What is asked of a token.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// Where the keys are.
    pub keys: KeySource,
    /// Who must have issued it, if that matters.
    pub issuer: Option<String>,
    /// For whom it must have been issued, if that matters.
    pub audience: Option<String>,
    /// How far its issuer's clock and this node's may be apart.
    pub leeway: Duration,
}

/// Who shows a good token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Player {
    /// Whose player it is.
    pub account_id: AccountId,
    /// The only session that it may speak for, where the token says one.
    pub session_id: Option<SessionId>,
    /// The only device that it may call itself, where the token says one.
    pub device_id: Option<DeviceId>,
    /// The policy that its account must have, where the token says one.
    pub policy: Option<PolicyName>,
    /// When the token runs out, in seconds since 1970.
    pub expires_at: i64,
}

/// Why a token isn't good. [`KeysAway`](Self::KeysAway) may pass; of all others another token is needed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It isn't a JWT.
    #[error("the token is no signed JWT of at most {TOKEN_BYTES_MAX} bytes")]
    NoToken,
    /// Signed in a way that isn't accepted, or not signed.
    #[error("the token is not signed by ES256, EdDSA or RS256, or its header asks for more than is understood")]
    Algorithm,
    /// No such key, or not any more.
    #[error("the token's key is not one of the issuer's")]
    KeyUnknown,
    /// It was changed, or never signed by that key.
    #[error("the token's signature is not its key's")]
    Signature,
    /// It has run out.
    #[error("the token has run out")]
    Expired,
    /// It begins later.
    #[error("the token is not valid yet")]
    Early,
    /// Of somebody else.
    #[error("the token is another issuer's")]
    Issuer,
    /// For somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// A claim is missing or can't be read.
    #[error("the token's claim {0} {1}")]
    Claim(&'static str, String),
    /// The keys couldn't be had yet.
    #[error("the issuer's keys are not known here yet")]
    KeysAway,
}

#[derive(Clone)]
struct Remembered {
    player: Arc<Player>,
    /// The key set's; a later one may lack the token's key.
    epoch: u64,
}

struct Inner {
    source: Source,
    issuer: Option<String>,
    audience: Option<String>,
    leeway_s: i64,
    remembered: Generations<[u8; 32], Remembered>,
}

/// Checks tokens; cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    inner: Arc<Inner>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("source", self.inner.source.what()).finish_non_exhaustive()
    }
}

impl Tokens {
    /// A checker whose keys are read by [`run`](Self::run), or when a token first needs one.
    #[must_use]
    pub fn new(settings: TokenSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                source: Source::new(settings.keys),
                issuer: settings.issuer,
                audience: settings.audience,
                leeway_s: i64::try_from(settings.leeway.as_secs()).unwrap_or(i64::MAX),
                remembered: Generations::new(REMEMBERED_MAX),
            }),
        }
    }

    /// Reads the keys, and reads them again and again until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        self.inner.source.run(shutdown).await;
    }

    /// Whose token it is, at `now` in seconds since 1970. Waits for the network only where the token names a key that is
    /// not known, and then not for long.
    pub async fn check(&self, token: &str, now: i64) -> Result<Arc<Player>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::NoToken);
        }
        let inner = &*self.inner;
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let epoch = inner.source.set().epoch();
        if let Some(known) = inner.remembered.get(digest)
            && known.epoch == epoch
        {
            return if now < known.player.expires_at.saturating_add(inner.leeway_s) {
                Ok(known.player)
            } else {
                Err(TokenError::Expired)
            };
        }
        let (player, epoch) = inner.verify(token, now).await?;
        let player = Arc::new(player);
        inner.remembered.put(digest, Remembered { player: Arc::clone(&player), epoch });
        Ok(player)
    }
}

impl Inner {
    async fn verify(&self, token: &str, now: i64) -> Result<(Player, u64), TokenError> {
        let header = header_of(token)?;
        let (key, epoch) = self.source.key(header.kid.as_deref(), header.alg).await?;
        let claims: Claims = self.decode(token, &key)?;
        Ok((claims.player(now, self.leeway_s)?, epoch))
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, token: &str, key: &Key) -> Result<T, TokenError> {
        let mut validation = Validation::new(key.algorithm);
        // By our own clock, which a test may set.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        validation.validate_aud = self.audience.is_some();
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        decode(token, &key.checks, &validation).map(|data| data.claims).map_err(|error| token_error(error.kind()))
    }
}

/// A token's header, if it asks for nothing that isn't done here.
pub(crate) fn header_of(token: &str) -> Result<Header, TokenError> {
    let header = decode_header(token).map_err(|error| match error.kind() {
        // `none` and what nobody knows.
        ErrorKind::Json(_) | ErrorKind::InvalidAlgorithmName | ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        _ => TokenError::NoToken,
    })?;
    let is_plain = header.crit.is_none() && header.enc.is_none() && header.zip.is_none();
    if is_plain && keys::ACCEPTED.contains(&header.alg) { Ok(header) } else { Err(TokenError::Algorithm) }
}

pub(crate) fn token_error(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenError::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenError::Audience,
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        ErrorKind::InvalidToken | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => TokenError::NoToken,
        ErrorKind::Json(error) => TokenError::Claim("set", format!("can't be read: {error}")),
        _ => TokenError::Signature,
    }
}

#[derive(Deserialize)]
struct Claims {
    exp: Option<i64>,
    nbf: Option<i64>,
    sub: Option<String>,
    account: Option<String>,
    session: Option<String>,
    device: Option<String>,
    policy: Option<String>,
}

impl Claims {
    fn player(self, now: i64, leeway_s: i64) -> Result<Player, TokenError> {
        let expires_at = self.exp.ok_or_else(|| TokenError::Claim("exp", "is missing".to_owned()))?;
        if now >= expires_at.saturating_add(leeway_s) {
            return Err(TokenError::Expired);
        }
        if self.nbf.is_some_and(|begins| now < begins.saturating_sub(leeway_s)) {
            return Err(TokenError::Early);
        }
        let account = match (self.account, self.sub) {
            (Some(account), _) => read("account", &account)?,
            (None, Some(subject)) => read("sub", &subject)?,
            (None, None) => return Err(TokenError::Claim("sub", "is missing, and so is account".to_owned())),
        };
        Ok(Player {
            account_id: account,
            session_id: self.session.map(|session| read("session", &session)).transpose()?,
            device_id: self.device.map(|device| read("device", &device)).transpose()?,
            policy: self.policy.map(|policy| read("policy", &policy)).transpose()?,
            expires_at,
        })
    }
}

fn read<T: FromStr<Err = InvalidId>>(claim: &'static str, text: &str) -> Result<T, TokenError> {
    text.parse().map_err(|error: InvalidId| TokenError::Claim(claim, error.to_string()))
}

#[cfg(test)]
mod tests;
