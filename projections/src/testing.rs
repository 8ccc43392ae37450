//! For tests of projections, here and in services: a log written by hand, folded as the runner would fold it.
//!
//! [`folded`] needs nothing: it folds a [`Log`] in memory, as one batch. [`tables`] needs a `PostgreSQL`: it commits a
//! log to a database of its own, in batches of any size, through the same [`Worker`] that the runner has.

mod database;
mod events;

use pulsegate_domain::event::{Attributes, Event, encode};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::runner::{Batch, Placed, Poison, Poisoned, Position, Projection, Record, Source, Worker};

pub use database::on_a_database;
pub use events::{heartbeat, noon, session, started, stopped};

/// Partition 0 of a topic, written by hand.
#[derive(Clone, Debug)]
pub struct Log {
    topic: Topic,
    records: Vec<Record>,
}

impl Log {
    /// An empty one.
    #[must_use]
    pub const fn of(topic: Topic) -> Self {
        Self { topic, records: Vec::new() }
    }

    /// Appends an event under `key`; `at` is the log's time.
    #[must_use]
    pub fn event(self, key: &str, at: Timestamp, event: &(impl Event + Serialize)) -> Self {
        let id = Uuid::from_u128(self.records.len() as u128 + 1);
        let attributes = Attributes { id, source: "/test", subject: key, time: at, partition_key: key };
        let value = encode(&attributes, event);
        self.raw(key, at, value)
    }

    /// Appends any bytes.
    #[must_use]
    pub fn raw(mut self, key: &str, at: Timestamp, value: impl Into<Vec<u8>>) -> Self {
        self.records.push(Record {
            offset: i64::try_from(self.records.len()).unwrap_or(i64::MAX),
            timestamp: Some(at),
            key: Some(key.as_bytes().to_vec().into()),
            value: Some(value.into().into()),
            headers: Vec::new(),
        });
        self
    }

    /// What it holds.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Which partition it is.
    #[must_use]
    pub const fn source(&self) -> Source {
        Source { topic: self.topic, partition: 0 }
    }
}

/// What came of a log that was folded in memory.
#[derive(Debug)]
pub struct Folded<C> {
    /// What it changes.
    pub changes: C,
    /// The records that could not be folded, by their offset.
    pub poison: Vec<(i64, Poison)>,
}

/// Folds a log in memory, as one batch, with nothing known before.
pub async fn folded<P: Projection>(projection: &P, log: &Log) -> Folded<P::Changes> {
    let mut clock = Position::START.clock;
    let (mut events, mut poison) = (Vec::new(), Vec::new());
    for record in &log.records {
        clock = record.timestamp.map_or(clock, |stamp| clock.max(stamp));
        let place = pulsegate_domain::account::Place { offset: record.offset, at: clock };
        match projection.decode(record) {
            Ok(event) => events.push(Placed { place, event }),
            Err(why) => poison.push((record.offset, why)),
        }
    }
    let next_offset = log.records.last().map_or(0, |last| last.offset + 1);
    let batch = Batch { source: log.source(), ends_at: Position { next_offset, clock }, events };
    let context = projection.prepare(&batch).await;
    let mut poisoned = Poisoned::default();
    let changes = projection.fold(&batch, &context, &mut P::Memory::default(), &mut poisoned);
    poison.extend(poisoned.into_map());
    Folded { changes, poison }
}

/// Commits a log in batches of `batch` records, with nothing kept in memory between them; `rows` then reads the tables.
///
/// # Panics
/// If there is no `PostgreSQL`, or the projection fails: this is for tests.
pub async fn tables<P: Projection, R>(
    projection: P,
    log: &Log,
    batch: usize,
    rows: impl AsyncFnOnce(&PgPool) -> R,
) -> R {
    on_a_database(&[projection.registered()], async |pool| {
        let worker = Worker::new(projection, pool.clone());
        for records in log.records.chunks(batch.max(1)) {
            let mut partition = worker.take(log.source()).await.expect("the database says where it stands");
            worker.commit(&mut partition, records).await.expect("the batch is committed");
        }
        rows(pool).await
    })
    .await
}
