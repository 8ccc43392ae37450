//! The catalog in memory: every node reads the one-partition `catalog` topic from its beginning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::event::{self, CatalogEvent};
use pulsegate_domain::policy::{PolicyRef, PolicySet};
use pulsegate_domain::topic::Topic;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;

use crate::reader::{POLL, ReaderContext, ReaderError, ReaderSettings};

/// How long one question to the broker for the catalog's end may take.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The catalog as of the last record read; cheap to clone.
#[derive(Clone)]
pub struct CatalogView {
    shared: Arc<Shared>,
}

struct Shared {
    /// With the offset behind the last record that it took up.
    catalog: RwLock<(Catalog, i64)>,
    /// The same policies as in `catalog`, to be had without a lock by folds.
    policies: ArcSwap<PolicySet>,
    next_offset: watch::Sender<i64>,
    /// Whether it was at the topic's end once.
    is_whole: AtomicBool,
    consumer: BaseConsumer<ReaderContext>,
    topic: String,
    stop: AtomicBool,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl CatalogView {
    /// Starts to read. The view is whole once [`caught_up`](Self::caught_up) says so.
    pub fn start(settings: &ReaderSettings) -> Result<Self, ReaderError> {
        let topic = settings.topics.name(Topic::Catalog);
        let consumer = settings.consumer("catalog")?;
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&topic, 0, Offset::Beginning)?;
        consumer.assign(&from)?;
        let catalog = Catalog::default();
        let shared = Arc::new(Shared {
            policies: ArcSwap::new(Arc::clone(catalog.policies())),
            catalog: RwLock::new((catalog, 0)),
            next_offset: watch::Sender::new(0),
            is_whole: AtomicBool::new(false),
            consumer,
            topic,
            stop: AtomicBool::new(false),
            thread: std::sync::Mutex::new(None),
        });
        let reading = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("catalog".into()).spawn(move || reading.read())?;
        *shared.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(Self { shared })
    }

    /// Looks something up.
    pub fn read<R>(&self, look: impl FnOnce(&Catalog) -> R) -> R {
        self.read_at(|catalog, _| look(catalog))
    }

    /// Looks something up, with the offset behind the last record that the answer rests on.
    pub fn read_at<R>(&self, look: impl FnOnce(&Catalog, i64) -> R) -> R {
        let shared = self.shared.catalog.read().unwrap_or_else(PoisonError::into_inner);
        look(&shared.0, shared.1)
    }

    /// Every version of every policy, as of the last record read.
    #[must_use]
    pub fn policies(&self) -> Arc<PolicySet> {
        self.shared.policies.load_full()
    }

    /// The offset behind the last record read.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        *self.shared.next_offset.borrow()
    }

    /// Whether it has been at the topic's end since it was started: before, what isn't in it may only not be read yet.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.shared.is_whole.load(Ordering::Acquire)
    }

    /// Waits until the record at `offset` has been read: a writer reads its own write.
    pub async fn folded(&self, offset: i64, wait: Duration) -> bool {
        let mut position = self.shared.next_offset.subscribe();
        tokio::time::timeout(wait, position.wait_for(|next| *next > offset)).await.is_ok_and(|seen| seen.is_ok())
    }

    /// Waits until everything that stood in the catalog when it was asked has been read.
    pub async fn caught_up(&self, wait: Duration) -> bool {
        let shared = Arc::clone(&self.shared);
        let end = tokio::task::spawn_blocking(move || shared.end()).await;
        match end {
            Ok(Some(end)) => self.folded(end - 1, wait).await,
            _ => false,
        }
    }

    /// For a folding thread that met a policy it doesn't know: reads the catalog on until it has it, or
    /// to its end, for at most `wait`.
    ///
    /// `Some(false)` is certain: the catalog's end doesn't hold it. `None`: the broker didn't answer, so
    /// the fold must not go on as if the policy did not exist.
    #[must_use]
    pub fn read_on_for(&self, policy: &PolicyRef, wait: Duration) -> Option<bool> {
        let deadline = Instant::now() + wait;
        let known = || self.shared.policies.load().get(policy).is_some();
        if known() {
            return Some(true);
        }
        // Asked once: a broker that is away may say so at once, again and again.
        let end = self.shared.end();
        while !known() {
            if end.is_some_and(|end| self.next_offset() >= end) {
                return Some(known());
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(true)
    }

    /// Stops reading and waits for the thread; the catalog stays as it is.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the catalog's reader panicked");
        }
    }
}

impl Shared {
    fn end(&self) -> Option<i64> {
        match self.consumer.fetch_watermarks(&self.topic, 0, END_TIMEOUT) {
            Ok((_, end)) => Some(end),
            Err(error) => {
                tracing::debug!(%error, "the catalog's end is not known");
                None
            }
        }
    }

    fn read(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    self.fold(message.payload().unwrap_or_default(), message.offset());
                    self.next_offset.send_replace(message.offset() + 1);
                }
                // A transaction's marker takes an offset and is no record: at the end is at the end.
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    self.is_whole.store(true, Ordering::Release);
                    if let Some(position) = self.position() {
                        self.next_offset.send_if_modified(|next| {
                            let behind = *next < position;
                            *next = position.max(*next);
                            behind
                        });
                    }
                }
                Some(Err(error)) => tracing::warn!(%error, "reading the catalog"),
                None => {}
            }
        }
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(%error, "leaving the catalog");
        }
    }

    fn position(&self) -> Option<i64> {
        let positions = self.consumer.position().ok()?;
        positions.find_partition(&self.topic, 0)?.offset().to_raw().filter(|offset| *offset >= 0)
    }

    fn fold(&self, value: &[u8], offset: i64) {
        match event::decode::<CatalogEvent>(value) {
            Ok(envelope) => {
                let mut shared = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
                let (catalog, next_offset) = &mut *shared;
                catalog.apply(envelope.event);
                *next_offset = offset + 1;
                if !Arc::ptr_eq(catalog.policies(), &self.policies.load()) {
                    self.policies.store(Arc::clone(catalog.policies()));
                }
            }
            Err(error) => {
                metrics::counter!("pulsegate_catalog_skipped_total").increment(1);
                tracing::warn!(offset, %error, "skipped a catalog record");
            }
        }
    }
}
