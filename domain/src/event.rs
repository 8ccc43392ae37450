//! Events: what the log holds, in `CloudEvents` 1.0 structured JSON.
//!
//! A released shape is a fact for ever. A change of shape is a new `.vN` type, read beside the old one;
//! `tests/golden/` holds a record of every type ever released.

mod as_written;
mod catalog;
mod clickstream;
mod playback;
mod provisional;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

pub use catalog::{
    CatalogEvent, Change, ChangeNoted, ContractAmended, ContractEnded, ContractRegistered, EntitlementChanged,
    MAX_STREAMS_PER_ACCOUNT, RightsHolderRegistered, TitleRegistered,
};
pub use clickstream::{ClickstreamEvent, Recorded, RecordedRef, RecordedSealed, SealedRef};
pub use playback::{Evicted, Heartbeat, PlaybackEvent, Signal, Started, Stopped};
pub use provisional::{Answered, Because, KnownState, ProvisionalEvent, Question};

use crate::time::Timestamp;

/// The value of the `content-type` header of each record.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// A family of events: the types that one topic holds.
pub trait Event: Sized {
    /// The `CloudEvents` type, e.g. `pulsegate.playback.heartbeat.v1`.
    fn kind(&self) -> &'static str;

    /// Reads the `data` of an event of `kind`; an unknown kind is an error.
    fn read_data<'de, D: Deserializer<'de>>(kind: &str, data: D) -> Result<Self, D::Error>;

    /// Reads a whole value in the one way in which our writer writes this family's commonest event, faster than any JSON
    /// can be read; `None` where it looks different, which says nothing about whether it is an event.
    #[must_use]
    fn read_as_written(_value: &[u8]) -> Option<Envelope<'_, Self>> {
        None
    }

    /// Writes the value of this family's commonest event, byte for byte as serde does, without serde; `None` for any other.
    #[must_use]
    fn write_as_written(&self, _attributes: &Attributes<'_>) -> Option<Vec<u8>> {
        None
    }
}

/// The error for a `kind` that a family does not hold.
fn unknown_kind<E: de::Error>(kind: &str) -> E {
    E::custom(format_args!("unknown event type {kind:?}"))
}

/// An event as read from a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope<'a, T> {
    /// The event's id as it stands in the record: ours are UUID v7, a foreign writer's may be any text.
    pub id: Cow<'a, str>,
    /// What happened.
    pub event: T,
}

/// Why a record cannot be read.
#[derive(Debug, Error)]
pub enum Unreadable {
    /// Not text.
    #[error("not UTF-8")]
    NotUtf8(#[from] std::str::Utf8Error),
    /// Not an event of this family.
    #[error("not an event: {0}")]
    NotAnEvent(#[from] serde_json::Error),
}

/// Reads the value of a record.
///
/// One pass without copies while `type` stands before `data`, as our own writer puts them; the other
/// order is read too, slower.
pub fn decode<T: Event>(value: &[u8]) -> Result<Envelope<'_, T>, Unreadable> {
    T::read_as_written(value).map_or_else(|| parse(value), Ok)
}

/// Reads a value as the JSON that it is.
fn parse<T: Event>(value: &[u8]) -> Result<Envelope<'_, T>, Unreadable> {
    // Checked once here: `from_str` then need not check each string again.
    let text = std::str::from_utf8(value)?;
    let Wire(envelope) = serde_json::from_str(text)?;
    Ok(envelope)
}

/// Who took an event in, as it stands in the record's value; empty where it doesn't say. Apart from [`decode`], because
/// no fold asks.
#[must_use]
pub fn source_of(value: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Source {
        #[serde(default)]
        source: String,
    }

    serde_json::from_slice::<Source>(value).map(|found| found.source).unwrap_or_default()
}

struct Wire<'a, T>(Envelope<'a, T>);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Attribute {
    Id,
    Type,
    Data,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct DataSeed<'k, T>(&'k str, PhantomData<T>);

impl<'de, T: Event> DeserializeSeed<'de> for DataSeed<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, data: D) -> Result<T, D::Error> {
        T::read_data(self.0, data)
    }
}

