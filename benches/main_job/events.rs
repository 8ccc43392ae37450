//! Events of the size and shape that the product writes, for the limits and for histories.

use pulsegate_domain::event::{Attributes, ClickstreamEvent, Heartbeat, PlaybackEvent, Recorded, encode};
use pulsegate_domain::ids::{InvalidId, PlayerState, SessionId};
use pulsegate_domain::policy::Policy;
use pulsegate_domain::time::Timestamp;
use pulsegate_write_side::envelope::{self, Origin};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::numbered::{DIGITS, FIRST, Numbered};
use crate::viewers::account;

/// What people do in a front end: as many names as a small one has.
const NAMES: [&str; 12] = [
    "page_viewed",
    "title_opened",
    "trailer_played",
    "play_clicked",
    "search_typed",
    "result_opened",
    "row_scrolled",
    "list_added",
    "list_removed",
    "profile_switched",
    "subtitle_changed",
    "quality_changed",
];

/// An event as it stands in the log, with its key.
#[derive(Debug)]
pub(crate) struct RawEvent {
    pub(crate) key: String,
    value: Numbered,
}

impl RawEvent {
    /// The heartbeats of one viewer.
    pub(crate) fn of(number: usize) -> anyhow::Result<Self> {
        let event = heartbeat(number)?;
        let (id, key) = (Uuid::now_v7(), account(number));
        let subject = event.session_id.to_string();
        let attributes = Attributes {
            id,
            source: "/v1/heartbeats",
            subject: &subject,
            time: Timestamp::from(chrono::Utc::now()),
            partition_key: &key,
        };
        let value = encode(&attributes, &PlaybackEvent::Heartbeat(event));
        Ok(Self::numbered(id, key, value))
    }

    /// What one viewer does in a front end, with properties of about 150 bytes.
    pub(crate) fn click(number: usize) -> anyhow::Result<Self> {
        let properties = format!(
            r#"{{"page":"/titles/title-{:05}","element":"play-button","position_ms":{FIRST},"viewport":{{"width":1920,"height":1080}},"referrer":"/browse/drama","row":{},"locale":"de-DE"}}"#,
            number % 10_000,
            number % 40
        );
        let key = account(number);
        let event = ClickstreamEvent::Recorded(Recorded {
            name: NAMES[number % NAMES.len()].to_owned(),
            account_id: Some(key.parse()?),
            anonymous_id: None,
            session_id: Some(SessionId::new(Uuid::now_v7())?),
            properties: RawValue::from_string(properties)?,
        });
        let origin = Origin::new("/v1/clickstream", Timestamp::from(chrono::Utc::now()));
        Ok(Self::numbered(origin.id, key, envelope::clickstream(&event, &origin).value))
    }

    /// Each event has an id of its own, so that it compresses no better than a real one.
    fn numbered(id: Uuid, key: String, value: Vec<u8>) -> Self {
        let id_end = id.to_string();
        let id_at = value.windows(id_end.len()).position(|window| window == id_end.as_bytes());
        let further: Vec<_> = id_at.map(|at| at + id_end.len() - DIGITS).into_iter().collect();
        Self { key, value: Numbered::new(value, &further) }
    }

    /// Its next record.
    pub(crate) fn next(&mut self) -> (&str, &[u8]) {
        (&self.key, self.value.next())
    }
}

fn heartbeat(number: usize) -> Result<Heartbeat, InvalidId> {
    Ok(Heartbeat {
        account_id: account(number).parse()?,
        session_id: SessionId::new(Uuid::now_v7())?,
        device_id: format!("device-{number:08}").parse()?,
        device_class: Some("tv".parse()?),
        title_id: format!("title-{:05}", number % 10_000).parse()?,
        content_kind: Some("vod".parse()?),
        territory: Some("DE".parse()?),
        rights_holder: None,
        sequence: FIRST,
        elapsed_ms: FIRST,
        age_ms: 0,
        position_ms: FIRST,
        state: PlayerState::Playing,
        rate_milli: 1_000,
        policy: Policy::standard().reference(),
    })
}

/// The heartbeats of so many viewers.
pub(crate) fn events(count: usize) -> anyhow::Result<Vec<RawEvent>> {
    (0..count).map(RawEvent::of).collect()
}

/// What so many viewers do in a front end.
pub(crate) fn clicks(count: usize) -> anyhow::Result<Vec<RawEvent>> {
    (0..count).map(RawEvent::click).collect()
}
