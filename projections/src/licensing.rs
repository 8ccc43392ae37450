//! `licensing`: what was watched of each title, for whoever is owed for it.
//!
//! The fold is the domain's [`WatchTime`](pulsegate_domain::watch_time::WatchTime), session by session. Contracts play no
//! part in it: the tables keep facts, and a report joins what was agreed on when it is asked for.

mod flush;
mod fold;
mod forget;
mod multirange;
pub(crate) mod packs;
mod parquet;
mod reads;
mod sessions;
mod terms;
mod usage;

use pulsegate_domain::topic::Topic;
use sqlx::PgTransaction;

use crate::registry::Registered;
use crate::runner::{Batch, Poison, Poisoned, Projection, Record, Source};

pub use fold::{Changes, Playback};
pub use packs::{Packed, keep_packed, pack};
pub use reads::{OfPlays, OfRows, Question, ROWS_MAX, Report, Row, Totals, report};
pub use sessions::Sessions;
pub use terms::Terms;
pub use usage::{
    KnownTitle, MostBy, UsageBy, UsageFigures, UsageQuestion, UsageReport, UsageRow, completion_per_mille, usage,
};

/// This version. The first had no class of device; the second wrote two rows a heartbeat; the third had no packs.
pub static REGISTERED: Registered = Registered {
    name: "licensing",
    version: 4,
    topics: &[Topic::Playback],
    ddl: include_str!("licensing/schema.sql"),
    indexes: include_str!("licensing/indexes.sql"),
    tables: &["sessions", "facts"],
    compared: &[],
    forget: Some(forget::forget),
    run: |job| job.with(Licensing),
};

/// So many sessions may be named by what a rebuild folds before they are written: some 100 MB of memory and rows.
const GATHERED_SESSIONS_MAX: usize = 100_000;

/// The projection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Licensing;

impl Projection for Licensing {
    type Event = Playback;
    type Context = ();
    type Memory = Sessions;
    type Changes = Changes;

    fn registered(&self) -> &'static Registered {
        &REGISTERED
    }

    fn decode(&self, record: &Record) -> Result<Playback, Poison> {
        Playback::read(record)
    }

    async fn prepare(&self, _: &Batch<Playback>) {}

    async fn load(
        &self,
        batch: &Batch<Playback>,
        memory: &mut Sessions,
        tx: &mut PgTransaction<'_>,
    ) -> Result<(), sqlx::Error> {
        let missing = memory.missing(batch.events.iter().filter_map(|placed| placed.event.key()), batch.ends_at.clock);
        memory.bring(batch.source.partition, missing, tx).await
    }

    fn fold(&self, batch: &Batch<Playback>, (): &(), memory: &mut Sessions, _: &mut Poisoned) -> Changes {
        Changes::fold(batch, memory)
    }

    /// A session's heartbeats follow each other closely: the more of them in a transaction, the fewer rows.
    fn gathers(&self, memory: &Sessions, _: &Changes) -> bool {
        memory.named() < GATHERED_SESSIONS_MAX
    }

    fn settle(&self, source: Source, memory: &mut Sessions, changes: &mut Changes) {
        changes.settle(source.partition, memory);
    }

    fn join(&self, changes: &mut Changes, more: Changes) -> Option<Changes> {
        changes.append(more);
        None
    }

    async fn flush(&self, changes: Changes, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
        flush::flush(changes, tx).await
    }
}
