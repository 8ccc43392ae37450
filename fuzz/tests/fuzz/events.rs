//! Records of the log, as another writer, a bad disk or a hand might have put them there.

use std::fmt::Debug;

use pulsegate_domain::event::{
    Attributes, CatalogEvent, ClickstreamEvent, Event, KINDS, PlaybackEvent, ProvisionalEvent, RecordedRef, decode,
    encode, source_of,
};
use pulsegate_domain::time::Timestamp;
use pulsegate_fuzz::{Said, Target, try_out};
use serde::Serialize;
use uuid::Uuid;

use super::{BOUND, LEN_MAX, file};

fn target(name: &'static str, family: &str) -> Target {
    let kinds = KINDS.iter().filter(|kind| kind.split('.').nth(1) == Some(family));
    let seeds: Vec<_> = kinds.map(|kind| file(&format!("domain/tests/golden/{kind}.json"))).collect();
    assert!(!seeds.is_empty(), "{family} has golden files");
    Target { name, seeds, bound: BOUND, len_max: LEN_MAX, taken_min: 20 }
}

pub(crate) fn written<T: Event + Serialize>(event: &T) -> Vec<u8> {
    let attributes = Attributes {
        id: Uuid::from_u128(1),
        source: "/fuzz",
        subject: "s",
        time: Timestamp::from_millis(1_795_380_423_120),
        partition_key: "k",
    };
    encode(&attributes, event)
}

/// What was read is written, read again, and written the same.
pub(crate) fn stays<T: Event + Serialize>(event: &T) {
    let once = written(event);
    let again = decode::<T>(&once).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&once)));
    assert_eq!(String::from_utf8(written(&again.event)), String::from_utf8(once));
}

/// The same record as another writer might have put it: with something first that nobody asks for.
fn with_more(value: &[u8]) -> Option<Vec<u8>> {
    let rest = value.trim_ascii_start().strip_prefix(b"{")?;
    let comma: &[u8] = if rest.trim_ascii_start().starts_with(b"}") { b"" } else { b"," };
    Some([br#" {"zz_more":[0]"#, comma, rest].concat())
}

fn read<T: Event + Serialize + Debug>(value: &[u8]) -> Said {
    let _ = source_of(value);
    let read = decode::<T>(value);
    if let Ok(envelope) = &read {
        stays(&envelope.event);
    }
    // What reads our own writer's records quicker says what reads any.
    if let Some(more) = with_more(value) {
        let more = decode::<T>(&more);
        assert_eq!(read.as_ref().ok().map(|read| format!("{read:?}")), more.ok().map(|read| format!("{read:?}")));
    }
    Said::taken(read.is_ok())
}

#[test]
fn fuzzed_records_of_playback_are_read_or_skipped() {
    try_out(&target("playback", "playback"), read::<PlaybackEvent>);
}

#[test]
fn fuzzed_records_of_the_catalog_are_read_or_skipped() {
    try_out(&target("catalog", "catalog"), read::<CatalogEvent>);
}

#[test]
fn fuzzed_records_of_provisional_answers_are_read_or_skipped() {
    try_out(&target("provisional", "provisional"), read::<ProvisionalEvent>);
}

#[test]
fn fuzzed_records_of_the_clickstream_are_read_alike_with_and_without_copies() {
    try_out(&target("clickstream", "clickstream"), |value| {
        let said = read::<ClickstreamEvent>(value);
        if let Ok(borrowed) = RecordedRef::read(value) {
            let envelope = decode::<ClickstreamEvent>(value).expect("what is borrowed can be owned");
            let ClickstreamEvent::Recorded(owned) = &envelope.event else {
                panic!("a sealed event is borrowed as another")
            };
            assert_eq!((&borrowed.id, borrowed.name.as_ref()), (&envelope.id, owned.name.as_str()));
            assert_eq!(borrowed.account_id, owned.account_id);
            assert_eq!(borrowed.anonymous_id, owned.anonymous_id);
            assert_eq!(borrowed.session_id, owned.session_id);
            assert_eq!(borrowed.properties, owned.properties.get());
        }
        said
    });
}
