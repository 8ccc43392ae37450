//! One partition of the hot view.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use pulsegate_domain::account::{Account, Applied, Decision, Observe, Place, UnknownPolicy, key_matches};
use pulsegate_domain::event::{self, PlaybackEvent};
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::policy::{PolicyRef, PolicySet};
use pulsegate_domain::time::Timestamp;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::proof::{Proof, evaluated_at};
use super::waiting::Waiting;
use super::{AsOf, Decided, FoldState, Folded, Look, Part, PartitionFold, live};
use crate::catalog_view::CatalogView;

/// How many acknowledged events of one partition may wait for those before them.
const EARLY_MAX: usize = 1_000;
/// How long the fold reads the catalog on, at a time, for a policy that it doesn't know.
const CATALOG_WAIT: Duration = Duration::from_secs(5);

/// A record of the playback topic.
pub(super) struct Record<'a> {
    pub(super) offset: i64,
    pub(super) stamp: Timestamp,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: &'a [u8],
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

/// The accounts of one partition and where their fold stands.
pub(super) struct Shard {
    partition: i32,
    state: RwLock<State>,
    /// Whether it is folded here at all; beside `state` so that a request need not lock to ask.
    folded_here: AtomicBool,
    /// Since when it is, or no longer is.
    since: Mutex<Timestamp>,
    /// Behind the last record folded; beside `state` so that a waiter need not lock.
    next_offset: AtomicI64,
    folded: AtomicU64,
    proof: Mutex<Proof>,
    expected: Mutex<HashMap<Uuid, oneshot::Sender<Folded>>>,
    expected_count: AtomicUsize,
    waiting: Waiting,
}

struct State {
    accounts: HashMap<AccountId, Account, foldhash::fast::RandomState>,
    clock: Timestamp,
    last_offset: i64,
    /// Acknowledged events by their offset, that came before those in front of them.
    early: BTreeMap<i64, Acknowledged>,
}

impl State {
    /// Moves on to a record; returns where the fold then stands.
    fn move_to(&mut self, offset: i64, stamp: Timestamp) -> Place {
        self.clock = self.clock.max(stamp);
        self.last_offset = offset;
        Place { offset, at: self.clock }
    }
}

impl Shard {
    pub(super) fn new(partition: i32) -> Self {
        Self {
            partition,
            state: RwLock::new(State {
                accounts: HashMap::default(),
                clock: Timestamp::MIN,
                last_offset: -1,
                early: BTreeMap::new(),
            }),
            next_offset: AtomicI64::new(0),
            folded_here: AtomicBool::new(false),
            since: Mutex::new(super::now()),
            folded: AtomicU64::new(0),
            proof: Mutex::default(),
            expected: Mutex::default(),
            expected_count: AtomicUsize::new(0),
            waiting: Waiting::default(),
        }
    }

    pub(super) const fn partition(&self) -> i32 {
        self.partition
    }

