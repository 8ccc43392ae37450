//! What a node does about what it knows of the cluster. Pure: it is told what happens and when, and asked what to do.
//!
//! A partition is folded by its owner. Where the owner can't be reached, one of the others stands in for it until the
//! group has given the partition to somebody. Who folds a partition goes on until whoever shall have it is ready, so in
//! a planned move somebody has a ready fold at every moment, known to all but who has not heard yet.
//!
//! **Invariant:** of nodes that know the same, exactly one stands in for an owner that is lost.

use std::collections::{BTreeMap, BTreeSet};

use super::GroupView;
use crate::hot_view::FoldState;

/// `host:port`, at which other nodes reach one: it is the node's name as well.
pub type Address = String;

/// For how long a node that says nothing counts as there, in milliseconds.
pub const PATIENCE_MS: u64 = 2_000;

/// For how long a partition is folded on when whoever shall have it is ready: the others must have heard of that, or
/// they would go on asking here.
const LINGER_MS: u64 = 1_000;

/// Where a request on a partition's account is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// From this node's memory.
    Here,
    /// By another node, which has folded the partition to its end.
    Peer(Address),
    /// Here, from the read model, provisionally: nobody who can be reached has it in memory.
    ReadModel,
}

/// What one node knows of the cluster.
#[derive(Clone, Debug)]
pub struct Placement {
    me: Address,
    partitions: i32,
    group: Option<GroupView>,
    mine: BTreeMap<i32, FoldState>,
    peers: BTreeMap<Address, Peer>,
    /// Since when each of the partitions here may be left.
    leavable_since_ms: BTreeMap<i32, u64>,
}

#[derive(Clone, Debug)]
struct Peer {
    /// When it was heard of last, or first named as a member.
    heard_ms: u64,
    /// It did not answer when it was asked last.
    failed: bool,
    states: BTreeMap<i32, FoldState>,
}

impl Peer {
    const fn answers(&self, now_ms: u64) -> bool {
        !self.failed && now_ms.saturating_sub(self.heard_ms) <= PATIENCE_MS
    }
}

impl Placement {
    /// What a node knows at its start: itself.
    #[must_use]
    pub fn new(me: impl Into<Address>, partitions: i32) -> Self {
        Self {
            me: me.into(),
            partitions,
            group: None,
            mine: BTreeMap::new(),
            peers: BTreeMap::new(),
            leavable_since_ms: BTreeMap::new(),
        }
    }

    /// The node itself.
    #[must_use]
    pub fn me(&self) -> &str {
        &self.me
    }

    /// The group as its coordinator tells it.
    pub fn group_is(&mut self, group: GroupView, now_ms: u64) {
        // Who has left answers on until others have what it folded.
        self.peers.retain(|address, peer| group.members.contains(address) || peer.answers(now_ms));
        for member in group.members.iter().filter(|member| **member != self.me) {
            let unheard = || Peer { heard_ms: now_ms, failed: false, states: BTreeMap::new() };
            self.peers.entry(member.clone()).or_insert_with(unheard);
        }
        self.group = Some(group);
    }

    /// What this node folds, and how far.
    pub fn mine_are(&mut self, states: BTreeMap<i32, FoldState>) {
        self.mine = states;
    }

    /// Another node has said what it folds.
    pub fn heard(&mut self, address: &str, states: BTreeMap<i32, FoldState>, now_ms: u64) {
        if let Some(peer) = self.peers.get_mut(address) {
            *peer = Peer { heard_ms: now_ms, failed: false, states };
        }
    }

    /// This node has heard of nobody for a while because it did nothing itself: that says nothing of the others.
    pub fn was_asleep(&mut self, now_ms: u64) {
        for peer in self.peers.values_mut() {
            peer.heard_ms = now_ms;
        }
    }

    /// Another node can't be connected to.
    pub fn failed(&mut self, address: &str) {
        if let Some(peer) = self.peers.get_mut(address) {
            peer.failed = true;
        }
    }

