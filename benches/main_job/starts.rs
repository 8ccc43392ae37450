//! `start_own_offset`: a start, answered from the fold right after its own event.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::appended::seen;
use crate::deployment::Deployment;
use crate::events::events;
use crate::flow::{self, Flow};
use crate::http::Answer;
use crate::latencies::Rounds;
use crate::load::{Counter, Requests, Span, open_loop};
use crate::node::{Beside, Node};
use crate::report::{Row, Target};
use crate::scale::Scale;
use crate::viewers::Viewer;

const STARTS_PER_S: u32 = 500;
/// Connections of starts: enough that none waits for another's answer.
const CONNECTIONS: usize = 32;

/// Starts of new sessions of new accounts over one connection.
struct Starting {
    next: Counter,
    request: Vec<u8>,
}

impl Requests for Starting {
    fn next(&mut self) -> &[u8] {
        self.request = Viewer::new(self.next.fetch_add(1, Ordering::Relaxed)).start();
        &self.request
    }

    fn is_right(&self, answer: &Answer<'_>) -> bool {
        answer.status == 201
    }
}

/// 500 a second while heartbeats flow, against an append until a consumer has it in such a flow.
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
        let next = Arc::new(AtomicUsize::new(flow::SESSIONS));
        let starting = || Starting { next: Arc::clone(&next), request: Vec::new() };
        let mut starts: Vec<_> = (0..CONNECTIONS).map(|_| starting()).collect();
        let (mut limits, mut values) = (Rounds::default(), Rounds::default());
        for _ in 0..scale.rounds {
            limits.add(seen(deployment, &mut raw_events, flow::PER_S, Span::from_now(scale))?);
            flow.settle(&node).await?;
            let span = Span::from_now(scale);
            let ((), (measured, used)) =
                tokio::try_join!(flow.run(&node, span), open_loop(node.address, starts, STARTS_PER_S, span))?;
            starts = used;
            values.add(measured.latencies.quantiles());
            node.projected().await?;
        }
        let (limits, values) = (limits.median(), values.median());
        let how = format!(
            "{STARTS_PER_S} starts a second, each measured from when it was due, while heartbeats flow; limit: \
             append until seen by a consumer in a flow of as many, linger 0"
        );
        let row = |name: &str, value, target| flow.judge(Row::new(&beside.named(name), value, "ms", target));
        Ok(vec![
            row("start_own_offset_p50", values.p50_ms, Target::Below(4.0)).limit(limits.p50_ms).note(&how),
            row("start_own_offset_p99", values.p99_ms, Target::Below(25.0)).limit(limits.p99_ms),
        ])
    })
    .await
}
