//! Traces: what a sampled request did, from HTTP over the log to the read models.
//!
//! A few requests in a thousand are sampled. Such a request is followed by its context, which the task that answers it
//! carries ([`within`]) and which the records that it appends have as a header, as W3C's Trace Context writes it. Whoever
//! folds such a record adds to the same trace. Spans go over a bounded queue to a thread of their own, which tells them
//! to a collector by OTLP over HTTP; what it can't tell is dropped and counted.
//!
//! **Invariant:** nothing waits for the collector, and a request that isn't sampled pays for a few comparisons: no
//! allocation, no header, no look at a clock.
//!
//! Not [`tracing`]'s spans: those cost each request, sampled or not, more than a block check does.

mod context;
mod current;
mod export;
mod sampling;
mod span;

use std::sync::OnceLock;

pub use context::{Context, HEADER, trace_id_of};
pub use current::{current, within};
pub use export::{Exporting, Settings, StartError, start};
pub use span::{Kind, Span};

use export::Queue;
use sampling::Sampling;

/// What this process traces with, from [`start`] on.
struct Tracer {
    sampling: Sampling,
    queue: Queue,
}

static TRACER: OnceLock<Tracer> = OnceLock::new();

/// Whether this process traces anything.
#[must_use]
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// Who says that a request shall be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody outside, who may ask for a few traces a second and not more.
    Outside,
    /// A node that has passed a request on, and sampled it itself.
    Neighbour,
}

/// A request's span, if it is sampled: because its `traceparent` says so and its caller may, or by chance where it says
/// nothing. Its name is given once its route is known.
#[must_use]
pub fn request(traceparent: Option<&[u8]>, caller: Caller) -> Option<Span> {
    let tracer = TRACER.get()?;
    tracer.sampling.request(traceparent, caller).map(|parent| Span::begin("request", Kind::Server, parent, true))
}

/// A part of what the running task does for a sampled request; `None` where it does it for none.
#[must_use]
pub fn child(name: &'static str, kind: Kind) -> Option<Span> {
    TRACER.get()?;
    current().map(|parent| Span::begin(name, kind, Some(parent), false))
}

/// What is done with a record whose header has this context. Many that are not ours may say that they are sampled: only
/// some a second get a span.
#[must_use]
pub fn of_record(name: &'static str, parent: Context) -> Option<Span> {
    let tracer = TRACER.get()?;
    tracer.sampling.record().then(|| Span::begin(name, Kind::Consumer, Some(parent), true))
}
