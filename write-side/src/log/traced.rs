//! What of an append is told where it is a part of a sampled request.

use std::borrow::Cow;

use pulsegate_traces::{HEADER, Kind, Span};

use crate::record::{AppendError, Appended, Record};

/// Begins the span of an append, and says so in the record; `None` where no sampled request appends.
pub(super) fn begin(record: &mut Record) -> Option<Span> {
    let mut span = pulsegate_traces::child("append", Kind::Producer)?;
    span.set("messaging.system", "kafka");
    span.set("messaging.destination.name", record.topic.base_name());
    mark(record, &span);
    Some(span)
}

/// Begins the span of many appends at once.
pub(super) fn begin_all(count: usize) -> Option<Span> {
    let mut span = pulsegate_traces::child("append", Kind::Producer)?;
    span.set("messaging.system", "kafka");
    span.set("messaging.batch.message_count", i64::try_from(count).unwrap_or(i64::MAX));
    Some(span)
}

/// Says in a record that it is a part of this span.
pub(super) fn mark(record: &mut Record, span: &Span) {
    // What is sent in again may still say what it once was a part of.
    record.headers.retain(|(name, _)| *name != HEADER);
    record.headers.push((HEADER, Cow::Owned(span.context().header().into_bytes())));
}

/// Ends the span of one append with what became of it.
pub(super) fn end(mut span: Span, outcome: &Result<Appended, AppendError>) {
    match outcome {
        Ok(appended) => {
            span.set("messaging.destination.partition.id", appended.partition.to_string());
            span.set("messaging.kafka.offset", appended.offset);
        }
        Err(error) => span.fail(error.reason()),
    }
}
