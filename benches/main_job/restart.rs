//! `restart_ready`: a node with many live sessions is started again.

use crate::deployment::Deployment;
use crate::node::Node;
use crate::report::{Row, Target};
use crate::scale::{Scale, median};
use crate::viewers::{take_slots, viewers};

/// From the process's start to `/readyz` 200, against a node of a deployment that holds nothing.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    Deployment::scoped(async |empty| Deployment::scoped(async |full| restarts(scale, empty, full).await).await).await
}

async fn restarts(scale: &Scale, empty: &Deployment, full: &Deployment) -> anyhow::Result<Vec<Row>> {
    let sessions = scale.live_sessions;
    let (mut node, _) = Node::start(full).await?;
    node.lengthen_leases().await?;
    take_slots(&node, &mut viewers(0, sessions)).await?;
    node.projected().await?;
    node.has_streams(sessions).await?;
    let (mut limits, mut values) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let (idle, took) = Node::start(empty).await?;
        idle.stop().await?;
        limits.push(took.as_secs_f64());
        node.stop().await?;
        let (restarted, took) = Node::start(full).await?;
        values.push(took.as_secs_f64());
        // Ready must mean that it knows them all.
        restarted.has_streams(sessions).await?;
        node = restarted;
    }
    node.stop().await?;
    Ok(vec![Row::new("restart_ready", median(values), "s", Target::Below(5.0)).limit(median(limits)).note(&format!(
        "{sessions} live sessions, from the process's start to /readyz 200; limit: the same with an empty log"
    ))])
}
