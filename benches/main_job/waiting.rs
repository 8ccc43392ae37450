//! `waiting`: from a stop until the player that waited for it may play.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::deployment::Deployment;
use crate::flow::{self, Flow};
use crate::latencies::{Latencies, Rounds};
use crate::load::{Span, on_own_thread};
use crate::node::Node;
use crate::report::{Row, Target};
use crate::scale::Scale;

/// Accounts in which somebody waits: two of each play, and a third waits.
const WAITERS: u32 = 300;
/// No wait for a slot that frees takes longer, unless something is wrong.
const UNHEARD_MAX: Duration = Duration::from_mins(1);

/// Three devices of one account, of which the third waits.
struct Household {
    sessions: String,
    playing: Uuid,
    waiting: Uuid,
}

/// The stop of one, the answer to the other's long poll, and its start; while heartbeats flow.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    Deployment::scoped(async |deployment| {
        let (node, _) = Node::start(deployment).await?;
        let mut flow = Flow::new();
        let mut took = Rounds::default();
        for round in 0..scale.rounds {
            flow.settle(&node).await?;
            let address = node.address;
            let ready = on_own_thread(move || households(address, round))?;
            let households = ready.await.context("the households were left")??;
            let span = Span::from_now(scale);
            let heard = on_own_thread(move || all_hear(address, households, span))?;
            let ((), heard) = tokio::try_join!(flow.run(&node, span), async {
                heard.await.context("the waiting players were left")?
            })?;
            took.add(heard.quantiles());
            node.projected().await?;
        }
        let took = took.median();
        let how = format!(
            "{WAITERS} players wait, each for a slot of its own account, while {} heartbeats/s flow: from the sending of \
             the stop that frees it, through the answer to the long poll, to the answer that allows the start",
            flow::PER_S
        );
        let row = |name: &str, value, target| flow.judge(Row::new(name, value, "ms", target));
        Ok(vec![
            row("waiting_p50", took.p50_ms, Target::None).note(&how),
            row("waiting_p99", took.p99_ms, Target::Below(1_000.0)),
        ])
    })
    .await
}

async fn households(address: SocketAddr, round: usize) -> anyhow::Result<Vec<Household>> {
    let client = Client::new();
    let mut all = JoinSet::new();
    for number in 0..WAITERS {
        let client = client.clone();
        all.spawn(async move {
            let sessions = format!("http://{address}/v1/accounts/waiting-{round}-{number}/sessions");
            let [playing, other, waiting] = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
            for (session, device, status) in [(playing, "tv", 201), (other, "phone", 201), (waiting, "tablet", 409)] {
                let answered = start(&client, &sessions, session, device).await?;
                anyhow::ensure!(answered == status, "a start was answered {answered}");
            }
            Ok(Household { sessions, playing, waiting })
        });
    }
    let mut households = Vec::new();
    while let Some(made) = all.join_next().await {
        households.push(made??);
    }
    Ok(households)
}

async fn start(client: &Client, sessions: &str, session: Uuid, device: &str) -> anyhow::Result<StatusCode> {
    let body = json!({"session_id": session, "device_id": device, "title_id": "title-1"});
    Ok(client.post(sessions).json(&body).send().await?.status())
}

/// Frees a slot of one household after another, all of them within the time that counts.
async fn all_hear(address: SocketAddr, households: Vec<Household>, span: Span) -> anyhow::Result<Latencies> {
    anyhow::ensure!(!households.is_empty(), "nobody waits on {address}");
    let gap = (span.end - span.begin) / WAITERS;
    let client = Client::new();
    let mut waiting = JoinSet::new();
    for (household, number) in households.into_iter().zip(0..) {
        let due = span.begin + gap * number;
        waiting.spawn(hears(client.clone(), household, due));
    }
    let mut latencies = Latencies::default();
    while let Some(took) = waiting.join_next().await {
        latencies.add(took??);
    }
    Ok(latencies)
}

async fn hears(client: Client, household: Household, due: Instant) -> anyhow::Result<Duration> {
    let Household { sessions, playing, waiting } = household;
    let url = format!("{sessions}/{waiting}/verdict?wait=60s&since=limit_reached");
    let polling = client.get(url).send();
    let stopping = async {
        tokio::time::sleep_until(due.into()).await;
        let stopped_at = Instant::now();
        let stopped = client.delete(format!("{sessions}/{playing}")).send().await?.status();
        anyhow::ensure!(stopped == StatusCode::NO_CONTENT, "a stop was answered {stopped}");
        anyhow::Ok(stopped_at)
    };
    let told = async {
        let answer = tokio::time::timeout(UNHEARD_MAX, async { polling.await?.json::<Value>().await });
        let answer = answer.await.context("a waiting player heard nothing")??;
        anyhow::ensure!(answer["verdict"]["room"] == true, "a waiting player heard {answer}");
        let status = start(&client, &sessions, waiting, "tablet").await?;
        anyhow::ensure!(status == StatusCode::CREATED, "a start in a free slot was answered {status}");
        anyhow::Ok(Instant::now())
    };
    let (stopped_at, allowed_at) = tokio::try_join!(stopping, told)?;
    Ok(allowed_at.saturating_duration_since(stopped_at))
}
