//! Keys and tokens as a login service has and issues them, for a laptop and for tests.

use std::fmt::Write as _;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// How long a line of a PEM file is.
const PEM_LINE: usize = 64;

/// Why there is no key or token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IssueError {
    /// No PEM file of a private key.
    #[error("no PKCS#8 private key of P-256 or Ed25519 in PEM")]
    NoKey,
    /// The system gave no random numbers, or the key can't sign.
    #[error("the key can't be made or can't sign")]
    Crypto,
}

/// How a key signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// ECDSA on P-256: `ES256`.
    #[default]
    Es256,
    /// Ed25519: `EdDSA`.
    EdDsa,
}

/// A private key that signs tokens.
pub struct SigningKey {
    kind: Kind,
    pkcs8: Vec<u8>,
    public: Vec<u8>,
}

/// What a token says.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Claims {
    /// The account.
    pub sub: String,
    /// When it runs out, in seconds since 1970.
    pub exp: i64,
    /// When it was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// For whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// For one session only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// For one device only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// For as long as the account has this policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl SigningKey {
    /// A new key.
    pub fn generate(kind: Kind) -> Result<Self, IssueError> {
        let random = SystemRandom::new();
        let pkcs8 = match kind {
            Kind::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
            Kind::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
        };
        Self::of(pkcs8.map_err(|_| IssueError::Crypto)?.as_ref().to_vec())
    }

    /// The key of a PEM file.
    pub fn from_pem(pem: &str) -> Result<Self, IssueError> {
        let body = pem.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).ok_or(IssueError::NoKey)?.0;
        let base64: String = body.split_whitespace().collect();
        Self::of(STANDARD.decode(base64).map_err(|_| IssueError::NoKey)?)
    }

    fn of(pkcs8: Vec<u8>) -> Result<Self, IssueError> {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8) {
            return Ok(Self { kind: Kind::Es256, public: pair.public_key().as_ref().to_vec(), pkcs8 });
        }
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| IssueError::NoKey)?;
        Ok(Self { kind: Kind::EdDsa, public: pair.public_key().as_ref().to_vec(), pkcs8 })
    }

    /// The key as a PEM file, which is a secret.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let base64 = STANDARD.encode(&self.pkcs8);
        let mut pem = format!("{BEGIN}\n");
        let mut rest = base64.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(PEM_LINE));
            // Writing to a string doesn't fail.
            let _ = writeln!(pem, "{line}");
            rest = more;
        }
        pem + END + "\n"
    }

    /// The members of its public key that its name is made of, in the order of RFC 7638.
    fn required(&self) -> Value {
        match self.kind {
            Kind::Es256 => {
                // 0x04, then x and y.
                let (x, y) = self.public[1..].split_at(32);
                json!({"crv": "P-256", "kty": "EC", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
            }
            Kind::EdDsa => json!({"crv": "Ed25519", "kty": "OKP", "x": URL_SAFE_NO_PAD.encode(&self.public)}),
        }
    }

    /// Its name: the beginning of its thumbprint.
    #[must_use]
    pub fn kid(&self) -> String {
        URL_SAFE_NO_PAD.encode(&Sha256::digest(self.required().to_string())[..12])
    }

    /// Its public key, as a JWKS lists it.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = self.required();
        jwk["use"] = "sig".into();
        jwk["alg"] = (if self.kind == Kind::Es256 { "ES256" } else { "EdDSA" }).into();
        jwk["kid"] = self.kid().into();
        jwk
    }

    /// Signs a token.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, IssueError> {
        let (algorithm, key) = match self.kind {
            Kind::Es256 => (Algorithm::ES256, EncodingKey::from_ec_der(&self.pkcs8)),
            Kind::EdDsa => (Algorithm::EdDSA, EncodingKey::from_ed_der(&self.pkcs8)),
        };
        let header = Header { kid: Some(self.kid()), ..Header::new(algorithm) };
        encode(&header, claims, &key).map_err(|_| IssueError::Crypto)
    }
}

/// The JWKS of some keys.
#[must_use]
pub fn jwks<'a>(keys: impl IntoIterator<Item = &'a SigningKey>) -> Value {
    json!({"keys": keys.into_iter().map(SigningKey::jwk).collect::<Vec<_>>()})
}
