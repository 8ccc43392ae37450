//! The hot view: every account's state in memory, folded from the playback topic by each node.
//!
//! A start is a snapshot of `active_sessions` and the log from its offsets on, so that it reads a tail
//! and not history. One thread reads the log and folds. What the node itself appends it also folds, at the
//! acknowledgement, where everything before it was folded: so an answer needs no second way to the broker
//! and back. Readers take a partition's lock for the time of a look and never hold it across an await.
//!
//! **Invariant:** what a reader sees of an account is the fold of its records up to the partition's
//! position, never a part of one record.
//!
//! **Invariant:** the records of a partition are folded in the order of their offsets, each once, whether
//! the log brought it or its acknowledgement.

mod live;
mod log_time;
mod ownership;
mod proof;
mod shard;
mod snapshot;
mod waiting;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pulsegate_domain::account::{Account, Applied, Decision, SessionView, Verdict};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, partition_of};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::catalog_view::CatalogView;
use crate::reader::{POLL, ReaderContext, ReaderError, ReaderSettings};
pub use live::{Live, LiveDecision};
pub use log_time::Now;
use log_time::{LogTime, wall};
use ownership::Change;
pub use ownership::{FoldState, PartitionFold};
pub use shard::Acknowledged;
use shard::{Record, Shard};
use snapshot::Part;
pub use snapshot::Snapshot;
pub use waiting::{TooManyWaiters, WAITERS_AN_ACCOUNT_MAX, WAITERS_MAX, Waiter};

/// How often the ends of the log are asked for.
const PROOF_INTERVAL: Duration = Duration::from_millis(500);
/// How long one such question may take.
const PROOF_TIMEOUT: Duration = Duration::from_secs(2);
/// How often forgotten sessions are swept out of memory.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);
/// Answers below this age are as good as current, in milliseconds.
pub const STALE_MS_MIN: u64 = 3_000;

/// Where the log stood for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOf {
    /// The account's partition.
    pub partition: i32,
    /// The last offset folded; -1 where the partition is empty.
    pub offset: i64,
    /// The instant at which the answer was evaluated.
    pub at: Timestamp,
}

/// What a reader is shown of one account.
pub struct Look<'a> {
    /// The account, if anything is remembered of it.
    pub account: Option<&'a Account>,
    /// Every version of every policy.
    pub policies: &'a Arc<PolicySet>,
    /// As of where and when.
    pub as_of: AsOf,
    /// How old the newest proof is that the view was at the end of the log, in milliseconds.
    pub stale_ms: u64,
    /// The partition's clock: the largest stamp of any record folded.
    pub clock: Timestamp,
    /// Whether the partition has once been folded to the log's end: before that, answers are provisional.
    pub caught_up: bool,
}

/// What the fold said right after one event.
#[derive(Clone, Debug)]
pub struct Folded {
    /// The event's own place.
    pub as_of: AsOf,
    /// What it did; `None` if it was skipped.
    pub applied: Option<Applied>,
    /// The verdict on its session.
    pub verdict: Option<Verdict>,
    /// The session, if it has not ended.
    pub session: Option<SessionView>,
}

/// Every account's state, folded from the log; cheap to clone.
#[derive(Clone)]
pub struct HotView {
    inner: Arc<Inner>,
}