    /// The other members of the group, and those that have left and still answer.
    pub fn peers(&self) -> impl Iterator<Item = &Address> {
        self.peers.keys()
    }

    /// Whether the group has told anything yet.
    #[must_use]
    pub const fn is_grouped(&self) -> bool {
        self.group.is_some()
    }

    /// Whether a node answers, as far as is known. A member that was never asked yet has the benefit of the doubt.
    #[must_use]
    pub fn is_reachable(&self, address: &str, now_ms: u64) -> bool {
        address == self.me || self.peers.get(address).is_some_and(|peer| peer.answers(now_ms))
    }

    /// Who owns a partition, by the group.
    #[must_use]
    pub fn owner(&self, partition: i32) -> Option<&Address> {
        self.group.as_ref()?.owners.get(&partition)
    }

    fn is_member(&self, address: &str) -> bool {
        self.group.as_ref().is_some_and(|group| group.members.contains(address))
    }

    fn reachable_owner(&self, partition: i32, now_ms: u64) -> Option<&Address> {
        self.owner(partition).filter(|owner| self.is_reachable(owner, now_ms))
    }

    fn state_of(&self, address: &str, partition: i32) -> Option<FoldState> {
        if address == self.me {
            return self.mine.get(&partition).copied();
        }
        self.peers.get(address)?.states.get(&partition).copied()
    }

    fn is_ready(&self, address: &str, partition: i32) -> bool {
        self.state_of(address, partition) == Some(FoldState::Ready)
    }

    /// This node and every peer that answers, best candidate for a partition first. Each node ranks alike.
    fn ranked(&self, partition: i32, now_ms: u64) -> Vec<&Address> {
        let answering = self.peers.keys().filter(|address| self.is_reachable(address, now_ms));
        let mut ranked: Vec<_> = std::iter::once(&self.me).chain(answering).collect();
        ranked.sort_by_key(|address| (std::cmp::Reverse(weight(address, partition)), *address));
        ranked
    }

    /// Where a request on an account of a partition is answered.
    #[must_use]
    pub fn route(&self, partition: i32, now_ms: u64) -> Route {
        if self.is_ready(&self.me, partition) {
            return Route::Here;
        }
        let owner = self.reachable_owner(partition, now_ms);
        let ready = owner.into_iter().chain(self.ranked(partition, now_ms));
        if let Some(peer) = ready.into_iter().find(|address| **address != self.me && self.is_ready(address, partition))
        {
            return Route::Peer(peer.clone());
        }
        // Not at the end yet, but no further behind than the read model that it began with.
        if self.mine.contains_key(&partition) { Route::Here } else { Route::ReadModel }
    }

    /// The partitions that this node shall begin to fold, if it doesn't: those that it owns, and those whose owner is
    /// lost while nobody has them ready and this node is the first to stand in.
    #[must_use]
    pub fn wanted(&self, now_ms: u64) -> BTreeSet<i32> {
        // A node that isn't in the group yet knows nobody: it would take everything.
        if !self.is_member(&self.me) {
            return BTreeSet::new();
        }
        (0..self.partitions).filter(|partition| self.wants(*partition, now_ms)).collect()
    }

    fn wants(&self, partition: i32, now_ms: u64) -> bool {
        if let Some(owner) = self.reachable_owner(partition, now_ms) {
            return *owner == self.me;
        }
        let ranked = self.ranked(partition, now_ms);
        let is_ready = ranked.iter().any(|address| self.is_ready(address, partition));
        !is_ready && ranked.into_iter().find(|address| self.is_member(address)) == Some(&self.me)
    }

