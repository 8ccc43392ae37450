//! One thing that was done for a sampled request, from its beginning to its end.

use std::borrow::Cow;
use std::time::{Instant, SystemTime};

use opentelemetry::trace::{Link, SpanId, SpanKind, Status, TraceId};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::context::Context;
use super::sampling::random;
use super::{TRACER, Tracer};

/// Most links of a span.
const LINKS_MAX: usize = 32;

/// On which side of what a span stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answers a request.
    Server,
    /// Appends to the log.
    Producer,
    /// Folds what stands in the log.
    Consumer,
    /// Neither.
    Internal,
}

/// A span that has begun. It ends, and is told, when it is dropped.
#[derive(Debug)]
pub struct Span {
    context: Context,
    since: Instant,
    /// Taken at the end.
    data: Option<Box<SpanData>>,
}

impl Span {
    pub(crate) fn begin(name: &'static str, kind: Kind, parent: Option<Context>, is_remote: bool) -> Self {
        let trace = parent.map_or_else(new_trace, |parent| parent.trace);
        // Nought is none.
        let context = Context { trace, span: SpanId::from(random().max(1)) };
        let now = SystemTime::now();
        let data = SpanData {
            span_context: context.otel(false),
            parent_span_id: parent.map_or(SpanId::INVALID, |parent| parent.span),
            parent_span_is_remote: is_remote && parent.is_some(),
            span_kind: match kind {
                Kind::Server => SpanKind::Server,
                Kind::Producer => SpanKind::Producer,
                Kind::Consumer => SpanKind::Consumer,
                Kind::Internal => SpanKind::Internal,
            },
            name: Cow::Borrowed(name),
            start_time: now,
            end_time: now,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("pulsegate").build(),
        };
        Self { context, since: Instant::now(), data: Some(Box::new(data)) }
    }

    /// What is a part of it says so by this.
    #[must_use]
    pub const fn context(&self) -> Context {
        self.context
    }

    /// Calls it something else.
    pub fn rename(&mut self, name: String) {
        if let Some(data) = &mut self.data {
            data.name = Cow::Owned(name);
        }
    }

    /// Says something of it. Nothing by which a person could be known.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(data) = &mut self.data {
            data.attributes.push(KeyValue::new(key, value));
        }
    }

    /// Says that it did not go well, and why.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if let Some(data) = &mut self.data {
            data.status = Status::error(why);
        }
    }

    /// Says that it was done for others as well; of many, for the first of them.
    pub fn link(&mut self, others: impl IntoIterator<Item = Context>) {
        let Some(data) = &mut self.data else { return };
        for other in others {
            if data.links.links.len() < LINKS_MAX {
                data.links.links.push(Link::new(other.otel(true), Vec::new(), 0));
            } else {
                data.links.dropped_count += 1;
            }
        }
    }

    /// Lets it have begun earlier, at `since`.
    pub fn began(&mut self, since: Instant) {
        if let Some(data) = &mut self.data {
            data.start_time -= self.since.saturating_duration_since(since);
            self.since = since.min(self.since);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let (Some(mut data), Some(Tracer { queue, .. })) = (self.data.take(), TRACER.get()) else { return };
        // A clock that is stepped meanwhile must not make it last for an hour.
        data.end_time = data.start_time + self.since.elapsed();
        queue.tell(data);
    }
}

fn new_trace() -> TraceId {
    TraceId::from(u128::from(random()) << 64 | u128::from(random().max(1)))
}
