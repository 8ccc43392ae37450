//! Identifiers and the small closed vocabularies of an event.
//!
//! Ids of accounts, devices, titles … are opaque: 1–128 characters of `A-Z a-z 0-9 . _ : @ -`, the
//! first a letter or digit. A session is a UUID.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use uuid::Uuid;

/// Longest opaque id, in characters.
pub const ID_LEN_MAX: usize = 128;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidId {
    /// Not an opaque id.
    #[error("must be 1-128 characters of A-Z a-z 0-9 . _ : @ -, the first a letter or digit")]
    Opaque,
    /// Not a usable session id.
    #[error("must be a UUID that is not nil")]
    Session,
    /// Not a territory.
    #[error("must be two upper-case letters, as in ISO 3166-1 alpha-2; ZZ where unknown")]
    Territory,
    /// Not one of a closed vocabulary.
    #[error("must be one of {0}")]
    Vocabulary(&'static str),
}

const fn id_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte.is_ascii() {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'@' | b'-');
        byte += 1;
    }
    table
}

static ID_BYTES: [bool; 256] = id_bytes();

fn is_opaque_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= ID_LEN_MAX
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| ID_BYTES[usize::from(*byte)])
}

/// Reads a value from a JSON string without an allocation of its own.
struct FromStrVisitor<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = InvalidId>> Visitor<'_> for FromStrVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! text_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(FromStrVisitor(std::marker::PhantomData))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(CompactString);

        impl $name {
            /// The id as it stands in the log.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_opaque_id(text) { Ok(Self(CompactString::new(text))) } else { Err(InvalidId::Opaque) }
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        text_serde!($name);
    };
}

opaque_id!(
    /// Who pays; the key of every playback record, so the unit of ordering and of the limit.
    AccountId
);
opaque_id!(
    /// One device of an account, as its front end names it.
    DeviceId
);
opaque_id!(
    /// A film, an episode, a live channel.
    TitleId
);
opaque_id!(
    /// Who owns titles and is owed for their use.
    RightsHolderId
);
opaque_id!(
    /// A contract with a rights holder.
    ContractId
);
opaque_id!(
    /// A visitor without an account, in clickstream events.
    AnonymousId
);
opaque_id!(
    /// The name of a policy, without its version.
    PolicyName
);

/// One viewing: a UUID that is not nil. Any case is read, lower case is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Uuid);

impl SessionId {
    /// The session of `uuid`, unless it is nil.
    pub fn new(uuid: Uuid) -> Result<Self, InvalidId> {
        if uuid.is_nil() { Err(InvalidId::Session) } else { Ok(Self(uuid)) }
    }

    /// The session that is inferred from a signal without a session id (rule 5 of the slot rules):
    /// UUID v5 in the OID namespace of `pulsegate/<account>/<device>/<event id>`.
    #[must_use]
    pub fn inferred(account: &AccountId, device: &DeviceId, event_id: &str) -> Self {
        let name = format!("pulsegate/{account}/{device}/{event_id}");
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
    }

    /// The UUID.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// When a version 7 id was made, in milliseconds since the Unix epoch by its maker's clock.
    #[must_use]
    pub fn made_at_ms(self) -> Option<u64> {
        (self.0.get_version_num() == 7).then(|| {
            let bytes = self.0.as_bytes();
            bytes[..6].iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte))
        })
    }
}

impl FromStr for SessionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // Only the hyphenated form: the other spellings that a UUID parser knows (braces, urn:) would
        // make two texts of one id.
        if text.len() != 36 {
            return Err(InvalidId::Session);
        }
        Uuid::try_parse(text).map_err(|_| InvalidId::Session).and_then(Self::new)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut buffer = Uuid::encode_buffer();
        serializer.serialize_str(self.0.hyphenated().encode_lower(&mut buffer))
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromStrVisitor(std::marker::PhantomData))
    }
}

/// Where a viewing happens: two upper-case letters, ISO 3166-1 alpha-2, `ZZ` where unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Territory([u8; 2]);

