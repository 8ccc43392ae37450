//! The deployment's own key: it wraps those of the accounts, and names accounts without saying who they are.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use pulsegate_domain::ids::AccountId;
use thiserror::Error;

use crate::keys::KeyError;
use crate::sealed::DataKey;
use crate::veil::PREFIX;

/// How long a key is, in bytes.
pub(crate) const KEY_LEN: usize = 32;
/// How long the name is that says nobody, in bytes.
const WHO_LEN: usize = 16;

/// Not a master key. It says nothing of what was given, which is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be 32 random bytes as base64, or as 64 hexadecimal digits: `openssl rand -base64 32` makes them")]
pub struct InvalidMasterKey;

/// The deployment's own key.
#[derive(Clone)]
pub struct MasterKey(Arc<Keys>);

struct Keys {
    wrapping: RandomizedNonceKey,
    naming: hmac::Key,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(***)")
    }
}

impl FromStr for MasterKey {
    type Err = InvalidMasterKey;

    fn from_str(text: &str) -> Result<Self, InvalidMasterKey> {
        let plain = text.trim_end_matches('=');
        let hex = if text.len() == 2 * KEY_LEN { unhex(text) } else { None };
        let bytes = hex.or_else(|| STANDARD_NO_PAD.decode(plain).ok()).or_else(|| URL_SAFE_NO_PAD.decode(plain).ok());
        let key: [u8; KEY_LEN] = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(InvalidMasterKey)?;
        // Each purpose has a key of its own.
        let master = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let of = |purpose: &str| hmac::sign(&master, purpose.as_bytes());
        let wrapping = RandomizedNonceKey::new(&AES_256_GCM, of("pulsegate wraps keys of accounts").as_ref());
        let naming = hmac::Key::new(hmac::HMAC_SHA256, of("pulsegate names accounts").as_ref());
        Ok(Self(Arc::new(Keys { wrapping: wrapping.map_err(|_| InvalidMasterKey)?, naming })))
    }
}

impl MasterKey {
    /// The name of an account, for whoever may not know which one it is.
    #[must_use]
    pub fn who(&self, account: &[u8]) -> Who {
        let named = hmac::sign(&self.0.naming, account);
        let mut who = [0; WHO_LEN];
        who.copy_from_slice(&named.as_ref()[..WHO_LEN]);
        Who(who)
    }

    /// By what it is told from others; it says nothing of it.
    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        // No account is called that.
        self.who(b"").as_bytes().to_vec()
    }

    /// A new key for an account, and how it is kept.
    pub(crate) fn new_key(&self, who: Who) -> Result<Vec<u8>, KeyError> {
        let mut key = vec![0; KEY_LEN];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| KeyError::NoRandom)?;
        let nonce = self.0.wrapping.seal_in_place_append_tag(Aad::from(who.0), &mut key);
        Ok([nonce.map_err(|_| KeyError::NoRandom)?.as_ref().as_slice(), &key].concat())
    }

    /// An account's key, as it was kept.
    pub(crate) fn unwrap_key(&self, who: Who, mut wrapped: Vec<u8>) -> Result<DataKey, KeyError> {
        let (nonce, key) = wrapped.split_at_mut_checked(NONCE_LEN).ok_or(KeyError::OtherMaster)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::OtherMaster)?;
        let key = self.0.wrapping.open_in_place(nonce, Aad::from(who.0), key).map_err(|_| KeyError::OtherMaster)?;
        DataKey::new(key).ok_or(KeyError::OtherMaster)
    }
}

/// An account, without saying which.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who([u8; WHO_LEN]);

impl Who {
    /// The one of these bytes, as the database keeps them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As the database keeps it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The one that this stands for: the opposite of [`pseudonym`](Self::pseudonym).
    #[must_use]
    pub fn of_pseudonym(text: &str) -> Option<Self> {
        Self::from_bytes(&unhex(text.strip_prefix(PREFIX)?)?)
    }

    /// What stands in the place of the account's id once it is forgotten.
    ///
    /// # Panics
    /// Never: it is an id.
    #[must_use]
    pub fn pseudonym(&self) -> AccountId {
        self.to_string().parse().unwrap_or_else(|_| unreachable!("{self} is an id"))
    }

    /// What stands in the place of one of its devices: devices that differ still do.
    #[must_use]
    pub fn device(&self, device: &str) -> String {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&self.0);
        hash.update(device.as_bytes());
        format!("{PREFIX}{}", hex(&hash.finish().as_ref()[..12]))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex(&self.0))
    }
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(text: &str) -> MasterKey {
        text.parse().unwrap()
    }

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn a_master_key_is_thirty_two_bytes_however_they_are_written() {
        let who = master(HEX).who(b"ada");
        for same in ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"] {
            assert_eq!(master(same).who(b"ada"), who);
        }
        for bad in ["", "secret", &HEX[1..], &format!("{HEX}00"), "AAECAwQFBgcICQoLDA0ODw=="] {
            let error = bad.parse::<MasterKey>().unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn a_name_says_nobody_and_is_found_again() {
        let (one, other) = (master(HEX), master(&HEX.replace('0', "f")));
        let who = one.who(b"ada");
        assert_ne!(who, one.who(b"adb"));
        assert_ne!(who, other.who(b"ada"));
        assert_eq!(Who::of_pseudonym(who.pseudonym().as_str()), Some(who));
        assert_eq!(Who::from_bytes(who.as_bytes()), Some(who));
        for none in ["ada", "forgotten:", "forgotten:zz", "forgotten:00"] {
            assert_eq!(Who::of_pseudonym(none), None, "{none}");
        }
        assert_ne!(who.device("tv"), who.device("web"));
        assert_ne!(who.device("tv"), one.who(b"adb").device("tv"));
    }

    #[test]
    fn a_key_is_good_for_its_account_under_its_master_key_only() {
        let (one, other) = (master(HEX), master(&HEX.replace('0', "f")));
        let (ada, bob) = (one.who(b"ada"), one.who(b"bob"));
        let wrapped = one.new_key(ada).unwrap();
        assert_ne!(wrapped, one.new_key(ada).unwrap());
        let sealed = one.unwrap_key(ada, wrapped.clone()).unwrap().seal("ada", "{}").unwrap();
        assert_eq!(one.unwrap_key(ada, wrapped.clone()).unwrap().open("ada", &sealed).as_deref(), Some("{}"));
        assert!(one.unwrap_key(bob, wrapped.clone()).is_err());
        assert!(other.unwrap_key(ada, wrapped).is_err());
        assert!(one.unwrap_key(ada, b"short".to_vec()).is_err());
    }
}
