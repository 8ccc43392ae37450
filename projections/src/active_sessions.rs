//! `active_sessions`: which streams of each account run, and every decision about them.
//!
//! The fold is the domain's own [`Account`](pulsegate_domain::account::Account): the same function that
//! the hot view runs in memory, so both agree at every offset, and the hot view starts from here.

mod accounts;
mod flush;
mod fold;
mod forget;
mod policies;
mod reads;

use std::sync::Arc;

use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::topic::Topic;
use sqlx::PgTransaction;

use crate::registry::Registered;
use crate::runner::{Batch, Poison, Poisoned, Projection, Record, Source};

pub use accounts::Accounts;
pub use fold::{Changes, Playback};
pub use policies::{FixedPolicies, PolicySource};
pub use reads::{
    Before, DECISIONS_MAX, DecisionRow, KnownAccount, account, accounts, decisions, load_partition, load_partitions,
};

/// This version.
pub static REGISTERED: Registered = Registered {
    name: "active_sessions",
    version: 1,
    topics: &[Topic::Playback],
    ddl: include_str!("active_sessions/schema.sql"),
    indexes: include_str!("active_sessions/indexes.sql"),
    tables: &["sessions", "decisions"],
    // What is forgotten may be deleted already or not.
    compared: &[(
        "sessions",
        "select sessions.* from {build}.sessions join clocks using (partition) where forget_hour > clock",
    )],
    forget: Some(forget::forget),
    run: |job| {
        let policies = Arc::clone(&job.dependencies().policies);
        job.with(ActiveSessions::new(policies))
    },
};

/// So many accounts may be named, and so many decisions made, by what a rebuild folds before they are written: some
/// 100 MB of memory and rows.
const GATHERED_ACCOUNTS_MAX: usize = 50_000;
const GATHERED_DECISIONS_MAX: usize = 100_000;

/// The projection, judged by the policies of a source.
pub struct ActiveSessions {
    policies: Arc<dyn PolicySource>,
}

impl ActiveSessions {
    /// Judged by `policies`.
    #[must_use]
    pub fn new(policies: Arc<dyn PolicySource>) -> Self {
        Self { policies }
    }
}

impl Projection for ActiveSessions {
    type Event = Playback;
    type Context = Arc<PolicySet>;
    type Memory = Accounts;
    type Changes = Changes;

    fn registered(&self) -> &'static Registered {
        &REGISTERED
    }

    fn decode(&self, record: &Record) -> Result<Playback, Poison> {
        Playback::read(record)
    }

    /// The policies that the batch names; the catalog is read to its end before one is called unknown.
    async fn prepare(&self, batch: &Batch<Playback>) -> Arc<PolicySet> {
        let known = self.policies.policies();
        if batch.events.iter().all(|placed| placed.event.is_judged_by(&known)) {
            return known;
        }
        self.policies.read_to_end().await;
        self.policies.policies()
    }

    async fn load(
        &self,
        batch: &Batch<Playback>,
        memory: &mut Accounts,
        tx: &mut PgTransaction<'_>,
    ) -> Result<(), sqlx::Error> {
        let missing = memory.missing(batch.events.iter().map(|placed| placed.event.account_id()), batch.ends_at.clock);
        memory.bring(missing, tx).await
    }

    fn fold(
        &self,
        batch: &Batch<Playback>,
        policies: &Arc<PolicySet>,
        memory: &mut Accounts,
        poisoned: &mut Poisoned,
    ) -> Changes {
        Changes::fold(batch, policies, memory, poisoned)
    }

    /// A session that is heard of often is written once a transaction.
    fn gathers(&self, accounts: &Accounts, changes: &Changes) -> bool {
        accounts.named() < GATHERED_ACCOUNTS_MAX && changes.decisions.len() < GATHERED_DECISIONS_MAX
    }

    fn settle(&self, source: Source, accounts: &mut Accounts, changes: &mut Changes) {
        changes.settle(source.partition, accounts);
    }

    fn join(&self, changes: &mut Changes, more: Changes) -> Option<Changes> {
        changes.append(more);
        None
    }

    async fn flush(&self, changes: Changes, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
        flush::flush(&changes, tx).await
    }
}
