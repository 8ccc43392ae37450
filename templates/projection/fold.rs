//! The fold of a batch: what each event adds.
//!
//! It sees the events in the order of the log and nothing else: no clock (`placed.place.at` is the log's time), no
//! randomness, no other projection's tables. So a rebuild next year makes the same rows.

use pulsegate_domain::event::PlaybackEvent;

use crate_path::runner::Batch;
use crate_path::sinks::Deltas;

/// What a batch changes in the tables.
#[derive(Debug, Default)]
pub struct Changes {
    /// What is added to the count of each key.
    pub(super) counts: Deltas<String>,
}

impl Changes {
    pub(super) fn fold(batch: &Batch<PlaybackEvent>) -> Self {
        let mut changes = Self::default();
        for placed in &batch.events {
            if let Some((key, n)) = counted(&placed.event) {
                changes.counts.add(key, n);
            }
        }
        changes
    }
}

/// What an event adds, and to the count of which key. This is what there is to write: the tests fail until it says
/// something. For the starts of each title: `PlaybackEvent::Started(started) => Some((started.title_id.to_string(), 1))`.
fn counted(event: &PlaybackEvent) -> Option<(String, i64)> {
    match event {
        PlaybackEvent::Started(_)
        | PlaybackEvent::Heartbeat(_)
        | PlaybackEvent::Stopped(_)
        | PlaybackEvent::Evicted(_)
        | PlaybackEvent::Signal(_) => None,
    }
}
