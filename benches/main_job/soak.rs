//! `soak`: half of what a node can do, for long: memory and latency must stay what they are.

use std::time::{Duration, Instant};

use crate::deployment::Deployment;
use crate::flow::{self, Flow};
use crate::load::{Span, open_loop};
use crate::node::Node;
use crate::report::{Row, Target};
use crate::scale::{Scale, float, median};
use crate::viewers::checking;

/// Connections of checks, and how many of them a second.
const CONNECTIONS: usize = 16;
const CHECKS_PER_S: u32 = 1_000;
/// Of so many parts of equal length the first is thrown away, and the first and the last third of the others compared.
const PARTS: usize = 31;

/// `pulsegate up` beside heartbeats and checks, for `SOAK_SECONDS`, or an hour.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let asked = std::env::var("SOAK_SECONDS").ok().filter(|seconds| !seconds.is_empty());
    let length = asked.map_or(Ok(scale.soak), |seconds| seconds.parse().map(Duration::from_secs))?;
    Deployment::scoped(async |deployment| {
        let (node, _) = Node::start(deployment).await?;
        let mut flow = Flow::new();
        flow.settle(&node).await?;
        let mut checks = checking(&flow.crowd, CONNECTIONS);
        let (mut memory, mut p99_ms) = (Vec::new(), Vec::new());
        for part in 0..PARTS {
            let start = Instant::now();
            let span = Span { start, begin: start, end: start + length / u32::try_from(PARTS)? };
            let ((), (measured, used)) =
                tokio::try_join!(flow.run(&node, span), open_loop(node.address, checks, CHECKS_PER_S, span))?;
            checks = used;
            memory.push(float(node.memory()?) / 1e6);
            p99_ms.push(measured.latencies.quantiles().p99_ms);
            let (memory, p99_ms) = (memory[part], p99_ms[part]);
            eprintln!("  {} of {PARTS}: {memory:.0} MB, check p99 {p99_ms:.2} ms", part + 1);
        }
        node.projected().await?;
        node.stop().await?;
        let third = (PARTS - 1) / 3;
        let early = |all: &[f64]| median(all[1..=third].to_vec());
        let late = |all: &[f64]| median(all[PARTS - third..].to_vec());
        let row = |name: &str, all: &[f64], unit, most: f64| {
            flow.judge(Row::new(name, late(all), unit, Target::Below(early(all) * most)).limit(early(all)))
        };
        let how = format!(
            "the last third of {} s beside the first, {} heartbeats and {CHECKS_PER_S} checks a second",
            length.as_secs(),
            flow::PER_S
        );
        Ok(vec![row("soak_memory", &memory, "MB", 1.1).note(&how), row("soak_check_p99", &p99_ms, "ms", 2.0)])
    })
    .await
}