    /// The partitions that this node folds and may drop: whoever shall have them is ready, and has been for a while.
    pub fn leavable(&mut self, now_ms: u64) -> Vec<i32> {
        let leavable = self.mine.keys().copied().filter(|partition| self.may_leave(*partition, now_ms));
        let since = |partition| (partition, self.leavable_since_ms.get(&partition).copied().unwrap_or(now_ms));
        self.leavable_since_ms = leavable.map(since).collect();
        let is_over = |since_ms: u64| now_ms.saturating_sub(since_ms) >= LINGER_MS;
        self.leavable_since_ms.iter().filter(|(_, since)| is_over(**since)).map(|(partition, _)| *partition).collect()
    }

    fn may_leave(&self, partition: i32, now_ms: u64) -> bool {
        match self.reachable_owner(partition, now_ms) {
            Some(owner) if *owner == self.me => false,
            Some(owner) => self.is_ready(owner, partition),
            // Nobody owns it: of those who have it ready the first goes on.
            None => {
                let mut ranked = self.ranked(partition, now_ms).into_iter();
                ranked.find(|address| self.is_ready(address, partition)).is_some_and(|first| *first != self.me)
            }
        }
    }
}

/// How much a node is meant to stand in for a partition: the highest does (rendezvous hashing), so that the partitions
/// of a lost node spread over all others. FNV-1a with a final mix, because it must be the same in every version.
fn weight(address: &str, partition: i32) -> u64 {
    let bytes = address.bytes().chain(partition.to_be_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [&str; 3] = ["a:1", "b:1", "c:1"];

    fn group(owners: &[(i32, &str)]) -> GroupView {
        GroupView {
            members: NODES.iter().map(ToString::to_string).collect(),
            owners: owners.iter().map(|(partition, owner)| (*partition, (*owner).to_owned())).collect(),
        }
    }

    fn ready(partitions: &[i32]) -> BTreeMap<i32, FoldState> {
        partitions.iter().map(|partition| (*partition, FoldState::Ready)).collect()
    }

    /// Node `me` of three that own a partition each and have it ready.
    fn settled(me: &str) -> Placement {
        let mut placement = Placement::new(me, 3);
        placement.group_is(group(&[(0, "a:1"), (1, "b:1"), (2, "c:1")]), 0);
        for (partition, node) in (0..).zip(NODES) {
            if node == me {
                placement.mine_are(ready(&[partition]));
            } else {
                placement.heard(node, ready(&[partition]), 0);
            }
        }
        placement
    }

    #[test]
    fn each_request_goes_to_its_owner() {
        let mut placement = settled("a:1");
        let routes: Vec<_> = (0..3).map(|partition| placement.route(partition, 1)).collect();
        assert_eq!(routes, [Route::Here, Route::Peer("b:1".into()), Route::Peer("c:1".into())]);
        assert_eq!(placement.wanted(1), BTreeSet::from([0]));
        assert!(placement.leavable(1).is_empty());
    }

    #[test]
    fn exactly_one_stands_in_for_an_owner_that_is_lost() {
        for (partition, lost) in (0..).zip(NODES) {
            let standing_in = NODES.iter().filter(|node| **node != lost).filter(|node| {
                let mut placement = settled(node);
                assert!(!placement.wanted(PATIENCE_MS).contains(&partition), "not while it is merely silent");
                placement.failed(lost);
                placement.wanted(1).contains(&partition)
            });
            assert_eq!(standing_in.count(), 1, "{lost}");
        }
    }

    #[test]
    fn a_silent_node_is_lost_after_a_while_and_back_when_it_speaks() {
        let mut placement = settled("a:1");
        placement.heard("c:1", ready(&[2]), PATIENCE_MS);
        assert_eq!(placement.route(1, PATIENCE_MS), Route::Peer("b:1".into()));
        assert_eq!(placement.route(1, PATIENCE_MS + 1), Route::ReadModel);
        placement.heard("b:1", ready(&[1]), PATIENCE_MS + 2);
        assert_eq!(placement.route(1, PATIENCE_MS + 3), Route::Peer("b:1".into()));
    }

    #[test]
    fn a_node_that_slept_does_not_take_the_others_for_lost() {
        let mut placement = settled("a:1");
        placement.was_asleep(60_000);
        assert_eq!(placement.route(1, 60_001), Route::Peer("b:1".into()));
        assert_eq!(placement.wanted(60_001), BTreeSet::from([0]));
    }

    #[test]
    fn a_planned_move_has_a_ready_fold_at_every_moment() {
        // Partition 0 moves from a to b.
        let mut a = settled("a:1");
        let mut c = settled("c:1");
        for placement in [&mut a, &mut c] {
            placement.group_is(group(&[(0, "b:1"), (1, "b:1"), (2, "c:1")]), 1);
        }
        assert_eq!(c.route(0, 2), Route::Peer("a:1".into()), "b isn't ready");
        assert_eq!((a.route(0, 2), a.leavable(2)), (Route::Here, vec![]));
        for placement in [&mut a, &mut c] {
            placement.heard("b:1", BTreeMap::from([(0, FoldState::Filling), (1, FoldState::Ready)]), 3);
        }
        assert_eq!((c.route(0, 4), a.leavable(4)), (Route::Peer("a:1".into()), vec![]));
        for placement in [&mut a, &mut c] {
            placement.heard("b:1", ready(&[0, 1]), 5);
        }
        assert_eq!((c.route(0, 6), a.leavable(6)), (Route::Peer("b:1".into()), vec![]), "others may not know yet");
        a.heard("b:1", ready(&[0, 1]), 6 + LINGER_MS);
        assert_eq!(a.leavable(6 + LINGER_MS), [0]);
    }

    #[test]
    fn who_stood_in_stays_until_the_new_owner_is_ready() {
        let mut a = settled("a:1");
        a.failed("b:1");
        a.mine_are(ready(&[0, 1]));
        assert!(a.leavable(1).is_empty());
        // The group finds out, and gives it to c.
        a.group_is(group(&[(0, "a:1"), (1, "c:1"), (2, "c:1")]), 2);
        assert!(a.leavable(3).is_empty());
        a.heard("c:1", ready(&[1, 2]), 4);
        assert!(a.leavable(5).is_empty());
        assert_eq!(a.leavable(5 + LINGER_MS), [1]);
    }

    #[test]
    fn who_has_left_answers_until_others_are_ready() {
        let mut a = settled("a:1");
        let mut without_b = group(&[(0, "a:1"), (1, "c:1"), (2, "c:1")]);
        without_b.members.remove("b:1");
        a.group_is(without_b.clone(), 1);
        assert_eq!(a.route(1, 1), Route::Peer("b:1".into()));
        assert!(!a.wanted(1).contains(&1));
        a.heard("c:1", ready(&[1, 2]), 2);
        assert_eq!(a.route(1, 2), Route::Peer("c:1".into()));
        // And it is forgotten once it says nothing more.
        a.group_is(without_b, PATIENCE_MS + 1);
        assert_eq!(a.peers().collect::<Vec<_>>(), ["c:1"]);
    }

    #[test]
    fn a_node_outside_of_the_group_takes_nothing() {
        let mut placement = Placement::new("d:1", 3);
        assert!(placement.wanted(0).is_empty());
        assert_eq!(placement.route(0, 0), Route::ReadModel);
        placement.group_is(group(&[(0, "a:1")]), 0);
        assert!(placement.wanted(0).is_empty());
        placement.heard("a:1", ready(&[0]), 0);
        assert_eq!(placement.route(0, 0), Route::Peer("a:1".into()), "but it can ask");
    }

    #[test]
    fn stand_ins_spread() {
        let mut counts = BTreeMap::new();
        for partition in 0..300 {
            let best = NODES.iter().max_by_key(|node| weight(node, partition)).unwrap();
            *counts.entry(best).or_insert(0) += 1;
        }
        assert!(counts.len() == 3 && counts.values().all(|count| (60..=140).contains(count)), "{counts:?}");
    }
}
