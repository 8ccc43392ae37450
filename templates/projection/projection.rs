//! `projection_name`: (in one sentence, the question that its rows answer).

mod flush;
mod fold;
mod reads;
#[cfg(test)]
mod tests;

use pulsegate_domain::event::{self, PlaybackEvent};
use pulsegate_domain::topic::Topic;
use sqlx::PgTransaction;

use crate_path::registry::Registered;
use crate_path::runner::{Batch, Poison, Poisoned, Projection, Record};

pub use fold::Changes;
pub use reads::{COUNTS_MAX, Count, counts};

/// This version. A change of what its rows mean is a new one, built beside it and switched to.
pub static REGISTERED: Registered = Registered {
    name: "projection_name",
    version: 1,
    topics: &[Topic::Playback],
    ddl: include_str!("projection_name/schema.sql"),
    indexes: include_str!("projection_name/indexes.sql"),
    tables: &["counts"],
    compared: &[],
    // Where a table names accounts: how one that is forgotten goes. See docs/privacy.md of pulsegate.
    forget: None,
    run: |job| job.with(ProjectionName),
};

/// The projection.
pub struct ProjectionName;

impl Projection for ProjectionName {
    type Event = PlaybackEvent;
    // What the fold looks things up in beside its own tables, such as the policies.
    type Context = ();
    // What is kept of a partition between batches; only ever a copy of what the tables say.
    type Memory = ();
    type Changes = Changes;

    fn registered(&self) -> &'static Registered {
        &REGISTERED
    }

    fn decode(&self, record: &Record) -> Result<PlaybackEvent, Poison> {
        let value = record.value.as_deref().ok_or_else(|| Poison::skip("it has no value"))?;
        event::decode(value).map(|envelope| envelope.event).map_err(Poison::skip)
    }

    async fn prepare(&self, _batch: &Batch<PlaybackEvent>) {}

    async fn load(
        &self,
        _batch: &Batch<PlaybackEvent>,
        _memory: &mut (),
        _tx: &mut PgTransaction<'_>,
    ) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn fold(
        &self,
        batch: &Batch<PlaybackEvent>,
        _context: &(),
        _memory: &mut (),
        _poisoned: &mut Poisoned,
    ) -> Changes {
        Changes::fold(batch)
    }

    async fn flush(&self, changes: Changes, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
        flush::flush(changes, tx).await
    }
}
