//! `memory`: what a live session takes.

use pulsegate_domain::account::{Account, Session};
use pulsegate_domain::ids::AccountId;

use crate::deployment::Deployment;
use crate::node::{Beside, Node};
use crate::report::{Row, Target};
use crate::scale::{Scale, float, median};
use crate::viewers::{take_slots, viewers};

/// Sessions of the load that a node has behind it when it counts as idle.
const WARM_SESSIONS: usize = 1_000;

/// What a server holds in memory, in bytes.
struct Held {
    started: u64,
    warm: u64,
    full: u64,
}

/// A server's memory with many live sessions beyond an idle one's, for each of them.
///
/// The idle one has served as many heartbeats, of few sessions: what the first load of any kind takes once
/// (buffers, threads, connections) isn't a session's. Beyond one that has served nothing is shown too.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for beside in Beside::BOTH {
        rows.extend(measure_by(scale, beside).await?);
    }
    Ok(rows)
}

async fn measure_by(scale: &Scale, beside: Beside) -> anyhow::Result<Vec<Row>> {
    let sessions = scale.live_sessions;
    let each = |more: u64, less: u64| float(more.saturating_sub(less)) / float(sessions as u64);
    let (mut beyond_warm, mut beyond_started) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let held = Deployment::scoped(async |deployment| held(deployment, sessions, beside).await).await?;
        beyond_warm.push(each(held.full, held.warm));
        beyond_started.push(each(held.full, held.started));
    }
    let types = size_of::<AccountId>() + size_of::<Account>() + size_of::<Session>();
    let note = format!(
        "resident memory of `pulsegate {}`, {sessions} live sessions of an account each, beyond the same server when it \
         had served as many heartbeats of {WARM_SESSIONS}; limit: the types that hold them",
        beside.role()
    );
    Ok(vec![
        Row::new(&beside.named("memory"), median(beyond_warm), "B", Target::Below(600.0))
            .limit(float(types as u64))
            .note(&note),
        Row::new(&beside.named("memory_beyond_started"), median(beyond_started), "B", Target::None)
            .note("the same beyond a server that had served nothing"),
    ])
}

async fn held(deployment: &Deployment, sessions: usize, beside: Beside) -> anyhow::Result<Held> {
    let node = Node::serving(deployment, beside).await?;
    node.lengthen_leases().await?;
    let started = node.settled_memory().await?;
    let mut few = viewers(0, WARM_SESSIONS);
    for _ in 0..sessions / WARM_SESSIONS {
        take_slots(&node, &mut few).await?;
    }
    node.projected().await?;
    let warm = node.settled_memory().await?;
    take_slots(&node, &mut viewers(WARM_SESSIONS, sessions)).await?;
    node.projected().await?;
    node.has_streams(WARM_SESSIONS + sessions).await?;
    let full = node.settled_memory().await?;
    node.stop().await?;
    Ok(Held { started, warm, full })
}
