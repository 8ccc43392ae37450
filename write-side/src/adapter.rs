//! Adapters: what licence servers and content delivery networks send of themselves, read as signals.
//!
//! Players that say nothing are known by what servers saw of them. Each format says it in its own words: a [`Mapping`]
//! tells where in them an account, a device and a title are to be found.
//!
//! Pure: the time is passed in. A line of a log is as old as it says; whether it still is a sign of life, [`Intake`]
//! judges.

mod cloudfront;
mod cmcd;
mod encoding;
mod firehose;
mod intake;
mod licence;
mod mapping;
mod source;
mod thinner;

use std::fmt;

use pulsegate_domain::time::Timestamp;

use crate::request::SignalRequest;

pub use cloudfront::CloudFront;
pub use firehose::{Delivery, parse_delivery};
pub use intake::{Fate, Intake};
pub use licence::parse_licence;
pub use mapping::Mapping;
pub use thinner::Thinner;

/// Longest line of a log, in bytes: the longest that `CloudFront` writes is far shorter.
pub const LINE_LEN_MAX: usize = 64 << 10;

/// What a line of a log says.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A player was served.
    Seen(Box<Sighting>),
    /// Something that is neither a manifest nor a segment was served.
    NotMedia,
    /// Nothing was served: an error, a redirect, another method than `GET`.
    NotServed,
    /// Nothing: a comment, or empty.
    Blank,
}

/// A player, seen at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// When, by the clock of whoever saw it.
    pub at: Timestamp,
    /// What was seen.
    pub signal: SignalRequest,
}

/// Why a line can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Which field of it is wrong: one of the log's or of a signal's.
    pub field: String,
    /// What is wrong, as a phrase behind the field.
    pub detail: String,
}

impl LineError {
    fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.detail)
    }
}
