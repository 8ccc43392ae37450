//! How a partition of the hot view is folded: the log's records as they come, and before that what this node appended
//! itself, as soon as the broker says where it stands.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use pulsegate_domain::account::{Account, Applied, Decision, Observe, Place, UnknownPolicy, key_matches};
use pulsegate_domain::event::{self, PlaybackEvent};
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::policy::{PolicyRef, PolicySet};
use pulsegate_domain::time::Timestamp;
use uuid::Uuid;

use super::{Shard, State};
use crate::catalog_view::CatalogView;
use crate::hot_view::{AsOf, Decided, Folded, live};

/// How many acknowledged events of one partition may wait for those before them.
const EARLY_MAX: usize = 1_000;
/// How long the fold reads the catalog on, at a time, for a policy that it doesn't know.
const CATALOG_WAIT: Duration = Duration::from_secs(5);

/// A record of the playback topic.
pub(in crate::hot_view) struct Record<'a> {
    pub(in crate::hot_view) offset: i64,
    pub(in crate::hot_view) stamp: Timestamp,
    /// Whether the broker stamped it when it came, and not who wrote it: history that is brought in has stamps of then.
    pub(in crate::hot_view) is_stamped_by_log: bool,
    pub(in crate::hot_view) key: Option<&'a [u8]>,
    pub(in crate::hot_view) value: &'a [u8],
}

/// An event that this node appended and the broker acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// The event's id.
    pub id: Uuid,
    /// The event, as it was appended.
    pub event: PlaybackEvent,
    /// Its offset.
    pub offset: i64,
    /// The broker's stamp.
    pub stamp: Timestamp,
}

impl Shard {
    /// Folds one record of the log, unless it was folded when it was acknowledged. What can't be read, stands
    /// under a foreign key or names a policy that the catalog's end doesn't hold is skipped alone; it moves the
    /// clock all the same.
    pub(in crate::hot_view) fn fold(
        &self,
        record: &Record<'_>,
        policies: &mut Arc<PolicySet>,
        catalog: &CatalogView,
        live: &live::Counters,
        stop: &AtomicBool,
    ) {
        if record.offset < self.next_offset() || !self.is_folded() {
            return;
        }
        let decoded = match event::decode::<PlaybackEvent>(record.value) {
            Ok(envelope) if key_matches(record.key, envelope.event.account_id()) => Ok(envelope),
            Ok(_) => Err("its key is not its account".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if let Ok(envelope) = &decoded
            && let Some(reference) = envelope.event.policy()
            && policies.get(reference).is_none()
        {
            // Kafka away means that nobody knows: the fold waits rather than guesses.
            let mut said = false;
            while catalog.read_on_for(reference, CATALOG_WAIT).is_none() && !stop.load(Ordering::Relaxed) {
                if !said {
                    tracing::warn!(policy = %reference, "waiting for the catalog");
                    said = true;
                }
            }
            *policies = catalog.policies();
        }
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            // It may have been acknowledged since.
            if record.offset <= state.last_offset {
                return;
            }
            let place = state.move_to(record.offset, record.stamp);
            state.is_stamped_by_log = record.is_stamped_by_log;
            let skipped = match &decoded {
                Ok(envelope) => {
                    let applied = self.apply(&mut state, &envelope.id, &envelope.event, place, policies, live);
                    applied.err().map(|error| error.to_string())
                }
                Err(error) => Some(error.clone()),
            };
            if let Some(error) = skipped {
                let event_id = decoded.as_ref().ok().map(|envelope| envelope.id.as_ref());
                self.note_skipped(record.offset, event_id, &error);
            }
            self.count_folded(record.offset);
            self.fold_early(&mut state, policies, live);
        }
    }

    /// Takes events that this node has appended itself, in the order of their offsets, as soon as the broker says where
    /// they stand: each is folded at once if everything before it was, else when it was. The log brings them once more,
    /// and is the only one to bring what others appended.
    pub(in crate::hot_view) fn acknowledged(
        &self,
        own: impl IntoIterator<Item = Acknowledged>,
        policies: &PolicySet,
        live: &live::Counters,
    ) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if !self.is_folded() {
            return;
        }
        for own in own {
            let next_offset = self.next_offset();
            // A view that is far behind has its memory for better things.
            let is_near = own.offset - next_offset <= i64::try_from(EARLY_MAX).unwrap_or(i64::MAX);
            if own.offset == next_offset && state.early.is_empty() && is_known(own.event.policy(), policies) {
                self.fold_acknowledged(&mut state, &own, policies, live);
            } else if own.offset >= next_offset && is_near && state.early.len() < EARLY_MAX {
                state.early.insert(own.offset, own);
                self.fold_early(&mut state, policies, live);
            }
        }
    }

