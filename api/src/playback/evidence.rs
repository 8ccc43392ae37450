//! What decisions rested on: the newest sign of life of each session that was counted, read from the log.
//!
//! The fold keeps what the rules ask, and the read model keeps what the fold decided. Which sender said what and when,
//! only the log knows, so an account is folded once more. A replay reads its partition from the beginning: few run at once,
//! and each has its time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use pulsegate_domain::account::explain::{Evidence, Explainer};
use pulsegate_domain::ids::AccountId;
use pulsegate_write_side::store::{AccountStore, Replay};

use super::{CommandError, Playback};

/// Most replays for evidence at once.
pub(super) const REPLAYS_MAX: usize = 2;

/// The decisions that are asked about: their offsets, and the number of each among those of its record.
pub type Wanted = BTreeSet<(i64, i32)>;

/// The evidence of each decision that was found.
pub type EvidenceOf = BTreeMap<(i64, i32), Vec<Evidence>>;

impl Playback {
    /// What these decisions rested on.
    pub async fn evidence(&self, account: &AccountId, wanted: &Wanted) -> Result<EvidenceOf, CommandError> {
        let Ok(_turn) = self.inner.replays.try_acquire() else { return Err(CommandError::Overloaded) };
        let found = tokio::time::timeout(self.inner.settings.replay_wait, self.replay(account, wanted)).await;
        found.map_err(|_| CommandError::unavailable("the replay of this account took too long"))?
    }

    async fn replay(&self, account: &AccountId, wanted: &Wanted) -> Result<EvidenceOf, CommandError> {
        let Some((last, _)) = wanted.last() else { return Ok(EvidenceOf::new()) };
        let away = |error: &dyn std::error::Error| CommandError::unavailable(error.to_string());
        let policies = self.inner.catalog.policies();
        let (log, settings) = (self.inner.log.clone(), self.inner.log_settings.clone());
        let store = AccountStore::new(log, settings, Arc::clone(&policies), "evidence");
        let (mut explainer, mut found) = (Explainer::new(1), EvidenceOf::new());
        let mut records = store.events_until(account, None).map_err(|error| away(&error))?;
        while let Some(record) = records.next().await {
            let Replay::Event(placed) = record.map_err(|error| away(&error))? else { continue };
            if placed.place.offset > *last {
                break;
            }
            // An event that names an unknown policy is passed over, as everywhere.
            if explainer.apply(&placed).is_err() {
                continue;
            }
            for decided in explainer.last_step().into_iter().flat_map(|step| &step.decisions) {
                let place = (decided.decision.offset, decided.ordinal);
                if wanted.contains(&place) {
                    found.insert(place, decided.evidence.clone());
                }
            }
        }
        Ok(found)
    }
}
