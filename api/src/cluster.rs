//! A node among others: alone it folds every partition; with owned partitions it folds its own, asks the others how
//! they are, and passes requests on to whoever has an account's partition in memory.
//!
//! What is decided stands in the pure [`Placement`]; this carries it out. **Invariant:** a request makes one hop at most,
//! and no answer waits for a node that is lost.

mod batch;
mod client;
mod folding;
mod live;
mod pass_on;
mod report;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use chrono::Utc;
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::time::Timestamp;
use pulsegate_projections::cluster::{Address, Group, GroupView, Placement, Route};
use pulsegate_projections::hot_view::HotView;
use pulsegate_projections::reader::ReaderError;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use client::Peers;
use folding::Folding;
pub(crate) use pass_on::{HOP, Hopped, pass_on};
pub(crate) use report::{ClusterReport, NodeReport};

/// How often a node looks at what it should fold.
const TICK: Duration = Duration::from_millis(100);
/// A node that has looked at nothing for this long was asleep itself.
const ASLEEP: Duration = Duration::from_secs(1);
/// How often it asks each of the others.
const PROBE_INTERVAL: Duration = Duration::from_millis(300);

/// This node among the others; cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    me: Address,
    since: Timestamp,
    view: HotView,
    owned: Option<Owned>,
}

/// What a node that shares partitions has more.
struct Owned {
    began: Instant,
    placement: Mutex<Placement>,
    /// The placement's routes by partition, as of the last tick.
    routes: ArcSwap<Vec<Route>>,
    /// Is told when a node is lost or found.
    reachable: watch::Sender<Vec<Address>>,
    reports: Mutex<BTreeMap<Address, NodeReport>>,
    peers: Peers,
    folding: Folding,
    group: Group,
}

impl Cluster {
    /// A node that folds everything by itself.
    #[must_use]
    pub fn alone(me: impl Into<Address>, view: HotView) -> Self {
        Self { inner: Arc::new(Inner { me: me.into(), since: now(), view, owned: None }) }
    }

    /// A node that shares the partitions with the members of `group`, and is reached at `me`; it shows the others the
    /// `secret` that they share, if they ask for one.
    pub fn sharing(
        me: impl Into<Address>,
        view: HotView,
        pool: PgPool,
        group: Group,
        secret: Option<&str>,
    ) -> Result<Self, ReaderError> {
        let me = me.into();
        let partitions = view.partitions();
        let peers = Peers::new(&me, secret).map_err(|error| ReaderError::Thread(std::io::Error::other(error)))?;
        let owned = Owned {
            began: Instant::now(),
            placement: Mutex::new(Placement::new(me.clone(), partitions)),
            routes: ArcSwap::from_pointee(Vec::new()),
            reachable: watch::Sender::new(Vec::new()),
            reports: Mutex::default(),
            peers,
            folding: Folding::new(view.clone(), pool),
            group,
        };
        Ok(Self { inner: Arc::new(Inner { me, since: now(), view, owned: Some(owned) }) })
    }

    /// Whether there are others that requests may be passed on to.
    pub(crate) fn shares(&self) -> bool {
        self.inner.owned.is_some()
    }