    /// Folds the acknowledged events that have nothing unknown in front of them any more.
    fn fold_early(&self, state: &mut State, policies: &PolicySet, live: &live::Counters) {
        while let Some(entry) = state.early.first_entry() {
            let next_offset = self.next_offset();
            if *entry.key() > next_offset {
                return;
            }
            let own = entry.remove();
            if own.offset < next_offset {
                continue;
            }
            // The log's reader waits for the catalog where it must; here nobody may.
            if !is_known(own.event.policy(), policies) {
                return;
            }
            self.fold_acknowledged(state, &own, policies, live);
        }
    }

    fn fold_acknowledged(&self, state: &mut State, own: &Acknowledged, policies: &PolicySet, live: &live::Counters) {
        let place = state.move_to(own.offset, own.stamp);
        state.is_stamped_by_log = true;
        let mut id = Uuid::encode_buffer();
        let id = own.id.hyphenated().encode_lower(&mut id);
        if let Err(error) = self.apply(state, id, &own.event, place, policies, live) {
            self.note_skipped(own.offset, Some(id), &error.to_string());
        }
        self.count_folded(own.offset);
    }

    fn note_skipped(&self, offset: i64, event_id: Option<&str>, error: &str) {
        metrics::counter!("pulsegate_hot_view_skipped_total").increment(1);
        tracing::warn!(partition = self.partition, offset, event_id, error, "skipped a record");
    }

    fn count_folded(&self, offset: i64) {
        self.folded.fetch_add(1, Ordering::Relaxed);
        self.advance_to(offset + 1);
    }

    fn apply(
        &self,
        state: &mut State,
        event_id: &str,
        event: &PlaybackEvent,
        place: Place,
        policies: &PolicySet,
        live: &live::Counters,
    ) -> Result<Applied, UnknownPolicy> {
        let id = event.account_id();
        let mut observer = Watcher { account: id, partition: self.partition, live, has_decided: false };
        let account = match state.accounts.get_mut(id) {
            Some(account) => account,
            None => state.accounts.entry(id.clone()).or_default(),
        };
        let before = self.waiting.before(id, account);
        let applied = account.apply(event_id, event, place, policies, &mut observer);
        if let Some(before) = before {
            self.waiting.folded(id, &before, account, observer.has_decided);
        }
        if matches!(event, PlaybackEvent::Heartbeat(_)) {
            live.heartbeat();
        }
        if self.expected_count.load(Ordering::Acquire) > 0 {
            self.tell(event_id, event, place, applied.as_ref().ok().copied(), account, policies);
        }
        if account.is_empty() {
            state.accounts.remove(id);
        }
        applied
    }

    /// Tells whoever waits for this event what the fold says right after it.
    fn tell(
        &self,
        event_id: &str,
        event: &PlaybackEvent,
        place: Place,
        applied: Option<Applied>,
        account: &Account,
        policies: &PolicySet,
    ) {
        let Some(waiter) = Uuid::try_parse(event_id).ok().and_then(|id| self.take_expected(id)) else { return };
        let session = applied.map(|applied| applied.session).or(event.session_id());
        let folded = Folded {
            as_of: AsOf { partition: self.partition, offset: place.offset, at: place.at },
            applied,
            verdict: session.and_then(|id| account.verdict(id, place.at, policies)),
            session: session.and_then(|id| account.session_view(id, place.at, policies)),
        };
        // A waiter that has given up has dropped its end; the fold goes on.
        drop(waiter.send(folded));
    }
}

fn is_known(policy: Option<&PolicyRef>, policies: &PolicySet) -> bool {
    policy.is_none_or(|policy| policies.get(policy).is_some())
}

struct Watcher<'a> {
    account: &'a AccountId,
    partition: i32,
    live: &'a live::Counters,
    has_decided: bool,
}

impl Observe for Watcher<'_> {
    fn decided(&mut self, decision: impl FnOnce() -> Decision) {
        self.has_decided = true;
        self.live.decided(|| Decided {
            account: self.account.clone(),
            partition: self.partition,
            decision: decision(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::stop;
    use super::*;
    use crate::hot_view::Part;

    #[test]
    fn what_is_acknowledged_is_folded_once_nothing_is_missing_before_it() {
        let (shard, policies, live) = (Shard::new(0), PolicySet::default(), live::Counters::default());
        shard.begin(Part::default());
        let acknowledge = |offset| {
            shard.acknowledged([stop(offset)], &policies, &live);
            (shard.next_offset(), shard.folded_total())
        };
        assert_eq!(acknowledge(1), (0, 0));
        assert_eq!(acknowledge(0), (2, 2));
        assert_eq!(acknowledge(1), (2, 2), "once");
        // Too far ahead to be kept: the log brings it.
        assert_eq!(acknowledge(3 + i64::try_from(EARLY_MAX).unwrap()), (2, 2));
        assert!(shard.state.read().unwrap().early.is_empty());
    }
}
