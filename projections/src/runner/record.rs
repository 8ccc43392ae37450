//! What a projection is given: a batch of records of one partition, each with its place in the log.

use std::fmt;

use bytes::Bytes;
use pulsegate_domain::account::Place;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;

use super::Projection;
use super::offsets::Position;

/// One partition of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The topic.
    pub topic: Topic,
    /// The partition of it.
    pub partition: i32,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic.base_name(), self.partition)
    }
}

/// A record as it stands in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: i64,
    /// Its stamp; a record of a very old format has none.
    pub timestamp: Option<Timestamp>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers; none are kept where the usual `content-type` is all there is.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Why a record is skipped alone.
#[derive(Debug)]
pub struct Skip(String);

impl Skip {
    /// Skipped because of `why`, a phrase that fits after "skipped: ".
    pub fn because(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// A record that was read, at its place.
#[derive(Clone, Debug)]
pub struct Placed<E> {
    /// Which of the batch's records it is.
    pub(crate) index: usize,
    /// Its offset, and the log's time there: the largest stamp at or before it in the partition, of
    /// any record, also of skipped ones.
    pub place: Place,
    /// What was read.
    pub event: E,
}

/// The next records of one partition, read.
#[derive(Clone, Debug)]
pub struct Batch<E> {
    /// Of which partition.
    pub source: Source,
    /// Where the partition stands once the batch is folded.
    pub ends_at: Position,
    /// The readable records, in the order of the log.
    pub events: Vec<Placed<E>>,
}

impl<E> Batch<E> {
    /// Reads `records`, which follow `from`; `None` if there are none.
    pub(super) fn read<P: Projection<Event = E>>(
        projection: &P,
        source: Source,
        from: Position,
        records: &[Record],
    ) -> Option<(Self, Skipped)> {
        let last = records.last()?;
        let mut clock = from.clock;
        let mut skipped = Skipped::default();
        let mut events = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            clock = record.timestamp.map_or(clock, |stamp| clock.max(stamp));
            match projection.decode(record) {
                Ok(event) => {
                    let place = Place { offset: record.offset, at: clock };
                    events.push(Placed { index, place, event });
                }
                Err(skip) => skipped.0.push((index, skip)),
            }
        }
        let ends_at = Position { next_offset: last.offset + 1, clock };
        Some((Self { source, ends_at, events }, skipped))
    }
}

/// The records of a batch that are skipped.
#[derive(Debug, Default)]
pub struct Skipped(Vec<(usize, Skip)>);

impl Skipped {
    /// Skips a record that was read but can't be folded.
    pub fn skip<E>(&mut self, placed: &Placed<E>, why: Skip) {
        self.0.push((placed.index, why));
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each with its reason.
    pub(super) fn of<'a>(&'a self, records: &'a [Record]) -> Vec<(&'a Record, &'a str)> {
        self.0.iter().filter_map(|(index, skip)| Some((records.get(*index)?, skip.0.as_str()))).collect()
    }
}