    /// Folds what is to be folded here, until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let Some(owned) = &self.inner.owned else { return shutdown.cancelled().await };
        let mut group = owned.group.view();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut probed: Option<Instant> = None;
        let mut awake = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
                changed = group.changed() => if changed.is_err() { return },
            }
            if awake.elapsed() >= ASLEEP {
                owned.lock().was_asleep(owned.now_ms());
            }
            awake = Instant::now();
            let view = group.borrow_and_update().clone();
            if probed.is_none_or(|probed| probed.elapsed() >= PROBE_INTERVAL) {
                probed = Some(Instant::now());
                self.probe(owned);
            }
            self.look_around(owned, view);
        }
    }

    /// Gives the partitions up, and waits for at most `patience` until others have them ready.
    pub async fn hand_over(&self, patience: Duration) {
        let Some(owned) = &self.inner.owned else { return };
        owned.group.leave();
        let alone = || owned.lock().peers().next().is_none();
        let handed_over = async {
            while !alone() && !self.inner.view.standing().is_empty() {
                tokio::time::sleep(TICK).await;
            }
        };
        if tokio::time::timeout(patience, handed_over).await.is_err() {
            tracing::warn!(
                ?patience,
                "not every partition was taken over in time; answers on them are provisional for a moment"
            );
        }
    }

    /// Leaves for good; blocks for about a poll.
    pub fn stop(&self) {
        if let Some(owned) = &self.inner.owned {
            owned.group.stop();
        }
    }

    /// The node that a request on an account is passed on to; `None` where it is answered here.
    pub(crate) fn peer_of(&self, account: &AccountId) -> Option<Address> {
        let owned = self.inner.owned.as_ref()?;
        let partition = self.inner.view.partition_of(account);
        let routes = owned.routes.load();
        match routes.get(usize::try_from(partition).ok()?)? {
            Route::Peer(address) => Some(address.clone()),
            Route::Here | Route::ReadModel => None,
        }
    }

    /// Takes up what has changed and does what follows from it.
    fn look_around(&self, owned: &Owned, group: Option<GroupView>) {
        let now_ms = owned.now_ms();
        let standing = self.inner.view.standing();
        let (wanted, leavable, is_whole) = {
            let mut placement = owned.lock();
            if let Some(group) = group {
                placement.group_is(group, now_ms);
            }
            let mine: BTreeMap<_, _> = standing.iter().map(|fold| (fold.partition, fold.state)).collect();
            placement.mine_are(mine.clone());
            let wanted = placement.wanted(now_ms);
            let ready = |partition| mine.get(partition) == Some(&pulsegate_projections::hot_view::FoldState::Ready);
            (wanted.clone(), placement.leavable(now_ms), placement.is_grouped() && wanted.iter().all(ready))
        };
        owned.folding.change(&wanted, &leavable);
        if is_whole {
            self.inner.view.note_caught_up();
        }
        self.publish(owned);
        #[expect(clippy::cast_precision_loss, reason = "a gauge of a few hundred partitions")]
        metrics::gauge!("pulsegate_cluster_partitions").set(standing.len() as f64);
    }

    /// Makes the routes that requests follow from what is known now.
    fn publish(&self, owned: &Owned) {
        let now_ms = owned.now_ms();
        let (routes, reachable) = {
            let placement = owned.lock();
            let routes: Vec<_> =
                (0..self.inner.view.partitions()).map(|partition| placement.route(partition, now_ms)).collect();
            let reachable: Vec<_> =
                placement.peers().filter(|address| placement.is_reachable(address, now_ms)).cloned().collect();
            (routes, reachable)
        };
        if **owned.routes.load() != routes {
            owned.routes.store(Arc::new(routes));
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge of a few hundred nodes")]
        metrics::gauge!("pulsegate_cluster_reachable_nodes").set(reachable.len() as f64 + 1.0);
        owned.reachable.send_if_modified(|known| {
            let changed = *known != reachable;
            if changed {
                tracing::info!(?reachable, "other nodes that answer");
                *known = reachable;
            }
            changed
        });
    }

    /// Asks each of the others how it is; one question to each at a time.
    fn probe(&self, owned: &Owned) {
        let peers: Vec<_> = owned.lock().peers().cloned().collect();
        lock(&owned.reports).retain(|address, _| peers.contains(address));
        for address in peers {
            let Some(turn) = owned.peers.turn(&address) else { continue };
            let cluster = self.clone();
            tokio::spawn(async move {
                let Some(owned) = &cluster.inner.owned else { return };
                match owned.peers.report(&address).await {
                    Ok(report) => {
                        let states = report.partitions.iter().map(|fold| (fold.partition, fold.state)).collect();
                        owned.lock().heard(&address, states, owned.now_ms());
                        lock(&owned.reports).insert(address, report);
                    }
                    Err(lost) => cluster.note_lost(&address, &lost),
                }
                drop(turn);
            });
        }
    }

    /// A node could not be asked. One that can't be connected to is lost at once; one that is slow, when its patience
    /// is over.
    fn note_lost(&self, address: &str, lost: &client::Lost) {
        let Some(owned) = &self.inner.owned else { return };
        tracing::debug!(address, error = %lost.error, "another node does not answer");
        if !lost.sent {
            owned.lock().failed(address);
            self.publish(owned);
        }
    }
}

impl Owned {
    fn lock(&self) -> MutexGuard<'_, Placement> {
        lock(&self.placement)
    }

    /// The clock of the placement: this node's own, from its start on.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until a node is no longer reachable.
    async fn lost(&self, address: &str) {
        let mut reachable = self.reachable.subscribe();
        // The sender lives as long as this does.
        drop(reachable.wait_for(|known| !known.iter().any(|other| other == address)).await);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Timestamp {
    Timestamp::from(Utc::now())
}
