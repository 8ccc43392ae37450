//! The issuer's public keys, as a JWKS lists them.

use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// The signatures that count: asymmetric ones, so that who checks a token can't make one.
pub(super) const ACCEPTED: [Algorithm; 3] = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];
/// Most keys of a set: a rotation has two or three.
const KEYS_MAX: usize = 100;

/// A key and the one algorithm that it is for.
#[derive(Clone)]
pub(crate) struct Key {
    kid: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) checks: Arc<DecodingKey>,
    /// As it was listed.
    listed: Jwk,
}

/// Why a text is no set of keys.
#[derive(Debug, Error)]
pub enum KeySetError {
    /// Not JSON, or no `keys`.
    #[error("no JWKS: {0}")]
    NotASet(#[from] serde_json::Error),
    /// Not one key that can check a token.
    #[error("a JWKS without a key for ES256, EdDSA or RS256")]
    NoKeys,
    /// More than anybody rotates.
    #[error("a JWKS of more than {KEYS_MAX} keys")]
    TooMany,
}

/// The keys that are good now.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Counts the sets that lack a key of the one before.
    epoch: u64,
}

impl KeySet {
    /// Reads a JWKS. Keys for other uses and algorithms are passed over.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Listed {
            keys: Vec<Value>,
        }

        let listed: Listed = serde_json::from_slice(json)?;
        if listed.keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let keys: Vec<_> =
            listed.keys.into_iter().filter_map(|key| Key::of(serde_json::from_value(key).ok()?)).collect();
        if keys.is_empty() { Err(KeySetError::NoKeys) } else { Ok(Self { keys, epoch: 0 }) }
    }

    /// How many keys it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// This set in the place of `before`: what was checked by a key that is gone is to be checked again.
    pub(super) fn following(mut self, before: &Self) -> Self {
        let is_gone = |old: &Key| !self.keys.iter().any(|new| new.listed == old.listed);
        self.epoch = before.epoch + u64::from(before.keys.iter().any(is_gone));
        self
    }

    /// The key of a token. One that names none has the only key for its algorithm, if there is only one.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| key.algorithm == algorithm && kid.is_none_or(|kid| key.kid.as_deref() == Some(kid)));
        let first = fitting.next()?;
        (kid.is_some() || fitting.next().is_none()).then_some(first)
    }
}

impl Key {
    fn of(listed: Jwk) -> Option<Self> {
        let algorithm = match &listed.algorithm {
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            _ => return None,
        };
        let said = match listed.common.key_algorithm {
            None => Some(algorithm),
            Some(KeyAlgorithm::ES256) => Some(Algorithm::ES256),
            Some(KeyAlgorithm::EdDSA) => Some(Algorithm::EdDSA),
            Some(KeyAlgorithm::RS256) => Some(Algorithm::RS256),
            Some(_) => None,
        };
        let is_for_signatures = matches!(listed.common.public_key_use, None | Some(PublicKeyUse::Signature));
        if said != Some(algorithm) || !is_for_signatures {
            return None;
        }
        let checks = Arc::new(DecodingKey::from_jwk(&listed).ok()?);
        Some(Self { kid: listed.common.key_id.clone(), algorithm, checks, listed })
    }
}