    /// Begins to fold from a part of a snapshot. Only the folding thread does, before it reads.
    pub(super) fn begin(&self, part: Part) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.accounts = part.accounts.into_iter().collect();
        state.early.clear();
        state.clock = part.clock;
        state.last_offset = part.next_offset - 1;
        self.next_offset.store(part.next_offset, Ordering::Release);
        self.restart(true);
    }

    /// Folds no longer and drops what was remembered. Who waits for an event here is told nothing, and knows by that.
    pub(super) fn leave(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.accounts = HashMap::default();
        state.early.clear();
        self.restart(false);
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.clear();
        self.expected_count.store(0, Ordering::Release);
        self.waiting.wake_all();
    }

    fn restart(&self, folded_here: bool) {
        *self.proof.lock().unwrap_or_else(PoisonError::into_inner) = Proof::default();
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = super::now();
        self.folded_here.store(folded_here, Ordering::Release);
    }

    pub(super) fn is_folded(&self) -> bool {
        self.folded_here.load(Ordering::Acquire)
    }

    /// How it stands here; `None` where it isn't folded.
    pub(super) fn standing(&self) -> Option<PartitionFold> {
        if !self.is_folded() {
            return None;
        }
        let state = if self.is_proven() { FoldState::Ready } else { FoldState::Filling };
        let next_offset = self.next_offset();
        let end = self.proof.lock().unwrap_or_else(PoisonError::into_inner).end.max(next_offset);
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let lag = u64::try_from(end - next_offset).unwrap_or_default();
        Some(PartitionFold { partition: self.partition, state, next_offset, lag, since })
    }

    pub(super) fn next_offset(&self) -> i64 {
        self.next_offset.load(Ordering::Acquire)
    }

    pub(super) fn folded_total(&self) -> u64 {
        self.folded.load(Ordering::Relaxed)
    }

    /// Folds one record of the log, unless it was folded when it was acknowledged. What can't be read, stands
    /// under a foreign key or names a policy that the catalog's end doesn't hold is skipped alone; it moves the
    /// clock all the same.
    pub(super) fn fold(
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
            let skipped = match &decoded {
                Ok(envelope) => {
                    let applied = self.apply(&mut state, &envelope.id, &envelope.event, place, policies, live);
                    applied.err().map(|error| error.to_string())
                }
                Err(error) => Some(error.clone()),
            };
            if let Some(error) = skipped {
                self.note_skipped(record.offset, &error);
            }
            self.count_folded(record.offset);
            self.fold_early(&mut state, policies, live);
        }
    }

    /// Takes events that this node has appended itself, in the order of their offsets, as soon as the broker says where
    /// they stand: each is folded at once if everything before it was, else when it was. The log brings them once more,
    /// and is the only one to bring what others appended.
    pub(super) fn acknowledged(
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
        let mut id = Uuid::encode_buffer();
        let id = own.id.hyphenated().encode_lower(&mut id);
        if let Err(error) = self.apply(state, id, &own.event, place, policies, live) {
            self.note_skipped(own.offset, &error.to_string());
        }
        self.count_folded(own.offset);
    }

    fn note_skipped(&self, offset: i64, error: &str) {
        metrics::counter!("pulsegate_hot_view_skipped_total").increment(1);
        tracing::warn!(partition = self.partition, offset, error, "skipped a record");
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

    /// Sets the position, also past what is no record.
    pub(super) fn advance_to(&self, next_offset: i64) {
        self.next_offset.fetch_max(next_offset, Ordering::Release);
    }

    /// Notes an end of the log: `end` was it when it was asked for at `asked_at`. Whether it was reached.
    pub(super) fn note_end(&self, end: i64, asked_at: Timestamp) -> bool {
        if !self.is_folded() {
            return true;
        }
        let mut proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        let next_offset = self.next_offset();
        proof.note(end, asked_at, next_offset)
    }

    fn proven_at(&self) -> Option<Timestamp> {
        let mut proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        proof.settle(self.next_offset());
        proof.proven_at
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven_at().is_some()
    }

    pub(super) fn stale_ms(&self, now: Timestamp) -> u64 {
        now.ms_since(self.evaluated_now(now))
    }

    fn evaluated_at(&self, clock: Timestamp, now: Timestamp) -> Timestamp {
        evaluated_at(self.proven_at(), clock, now)
    }

    /// The same now.
    pub(super) fn evaluated_now(&self, now: Timestamp) -> Timestamp {
        let clock = self.state.read().unwrap_or_else(PoisonError::into_inner).clock;
        self.evaluated_at(clock, now)
    }

    /// Who waits on the accounts of this partition.
    pub(super) const fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    pub(super) fn look<R>(
        &self,
        account: &AccountId,
        policies: &Arc<PolicySet>,
        now: Timestamp,
        look: impl FnOnce(&Look<'_>) -> R,
    ) -> R {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let proven_at = self.proven_at();
        let at = evaluated_at(proven_at, state.clock, now);
        look(&Look {
            account: state.accounts.get(account),
            policies,
            as_of: AsOf { partition: self.partition, offset: state.last_offset, at },
            stale_ms: now.ms_since(at),
            clock: state.clock,
            caught_up: proven_at.is_some(),
        })
    }

    pub(super) fn expect(&self, event_id: Uuid, tell: oneshot::Sender<Folded>) {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.insert(event_id, tell);
        self.expected_count.store(expected.len(), Ordering::Release);
    }

    fn take_expected(&self, event_id: Uuid) -> Option<oneshot::Sender<Folded>> {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let waiter = expected.remove(&event_id)?;
        self.expected_count.store(expected.len(), Ordering::Release);
        Some(waiter)
    }

    pub(super) fn forget_expected(&self, event_id: Uuid) {
        drop(self.take_expected(event_id));
    }

    /// Frees the memory of what nobody can ask for any more.
    pub(super) fn sweep(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let clock = state.clock;
        state.accounts.retain(|_, account| {
            account.forget(clock, &mut ());
            !account.is_empty()
        });
    }

    /// Counts what runs: `(accounts with a stream, streams, waiting)`.
    pub(super) fn count(&self, now: Timestamp) -> (u64, u64, u64) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let at = self.evaluated_at(state.clock, now);
        let mut figures = (0, 0, 0);
        for account in state.accounts.values() {
            let live = account.open().iter().filter(|session| session.is_live(at));
            let (holding, waiting) =
                live.fold(
                    (0, 0),
                    |(holding, waiting), session| {
                        if session.holds_slot() { (holding + 1, waiting) } else { (holding, waiting + 1) }
                    },
                );
            figures.0 += u64::from(holding > 0);
            figures.1 += holding;
            figures.2 += waiting;
        }
        figures
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
    use pulsegate_domain::event::Stopped;

    use super::*;

    fn stop(offset: i64) -> Acknowledged {
        let event = PlaybackEvent::Stopped(Stopped {
            account_id: "a".parse().unwrap(),
            session_id: Uuid::from_u128(7).to_string().parse().unwrap(),
            sequence: None,
            elapsed_ms: None,
            position_ms: None,
        });
        Acknowledged { id: Uuid::from_u128(1), event, offset, stamp: Timestamp::from_millis(1_000) }
    }

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

    #[test]
    fn a_partition_that_left_folds_nothing_and_begins_again_from_its_snapshot() {
        let (shard, policies, live) = (Shard::new(0), PolicySet::default(), live::Counters::default());
        shard.begin(Part::default());
        let (tell, mut told) = oneshot::channel();
        shard.expect(Uuid::from_u128(9), tell);
        shard.leave();
        assert!(told.try_recv().is_err(), "who waits here is told nothing");
        shard.acknowledged([stop(0)], &policies, &live);
        assert_eq!((shard.next_offset(), shard.folded_total(), shard.standing()), (0, 0, None));
        let part = Part { next_offset: 5, clock: Timestamp::from_millis(7), accounts: Vec::new() };
        shard.begin(part);
        shard.acknowledged([stop(4)], &policies, &live);
        shard.acknowledged([stop(5)], &policies, &live);
        assert_eq!((shard.next_offset(), shard.folded_total()), (6, 1));
        let standing = shard.standing().unwrap();
        assert_eq!((standing.state, standing.lag), (FoldState::Filling, 0));
        assert!(shard.note_end(6, Timestamp::from_millis(2_000)));
        assert_eq!(shard.standing().unwrap().state, FoldState::Ready);
    }
}
