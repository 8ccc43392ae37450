//! `visible`: from a heartbeat's acceptance until the check knows of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::appended::seen;
use crate::deployment::Deployment;
use crate::events::events;
use crate::flow::{self, Flow};
use crate::http::Connection;
use crate::latencies::{Latencies, Rounds};
use crate::load::{Counter, Span, on_own_thread};
use crate::node::{Beside, Node};
use crate::pacer::Turns;
use crate::report::{Row, Target};
use crate::scale::Scale;
use crate::viewers::{Viewer, batch_of_one, is_all_accepted};

/// New sessions a second that are looked for.
const PROBES_PER_S: u32 = 200;
const CONNECTIONS: usize = 32;
/// No session stays unseen for longer, unless something is wrong.
const UNSEEN_MAX: Duration = Duration::from_secs(10);

/// How long it took since the heartbeat was accepted, and since it was due to be sent.
#[derive(Debug, Default)]
struct Seen {
    since_accepted: Latencies,
    since_due: Latencies,
}

/// The first heartbeats of new sessions, accepted in batches of one (which wait for the log and not for the
/// fold), and checks of them until one knows the session.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for beside in Beside::BOTH {
        rows.extend(measure_by(scale, beside).await?);
    }
    Ok(rows)
}

async fn measure_by(scale: &Scale, beside: Beside) -> anyhow::Result<Vec<Row>> {
    Deployment::scoped(async |deployment| {
        let node = Node::serving(deployment, beside).await?;
        let mut flow = Flow::new();
        let mut raw_events = events(flow::SESSIONS)?;
        let next: Counter = Arc::new(AtomicUsize::new(flow::SESSIONS));
        let mut limits = Rounds::default();
        let (mut since_accepted, mut since_due) = (Rounds::default(), Rounds::default());
        for _ in 0..scale.rounds {
            limits.add(seen(deployment, &mut raw_events, flow::PER_S, Span::from_now(scale))?);
            flow.settle(&node).await?;
            let span = Span::from_now(scale);
            let looking = look(node.address, Arc::clone(&next), span);
            let ((), seen) = tokio::try_join!(flow.run(&node, span), looking)?;
            since_accepted.add(seen.since_accepted.quantiles());
            since_due.add(seen.since_due.quantiles());
            node.projected().await?;
        }
        let (limits, accepted, due) = (limits.median(), since_accepted.median(), since_due.median());
        let how = format!(
            "{PROBES_PER_S} new sessions a second, from the answer that accepted its heartbeat until the first check \
             that knows it is answered, while heartbeats flow (since it was due to be sent: p50 {:.2}, p99 {:.2} ms); \
             limit: append until seen by a consumer in a flow of as many, linger 0",
            due.p50_ms, due.p99_ms
        );
        let row = |name: &str, value, target| flow.judge(Row::new(&beside.named(name), value, "ms", target));
        Ok(vec![
            row("visible_p50", accepted.p50_ms, Target::None).limit(limits.p50_ms).note(&how),
            row("visible_p99", accepted.p99_ms, Target::Below(20.0)).limit(limits.p99_ms),
        ])
    })
    .await
}

async fn look(address: SocketAddr, next: Counter, span: Span) -> anyhow::Result<Seen> {
    let turns = Turns::start(PROBES_PER_S, span.start, span.end)?;
    let looking = on_own_thread(move || async move {
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            connections.spawn(look_in_turn(address, turns.clone(), Arc::clone(&next), span));
        }
        let mut all = Seen::default();
        while let Some(ended) = connections.join_next().await {
            let seen = ended??;
            all.since_accepted.merge(seen.since_accepted);
            all.since_due.merge(seen.since_due);
        }
        anyhow::Ok(all)
    })?;
    looking.await.context("a load ended early")?
}

async fn look_in_turn(address: SocketAddr, turns: Turns, next: Counter, span: Span) -> anyhow::Result<Seen> {
    let mut connection = Connection::open(address).await?;
    let mut seen = Seen::default();
    while let Some(due) = turns.next().await {
        let mut viewer = Viewer::new(next.fetch_add(1, Ordering::Relaxed));
        let (heartbeat, check) = (batch_of_one(&mut viewer), viewer.check());
        let answer = connection.ask(&heartbeat).await?;
        anyhow::ensure!(is_all_accepted(&answer, 1), "a heartbeat was answered {}", answer.status);
        let accepted_at = Instant::now();
        loop {
            match connection.ask(&check).await?.status {
                200 => break,
                // Not known yet.
                404 => anyhow::ensure!(accepted_at.elapsed() < UNSEEN_MAX, "a heartbeat was accepted and not seen"),
                status => anyhow::bail!("a check was answered {status}"),
            }
        }
        if span.counts(due) {
            seen.since_accepted.add(accepted_at.elapsed());
            seen.since_due.add(due.elapsed());
        }
    }
    Ok(seen)
}
