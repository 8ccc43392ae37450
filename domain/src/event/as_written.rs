//! Heartbeats and clicks, written in one way and read as they were written.
//!
//! Nearly all of a log is these, and every replay reads each: what reading one costs bounds how fast history can be
//! folded. Our writer puts the same keys in the same order without a space, so a reader that expects just that compares
//! bytes where a parser asks what comes next, and takes a fifth of the time. Whatever looks different in any way
//! (another writer, an escape, a key that is missing or new) is read by the parser of any JSON, which has the last word.
//!
//! The writer is serde's, byte for byte; it only needn't ask of each text again whether something in it must be escaped,
//! which the types of ids rule out. Where something might, serde's own writes.

use std::str::FromStr;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::clickstream::{RECORDED, RecordedRef};
use super::playback::HEARTBEAT;
use super::{Attributes, Envelope, Heartbeat, PlaybackEvent};
use crate::time::Timestamp;

/// Longer than nearly every heartbeat's record, in bytes.
const USUAL_LEN_MAX: usize = 768;

/// Writes a heartbeat; `None` where an attribute isn't plain text, or the time has no usual year.
pub(super) fn write_heartbeat(attributes: &Attributes<'_>, heartbeat: &Heartbeat) -> Option<Vec<u8>> {
    let Attributes { id, source, subject, time, partition_key } = *attributes;
    let is_plain = |text: &str| text.bytes().all(|byte| PLAIN[usize::from(byte)]);
    if !(is_plain(source) && is_plain(subject) && is_plain(partition_key)) {
        return None;
    }
    let time = time.written()?;
    let mut out = Written(Vec::with_capacity(USUAL_LEN_MAX));
    out.put(r#"{"specversion":"1.0","id":""#).uuid(id);
    out.put(r#"","type":""#).put(HEARTBEAT).put(r#"","source":""#).put(source).put(r#"","subject":""#).put(subject);
    out.put(r#"","time":""#).0.extend_from_slice(&time);
    out.put(r#"","partitionkey":""#).put(partition_key);
    out.put(r#"","datacontenttype":"application/json","data":{"account_id":""#).put(heartbeat.account_id.as_str());
    out.put(r#"","session_id":""#).uuid(heartbeat.session_id.uuid());
    out.put(r#"","device_id":""#).put(heartbeat.device_id.as_str());
    if let Some(class) = heartbeat.device_class {
        out.put(r#"","device_class":""#).put(class.as_str());
    }
    out.put(r#"","title_id":""#).put(heartbeat.title_id.as_str());
    if let Some(kind) = heartbeat.content_kind {
        out.put(r#"","content_kind":""#).put(kind.as_str());
    }
    match &heartbeat.territory {
        Some(territory) => out.put(r#"","territory":""#).put(territory.as_str()).put("\""),
        None => out.put(r#"","territory":null"#),
    };
    if let Some(holder) = &heartbeat.rights_holder {
        out.put(r#","rights_holder":""#).put(holder.as_str()).put("\"");
    }
    out.put(r#","sequence":"#).integer(heartbeat.sequence);
    out.put(r#","elapsed_ms":"#).integer(heartbeat.elapsed_ms);
    out.put(r#","age_ms":"#).integer(heartbeat.age_ms);
    out.put(r#","position_ms":"#).integer(heartbeat.position_ms);
    out.put(r#","state":""#).put(heartbeat.state.as_str());
    out.put(r#"","rate_milli":"#).integer(heartbeat.rate_milli.into());
    out.put(r#","policy":""#).put(heartbeat.policy.name().as_str()).put("@");
    out.integer(heartbeat.policy.version().into());
    out.put(r#""}}"#);
    Some(out.0)
}

/// What is written of a record.
struct Written(Vec<u8>);

impl Written {
    fn put(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn uuid(&mut self, uuid: Uuid) {
        let mut buffer = Uuid::encode_buffer();
        self.put(uuid.hyphenated().encode_lower(&mut buffer));
    }

    fn integer(&mut self, number: u64) {
        self.put(itoa::Buffer::new().format(number));
    }
}

/// Reads a heartbeat; `None` for everything that isn't written just so, be it right or wrong.
pub(super) fn heartbeat(value: &[u8]) -> Option<Envelope<'_, PlaybackEvent>> {
    let (mut text, id, _) = envelope(value, HEARTBEAT)?;
    text.skip(r#""account_id":""#)?;
    let heartbeat = Heartbeat {
        account_id: text.parse()?,
        session_id: text.after(r#","session_id":""#)?.parse()?,
        device_id: text.after(r#","device_id":""#)?.parse()?,
        device_class: text.parse_if(r#","device_class":""#)?,
        title_id: text.after(r#","title_id":""#)?.parse()?,
        content_kind: text.parse_if(r#","content_kind":""#)?,
        territory: text.parse_if(r#","territory":""#)?,
        rights_holder: text.parse_if(r#","rights_holder":""#)?,
        sequence: text.after(r#","sequence":"#)?.integer()?,
        elapsed_ms: text.after(r#","elapsed_ms":"#)?.integer()?,
        age_ms: text.after(r#","age_ms":"#)?.integer()?,
        position_ms: text.after(r#","position_ms":"#)?.integer()?,
        state: text.after(r#","state":""#)?.parse()?,
        rate_milli: text.after(r#","rate_milli":"#)?.integer()?.try_into().ok()?,
        policy: text.after(r#","policy":""#)?.parse()?,
    };
    text.skip("}}")?;
    text.0.is_empty().then_some(Envelope { id: id.into(), event: PlaybackEvent::Heartbeat(heartbeat) })
}

/// Reads a click, but for the parser's word on its properties; `None` for everything that isn't written just so.
pub(super) fn click(value: &[u8]) -> Option<RecordedRef<'_>> {
    let (mut text, id, time) = envelope(value, RECORDED)?;
    text.skip(r#""name":""#)?;
    let name = text.quoted()?;
    let account_id = text.parse_if(r#","account_id":""#)?;
    let anonymous_id = text.parse_if(r#","anonymous_id":""#)?;
    let session_id = text.parse_if(r#","session_id":""#)?;
    text.skip(r#","properties":"#)?;
    // What begins and ends like an object and is JSON is one, and what is behind it is what ends a record.
    let properties = text.0.strip_suffix("}}").filter(|text| text.starts_with('{') && text.ends_with('}'))?;
    serde_json::from_str::<&RawValue>(properties).ok()?;
    let (id, name, time) = (id.into(), name.into(), Timestamp::read(time));
    Some(RecordedRef { id, time, name, account_id, anonymous_id, session_id, properties })
}

/// Reads what stands before an event's own data: the rest, its id and its time.
fn envelope<'a>(value: &'a [u8], kind: &str) -> Option<(Text<'a>, &'a str, &'a str)> {
    // Checked once here, for all of its strings.
    let mut text = Text(std::str::from_utf8(value).ok()?);
    text.skip(r#"{"specversion":"1.0","id":""#)?;
    let id = text.quoted()?;
    text.skip(r#","type":""#)?;
    text.skip(kind)?;
    text.skip(r#"","source":""#)?;
    text.quoted()?;
    text.skip(r#","subject":""#)?;
    text.quoted()?;
    let time = text.after(r#","time":""#)?.quoted()?;
    text.skip(r#","partitionkey":""#)?;
    text.quoted()?;
    text.skip(r#","datacontenttype":"application/json","data":{"#)?;
    Some((text, id, time))
}

/// What of a record is still to be read.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    fn skip(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn after(&mut self, expected: &str) -> Option<&mut Self> {
        self.skip(expected)?;
        Some(self)
    }

    /// A string's text, up to its closing quote and with it; `None` where a character of it is escaped, is not ASCII or
    /// has no place in JSON.
    fn quoted(&mut self) -> Option<&'a str> {
        let end = self.0.bytes().position(|byte| !PLAIN[usize::from(byte)])?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.strip_prefix('"')?;
        Some(text)
    }

    fn parse<T: FromStr>(&mut self) -> Option<T> {
        self.quoted()?.parse().ok()
    }

    /// What our writer leaves out where nobody said it.
    #[expect(clippy::option_option, reason = "written otherwise, not said, said")]
    fn parse_if<T: FromStr>(&mut self, expected: &str) -> Option<Option<T>> {
        match self.0.strip_prefix(expected) {
            Some(rest) => {
                self.0 = rest;
                self.parse().map(Some)
            }
            None => Some(None),
        }
    }

    fn integer(&mut self) -> Option<u64> {
        /// So many digits always fit.
        const DIGITS_MAX: usize = 19;

        let end = self.0.bytes().position(|byte| !byte.is_ascii_digit())?;
        let (digits, rest) = self.0.split_at_checked(end)?;
        let is_json = matches!(digits.as_bytes(), [b'0'] | [b'1'..=b'9', ..]) && digits.len() <= DIGITS_MAX;
        self.0 = rest;
        is_json.then(|| digits.bytes().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }
}

/// ASCII that stands for itself within a JSON string.
static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        table[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::super::{ClickstreamEvent, Recorded, encode, encode_any, parse};
    use super::*;
    use crate::ids::{ContentKind, DeviceClass, PlayerState, SessionId, Territory};
    use crate::time::Timestamp;

    fn id<T: FromStr + std::fmt::Debug>() -> impl Strategy<Value = T>
    where
        T::Err: std::fmt::Debug,
    {
        "[A-Za-z0-9][A-Za-z0-9._:@-]{0,40}".prop_map(|text| text.parse().unwrap())
    }

    fn heartbeats() -> impl Strategy<Value = Heartbeat> {
        let who = (id(), 1_u128.., id(), option::of(select(DeviceClass::ALL)));
        let what = (id(), option::of(select(ContentKind::ALL)), option::of("[A-Z]{2}"), option::of(id()));
        let number = || prop_oneof![0..30_u64, 0..1_u64 << 53, any::<u64>()];
        let how = (
            number(),
            number(),
            number(),
            number(),
            select(PlayerState::ALL),
            any::<u32>(),
            id::<crate::ids::PolicyName>(),
            1..u32::MAX,
        );
        (who, what, how).prop_map(|(who, what, how)| Heartbeat {
            account_id: who.0,
            session_id: SessionId::new(uuid::Uuid::from_u128(who.1)).unwrap(),
            device_id: who.2,
            device_class: who.3,
            title_id: what.0,
            content_kind: what.1,
            territory: what.2.map(|text| text.parse::<Territory>().unwrap()),
            rights_holder: what.3,
            sequence: how.0,
            elapsed_ms: how.1,
            age_ms: how.2,
            position_ms: how.3,
            state: how.4,
            rate_milli: how.5,
            policy: format!("{}@{}", how.6, how.7).parse().unwrap(),
        })
    }

    fn written(heartbeat: &Heartbeat) -> Vec<u8> {
        let attributes = Attributes {
            id: uuid::Uuid::from_u128(0x019a_b0c4_7e1a_7000_8000_0000_0000_0001),
            source: "/v1/heartbeats",
            subject: &heartbeat.session_id.to_string(),
            time: Timestamp::from_millis(1_795_000_000_123),
            partition_key: heartbeat.account_id.as_str(),
        };
        encode(&attributes, &PlaybackEvent::Heartbeat(heartbeat.clone()))
    }

    /// JSON objects as a front end might write them, spaces and all.
    fn properties() -> impl Strategy<Value = Box<RawValue>> {
        let object = prop_oneof![
            r#"\{("a":[0-9],)?"b":"[a-z{}\[\]]{0,9}"\}"#,
            Just("{}".to_owned()),
            Just(r#"{ "a" : [1, {"b": "}}"}], "c": null }"#.to_owned()),
            Just(r#"{"row":"Für dich","x":"\u0041\"","n":-1.5e-7}"#.to_owned()),
        ];
        object.prop_map(|object| RawValue::from_string(object).unwrap())
    }

    fn clicks() -> impl Strategy<Value = Recorded> {
        let session = option::of(1_u128..).prop_map(|id| id.map(|id| SessionId::new(Uuid::from_u128(id)).unwrap()));
        let name = prop_oneof![4 => "[a-z_ ]{0,12}", 1 => ".{0,12}"];
        (name, option::of(id()), option::of(id()), session, properties()).prop_map(
            |(name, account_id, anonymous_id, session_id, properties)| Recorded {
                name,
                account_id,
                anonymous_id,
                session_id,
                properties,
            },
        )
    }

    fn written_click(click: &Recorded) -> Vec<u8> {
        let (id, time) = (Uuid::from_u128(7), Timestamp::from_millis(1_795_000_000_123));
        let attributes = Attributes { id, source: "/v1/clickstream", subject: "ada", time, partition_key: "ada" };
        encode(&attributes, &ClickstreamEvent::Recorded(click.clone()))
    }

    /// Changes bytes, loses, repeats or puts in some.
    fn change(value: &mut Vec<u8>, changes: Vec<(Index, i32, u8, u8)>) {
        for (place, what, telling, any) in changes {
            let at = place.index(value.len());
            match what {
                0 => value[at] = telling,
                1 => value[at] = any,
                2 => drop(value.remove(at)),
                _ => value.insert(at, telling),
            }
        }
    }

    fn changes() -> impl Strategy<Value = Vec<(Index, i32, u8, u8)>> {
        vec((any::<Index>(), 0..4, select(br#" "\,:{}[]01.-eEn"#.as_slice()), any::<u8>()), 1..4)
    }

    /// Texts of which most need no escape.
    fn attribute() -> impl Strategy<Value = String> {
        prop_oneof![9 => "[ -!#-\\[\\]-~]{0,20}", 1 => ".{0,20}", 1 => "[\\x00-\\x7f]{0,20}"]
    }

    proptest! {
        #[test]
        fn it_is_written_as_serde_writes_it(
            heartbeat in heartbeats(),
            says_where in any::<bool>(),
            texts in [attribute(), attribute(), attribute()],
            (id, ms) in (any::<u128>(), prop_oneof![4 => 0_i64..4_102_444_800_000, 1 => any::<i64>()]),
        ) {
            let territory = heartbeat.territory.filter(|_| says_where);
            let event = PlaybackEvent::Heartbeat(Heartbeat { territory, ..heartbeat });
            let [source, subject, partition_key] = &texts;
            let time = Timestamp::from_millis(ms);
            let attributes = Attributes { id: Uuid::from_u128(id), source, subject, time, partition_key };
            let (ours, serdes) = (encode(&attributes, &event), encode_any(&attributes, &event));
            prop_assert_eq!(String::from_utf8(ours), String::from_utf8(serdes));
        }

        #[test]
        fn what_needs_no_escape_is_written_here(heartbeat in heartbeats()) {
            let subject = heartbeat.session_id.to_string();
            let time = Timestamp::from_millis(1_795_000_000_123);
            let attributes =
                Attributes { id: Uuid::nil(), source: "/v1/heartbeats", subject: &subject, time, partition_key: "a@b" };
            prop_assert!(write_heartbeat(&attributes, &heartbeat).is_some());
        }

        /// A territory that nobody said is written as null, and a number may have 20 digits: those are the parser's.
        #[test]
        fn what_our_writer_writes_is_read_as_the_parser_reads_it(heartbeat in heartbeats()) {
            let value = written(&heartbeat);
            let parsed = parse::<PlaybackEvent>(&value).unwrap();
            let fits = [heartbeat.sequence, heartbeat.elapsed_ms, heartbeat.age_ms, heartbeat.position_ms]
                .iter()
                .all(|number| *number < 10_u64.pow(19));
            let read = super::heartbeat(&value);
            prop_assert_eq!(read.is_some(), fits && heartbeat.territory.is_some());
            prop_assert_eq!(read.unwrap_or_else(|| parsed.clone()), parsed);
        }

        #[test]
        fn what_is_nearly_so_is_never_read_otherwise(heartbeat in heartbeats(), changes in changes()) {
            let mut value = written(&heartbeat);
            change(&mut value, changes);
            if let Some(read) = super::heartbeat(&value) {
                prop_assert_eq!(read, parse(&value).unwrap());
            }
        }

        /// A name that is not ASCII, or in which something is escaped, is the parser's.
        #[test]
        fn a_click_is_read_as_the_parser_reads_it(click in clicks()) {
            let value = written_click(&click);
            let parsed = RecordedRef::parse(&value).unwrap();
            let read = super::click(&value);
            let is_plain = click.name.bytes().all(|byte| PLAIN[usize::from(byte)]);
            prop_assert_eq!(read.is_some(), is_plain);
            prop_assert_eq!(read.unwrap_or_else(|| parsed.clone()), parsed);
        }

        #[test]
        fn what_is_nearly_a_click_is_never_read_otherwise(click in clicks(), changes in changes()) {
            let mut value = written_click(&click);
            change(&mut value, changes);
            if let Some(read) = super::click(&value) {
                prop_assert_eq!(read, RecordedRef::parse(&value).unwrap());
            }
        }
    }
}
