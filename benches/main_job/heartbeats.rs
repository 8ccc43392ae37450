//! `heartbeats_single` and `heartbeats_batched`: heartbeats that are answered once they are in the log.

use crate::deployment::Deployment;
use crate::events::events;
use crate::latencies::Rounds;
use crate::load::{Measured, Span, closed_loop};
use crate::node::{Beside, Node};
use crate::producer::records_per_s;
use crate::raw_server::{AnswerSizes, RawServer};
use crate::report::{Row, Target};
use crate::scale::{Scale, float, median};
use crate::viewers::{BATCH, batching, settle, watching};

/// Connections of single heartbeats.
const CONNECTIONS: usize = 256;
/// Sessions of single heartbeats: each is heard about once a second.
const SESSIONS: usize = 80 * CONNECTIONS;
/// Connections of batches, and how many batches of viewers each has.
const BATCH_CONNECTIONS: usize = 16;
const BATCHES_EACH: usize = 6;
/// No linger wins at both ends, so the better one of each round is the limit.
const LINGERS_MS: [u32; 2] = [0, 5];

/// One a request, 256 connections, against axum that only parses and produces.
pub(crate) async fn single(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for beside in Beside::BOTH {
        rows.extend(single_by(scale, beside).await?);
    }
    Ok(rows)
}

async fn single_by(scale: &Scale, beside: Beside) -> anyhow::Result<Vec<Row>> {
    Deployment::scoped(async |deployment| {
        let node = Node::serving(deployment, beside).await?;
        let sizes = AnswerSizes::of(&node).await?;
        let mut raws = Vec::new();
        for linger_ms in LINGERS_MS {
            raws.push(RawServer::start(deployment, linger_ms, sizes).await?);
        }
        let mut crowd = watching(SESSIONS, CONNECTIONS);
        let (mut limits, mut values) = (Vec::new(), Vec::new());
        let (mut limit_took, mut took) = (Rounds::default(), Rounds::default());
        let mut lingers = Vec::new();
        for _ in 0..scale.rounds {
            let mut best = None;
            for (raw, linger_ms) in raws.iter().zip(LINGERS_MS) {
                let (measured, used) = closed_loop(raw.address, crowd, Span::from_now(scale)).await?;
                crowd = used;
                lingers.push(format!("linger {linger_ms}: {:.0}/s", measured.per_s));
                best = best.filter(|best: &Measured| best.per_s >= measured.per_s).or(Some(measured));
            }
            if let Some(best) = best {
                limits.push(best.per_s);
                limit_took.add(best.latencies.quantiles());
            }
            settle(&node, &mut crowd).await?;
            let (measured, used) = closed_loop(node.address, crowd, Span::from_now(scale)).await?;
            crowd = used;
            values.push(measured.per_s);
            took.add(measured.latencies.quantiles());
            node.projected().await?;
        }
        let (limit_took, took) = (limit_took.median(), took.median());
        let target = Target::AtLeast { ratio: 0.7, value: 0.0 };
        Ok(vec![
            Row::new(&beside.named("heartbeats_single"), median(values), "1/s", target).limit(median(limits)).note(
                &format!(
                    "{CONNECTIONS} connections, {SESSIONS} sessions, one heartbeat a request; limit: axum that parses, \
                 produces and waits for the ack, the better linger of each round ({})",
                    lingers.join(", ")
                ),
            ),
            Row::new(&beside.named("heartbeats_single_p50"), took.p50_ms, "ms", Target::None).limit(limit_took.p50_ms),
            Row::new(&beside.named("heartbeats_single_p99"), took.p99_ms, "ms", Target::None).limit(limit_took.p99_ms),
        ])
    })
    .await
}

/// 500 a request, against a producer alone.
pub(crate) async fn batched(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    Ok(vec![batched_by(scale, Beside::ReadModels).await?, batched_by(scale, Beside::Nothing).await?])
}

async fn batched_by(scale: &Scale, beside: Beside) -> anyhow::Result<Row> {
    Deployment::scoped(async |deployment| {
        let node = Node::serving(deployment, beside).await?;
        let mut crowd = batching(BATCH_CONNECTIONS, BATCHES_EACH);
        let sessions = crowd.iter().map(|batching| batching.len() * BATCH).sum();
        let mut raw_events = events(sessions)?;
        let (mut limits, mut values) = (Vec::new(), Vec::new());
        for round in 0..=scale.rounds {
            let limit = records_per_s(deployment, &mut raw_events, Span::from_now(scale))?;
            // The warm-up's first round takes the slots.
            let (measured, used) = closed_loop(node.address, crowd, Span::from_now(scale)).await?;
            crowd = used;
            // In the first one the broker's virtual machine still compiles.
            if round > 0 {
                limits.push(limit);
                values.push(measured.per_s * float(BATCH as u64));
            }
            node.projected().await?;
        }
        let target = Target::AtLeast { ratio: 0.5, value: 150_000.0 };
        let name = beside.named("heartbeats_batched");
        Ok(Row::new(&name, median(values), "1/s", target).limit(median(limits)).note(&format!(
            "{BATCH} a request, {BATCH_CONNECTIONS} connections, {sessions} sessions; limit: one thread that hands \
             distinct events of the same size to librdkafka"
        )))
    })
    .await
}
