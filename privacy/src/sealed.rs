//! What is sealed under the key of an account: AES-256-GCM, as base64.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::keys::KeyError;

/// The key of one account.
#[derive(Debug)]
pub struct DataKey(RandomizedNonceKey);

impl DataKey {
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM, key).ok().map(Self)
    }

    /// Seals a text of `account`, for whom alone it can be opened.
    pub fn seal(&self, account: &str, text: &str) -> Result<String, KeyError> {
        let mut bytes = text.as_bytes().to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(account), &mut bytes);
        let nonce = nonce.map_err(|_| KeyError::NoRandom)?;
        Ok(URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &bytes].concat()))
    }

    /// What was sealed for `account`, if it was.
    #[must_use]
    pub fn open(&self, account: &str, sealed: &str) -> Option<String> {
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, rest) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.0.open_in_place(nonce, Aad::from(account), rest).ok()?;
        Some(std::str::from_utf8(opened).ok()?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_account_unchanged_and_else_not_at_all() {
        let key = DataKey::new(&[7; 32]).unwrap();
        let text = r#"{"query":"Für dich \u0000","n":1e999}"#;
        let sealed = key.seal("ada", text).unwrap();
        assert_eq!(key.open("ada", &sealed).as_deref(), Some(text));
        assert_ne!(key.seal("ada", text).unwrap(), sealed);
        assert_eq!(key.open("bob", &sealed), None);
        assert_eq!(DataKey::new(&[8; 32]).unwrap().open("ada", &sealed), None);
        for changed in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[changed] = if bytes[changed] == b'A' { b'B' } else { b'A' };
            assert_eq!(key.open("ada", std::str::from_utf8(&bytes).unwrap()), None, "{changed}");
        }
        assert!(["", "AAAA", "!"].iter().all(|bad| key.open("ada", bad).is_none()));
        assert!(DataKey::new(b"short").is_none());
    }
}