struct Inner {
    shards: Vec<Shard>,
    catalog: CatalogView,
    consumer: BaseConsumer<ReaderContext>,
    topic: String,
    stop: AtomicBool,
    /// Partitions that shall be folded from now on, or no longer: for the folding thread, which alone assigns.
    changes: Mutex<Vec<Change>>,
    /// Whether every partition is folded here, from the start on.
    is_whole: bool,
    /// An end of the log lies above what is folded: perhaps what lies between is no record.
    is_position_wanted: AtomicBool,
    caught_up: watch::Sender<bool>,
    log_time: LogTime,
    /// Told each time that the ends of the log were heard of.
    proofs: watch::Sender<()>,
    waiters: AtomicUsize,
    failure: Mutex<Option<String>>,
    live: live::Counters,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl HotView {
    /// Starts to fold every partition from `snapshot`; the catalog must be caught up.
    pub fn start(settings: &ReaderSettings, catalog: CatalogView, snapshot: Snapshot) -> Result<Self, ReaderError> {
        let view = Self::make(settings, catalog, true)?;
        let mut from = TopicPartitionList::new();
        for (partition, part) in snapshot.by_partition() {
            let Some(shard) = view.inner.shard(partition) else { continue };
            from.add_partition_offset(&view.inner.topic, partition, part.offset())?;
            shard.begin(part);
        }
        for shard in view.inner.shards.iter().filter(|shard| !shard.is_folded()) {
            from.add_partition_offset(&view.inner.topic, shard.partition(), Offset::Beginning)?;
            shard.begin(Part::default());
        }
        view.inner.consumer.assign(&from)?;
        view.run()?;
        Ok(view)
    }

    fn make(settings: &ReaderSettings, catalog: CatalogView, is_whole: bool) -> Result<Self, ReaderError> {
        Ok(Self {
            inner: Arc::new(Inner {
                shards: (0..settings.partitions).map(Shard::new).collect(),
                catalog,
                consumer: settings.consumer_of_others()?,
                topic: settings.topics.name(Topic::Playback),
                stop: AtomicBool::new(false),
                changes: Mutex::default(),
                is_whole,
                is_position_wanted: AtomicBool::new(false),
                caught_up: watch::Sender::new(false),
                log_time: LogTime::default(),
                proofs: watch::Sender::new(()),
                waiters: AtomicUsize::new(0),
                failure: Mutex::new(None),
                live: live::Counters::default(),
                threads: Mutex::new(Vec::new()),
            }),
        })
    }

    fn run(&self) -> Result<(), ReaderError> {
        let (folding, proving) = (Arc::clone(&self.inner), Arc::clone(&self.inner));
        let fold = std::thread::Builder::new().name("hot-view".into()).spawn(move || folding.fold_until_stopped())?;
        let prove =
            std::thread::Builder::new().name("hot-view-ends".into()).spawn(move || proving.prove_until_stopped())?;
        lock(&self.inner.threads).extend([fold, prove]);
        Ok(())
    }

    /// The partition of an account's records.
    #[must_use]
    pub fn partition_of(&self, account: &AccountId) -> i32 {
        partition_of(account.as_str().as_bytes(), self.partitions())
    }

    /// How many partitions the playback topic has.
    #[must_use]
    pub fn partitions(&self) -> i32 {
        i32::try_from(self.inner.shards.len()).unwrap_or(i32::MAX)
    }

    fn shard(&self, account: &AccountId) -> &Shard {
        &self.inner.shards[usize::try_from(self.partition_of(account)).unwrap_or_default()]
    }

    /// Looks at an account as folded so far. `look` runs under the partition's read lock.
    pub fn look<R>(&self, account: &AccountId, look: impl FnOnce(&Look<'_>) -> R) -> R {
        self.look_at(account, self.clock(), look)
    }

    /// The same at an instant that was asked for before: of many, each need not ask the clocks.
    pub fn look_at<R>(&self, account: &AccountId, now: Now, look: impl FnOnce(&Look<'_>) -> R) -> R {
        let policies = self.inner.catalog.policies();
        self.shard(account).look(account, &policies, now, look)
    }

    /// The verdict on a session as folded so far; `None` if it is unknown.
    #[must_use]
    pub fn verdict(&self, account: &AccountId, session: SessionId) -> (Option<Verdict>, AsOf, u64) {
        self.look(account, |look| {
            let verdict = look.account.and_then(|known| known.verdict(session, look.as_of.at, look.policies));
            (verdict, look.as_of, look.stale_ms)
        })
    }

    /// Asks to be told what the fold says right after the event `event_id`; ask before appending it.
    #[must_use]
    pub fn expect(&self, account: &AccountId, event_id: Uuid) -> Expected {
        let (told, tell) = oneshot::channel();
        let shard = self.shard(account);
        shard.expect(event_id, told);
        Expected { view: self.clone(), partition: shard.partition(), event_id, tell }
    }

    /// Takes events that this node has appended to a partition itself and the broker has acknowledged, in the order of
    /// their offsets, so that no answer need wait until the log brings them back.
    pub fn acknowledged(&self, partition: i32, own: impl IntoIterator<Item = Acknowledged>) {
        if let Some(shard) = self.inner.shard(partition) {
            shard.acknowledged(own, &self.inner.catalog.policies(), &self.inner.live);
        }
    }

    /// Whether the record at `offset` has been folded.
    #[must_use]
    pub fn has_folded(&self, partition: i32, offset: i64) -> bool {
        self.inner.shard(partition).is_some_and(|shard| shard.is_folded() && shard.next_offset() > offset)
    }

    /// Waits for at most `wait` until the record at `offset` has been folded.
    pub async fn folded(&self, partition: i32, offset: i64, wait: Duration) -> bool {
        let folded = async {
            while !self.has_folded(partition, offset) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(wait, folded).await.is_ok()
    }

    /// Whether every partition that this node shall fold has once been folded to the log's end.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        *self.inner.caught_up.borrow()
    }

    /// Waits until the view [is caught up](Self::is_caught_up).
    pub async fn caught_up(&self) {
        let mut caught_up = self.inner.caught_up.subscribe();
        // The sender lives in `self`, so the channel can't close before this returns.
        drop(caught_up.wait_for(|done| *done).await);
    }

    /// Why the view can't go on, if it can't.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        lock(&self.inner.failure).clone()
    }

    /// What time it is: by this node's clock, kept to what the log's own stamps say.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock().at
    }

    /// The same, to be [looked at](Self::look_at).
    #[must_use]
    pub fn clock(&self) -> Now {
        self.inner.log_time.now()
    }

    /// How old the oldest partition's proof is that the view is at the end of the log, in milliseconds.
    #[must_use]
    pub fn stale_ms(&self) -> u64 {
        let now = self.inner.log_time.now();
        self.inner.folded_shards().map(|shard| shard.stale_ms(now)).max().unwrap_or_default()
    }

    /// How many records have been folded since the start.
    #[must_use]
    pub fn folded_total(&self) -> u64 {
        self.inner.shards.iter().map(Shard::folded_total).sum()
    }

    /// The figures of the live page.
    #[must_use]
    pub fn live(&self) -> Live {
        self.inner.live.figures(&self.inner.shards, self.inner.log_time.now())
    }

    /// Stops folding and waits for the threads; reads go on from memory.
    pub fn stop(&self) {
        self.inner.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut *lock(&self.inner.threads)) {
            if thread.join().is_err() {
                tracing::error!("a thread of the hot view panicked");
            }
        }
    }
}

