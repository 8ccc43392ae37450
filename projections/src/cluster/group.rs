//! The consumer group that says who owns which partition, and where each member is reached.
//!
//! It is for assignment alone: nothing is read through it and nothing is committed to it. A member's client id holds
//! its address, so the coordinator's own list of members is the whole directory: no table and no topic need be kept
//! beside it, and it is there whenever a group is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pulsegate_access::kafka as access;
use pulsegate_domain::topic::Topic;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use tokio::sync::watch;

use super::Address;
use super::members::{address_of, client_id, partitions_of};
use crate::reader::{POLL, ReaderError, ReaderSettings};

/// How often the coordinator is asked who is there.
const ASK_INTERVAL: Duration = Duration::from_millis(500);
/// How long one such question may take.
const ASK_MAX: Duration = Duration::from_secs(2);
/// The state of a group whose assignment is in force.
const STABLE: &str = "Stable";

/// The group, as its coordinator tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupView {
    /// The addresses of its members.
    pub members: BTreeSet<Address>,
    /// The owner of each partition that has one.
    pub owners: BTreeMap<i32, Address>,
}

impl GroupView {
    /// What is known after a rebalance has begun: the members as they are, the owners as they were.
    fn during_rebalance(members: BTreeSet<Address>, before: Option<&Self>) -> Self {
        let mut owners = before.map(|before| before.owners.clone()).unwrap_or_default();
        owners.retain(|_, owner| members.contains(owner));
        Self { members, owners }
    }
}

/// This node's membership.
pub struct Group {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    view: watch::Sender<Option<GroupView>>,
    leaving: AtomicBool,
    stop: AtomicBool,
}

impl Group {
    /// Joins, to be reached at `address`.
    pub fn join(settings: &ReaderSettings, address: &str) -> Result<Self, ReaderError> {
        let topic = settings.topics.name(Topic::Playback);
        let mut config = settings.client.clone();
        let consumer: BaseConsumer<Desk> = config
            .set("group.id", format!("{}owners", settings.topics.prefix()))
            .set("client.id", client_id(address))
            .set("partition.assignment.strategy", "cooperative-sticky")
            // A node that is lost is missed by the others sooner: they ask each other. This is when its partitions are
            // given away for good.
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "1000")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false")
            .set("auto.offset.reset", "latest")
            .set("topic.metadata.refresh.interval.ms", "5000")
            .create_with_context(Desk::default())?;
        consumer.subscribe(&[&topic])?;
        let shared = Arc::new(Shared {
            view: watch::Sender::new(None),
            leaving: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let name = config.get("group.id").unwrap_or_default().to_owned();
        let attending = Attending { consumer, name, topic, shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new().name("owners".into()).spawn(move || attending.attend())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// The group as it is known, and each change; `None` before anything is.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Option<GroupView>> {
        self.shared.view.subscribe()
    }

    /// Leaves, so that the others need not miss this node first; what becomes of the group is still told.
    pub fn leave(&self) {
        self.shared.leaving.store(true, Ordering::Relaxed);
    }

    /// Leaves for good; blocks for about a poll.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread of the owners' group panicked");
        }
    }
}

struct Attending {
    consumer: BaseConsumer<Desk>,
    name: String,
    topic: String,
    shared: Arc<Shared>,
}

impl Attending {
    fn attend(self) {
        let mut asked: Option<Instant> = None;
        while !self.shared.stop.load(Ordering::Relaxed) {
            if self.shared.leaving.swap(false, Ordering::Relaxed) {
                self.consumer.unsubscribe();
            }
            match self.consumer.poll(POLL) {
                // Nothing is read here, but for what was under way when its partition was paused.
                Some(Ok(_)) | None => {}
                Some(Err(error)) => tracing::debug!(%error, "the owners' group"),
            }
            let moved = self.consumer.context().moved.swap(false, Ordering::Relaxed);
            if moved || asked.is_none_or(|asked| asked.elapsed() >= ASK_INTERVAL) {
                asked = Some(Instant::now());
                self.ask();
            }
        }
        self.consumer.unsubscribe();
    }

    fn ask(&self) {
        let groups = match self.consumer.fetch_group_list(Some(&self.name), ASK_MAX) {
            Ok(groups) => groups,
            Err(error) => {
                // What is known stays: owners don't change while nobody can say so.
                tracing::debug!(%error, "the owners' coordinator does not answer");
                return;
            }
        };
        let Some(group) = groups.groups().iter().find(|group| group.name() == self.name) else { return };
        let mut view = GroupView::default();
        for member in group.members() {
            let Some(address) = address_of(member.client_id()) else { continue };
            view.members.insert(address.to_owned());
            let Some(partitions) = partitions_of(member.assignment().unwrap_or_default(), &self.topic) else {
                tracing::warn!(address, "a member's assignment can't be read");
                continue;
            };
            view.owners.extend(partitions.into_iter().map(|partition| (partition, address.to_owned())));
        }
        let is_stable = group.state() == STABLE;
        self.shared.view.send_if_modified(|known| {
            let new = if is_stable { view } else { GroupView::during_rebalance(view.members, known.as_ref()) };
            // A rebalance that has never ended says nothing of owners.
            let changed = (is_stable || known.is_some()) && known.as_ref() != Some(&new);
            if changed {
                *known = Some(new);
            }
            changed
        });
    }
}

/// The consumer's context: what is assigned is paused at once, because nothing is read here.
#[derive(Default)]
struct Desk {
    moved: AtomicBool,
}

impl ClientContext for Desk {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        access::token(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the owners' group has trouble");
    }
}

impl ConsumerContext for Desk {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance
            && let Err(error) = consumer.pause(partitions)
        {
            tracing::debug!(%error, "pausing what is owned");
        }
        self.moved.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_stay_through_a_rebalance_as_long_as_they_are_members() {
        let before = GroupView {
            members: ["a:1", "b:1"].map(String::from).into(),
            owners: BTreeMap::from([(0, "a:1".to_owned()), (1, "b:1".to_owned())]),
        };
        let during = GroupView::during_rebalance(["b:1", "c:1"].map(String::from).into(), Some(&before));
        assert_eq!(during.owners, BTreeMap::from([(1, "b:1".to_owned())]));
        assert!(GroupView::during_rebalance(BTreeSet::new(), None).owners.is_empty());
    }
}
