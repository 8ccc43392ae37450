//! Beginning and leaving partitions: a snapshot of the read model, then the log from its offset on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pulsegate_projections::active_sessions;
use pulsegate_projections::hot_view::{HotView, Snapshot};
use sqlx::PgPool;
use tokio::sync::Semaphore;

use super::lock;

/// Most partitions whose rows are read at once: many that move together should not starve the others' answers.
const LOADS_MAX: usize = 4;
/// How long the read model may take to give a partition's rows.
const LOAD_MAX: Duration = Duration::from_secs(20);
/// How long the folding thread may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// Carries out what the placement wants.
pub(super) struct Folding {
    view: HotView,
    pool: PgPool,
    /// Those that are being begun.
    beginning: Arc<Mutex<BTreeSet<i32>>>,
    loads: Arc<Semaphore>,
}

impl Folding {
    pub(super) fn new(view: HotView, pool: PgPool) -> Self {
        Self { view, pool, beginning: Arc::default(), loads: Arc::new(Semaphore::new(LOADS_MAX)) }
    }

    pub(super) fn change(&self, wanted: &BTreeSet<i32>, leavable: &[i32]) {
        for partition in leavable {
            tracing::info!(partition, "left: another node has it ready");
            metrics::counter!("pulsegate_cluster_moves_total", "direction" => "out").increment(1);
            self.view.leave(*partition);
        }
        for partition in wanted {
            if !self.view.folds(*partition) && lock(&self.beginning).insert(*partition) {
                self.begin(*partition);
            }
        }
    }

    fn begin(&self, partition: i32) {
        metrics::counter!("pulsegate_cluster_moves_total", "direction" => "in").increment(1);
        let (view, pool) = (self.view.clone(), self.pool.clone());
        let (beginning, loads) = (Arc::clone(&self.beginning), Arc::clone(&self.loads));
        tokio::spawn(async move {
            {
                // Never closed.
                let _turn = loads.acquire_owned().await;
                let begun = std::time::Instant::now();
                let snapshot = snapshot(&pool, partition).await;
                tracing::info!(partition, sessions = snapshot.sessions.len(), took = ?begun.elapsed(), "taken up");
                view.begin(partition, snapshot);
            }
            let begun = async {
                while !view.folds(partition) {
                    tokio::time::sleep(POLL).await;
                }
            };
            if tokio::time::timeout(BEGIN_MAX, begun).await.is_err() {
                tracing::warn!(partition, "the folding thread has not begun; it is asked again");
            }
            lock(&beginning).remove(&partition);
        });
    }
}

/// A partition's part of the read model; without a database its log is folded from the beginning, which takes longer
/// and says the same.
async fn snapshot(pool: &PgPool, partition: i32) -> Snapshot {
    match tokio::time::timeout(LOAD_MAX, active_sessions::load_partition(pool, partition)).await {
        Ok(Ok(snapshot)) => snapshot,
        Ok(Err(error)) => {
            tracing::warn!(partition, %error, "no snapshot: folding this partition from its beginning");
            Snapshot::default()
        }
        Err(_) => {
            tracing::warn!(partition, "no snapshot in time: folding this partition from its beginning");
            Snapshot::default()
        }
    }
}
