//! `block_check`: "am I blocked?", from memory.

use crate::deployment::Deployment;
use crate::flow::{self, Flow};
use crate::latencies::Rounds;
use crate::load::{Span, closed_loop, open_loop};
use crate::node::{Beside, Node};
use crate::raw_server::{AnswerSizes, RawServer};
use crate::report::{Row, Target};
use crate::scale::{Scale, median};
use crate::viewers::checking;

/// Connections of checks.
const CONNECTIONS: usize = 64;
/// Checks a second where they are not sent as fast as they are answered.
const PACED_PER_S: u32 = 5_000;

/// As fast as they are answered against axum that returns a constant; then both ways while heartbeats flow.
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
        let raw = RawServer::start(deployment, 0, AnswerSizes::of(&node).await?).await?;
        let mut flow = Flow::new();
        let mut checks = checking(&flow.crowd, CONNECTIONS);
        let (mut limits, mut values) = (Vec::new(), Vec::new());
        let (mut limit_took, mut took) = (Rounds::default(), Rounds::default());
        for _ in 0..scale.rounds {
            let (measured, used) = closed_loop(raw.address, checks, Span::from_now(scale)).await?;
            limits.push(measured.per_s);
            limit_took.add(measured.latencies.quantiles());
            flow.settle(&node).await?;
            let (measured, used) = closed_loop(node.address, used, Span::from_now(scale)).await?;
            checks = used;
            values.push(measured.per_s);
            took.add(measured.latencies.quantiles());
        }
        let (mut full, mut full_per_s) = (Rounds::default(), Vec::new());
        let (mut paced, mut paced_limit) = (Rounds::default(), Rounds::default());
        for _ in 0..scale.rounds {
            flow.settle(&node).await?;
            let span = Span::from_now(scale);
            let ((), (measured, used)) =
                tokio::try_join!(flow.run(&node, span), closed_loop(node.address, checks, span))?;
            full.add(measured.latencies.quantiles());
            full_per_s.push(measured.per_s);
            flow.settle(&node).await?;
            let span = Span::from_now(scale);
            let ((), (measured, used)) =
                tokio::try_join!(flow.run(&node, span), open_loop(node.address, used, PACED_PER_S, span))?;
            paced.add(measured.latencies.quantiles());
            // What is asked here is a process of its own that says a constant: it waits for a core as a check does.
            flow.settle(&node).await?;
            let span = Span::from_now(scale);
            let ((), (measured, used)) =
                tokio::try_join!(flow.run(&node, span), open_loop(raw.address, used, PACED_PER_S, span))?;
            checks = used;
            paced_limit.add(measured.latencies.quantiles());
        }
        let (limit_took, took, full) = (limit_took.median(), took.median(), full.median());
        let (paced, paced_limit) = (paced.median(), paced_limit.median());
        let target = Target::AtLeast { ratio: 0.7, value: 0.0 };
        let in_flow = |name: &str, p99_ms, note: &str| {
            flow.judge(Row::new(&beside.named(name), p99_ms, "ms", Target::Below(5.0)).note(note))
        };
        Ok(vec![
            Row::new(&beside.named("block_check"), median(values), "1/s", target).limit(median(limits)).note(&format!(
                "{CONNECTIONS} connections, {} sessions; limit: axum that returns a constant of the same size",
                flow::SESSIONS
            )),
            Row::new(&beside.named("block_check_p50"), took.p50_ms, "ms", Target::None).limit(limit_took.p50_ms),
            Row::new(&beside.named("block_check_p99"), took.p99_ms, "ms", Target::None).limit(limit_took.p99_ms),
            in_flow(
                "block_check_p99_in_flow",
                full.p99_ms,
                &format!("{CONNECTIONS} connections as fast as they are answered ({:.0}/s)", median(full_per_s)),
            ),
            in_flow(
                "block_check_p99_in_flow_paced",
                paced.p99_ms,
                &format!(
                    "{PACED_PER_S} checks a second, each measured from when it was due; limit: as many answered by a \
                     constant, beside the same flow to the node"
                ),
            )
            .limit(paced_limit.p99_ms),
        ])
    })
    .await
}
