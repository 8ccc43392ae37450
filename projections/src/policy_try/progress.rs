//! How far a draft has been tried.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far a draft has been tried; nothing until it is known how much there is.
#[derive(Debug, Default)]
pub struct Progress {
    partitions: OnceLock<BTreeMap<i32, Part>>,
}

#[derive(Debug)]
struct Part {
    total: u64,
    folded: AtomicU64,
}

impl Progress {
    pub(super) fn begin(&self, totals: impl Iterator<Item = (i32, u64)>) {
        let parts: BTreeMap<_, _> =
            totals.map(|(partition, total)| (partition, Part { total, folded: AtomicU64::new(0) })).collect();
        drop(self.partitions.set(parts));
    }

    pub(super) fn folded(&self, partition: i32, records: u64) {
        if let Some(part) = self.partitions.get().and_then(|parts| parts.get(&partition)) {
            part.folded.fetch_add(records, Ordering::Relaxed);
        }
    }

    pub(super) fn done(&self, partition: i32) {
        if let Some(part) = self.partitions.get().and_then(|parts| parts.get(&partition)) {
            part.folded.store(part.total, Ordering::Relaxed);
        }
    }

    /// How many records are folded, and of how many.
    #[must_use]
    pub fn of_all(&self) -> (u64, u64) {
        let parts = self.partitions.get().into_iter().flat_map(BTreeMap::values);
        parts.fold((0, 0), |sum, part| (sum.0 + part.folded.load(Ordering::Relaxed), sum.1 + part.total))
    }
}