impl Territory {
    /// `ZZ`: nobody said.
    pub const UNKNOWN: Self = Self(*b"ZZ");

    /// The two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Both bytes are ASCII by construction; the fallback keeps the function total.
        std::str::from_utf8(&self.0).unwrap_or("ZZ")
    }
}

impl Default for Territory {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl FromStr for Territory {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok(Self([*a, *b])),
            _ => Err(InvalidId::Territory),
        }
    }
}

text_serde!(Territory);

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident, $list:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every word, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands in the log.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                match text { $($text => Ok(Self::$variant),)+ _ => Err(InvalidId::Vocabulary($list)) }
            }
        }

        text_serde!($name);
    };
}

vocabulary!(
    /// What kind of device plays.
    DeviceClass, "tv, mobile, tablet, web, console, other" {
        /// A television set or a box at one.
        Tv = "tv",
        /// A telephone.
        Mobile = "mobile",
        /// A tablet computer.
        Tablet = "tablet",
        /// A browser.
        Web = "web",
        /// A games console.
        Console = "console",
        /// Anything else, and what did not say.
        Other = "other",
    }
);

vocabulary!(
    /// Recorded or live.
    ContentKind, "vod, live" {
        /// Video on demand.
        Vod = "vod",
        /// A live channel or event.
        Live = "live",
    }
);

vocabulary!(
    /// What a player says that it is doing.
    PlayerState, "playing, paused, buffering, seeking, blocked" {
        /// Showing moving pictures.
        Playing = "playing",
        /// Halted by its viewer.
        Paused = "paused",
        /// Waiting for data.
        Buffering = "buffering",
        /// Jumping to another position.
        Seeking = "seeking",
        /// Told no, and showing that.
        Blocked = "blocked",
    }
);

vocabulary!(
    /// What a server saw of a player.
    SignalKind, "drm_licence, drm_renewal, cdn_segment, manifest" {
        /// A licence was asked for.
        DrmLicence = "drm_licence",
        /// A licence was asked for again.
        DrmRenewal = "drm_renewal",
        /// A media segment was delivered.
        CdnSegment = "cdn_segment",
        /// A manifest was delivered.
        Manifest = "manifest",
    }
);

vocabulary!(
    /// Who ended a session from outside.
    EvictedBy, "operator, viewer" {
        /// Somebody at the service.
        Operator = "operator",
        /// The viewer, from another device.
        Viewer = "viewer",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opaque_id_is_short_plain_and_starts_with_a_letter_or_digit() {
        for good in ["a", "0", "acc-1", "a.b_c:d@e-f", &"x".repeat(128)] {
            assert!(good.parse::<AccountId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "ä", "a\u{0}", &"x".repeat(129)] {
            assert_eq!(bad.parse::<AccountId>(), Err(InvalidId::Opaque), "{bad}");
        }
    }

    #[test]
    fn a_session_id_is_read_in_any_case_and_written_in_lower() {
        let id: SessionId = "019AB0C4-7E1A-7ABC-8DEF-0123456789AB".parse().unwrap();
        assert_eq!(id.to_string(), "019ab0c4-7e1a-7abc-8def-0123456789ab");
        assert_eq!(id.made_at_ms(), Some(0x019a_b0c4_7e1a));
    }

    #[test]
    fn nil_and_other_spellings_of_a_uuid_are_refused() {
        for bad in [
            "00000000-0000-0000-0000-000000000000",
            "019ab0c47e1a7abc8def0123456789ab",
            "{019ab0c4-7e1a-7abc-8def-0123456789ab}",
            "nonsense",
        ] {
            assert_eq!(bad.parse::<SessionId>(), Err(InvalidId::Session), "{bad}");
        }
    }

    #[test]
    fn an_escaped_id_is_the_same_id() {
        let id: AccountId = serde_json::from_str(r#""a\u0040b""#).unwrap();
        assert_eq!(id.as_str(), "a@b");
    }
}
