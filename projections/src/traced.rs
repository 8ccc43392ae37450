//! What of folding is told where a record is a part of a sampled request.

use std::time::Instant;

use chrono::Utc;
use pulsegate_domain::time::Timestamp;
use pulsegate_traces::{Context, HEADER, Span};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use crate::builds::Build;
use crate::runner::Record;

/// Records older than this are history, and so are their traces.
const AGE_MAX_MS: u64 = 3_600_000;

/// A span of one record that is folded into the hot view; `None` where it is a part of no sampled request.
pub(crate) fn record(message: &BorrowedMessage<'_>) -> Option<Span> {
    if !pulsegate_traces::is_on() {
        return None;
    }
    let headers = message.headers()?;
    let header = headers.iter().find(|header| header.key == HEADER)?;
    let stamp = message.timestamp().to_millis().map(Timestamp::from_millis);
    let parent = Context::of_sampled(header.value?).filter(|_| is_recent(stamp))?;
    let mut span = pulsegate_traces::of_record("fold into the hot view", parent)?;
    span.set("messaging.system", "kafka");
    span.set("messaging.destination.partition.id", message.partition().to_string());
    span.set("messaging.kafka.offset", message.offset());
    Some(span)
}

/// Tells of a batch that was committed, if records of it are parts of sampled requests: in the trace of the first, with
/// links to all of them.
pub(crate) fn batch<'a>(build: &Build, records: impl IntoIterator<Item = &'a Record>, begun: Instant) {
    if !pulsegate_traces::is_on() {
        return;
    }
    let mut count = 0_i64;
    let mut sampled = Vec::new();
    for record in records {
        count += 1;
        // Of most records no headers are kept.
        let header = record.headers.iter().find(|(name, _)| name == HEADER).and_then(|(_, value)| value.as_deref());
        sampled.extend(header.and_then(Context::of_sampled).filter(|_| is_recent(record.timestamp)));
    }
    let Some(first) = sampled.first() else { return };
    let Some(mut span) = pulsegate_traces::of_record("project", *first) else { return };
    span.rename(format!("project {build}"));
    span.began(begun);
    span.set("messaging.system", "kafka");
    span.set("messaging.batch.message_count", count);
    span.set("pulsegate.projection", build.to_string());
    span.link(sampled);
}

fn is_recent(stamp: Option<Timestamp>) -> bool {
    let now = Timestamp::from(Utc::now());
    stamp.is_some_and(|stamp| now.ms_since(stamp) < AGE_MAX_MS)
}
