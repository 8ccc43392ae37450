//! Why something was refused, as a code that stays the same.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $code:literal, $meaning:literal;)+) => {
        /// Why something was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum RejectReason { $($(#[$doc])* $reason),+ }

        impl RejectReason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$reason),+];

            /// The code that the record carries; of the problem by which the sender was told, where it was.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$reason => $code),+ }
            }

            /// What it means, for a person.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$reason => $meaning),+ }
            }
        }
    };
}

reasons! {
    /// Not JSON, or a key stands twice in an object.
    MalformedJson = "malformed-json", "not JSON, or a key stands twice in an object";
    /// The body broke off or could not be decoded; nothing of it was kept.
    UnreadableBody = "unreadable-body", "the body broke off or could not be decoded; nothing of it was kept";
    /// Well-formed, but a field is wrong or missing.
    Invalid = "invalid", "well-formed, but a field is wrong or missing";
    /// A session id so old that its session may have been forgotten.
    SessionTooOld = "session-too-old", "a session id so old that its session may have been forgotten";
    /// A heartbeat's sequence is too far above the last one's.
    SequenceJump = "sequence-jump", "a heartbeat's sequence is too far above the last one's";
    /// Sent in again, it was of a session that runs on another device or shows another title.
    SessionMismatch = "session-mismatch", "sent in again: its session runs on another device or shows another title";
    /// No code, or one that this version doesn't know.
    Unknown = "unknown", "no code, or one that this version does not know";
}

impl RejectReason {
    /// The reason of a code; a record may carry one that this version doesn't know.
    #[must_use]
    pub fn of_code(code: &str) -> Self {
        code.parse().unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A text that is no reason's code.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{code:?} is no reason; there are: {}", codes())]
pub struct UnknownReason {
    /// The text.
    code: String,
}

fn codes() -> String {
    RejectReason::ALL.iter().map(|reason| reason.code()).collect::<Vec<_>>().join(", ")
}

impl FromStr for RejectReason {
    type Err = UnknownReason;

    fn from_str(code: &str) -> Result<Self, UnknownReason> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
            .ok_or_else(|| UnknownReason { code: code.to_owned() })
    }
}