impl<'de: 'a, 'a, T: Event> Deserialize<'de> for Wire<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WireVisitor<'a, T>(PhantomData<(&'a (), T)>);

        impl<'de: 'a, 'a, T: Event> Visitor<'de> for WireVisitor<'a, T> {
            type Value = Wire<'a, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CloudEvents object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut id = None;
                let mut kind: Option<Cow<'de, str>> = None;
                let mut event = None;
                let mut early_data: Option<&'de RawValue> = None;
                while let Some(attribute) = map.next_key::<Attribute>()? {
                    match attribute {
                        Attribute::Id if id.is_none() => id = Some(map.next_value::<Text<'de>>()?.0),
                        Attribute::Type if kind.is_none() => kind = Some(map.next_value::<Text<'de>>()?.0),
                        Attribute::Data if event.is_none() && early_data.is_none() => match &kind {
                            Some(kind) => event = Some(map.next_value_seed(DataSeed(kind, PhantomData))?),
                            None => early_data = Some(map.next_value()?),
                        },
                        Attribute::Id => return Err(de::Error::duplicate_field("id")),
                        Attribute::Type => return Err(de::Error::duplicate_field("type")),
                        Attribute::Data => return Err(de::Error::duplicate_field("data")),
                        Attribute::Other => {
                            map.next_value::<de::IgnoredAny>()?;
                        }
                    }
                }
                let id = id.ok_or_else(|| de::Error::missing_field("id"))?;
                let kind = kind.ok_or_else(|| de::Error::missing_field("type"))?;
                if let Some(raw) = early_data {
                    let mut data = serde_json::Deserializer::from_str(raw.get());
                    event = Some(T::read_data(&kind, &mut data).map_err(de::Error::custom)?);
                }
                let event = event.ok_or_else(|| de::Error::missing_field("data"))?;
                Ok(Wire(Envelope { id, event }))
            }
        }

        deserializer.deserialize_map(WireVisitor(PhantomData))
    }
}

/// What an envelope says beside its event.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// The event's id.
    pub id: uuid::Uuid,
    /// The route or command that took the event in.
    pub source: &'a str,
    /// What the event is about: a session, a title …
    pub subject: &'a str,
    /// When its sender says that it happened.
    pub time: Timestamp,
    /// The record's key.
    pub partition_key: &'a str,
}

/// Writes the value of a record: `type` before `data`, so that a reader needs one pass.
#[must_use]
pub fn encode<T: Event + Serialize>(attributes: &Attributes<'_>, event: &T) -> Vec<u8> {
    event.write_as_written(attributes).unwrap_or_else(|| encode_any(attributes, event))
}

/// Writes any event.
fn encode_any<T: Event + Serialize>(attributes: &Attributes<'_>, event: &T) -> Vec<u8> {
    #[derive(Serialize)]
    struct Out<'a, T> {
        specversion: &'static str,
        id: uuid::Uuid,
        #[serde(rename = "type")]
        kind: &'static str,
        source: &'a str,
        subject: &'a str,
        time: Timestamp,
        partitionkey: &'a str,
        datacontenttype: &'static str,
        data: &'a T,
    }

    let out = Out {
        specversion: "1.0",
        id: attributes.id,
        kind: event.kind(),
        source: attributes.source,
        subject: attributes.subject,
        time: attributes.time,
        partitionkey: attributes.partition_key,
        datacontenttype: "application/json",
        data: event,
    };
    let mut value = Vec::with_capacity(640);
    // Writing to memory fails only where a map's key is not text, and no event holds such a map.
    if serde_json::to_writer(&mut value, &out).is_err() {
        unreachable!("an event is always JSON")
    }
    value
}

/// Every released type.
pub const KINDS: &[&str] = &[
    playback::STARTED,
    playback::HEARTBEAT,
    playback::STOPPED,
    playback::EVICTED,
    playback::SIGNAL,
    clickstream::RECORDED,
    clickstream::SEALED,
    catalog::TITLE_REGISTERED,
    catalog::RIGHTS_HOLDER_REGISTERED,
    catalog::CONTRACT_REGISTERED,
    catalog::CONTRACT_AMENDED,
    catalog::CONTRACT_ENDED,
    catalog::POLICY_PUBLISHED,
    catalog::ENTITLEMENT_CHANGED,
    catalog::CHANGE_NOTED,
    provisional::ANSWERED,
];

#[cfg(test)]
mod tests {
    use super::*;

    const STOPPED: &str = r#"{"account_id":"a","session_id":"019ab0c4-7e1a-7abc-8def-0123456789ab"}"#;

    fn decode_text(text: &str) -> Result<Envelope<'_, PlaybackEvent>, Unreadable> {
        decode(text.as_bytes())
    }

    #[test]
    fn attributes_may_stand_in_any_order() {
        let ours = format!(r#"{{"id":"1","type":"pulsegate.playback.stopped.v1","x":[1],"data":{STOPPED}}}"#);
        let other = format!(r#"{{"data":{STOPPED},"x":{{}},"type":"pulsegate.playback.stopped.v1","id":"1"}}"#);
        assert_eq!(decode_text(&ours).unwrap(), decode_text(&other).unwrap());
    }

    #[test]
    fn what_is_no_event_says_why() {
        for (text, says) in [
            ("", "EOF"),
            ("[]", "a CloudEvents object"),
            (r#"{"id":"1","type":"nonsense.v9","data":{}}"#, "unknown event type"),
            (r#"{"id":"1","type":"pulsegate.playback.stopped.v1"}"#, "missing field `data`"),
            (r#"{"type":"pulsegate.playback.stopped.v1","data":{}}"#, "missing field `account_id`"),
            (r#"{"id":"1","id":"2"}"#, "duplicate field `id`"),
        ] {
            let error = decode_text(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(matches!(decode::<PlaybackEvent>(b"\xff"), Err(Unreadable::NotUtf8(_))));
    }
}
