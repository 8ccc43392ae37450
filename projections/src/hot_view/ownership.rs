//! Folding some of the partitions: they begin and leave while the view runs.
//!
//! Only the folding thread assigns, between two polls, so that no record of an older assignment can meet a
//! partition that has begun again.

use std::sync::PoisonError;

use pulsegate_domain::time::Timestamp;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use serde::{Deserialize, Serialize};

use super::{HotView, Inner, Part, Snapshot, lock};
use crate::catalog_view::CatalogView;
use crate::reader::{ReaderError, ReaderSettings};

/// How far a node is with a partition that it folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoldState {
    /// It has not been at the end of the log yet: answers are provisional.
    Filling,
    /// It has.
    Ready,
}

/// How a partition stands on a node that folds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionFold {
    /// Which.
    pub partition: i32,
    /// How far it is.
    pub state: FoldState,
    /// The offset behind the last record folded.
    pub next_offset: i64,
    /// How many records there were behind it when the log's end was asked for last.
    pub lag: u64,
    /// Since when it is folded here.
    pub since: Timestamp,
}

/// What the folding thread shall do.
pub(super) enum Change {
    Begin { partition: i32, part: Part },
    Leave { partition: i32 },
}

impl HotView {
    /// A view that folds nothing until it is told to [begin](Self::begin); the catalog must be caught up.
    pub fn start_empty(settings: &ReaderSettings, catalog: CatalogView) -> Result<Self, ReaderError> {
        let view = Self::make(settings, catalog, false)?;
        view.run()?;
        Ok(view)
    }

    /// Begins to fold a partition from its part of a snapshot; from the beginning of the log where that has none.
    pub fn begin(&self, partition: i32, snapshot: Snapshot) {
        let part = snapshot.by_partition().remove(&partition).unwrap_or_default();
        lock(&self.inner.changes).push(Change::Begin { partition, part });
    }

    /// Folds a partition no longer, and drops what was remembered of it.
    pub fn leave(&self, partition: i32) {
        lock(&self.inner.changes).push(Change::Leave { partition });
    }

    /// Every partition that this node shall fold has been at the end of the log: it may be called ready.
    pub fn note_caught_up(&self) {
        if !self.is_caught_up() {
            self.inner.note_caught_up();
        }
    }

    /// Whether this node folds every partition by itself, whatever others do.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.inner.is_whole
    }

    /// Whether a partition is folded here, however far.
    #[must_use]
    pub fn folds(&self, partition: i32) -> bool {
        self.inner.shard(partition).is_some_and(super::Shard::is_folded)
    }

    /// How each partition stands that is folded here.
    #[must_use]
    pub fn standing(&self) -> Vec<PartitionFold> {
        self.inner.shards.iter().filter_map(super::Shard::standing).collect()
    }
}

impl Inner {
    /// Does what was asked of the folding thread, in order.
    pub(super) fn make_changes(&self) {
        let changes = std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner));
        for change in changes {
            let (partition, done) = match change {
                Change::Begin { partition, part } => (partition, self.begin(partition, part)),
                Change::Leave { partition } => (partition, self.leave(partition)),
            };
            if let Err(error) = done {
                // Whoever asked sees that it did not come to be, and asks again.
                tracing::error!(partition, %error, "changing what is folded");
            }
        }
    }

    fn begin(&self, partition: i32, part: Part) -> Result<(), KafkaError> {
        let Some(shard) = self.shard(partition) else { return Ok(()) };
        if shard.is_folded() {
            return Ok(());
        }
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&self.topic, partition, part.offset())?;
        // First the state, then the records: nothing is polled in between.
        shard.begin(part);
        self.consumer.incremental_assign(&from).inspect_err(|_| shard.leave())
    }

    fn leave(&self, partition: i32) -> Result<(), KafkaError> {
        let Some(shard) = self.shard(partition).filter(|shard| shard.is_folded()) else { return Ok(()) };
        shard.leave();
        let mut gone = TopicPartitionList::new();
        gone.add_partition(&self.topic, partition);
        self.consumer.incremental_unassign(&gone)
    }
}
