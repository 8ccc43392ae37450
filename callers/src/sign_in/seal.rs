//! Cookies that only this deployment can read or make: AES-256-GCM under a key of the deployment's secret.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::SignInError;

pub(super) struct Seal(RandomizedNonceKey);

impl Seal {
    /// By a secret that all nodes know; without one by a key that ends with this process.
    pub(super) fn new(secret: Option<&str>) -> Result<Self, SignInError> {
        let mut key = [0; 32];
        match secret {
            // The secret is long and random, by what the configuration asks for, so one hash makes a key of it.
            Some(secret) => key = Sha256::digest(format!("pulsegate cookies\0{secret}")).into(),
            None => aws_lc_rs::rand::fill(&mut key).map_err(|_| SignInError::NoRandom)?,
        }
        RandomizedNonceKey::new(&AES_256_GCM, &key).map(Self).map_err(|_| SignInError::NoRandom)
    }

    /// Seals what is meant for `purpose`, and is good for no other.
    pub(super) fn seal(&self, purpose: &str, value: &impl Serialize) -> Result<String, SignInError> {
        let mut bytes = serde_json::to_vec(value).map_err(|error| SignInError::Provider(error.to_string()))?;
        let nonce =
            self.0.seal_in_place_append_tag(Aad::from(purpose), &mut bytes).map_err(|_| SignInError::NoRandom)?;
        Ok(URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &bytes].concat()))
    }

    /// What was sealed for `purpose`, if it was.
    pub(super) fn open<T: DeserializeOwned>(&self, purpose: &str, sealed: &str) -> Option<T> {
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, rest) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.0.open_in_place(nonce, Aad::from(purpose), rest).ok()?;
        serde_json::from_slice(opened).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_purpose_on_each_node_and_nowhere_else() {
        let seal = |secret| Seal::new(secret).unwrap();
        let (one, same, other, own) = (seal(Some("s")), seal(Some("s")), seal(Some("t")), seal(None));
        let sealed = one.seal("session", &"anna").unwrap();
        let open = |seal: &Seal, purpose, text: &str| seal.open::<String>(purpose, text);
        assert_eq!(open(&same, "session", &sealed).as_deref(), Some("anna"));
        assert_ne!(one.seal("session", &"anna").unwrap(), sealed);
        for (seal, purpose) in [(&one, "login"), (&other, "session"), (&own, "session")] {
            assert_eq!(open(seal, purpose, &sealed), None);
        }
        for changed in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[changed] = if bytes[changed] == b'A' { b'B' } else { b'A' };
            assert_eq!(open(&one, "session", std::str::from_utf8(&bytes).unwrap()), None, "{changed}");
        }
        assert!(["", "AAAA", "!"].iter().all(|bad| open(&one, "session", bad).is_none()));
    }
}
