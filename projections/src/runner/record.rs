//! What a projection is given: a batch of records of one partition, each with its place in the log.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use bytes::Bytes;
use pulsegate_domain::account::Place;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;

use super::Projection;
use super::offsets::Position;
use super::reading::Readings;

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

/// Why a record can't be folded, and what becomes of those behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poison {
    /// It is left out alone: its key's later records are folded as if it had never been.
    Skip(String),
    /// Its key's later records wait behind it, in order, until it can be folded or is given up: each
    /// builds on what was before.
    Park(String),
}

impl Poison {
    /// Skipped because of `why`, a phrase that fits after "skipped: ".
    pub fn skip(why: impl fmt::Display) -> Self {
        Self::Skip(why.to_string())
    }

    /// Parked because of `why`, a phrase that fits after "parked: ".
    pub fn park(why: impl fmt::Display) -> Self {
        Self::Park(why.to_string())
    }
}

/// A record that was read, at its place.
#[derive(Clone, Debug)]
pub struct Placed<E> {
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

/// A record that isn't folded, and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) record: Record,
    /// The log's time there.
    pub(crate) clock: Timestamp,
    pub(crate) poison: Poison,
    /// The offset of the poison event that it waits behind; none if it is one itself.
    pub(crate) behind: Option<i64>,
}

/// The keys whose records wait, each with the offset of the poison event that they wait behind.
pub(crate) type Waiting = HashMap<Bytes, i64, foldhash::fast::RandomState>;

/// The next records of one partition, sorted into those to be folded and the others.
#[derive(Debug)]
pub(crate) struct Sorted<E> {
    pub(crate) batch: Batch<E>,
    pub(crate) letters: Vec<Letter>,
    /// The keys that wait because of these letters.
    pub(crate) newly_waiting: Waiting,
    /// How many accounts were known to be forgotten when the records were read.
    pub(crate) forgotten: usize,
}

impl<E> Sorted<E> {
    /// Reads `records`, which follow `from`, as `readings` says; `None` if there are none. The records of the keys in `waiting`
    /// wait as well; `known` are those that are known to be poison, by their offset.
    pub(super) fn read<P: Projection<Event = E>>(
        projection: &P,
        source: Source,
        from: Position,
        (records, readings): (&[Record], &Readings),
        waiting: &Waiting,
        known: &BTreeMap<i64, Poison>,
    ) -> Option<Self> {
        let last = records.last()?;
        let mut clock = from.clock;
        let mut letters = Vec::new();
        let mut newly_waiting = Waiting::default();
        let mut events = Vec::with_capacity(records.len());
        for record in records {
            clock = record.timestamp.map_or(clock, |stamp| clock.max(stamp));
            let mut letter = |poison, behind| letters.push(readings.letter(record, clock, poison, behind));
            let read = readings.read(record);
            if !(waiting.is_empty() && newly_waiting.is_empty())
                && let Some(key) = &read.key
                && let Some(head) = waiting.get(key).or_else(|| newly_waiting.get(key))
            {
                letter(Poison::park(format_args!("waits behind {head}")), Some(*head));
                continue;
            }
            let decoded = match known.get(&record.offset) {
                Some(poison) => Err(poison.clone()),
                None => projection.decode(read),
            };
            match decoded {
                Ok(event) => events.push(Placed { place: Place { offset: record.offset, at: clock }, event }),
                Err(poison) => {
                    // A record without key stands for itself alone.
                    if let (Poison::Park(_), Some(key)) = (&poison, &read.key) {
                        newly_waiting.insert(key.clone(), record.offset);
                    }
                    letter(poison, None);
                }
            }
        }
        let ends_at = Position { next_offset: last.offset + 1, clock };
        let forgotten = readings.forgotten();
        Some(Self { batch: Batch { source, ends_at, events }, letters, newly_waiting, forgotten })
    }
}

/// The records of a batch that can't be folded.
#[derive(Debug, Default)]
pub struct Poisoned(BTreeMap<i64, Poison>);

impl Poisoned {
    /// Notes that a record was read but can't be folded. The fold must not have changed anything for it.
    pub fn note<E>(&mut self, placed: &Placed<E>, poison: Poison) {
        self.0.insert(placed.place.offset, poison);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each by its offset.
    pub(crate) fn into_map(self) -> BTreeMap<i64, Poison> {
        self.0
    }
}
