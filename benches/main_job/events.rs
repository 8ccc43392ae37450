//! Events of the size and shape that the product writes, for the limits.

use pulsegate_domain::event::{Attributes, Heartbeat, PlaybackEvent, encode};
use pulsegate_domain::ids::{InvalidId, PlayerState, SessionId};
use pulsegate_domain::policy::Policy;
use pulsegate_domain::time::Timestamp;
use uuid::Uuid;

use crate::numbered::{DIGITS, FIRST, Numbered};
use crate::viewers::account;

/// A heartbeat as it stands in the log, with its key.
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
        // Each event has an id of its own, so that it compresses no better than a real one.
        let id_end = id.to_string();
        let id_at = value.windows(id_end.len()).position(|window| window == id_end.as_bytes());
        let further: Vec<_> = id_at.map(|at| at + id_end.len() - DIGITS).into_iter().collect();
        Ok(Self { key, value: Numbered::new(value, &further) })
    }

    /// Its next heartbeat's record.
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

/// Of so many viewers.
pub(crate) fn events(count: usize) -> anyhow::Result<Vec<RawEvent>> {
    (0..count).map(RawEvent::of).collect()
}
