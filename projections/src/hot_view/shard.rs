//! One partition of the hot view.

mod folding;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use pulsegate_domain::account::{Account, Place};
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;
use tokio::sync::oneshot;
use uuid::Uuid;

pub use self::folding::Acknowledged;
pub(super) use self::folding::Record;
use super::log_time::{LogTime, Now};
use super::proof::{Proof, evaluated_at};
use super::waiting::Waiting;
use super::{AsOf, FoldState, Folded, Look, Part, PartitionFold};

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
    is_stamped_by_log: bool,
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
                is_stamped_by_log: false,
                early: BTreeMap::new(),
            }),
            next_offset: AtomicI64::new(0),
            folded_here: AtomicBool::new(false),
            since: Mutex::new(super::wall()),
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
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = super::wall();
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

    /// Sets the position, also past what is no record.
    pub(super) fn advance_to(&self, next_offset: i64) {
        self.next_offset.fetch_max(next_offset, Ordering::Release);
    }

    /// Notes an end of the log: `end` was it when it was asked for at `asked_at`. Whether it was reached. What came since
    /// the last one says what time it is.
    pub(super) fn note_end(&self, end: i64, asked_at: Instant, log_time: &LogTime) -> bool {
        if !self.is_folded() {
            return true;
        }
        let (last_offset, clock, is_stamped_by_log) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            (state.last_offset, state.clock, state.is_stamped_by_log)
        };
        let mut proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stamped) = proof.stamped(clock, last_offset).filter(|_| is_stamped_by_log) {
            log_time.note(stamped);
        }
        let next_offset = self.next_offset();
        proof.note(end, asked_at, next_offset)
    }

    fn proven_at(&self) -> Option<Instant> {
        let mut proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        proof.settle(self.next_offset());
        proof.proven_at
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven_at().is_some()
    }

    pub(super) fn stale_ms(&self, now: Now) -> u64 {
        now.at.ms_since(self.evaluated_now(now))
    }

    fn evaluated_at(&self, clock: Timestamp, now: Now) -> Timestamp {
        evaluated_at(self.proven_at(), clock, now)
    }

    /// The same now.
    pub(super) fn evaluated_now(&self, now: Now) -> Timestamp {
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
        now: Now,
        look: impl FnOnce(&Look<'_>) -> R,
    ) -> R {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let proven_at = self.proven_at();
        let at = evaluated_at(proven_at, state.clock, now);
        look(&Look {
            account: state.accounts.get(account),
            policies,
            as_of: AsOf { partition: self.partition, offset: state.last_offset, at },
            stale_ms: now.at.ms_since(at),
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
    pub(super) fn count(&self, now: Now) -> (u64, u64, u64) {
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

#[cfg(test)]
mod tests {
    use pulsegate_domain::event::{PlaybackEvent, Stopped};

    use super::*;
    use crate::hot_view::live;

    pub(super) fn stop(offset: i64) -> Acknowledged {
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
        assert!(shard.note_end(6, Instant::now(), &LogTime::default()));
        assert_eq!(shard.standing().unwrap().state, FoldState::Ready);
    }
}