/// A promise of what the fold says right after one event.
pub struct Expected {
    view: HotView,
    partition: i32,
    event_id: Uuid,
    tell: oneshot::Receiver<Folded>,
}

impl Expected {
    /// Waits for at most `wait`; `None` if the view is further behind than that.
    pub async fn folded(&mut self, wait: Duration) -> Option<Folded> {
        tokio::time::timeout(wait, &mut self.tell).await.ok()?.ok()
    }

    /// What was told by now.
    pub fn now(&mut self) -> Option<Folded> {
        self.tell.try_recv().ok()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        if let Ok(index) = usize::try_from(self.partition) {
            self.view.inner.shards[index].forget_expected(self.event_id);
        }
    }
}

impl Inner {
    fn shard(&self, partition: i32) -> Option<&Shard> {
        usize::try_from(partition).ok().and_then(|index| self.shards.get(index))
    }

    fn folded_shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().filter(|shard| shard.is_folded())
    }

    fn note_caught_up(&self) {
        self.live.begin();
        self.caught_up.send_replace(true);
    }

    fn fold_until_stopped(&self) {
        let mut policies = self.catalog.policies();
        while !self.stop.load(Ordering::Relaxed) {
            self.make_changes();
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    let Some(shard) = self.shard(message.partition()) else { continue };
                    let record = Record {
                        offset: message.offset(),
                        stamp: message.timestamp().to_millis().map_or(Timestamp::MIN, Timestamp::from_millis),
                        is_stamped_by_log: matches!(message.timestamp(), rdkafka::Timestamp::LogAppendTime(_)),
                        key: message.key(),
                        value: message.payload().unwrap_or_default(),
                    };
                    // What is folded already was folded when it was acknowledged: its request has waited for that.
                    let span = if record.offset < shard.next_offset() { None } else { crate::traced::record(&message) };
                    shard.fold(&record, &mut policies, &self.catalog, &self.live, &self.stop);
                    drop(span);
                }
                Some(Err(KafkaError::PartitionEOF(_))) | None => {}
                Some(Err(error)) => self.note_error(&error),
            }
            if self.is_position_wanted.load(Ordering::Relaxed) {
                self.is_position_wanted.store(false, Ordering::Relaxed);
                self.note_positions();
            }
        }
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(%error, "leaving the playback topic");
        }
    }

    /// The end may lie behind what is no record (a transaction's marker): the consumer's position tells. It counts
    /// what was handed out, which between two polls of this thread is what was folded.
    fn note_positions(&self) {
        let Ok(positions) = self.consumer.position() else { return };
        for shard in self.folded_shards() {
            let element = positions.find_partition(&self.topic, shard.partition());
            if let Some(position) = element.and_then(|element| element.offset().to_raw()) {
                shard.advance_to(position);
            }
        }
    }

    fn note_error(&self, error: &KafkaError) {
        let lost = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
        );
        if lost {
            tracing::error!(%error, "the log does not hold the offset that the read model ends at");
            *lock(&self.failure) = Some(format!("the log does not hold the read model's offsets: {error}"));
        } else {
            tracing::warn!(%error, "reading the playback topic");
        }
    }

    /// A quiet partition isn't an outage: an end that isn't above the position proves "at the end" as of
    /// the moment at which it was asked for.
    fn prove_until_stopped(&self) {
        let mut swept_at = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            let asked_at = Instant::now();
            match self.ends() {
                Ok(ends) => {
                    for (partition, end) in ends {
                        if let Some(shard) = self.shard(partition)
                            && !shard.note_end(end, asked_at, &self.log_time)
                        {
                            self.is_position_wanted.store(true, Ordering::Relaxed);
                        }
                    }
                    self.proofs.send_replace(());
                }
                Err(error) => tracing::debug!(%error, "the ends of the log are not known"),
            }
            if self.is_whole && !*self.caught_up.borrow() && self.shards.iter().all(Shard::is_proven) {
                self.note_caught_up();
            }
            self.live.tick();
            self.note_staleness();
            if swept_at.elapsed() >= SWEEP_INTERVAL {
                swept_at = Instant::now();
                self.shards.iter().for_each(Shard::sweep);
            }
            // While anything catches up, its readiness should not wait for the next round.
            let is_calm = *self.caught_up.borrow() && self.folded_shards().all(Shard::is_proven);
            let pause = if is_calm { PROOF_INTERVAL } else { PROOF_INTERVAL / 20 };
            std::thread::sleep(pause);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "2^52 ms of staleness are stale enough")]
    fn note_staleness(&self) {
        // Before, it isn't stale but not ready.
        if *self.caught_up.borrow() {
            let now = self.log_time.now();
            let stale_ms = self.folded_shards().map(|shard| shard.stale_ms(now)).max().unwrap_or_default();
            metrics::gauge!("pulsegate_hot_view_stale_seconds").set(stale_ms as f64 / 1e3);
        }
    }

    fn ends(&self) -> Result<Vec<(i32, i64)>, KafkaError> {
        let mut asked = TopicPartitionList::new();
        for shard in self.folded_shards() {
            asked.add_partition_offset(&self.topic, shard.partition(), Offset::End)?;
        }
        if asked.count() == 0 {
            return Ok(Vec::new());
        }
        // One request for all partitions: "the offset for the time -1" is the end.
        let answered = self.consumer.offsets_for_times(asked, PROOF_TIMEOUT)?;
        Ok(answered
            .elements()
            .iter()
            .filter(|element| element.error().is_ok())
            .filter_map(|element| Some((element.partition(), element.offset().to_raw().filter(|end| *end >= 0)?)))
            .collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A decision with its account, as the live page shows it.
pub(crate) struct Decided {
    account: AccountId,
    partition: i32,
    decision: Decision,
}
