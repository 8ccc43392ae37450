//! What a node says of itself and of the others.

use std::collections::BTreeMap;

use pulsegate_domain::time::Timestamp;
use pulsegate_projections::cluster::Address;
use pulsegate_projections::hot_view::PartitionFold;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Cluster, lock, now};
use crate::schema;

/// What a node says of itself.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct NodeReport {
    /// Where it is reached.
    #[schema(value_type = String)]
    pub(crate) address: Address,
    /// Since when it runs.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub(crate) since: Timestamp,
    /// What it folds.
    #[schema(value_type = Vec<schema::cluster::PartitionFold>)]
    pub(crate) partitions: Vec<PartitionFold>,
}

/// How nodes and partitions belong together.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClusterMode {
    /// Each node folds every partition.
    Whole,
    /// Each partition has an owner.
    Owned,
}

/// A node, as the one that answers knows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterNode {
    /// Where it is reached.
    #[schema(value_type = String)]
    address: Address,
    /// Whether it answers.
    reachable: bool,
    /// Since when it runs; absent where it has not been heard of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    since: Option<Timestamp>,
    /// The partitions that are its own, by the group.
    owns: Vec<i32>,
    /// What it folds: its own, those that it stands in for, and those that have not been taken over yet.
    #[schema(value_type = Vec<schema::cluster::PartitionFold>)]
    partitions: Vec<PartitionFold>,
}

/// The cluster, as the node that answers knows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterReport {
    mode: ClusterMode,
    /// The node that answers.
    #[schema(value_type = String)]
    node: Address,
    /// Every node that is known; with `whole` only the one that answers.
    nodes: Vec<ClusterNode>,
    /// Partitions without an owner.
    unowned: Vec<i32>,
    /// By the answering node's clock.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    at: Timestamp,
}

impl Cluster {
    /// What this node says of itself.
    pub(crate) fn node_report(&self) -> NodeReport {
        let inner = &self.inner;
        NodeReport { address: inner.me.clone(), since: inner.since, partitions: inner.view.standing() }
    }

    /// What this node knows of all.
    pub(crate) fn report(&self) -> ClusterReport {
        let me = self.node_report();
        let Some(sharing) = &self.inner.owned else {
            let owns = me.partitions.iter().map(|fold| fold.partition).collect();
            return ClusterReport {
                mode: ClusterMode::Whole,
                node: me.address.clone(),
                nodes: vec![ClusterNode {
                    address: me.address,
                    reachable: true,
                    since: Some(me.since),
                    owns,
                    partitions: me.partitions,
                }],
                unowned: Vec::new(),
                at: now(),
            };
        };
        let node = me.address.clone();
        let mut reports: BTreeMap<_, _> = lock(&sharing.reports).clone();
        reports.insert(node.clone(), me);
        let placement = sharing.lock();
        let now_ms = sharing.now_ms();
        let mut owns: BTreeMap<&Address, Vec<i32>> = BTreeMap::new();
        let mut unowned = Vec::new();
        for partition in 0..self.inner.view.partitions() {
            match placement.owner(partition) {
                Some(owner) => owns.entry(owner).or_default().push(partition),
                None => unowned.push(partition),
            }
        }
        let mut nodes: Vec<_> = placement
            .peers()
            .chain([&node])
            .map(|address| {
                let reachable = placement.is_reachable(address, now_ms);
                let report = reports.remove(address);
                ClusterNode {
                    address: address.clone(),
                    reachable,
                    since: report.as_ref().map(|report| report.since),
                    owns: owns.remove(address).unwrap_or_default(),
                    // What a lost node folded is nobody's any more.
                    partitions: report.filter(|_| reachable).map(|report| report.partitions).unwrap_or_default(),
                }
            })
            .collect();
        nodes.sort_by(|one, other| one.address.cmp(&other.address));
        drop(placement);
        ClusterReport { mode: ClusterMode::Owned, node, nodes, unowned, at: now() }
    }
}
