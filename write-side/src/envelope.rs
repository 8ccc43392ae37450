//! Puts an event into its envelope: the record that stands in the log.

use std::borrow::Cow;

use pulsegate_domain::event::{
    Attributes, CONTENT_TYPE, CatalogEvent, ClickstreamEvent, Event, PlaybackEvent, ProvisionalEvent, encode,
};
use pulsegate_domain::ids::{AccountId, AnonymousId, SessionId};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use serde::Serialize;
use uuid::Uuid;

use crate::record::Record;

/// What an event says of how it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The event's id.
    pub id: Uuid,
    /// The route or command that took it in, e.g. `/v1/heartbeats`.
    pub source: &'a str,
    /// When its sender says that it happened.
    pub time: Timestamp,
}

impl<'a> Origin<'a> {
    /// An event that came in by `source` and happened at `time`, with a new id (UUID v7).
    #[must_use]
    pub fn new(source: &'a str, time: Timestamp) -> Self {
        Self { id: Uuid::now_v7(), source, time }
    }
}

/// A new session's id, for a player that chose none (UUID v7).
#[must_use]
pub fn new_session_id() -> SessionId {
    match SessionId::new(Uuid::now_v7()) {
        Ok(id) => id,
        Err(_) => unreachable!("a version 7 UUID is not nil"),
    }
}

/// The record of a playback event: its key is the account, its subject the session. A signal that names
/// no session is about its account.
#[must_use]
pub fn playback(event: &PlaybackEvent, origin: &Origin<'_>) -> Record {
    let account = event.account_id().as_str();
    match event.session_id() {
        Some(session) => {
            let mut buffer = Uuid::encode_buffer();
            record(Topic::Playback, account, session.uuid().hyphenated().encode_lower(&mut buffer), origin, event)
        }
        None => record(Topic::Playback, account, account, origin, event),
    }
}

/// The record of a clickstream event: its key is the account, else the visitor; its subject the session,
/// else the key. An event of neither has no key.
#[must_use]
pub fn clickstream(event: &ClickstreamEvent, origin: &Origin<'_>) -> Record {
    let (account, visitor, session) = match event {
        ClickstreamEvent::Recorded(click) => (click.account_id.as_ref(), click.anonymous_id.as_ref(), click.session_id),
        ClickstreamEvent::Sealed(click) => (Some(&click.account_id), click.anonymous_id.as_ref(), click.session_id),
    };
    let key = account.map(AccountId::as_str).or_else(|| visitor.map(AnonymousId::as_str));
    let session = session.map(|id| id.to_string());
    let subject = session.as_deref().or(key).unwrap_or_default();
    let mut record = record(Topic::Clickstream, key.unwrap_or_default(), subject, origin, event);
    if key.is_none() {
        record.key = None;
    }
    record
}

/// The record of a catalog event: key and subject are the entity's id.
#[must_use]
pub fn catalog(event: &CatalogEvent, origin: &Origin<'_>) -> Record {
    let entity = match event {
        CatalogEvent::TitleRegistered(title) => title.title_id.as_str(),
        CatalogEvent::RightsHolderRegistered(holder) => holder.rights_holder_id.as_str(),
        CatalogEvent::ContractRegistered(contract) => contract.contract_id.as_str(),
        CatalogEvent::ContractAmended(amended) => amended.contract.contract_id.as_str(),
        CatalogEvent::ContractEnded(ended) => ended.contract_id.as_str(),
        CatalogEvent::PolicyPublished(policy) => policy.name.as_str(),
        CatalogEvent::EntitlementChanged(change) => change.account_id.as_str(),
        CatalogEvent::ChangeNoted(change) => change.subject.as_str(),
    };
    record(Topic::Catalog, entity, entity, origin, event)
}

/// The header that says who made a change, in the log's own words: `key:…`, `person:…`, `command:…`.
pub const BY: &str = "pulsegate-by";

/// The same record, saying who made the change.
#[must_use]
pub fn by(mut record: Record, who: &str) -> Record {
    record.headers.push((BY, Cow::Owned(who.as_bytes().to_vec())));
    record
}

