//! Caps of contracts, laid on policies: each pair of a policy's newest version and a cap is published as a version of
//! its own before any event is stamped with it.
//!
//! Whoever puts a policy or a contract publishes what it needs. Should that node be gone in between, any other does it
//! a moment later: what a policy and a cap make is the same whoever makes it, and the first record counts.

use std::collections::BTreeSet;
use std::time::Duration;

use pulsegate_domain::event::CatalogEvent;
use pulsegate_domain::policy::Policy;
use pulsegate_write_side::envelope::{self, Origin};
use tokio_util::sync::CancellationToken;

use super::Playback;
use super::answer::CommandError;

/// How long what is missing is left to whoever put the policy or the contract.
const LEAVE_TO_OTHERS: Duration = Duration::from_secs(2);
/// Most versions published at once; the others follow a moment later.
const TOGETHER_MAX: usize = 1_000;
const SOURCE: &str = "/v1/contracts/caps";

impl Playback {
    /// Publishes what is missing on this node, again and again until `shutdown`.
    pub async fn keep_caps_laid(self, shutdown: CancellationToken) {
        let mut missing_before = BTreeSet::new();
        let mut seen = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LEAVE_TO_OTHERS) => {}
            }
            // A catalog that isn't read whole yet lacks what only stands further on.
            let next_offset = self.inner.catalog.next_offset();
            if !self.inner.catalog.is_whole() || (missing_before.is_empty() && seen == Some(next_offset)) {
                continue;
            }
            let mut missing = self.missing_caps(None);
            let names: BTreeSet<_> = missing.iter().map(|policy| policy.name.clone()).collect();
            missing.retain(|policy| missing_before.contains(&policy.name));
            if !missing.is_empty()
                && let Err(error) = self.publish(missing).await
            {
                tracing::warn!(%error, "caps of contracts could not be laid on policies; the versions before hold on");
            }
            (missing_before, seen) = (names, Some(next_offset));
        }
    }

    /// Lays the caps that there are on what was just published. A failure is no reason to refuse the policy: until
    /// another node does it, the version before holds where there is a cap.
    pub(super) async fn lay_caps(&self) {
        if let Err(error) = self.publish_caps(None).await {
            tracing::warn!(%error, "a policy was published without the caps of contracts; they follow");
        }
    }

    /// Publishes what is missing under the caps of contracts and under `cap`.
    pub(super) async fn publish_caps(&self, cap: Option<u32>) -> Result<(), CommandError> {
        self.publish(self.missing_caps(cap)).await
    }

    fn missing_caps(&self, cap: Option<u32>) -> Vec<Policy> {
        let mut caps = self.inner.catalog.read(|catalog| catalog.caps_from(self.now().to_utc().date_naive()));
        caps.extend(cap);
        if caps.is_empty() { Vec::new() } else { self.inner.catalog.policies().missing_under(&caps) }
    }

    async fn publish(&self, policies: Vec<Policy>) -> Result<(), CommandError> {
        for together in policies.chunks(TOGETHER_MAX) {
            let record = |policy: &Policy| {
                envelope::catalog(&CatalogEvent::PolicyPublished(policy.clone()), &Origin::new(SOURCE, self.now()))
            };
            let mut last = None;
            for appended in self.inner.log.append_all(together.iter().map(record).collect()).await {
                last = last.max(Some(appended?.offset));
            }
            let wait = self.inner.settings.catalog_wait;
            if let Some(offset) = last
                && !self.inner.catalog.folded(offset, wait).await
            {
                return Err(CommandError::unavailable("what a contract's cap makes could not be read back yet"));
            }
        }
        Ok(())
    }
}
