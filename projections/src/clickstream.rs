//! `clickstream`: what people did in front ends, any JSON that these send.
//!
//! Everything stands by the log's time: the day's partition, the minute that is counted, the order of a page. What a
//! sender says of its own time is kept beside it and decides nothing, so that no sender can fill a thousand years.

mod ask;
mod breakdown;
mod fold;
mod forget;
pub mod funnel;
mod keeping;
pub mod path;
mod person;
pub mod question;
mod reads;
mod retained;
mod saved;
mod sessions;
mod source;
mod suggest;
mod table;
mod timeline;
mod trend;

use pulsegate_domain::topic::Topic;
use sqlx::PgTransaction;

use crate::registry::Registered;
use crate::runner::{Batch, Poison, Poisoned, Projection, Record};

pub use ask::{Answer, Rows, ask};
pub use breakdown::{Breakdown, Of};
pub use fold::{Changes, Click};
pub use keeping::{Dropped, keep_days, keep_days_daily};
pub use reads::{
    COUNTS_MAX, CountRow, Counts, CountsQuestion, EVENTS_MAX, EXAMINED_MAX, EventRow, EventsQuestion,
    InvalidResolution, Page, Place, Resolution, counts, events,
};
pub use retained::Retained;
pub use saved::{
    InvalidSavedName, SAVED_MAX, SaveError, Saved, SavedName, UnreadableQuestion, delete_saved, find_saved, save,
    saved, saved_table,
};
pub use sessions::Visits;
pub use source::{EVENTS_MAX as READ_MAX, EXACT_MAX, Sample};
pub use suggest::{SuggestedName, SuggestedPath, names, paths};
pub use table::Table;
pub use timeline::{Decided, TIMELINE_MAX, Timeline, TimelineQuestion, Whose, timeline};
pub use trend::Trend;

/// This version.
pub static REGISTERED: Registered = Registered {
    name: "clickstream",
    version: 2,
    topics: &[Topic::Clickstream],
    ddl: include_str!("clickstream/schema.sql"),
    indexes: include_str!("clickstream/indexes.sql"),
    tables: &["events", "counts", "counts_by_hour", "counts_by_day", "sample_16", "sample_256"],
    // Days that are no longer kept may be dropped already or not.
    compared: &[
        (
            "events",
            "select events.* from {build}.events
             where logged_at >= coalesce((select since from pulsegate.kept_since where projection = 'clickstream'),
                                         '-infinity')",
        ),
        (
            "sample_16",
            "select sample_16.* from {build}.sample_16
             where logged_at >= coalesce((select since from pulsegate.kept_since where projection = 'clickstream'),
                                         '-infinity')",
        ),
        (
            "sample_256",
            "select sample_256.* from {build}.sample_256
             where logged_at >= coalesce((select since from pulsegate.kept_since where projection = 'clickstream'),
                                         '-infinity')",
        ),
    ],
    forget: Some(forget::forget),
    run: |job| job.with(Clickstream),
};

/// So many rows may be gathered by a rebuild before they are written: some 50 MB.
const GATHERED_ROWS_MAX: u64 = 100_000;

/// The projection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clickstream;

impl Projection for Clickstream {
    type Event = Click;
    type Context = ();
    type Memory = ();
    type Changes = Changes;

    fn registered(&self) -> &'static Registered {
        &REGISTERED
    }

    fn decode(&self, record: &Record) -> Result<Click, Poison> {
        Click::read(record)
    }

    async fn prepare(&self, _: &Batch<Click>) {}

    /// There is no state to load; but each day must have its partition before its rows come.
    async fn load(&self, batch: &Batch<Click>, (): &mut (), tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
        sqlx::query("select hold_days($1)").bind(fold::days(batch)).execute(&mut **tx).await?;
        Ok(())
    }

    fn fold(&self, batch: &Batch<Click>, (): &(), (): &mut (), _: &mut Poisoned) -> Changes {
        Changes::fold(batch)
    }

    /// What goes with the rows, the samples and counts, costs as much for many of them as for few.
    fn gathers(&self, (): &(), changes: &Changes) -> bool {
        changes.rows() < GATHERED_ROWS_MAX
    }

    fn join(&self, changes: &mut Changes, more: Changes) -> Option<Changes> {
        changes.append(more);
        None
    }

    async fn flush(&self, changes: Changes, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
        changes.flush(tx).await
    }
}