/// The record of a provisional answer: its key is the account, its subject the session where one is known.
#[must_use]
pub fn provisional(event: &ProvisionalEvent, origin: &Origin<'_>) -> Record {
    let ProvisionalEvent::Answered(answered) = event;
    let account = answered.account_id.as_str();
    let session = answered.session_id.map(|id| id.to_string());
    record(Topic::Provisional, account, session.as_deref().unwrap_or(account), origin, event)
}

fn record<T: Event + Serialize>(topic: Topic, key: &str, subject: &str, origin: &Origin<'_>, event: &T) -> Record {
    let Origin { id, source, time } = *origin;
    Record {
        topic,
        key: Some(key.as_bytes().to_vec()),
        value: encode(&Attributes { id, source, subject, time, partition_key: key }, event),
        headers: vec![("content-type", Cow::Borrowed(CONTENT_TYPE.as_bytes()))],
    }
}

#[cfg(test)]
mod tests {
    use pulsegate_domain::catalog::Catalog;
    use pulsegate_domain::event::{Evicted, decode};
    use pulsegate_domain::ids::EvictedBy;
    use serde_json::Value;

    use super::*;
    use crate::request::{parse_clickstream_batch, parse_signal_batch};
    use crate::stamp;

    fn origin() -> Origin<'static> {
        Origin { id: Uuid::from_u128(7), source: "/v1/test", time: Timestamp::from_millis(1_795_380_423_120) }
    }

    #[test]
    fn a_playback_record_is_a_cloud_event_under_its_account() {
        let event = PlaybackEvent::Evicted(Evicted {
            account_id: "acc".parse().unwrap(),
            session_id: "019AB0C4-7E1A-7ABC-8DEF-0123456789AB".parse().unwrap(),
            by: EvictedBy::Viewer,
        });
        let record = playback(&event, &origin());
        assert_eq!(record.key.as_deref(), Some(b"acc".as_slice()));
        assert_eq!(record.headers, [("content-type", Cow::Borrowed(b"application/cloudevents+json".as_slice()))]);
        let expected = concat!(
            r#"{"specversion":"1.0","id":"00000000-0000-0000-0000-000000000007","type":"pulsegate.playback.evicted.v1","#,
            r#""source":"/v1/test","subject":"019ab0c4-7e1a-7abc-8def-0123456789ab","time":"2026-11-22T20:47:03.120Z","#,
            r#""partitionkey":"acc","datacontenttype":"application/json","data":{"account_id":"acc","#,
            r#""session_id":"019ab0c4-7e1a-7abc-8def-0123456789ab","by":"viewer"}}"#
        );
        assert_eq!(String::from_utf8(record.value.clone()).unwrap(), expected);
        assert_eq!(decode::<PlaybackEvent>(&record.value).unwrap().event, event);
    }

    #[test]
    fn a_signal_without_session_is_about_its_account() {
        let body = br#"{"signals":[{"account_id":"acc","device_id":"d","title_id":"t","kind":"manifest"}]}"#;
        let (_, request) = parse_signal_batch(body).unwrap().accepted.remove(0);
        let event = PlaybackEvent::Signal(stamp::signal(request, &Catalog::default(), None, Timestamp::from_millis(0)));
        let value: Value = serde_json::from_slice(&playback(&event, &origin()).value).unwrap();
        assert_eq!(value["subject"], "acc");
    }

    #[test]
    fn a_visitors_click_stands_under_the_visitor() {
        let body = br#"{"events":[{"name":"n","anonymous_id":"v"},{"name":"n","account_id":"a","anonymous_id":"v"}]}"#;
        let keys: Vec<_> = parse_clickstream_batch(body)
            .unwrap()
            .accepted
            .into_iter()
            .map(|(_, request)| clickstream(&ClickstreamEvent::Recorded(request.recorded), &origin()).key.unwrap())
            .collect();
        assert_eq!(keys, [b"v", b"a"]);
    }
}
