//! What a person wrote, sealed before it went into the log: `recorded.v2`, and how it is read as a `recorded.v1`.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{RECORDED, SEALED};
use crate::ids::{AccountId, AnonymousId, SessionId};

/// `recorded.v2`: the same as `recorded.v1`, its properties sealed under the key of the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedSealed {
    /// What was done, in the front end's words.
    pub name: String,
    /// By which account: under its key it is sealed.
    pub account_id: AccountId,
    /// By which visitor, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous_id: Option<AnonymousId>,
    /// In which viewing or visit, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// The JSON object, sealed: AES-256-GCM, as base64.
    pub sealed: String,
}

/// A sealed event as read from a record, borrowed from it.
#[derive(Debug, Deserialize)]
pub struct SealedRef<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    source: Option<&'a RawValue>,
    #[serde(borrow, default)]
    subject: Option<&'a RawValue>,
    #[serde(borrow, default)]
    time: Option<&'a RawValue>,
    #[serde(borrow, default)]
    partitionkey: Option<&'a RawValue>,
    data: RecordedSealed,
}

#[derive(Serialize)]
struct Opened<'a> {
    specversion: &'static str,
    id: &'a RawValue,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitionkey: Option<&'a RawValue>,
    datacontenttype: &'static str,
    data: OpenedData<'a>,
}

#[derive(Serialize)]
struct OpenedData<'a> {
    name: &'a str,
    account_id: &'a AccountId,
    #[serde(skip_serializing_if = "Option::is_none")]
    anonymous_id: Option<&'a AnonymousId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
    properties: &'a RawValue,
}

impl<'a> SealedRef<'a> {
    /// Reads the value of a record; `None` if it is no sealed event.
    #[must_use]
    pub fn read(value: &'a [u8]) -> Option<Self> {
        static SAYS_SO: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(SEALED));
        // Most events are something else, and are read by others: these words are looked for before anything is parsed.
        SAYS_SO.find(value)?;
        let text = std::str::from_utf8(value).ok()?;
        serde_json::from_str::<Self>(text).ok().filter(|read| read.kind == SEALED)
    }

    /// By which account.
    #[must_use]
    pub const fn account_id(&self) -> &AccountId {
        &self.data.account_id
    }

    /// What is sealed.
    #[must_use]
    pub fn sealed(&self) -> &str {
        &self.data.sealed
    }

    /// The same event as a `recorded.v1`, with these properties: what a fold reads. Properties that are no JSON object
    /// are none.
    #[must_use]
    pub fn opened(&self, properties: &str) -> Vec<u8> {
        let read = serde_json::from_str::<&RawValue>(properties).ok().filter(|raw| raw.get().starts_with('{'));
        let none = RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| unreachable!("`{{}}` is JSON"));
        let RecordedSealed { name, account_id, anonymous_id, session_id, sealed: _ } = &self.data;
        let opened = Opened {
            specversion: "1.0",
            id: self.id,
            kind: RECORDED,
            source: self.source,
            subject: self.subject,
            time: self.time,
            partitionkey: self.partitionkey,
            datacontenttype: "application/json",
            data: OpenedData {
                name,
                account_id,
                anonymous_id: anonymous_id.as_ref(),
                session_id: *session_id,
                properties: read.unwrap_or(&none),
            },
        };
        serde_json::to_vec(&opened).unwrap_or_else(|_| unreachable!("an event is always JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::RecordedRef;
    use super::*;

    const PLAIN: &str = include_str!("../../../tests/golden/pulsegate.clickstream.recorded.v1.json");
    const GOLDEN: &str = include_str!("../../../tests/golden/pulsegate.clickstream.recorded.v2.json");

    #[test]
    fn a_sealed_event_that_was_opened_is_the_one_that_was_sealed() {
        let properties = RecordedRef::read(PLAIN.trim_end().as_bytes()).unwrap().properties;
        let sealed = SealedRef::read(GOLDEN.trim_end().as_bytes()).unwrap();
        assert_eq!(sealed.account_id().as_str(), "acc-1");
        assert_eq!(String::from_utf8(sealed.opened(properties)).unwrap(), PLAIN.trim_end());
    }

    #[test]
    fn what_can_not_be_opened_says_everything_but_its_properties() {
        let sealed = SealedRef::read(GOLDEN.trim_end().as_bytes()).unwrap();
        for broken in ["", "[1]", "{", "null"] {
            let value = sealed.opened(broken);
            let read = RecordedRef::read(&value).unwrap();
            assert_eq!((read.name.as_ref(), read.properties), ("row_scrolled", "{}"));
        }
    }

    #[test]
    fn words_in_properties_make_nothing_a_sealed_event() {
        let plain = PLAIN.replace("Für dich", SEALED);
        assert!(SealedRef::read(plain.trim_end().as_bytes()).is_none());
        assert!(SealedRef::read(PLAIN.trim_end().as_bytes()).is_none());
        assert!(SealedRef::read(b"\xff").is_none());
    }
}
