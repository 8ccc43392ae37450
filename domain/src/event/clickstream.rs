//! The clickstream topic: any JSON that a front end sends.

mod sealed;

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{Event, Unreadable, as_written, unknown_kind};
use crate::ids::{AccountId, AnonymousId, SessionId};
use crate::time::Timestamp;

pub use sealed::{RecordedSealed, SealedRef};

pub(super) const RECORDED: &str = "pulsegate.clickstream.recorded.v1";
pub(super) const SEALED: &str = "pulsegate.clickstream.recorded.v2";

/// Something that a person did in a front end; the record's key is its account or visitor.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum ClickstreamEvent {
    /// One thing that was done.
    Recorded(Recorded),
    /// The same, and what was written by it is sealed.
    Sealed(RecordedSealed),
}

/// `recorded.v1`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// What was done, in the front end's words.
    pub name: String,
    /// By which account, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// By which visitor, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous_id: Option<AnonymousId>,
    /// In which viewing or visit, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Any JSON object, kept as it came.
    pub properties: Box<RawValue>,
}

impl Event for ClickstreamEvent {
    fn kind(&self) -> &'static str {
        match self {
            Self::Recorded(_) => RECORDED,
            Self::Sealed(_) => SEALED,
        }
    }

    fn read_data<'de, D: Deserializer<'de>>(kind: &str, data: D) -> Result<Self, D::Error> {
        match kind {
            RECORDED => Recorded::deserialize(data).map(Self::Recorded),
            SEALED => RecordedSealed::deserialize(data).map(Self::Sealed),
            other => Err(unknown_kind(other)),
        }
    }
}

/// A recorded event as read from a record, borrowed from it: properties are long and read by nobody on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRef<'a> {
    /// The event's id as it stands in the record: ours are UUID v7, a foreign writer's may be any text.
    pub id: Cow<'a, str>,
    /// When its sender says that it happened; `None` where it says nothing that can be read.
    pub time: Option<Timestamp>,
    /// What was done, in the front end's words.
    pub name: Cow<'a, str>,
    /// By which account, where known.
    pub account_id: Option<AccountId>,
    /// By which visitor, where known.
    pub anonymous_id: Option<AnonymousId>,
    /// In which viewing or visit, where known.
    pub session_id: Option<SessionId>,
    /// A JSON object, as it stands in the record.
    pub properties: &'a str,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Option<Text<'a>>,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    account_id: Option<AccountId>,
    #[serde(default)]
    anonymous_id: Option<AnonymousId>,
    #[serde(default)]
    session_id: Option<SessionId>,
    #[serde(borrow)]
    properties: &'a RawValue,
}

impl<'a> RecordedRef<'a> {
    /// Reads the value of a record, in one pass and without copies.
    pub fn read(value: &'a [u8]) -> Result<Self, Unreadable> {
        as_written::click(value).map_or_else(|| Self::parse(value), Ok)
    }

    /// Reads a value as the JSON that it is.
    pub(super) fn parse(value: &'a [u8]) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(value)?;
        let wire = match serde_json::from_str::<Wire<'a>>(text) {
            Ok(wire) if wire.kind == RECORDED => wire,
            Ok(other) => return Err(unknown_kind::<serde_json::Error>(&other.kind).into()),
            // Of an event of another kind that is better said than what its data lacks.
            Err(error) => return Err(super::decode::<ClickstreamEvent>(value).err().unwrap_or(error.into())),
        };
        let Wire { id, time, data: Data { name, account_id, anonymous_id, session_id, properties }, .. } = wire;
        let properties = properties.get();
        if !properties.starts_with('{') {
            return Err(<serde_json::Error as serde::de::Error>::custom("properties: not an object").into());
        }
        let time = time.and_then(|Text(time)| Timestamp::read(&time));
        Ok(Self { id, time, name, account_id, anonymous_id, session_id, properties })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../tests/golden/pulsegate.clickstream.recorded.v1.json");

    #[test]
    fn both_ways_to_read_agree() {
        let read = RecordedRef::read(GOLDEN.trim_end().as_bytes()).unwrap();
        let event = super::super::decode::<ClickstreamEvent>(GOLDEN.trim_end().as_bytes()).unwrap().event;
        let ClickstreamEvent::Recorded(recorded) = event else { panic!("it is of version 1") };
        assert_eq!((read.name.as_ref(), read.properties), (recorded.name.as_str(), recorded.properties.get()));
        assert_eq!(
            (&read.account_id, &read.anonymous_id, &read.session_id),
            (&recorded.account_id, &recorded.anonymous_id, &recorded.session_id)
        );
        assert!(read.time.is_some() && !read.id.is_empty());
    }

    #[test]
    fn any_order_any_escape_and_any_time_are_read() {
        let value = r#"{"data":{"properties":{"\u0000":1e999},"name":"\u0041b"},"time":"soon","x":[],"id":"1",
                        "type":"pulsegate.clickstream.recorded.v1"}"#;
        let read = RecordedRef::read(value.as_bytes()).unwrap();
        assert_eq!((read.name.as_ref(), read.time, read.properties), ("Ab", None, r#"{"\u0000":1e999}"#));
    }

    #[test]
    fn what_is_no_event_says_why() {
        for (value, says) in [
            ("[]", "a CloudEvents object"),
            (r#"{"id":"1","type":"nonsense.v9","data":{}}"#, "unknown event type \"nonsense.v9\""),
            (r#"{"id":"1","type":"nonsense.v9","data":{"name":"n","properties":{}}}"#, "unknown event type"),
            (
                r#"{"id":"1","type":"pulsegate.clickstream.recorded.v1","data":{"name":"n"}}"#,
                "missing field `properties`",
            ),
            (
                r#"{"id":"1","type":"pulsegate.clickstream.recorded.v1","data":{"name":"n","properties":[]}}"#,
                "not an object",
            ),
        ] {
            let error = RecordedRef::read(value.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{value}: {error}");
        }
    }
}
