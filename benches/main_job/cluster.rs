//! `cluster` and `node_loss`: nodes that share the partitions, and one that is killed.
//!
//! Nothing here is a rate to be proud of: three nodes, their broker and their client share one machine. What counts is
//! what was answered, held against the log afterwards.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::deployment::Deployment;
use crate::http::{Connection, ask_once, request};
use crate::node::{Node, SOON};
use crate::recount::{Given, recount};
use crate::report::{Row, Target};
use crate::scale::{Scale, float, per_second};

const NODES: usize = 3;
/// Connections of starts.
const CONNECTIONS: usize = 24;
/// An account has room for two of these.
const STARTS_AN_ACCOUNT: usize = 4;
/// How long a start may look for a node that takes it.
const TAKEN_TIME_MAX: Duration = Duration::from_mins(1);

/// Random starts over three nodes of which one is killed again and again: each answer against the log.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    Deployment::scoped(async |deployment| {
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            nodes.push(Some(Node::sharing(deployment).await?));
        }
        settled(&nodes).await?;
        alive(&nodes).next().context("a node")?.lengthen_leases().await?;
        // The others have it within a second.
        let addresses = Arc::new(Mutex::new(alive(&nodes).map(|node| node.address).collect::<Vec<_>>()));
        let race = Arc::new(Race { addresses, next: AtomicUsize::new(0), total: scale.random_starts });
        let done = Arc::new(AtomicBool::new(false));
        let begun = Instant::now();
        let mut starting = JoinSet::new();
        for _ in 0..CONNECTIONS {
            starting.spawn(Arc::clone(&race).run());
        }
        let collecting = async {
            let mut given = Vec::new();
            while let Some(part) = starting.join_next().await {
                given.extend(part??);
            }
            done.store(true, Ordering::Relaxed);
            anyhow::Ok(given)
        };
        let killing = async {
            let (mut kills, mut turn, mut killed) = (0, 0, Instant::now());
            while !done.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if killed.elapsed() >= scale.kill_interval {
                    drop(nodes[turn].take());
                    nodes[turn] = Some(Node::sharing(deployment).await?);
                    *race.addresses() = alive(&nodes).map(|node| node.address).collect();
                    (kills, turn, killed) = (kills + 1, (turn + 1) % NODES, Instant::now());
                }
            }
            anyhow::Ok(kills)
        };
        let (given, kills) = tokio::try_join!(collecting, killing)?;
        let took = begun.elapsed();
        let listed = listed(deployment)?;
        let found = recount(deployment, &given, &listed).await?;
        let none = |name: &str, count| Row::new(name, float(count), "", Target::Below(0.5));
        let how = format!("{} random starts over {NODES} nodes, {kills} times one was killed", scale.random_starts);
        Ok(vec![
            none("cluster_over_admissions", found.let_through).note(&how),
            none("cluster_false_blocks", found.refused).note("that were not marked provisional"),
            none("cluster_unlisted", found.unlisted)
                .note("provisional answers that are not listed, or with another word"),
            Row::new("cluster_provisional", float(found.provisional), "", Target::None).note(&format!(
                "of these the log refuses {} that were let through, and would have let {} in",
                found.provisional_let_through, found.provisional_refused
            )),
            Row::new("cluster_starts", per_second(scale.random_starts as u64, took), "1/s", Target::None),
        ])
    })
    .await
}

/// From `kill -9` until checks of every one of its partitions are certain again.
pub(crate) async fn node_loss(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    const TOLERABLE_S: f64 = 5.0;
    Deployment::scoped(async |deployment| {
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            nodes.push(Some(Node::sharing(deployment).await?));
        }
        settled(&nodes).await?;
        alive(&nodes).next().context("a node")?.lengthen_leases().await?;
        let race = Arc::new(Race {
            addresses: Arc::new(Mutex::new(alive(&nodes).map(|node| node.address).collect())),
            next: AtomicUsize::new(0),
            total: scale.live_sessions / 10,
        });
        let given = Arc::clone(&race).run().await?;
        let mut worst = Vec::new();
        for turn in 0..scale.rounds.max(2) {
            let lost = turn % NODES;
            let asked = nodes[(lost + 1) % NODES].as_ref().context("a node")?.address;
            let partitions = owned(asked, nodes[lost].as_ref().context("a node")?.address).await?;
            let checks: Vec<_> = partitions
                .iter()
                .filter_map(|partition| given.iter().find(|given| given.partition == *partition))
                .map(|given| request("GET", &format!("/v1/accounts/{}/sessions", given.account), ""))
                .collect();
            anyhow::ensure!(!checks.is_empty(), "the node to be lost owns nothing");
            drop(nodes[lost].take());
            let begun = Instant::now();
            for check in &checks {
                while !is_certain(asked, check).await {
                    anyhow::ensure!(begun.elapsed() < SOON, "checks do not become certain again");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            worst.push(begun.elapsed().as_secs_f64());
            nodes[lost] = Some(Node::sharing(deployment).await?);
            settled(&nodes).await?;
        }
        let worst = worst.into_iter().fold(0.0, f64::max);
        Ok(vec![Row::new("node_loss", worst, "s", Target::Below(TOLERABLE_S)).note(&format!(
            "the longest from kill -9 until every partition of the lost node is answered certainly by another, {} \
             sessions",
            given.len()
        ))])
    })
    .await
}

fn alive(nodes: &[Option<Node>]) -> impl Iterator<Item = &Node> {
    nodes.iter().flatten()
}

/// Starts that are shared by all connections.
struct Race {
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
    next: AtomicUsize,
    total: usize,
}

impl Race {
    fn addresses(&self) -> std::sync::MutexGuard<'_, Vec<SocketAddr>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts as long as there are some; each is sent to another node, and to the next if that one is gone.
    async fn run(self: Arc<Self>) -> anyhow::Result<Vec<Given>> {
        let mut given = Vec::new();
        let mut connection: Option<(SocketAddr, Connection)> = None;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.total {
                return Ok(given);
            }
            // Spread, so that the starts of one account are near each other in time and not one after the other.
            let accounts = (self.total / STARTS_AN_ACCOUNT).max(1);
            let account = format!("account-{}", number.wrapping_mul(7_919) % accounts);
            let session = Uuid::now_v7();
            let body = format!(r#"{{"session_id":"{session}","device_id":"device-{number}","title_id":"t"}}"#);
            let asked = request("POST", &format!("/v1/accounts/{account}/sessions"), &body);
            let answer = self.taken(number, &asked, &mut connection).await?;
            given.push(Given::read(account, session, &answer).context("a start was answered without a verdict")?);
        }
    }

    async fn taken(
        &self,
        turn: usize,
        asked: &[u8],
        connection: &mut Option<(SocketAddr, Connection)>,
    ) -> anyhow::Result<Value> {
        let begun = Instant::now();
        for turn in turn.. {
            anyhow::ensure!(begun.elapsed() < TAKEN_TIME_MAX, "no node takes a start");
            let address = {
                let addresses = self.addresses();
                addresses[turn % addresses.len()]
            };
            let mut open = match connection.take() {
                Some((to, open)) if to == address => open,
                _ => match Connection::open(address).await {
                    Ok(open) => open,
                    Err(_) => continue,
                },
            };
            let Ok(answer) = open.ask(asked).await else { continue };
            match answer.status {
                201 | 409 => {
                    let read = serde_json::from_slice(answer.body)?;
                    *connection = Some((address, open));
                    return Ok(read);
                }
                503 => tokio::time::sleep(Duration::from_millis(20)).await,
                status => anyhow::bail!("a start was answered {status} {}", String::from_utf8_lossy(answer.body)),
            }
        }
        unreachable!("turns don't end")
    }
}

/// Waits until each partition is with its owner alone, as every node knows it.
async fn settled(nodes: &[Option<Node>]) -> anyhow::Result<()> {
    let begun = Instant::now();
    for node in alive(nodes) {
        loop {
            let (status, body) = ask_once(node.address, &request("GET", "/v1/cluster", "")).await?;
            let cluster: Value = serde_json::from_slice(&body)?;
            let all = cluster["nodes"].as_array().context("nodes")?;
            let has_its_own = |node: &Value| {
                let folds = node["partitions"].as_array().map_or(&[][..], Vec::as_slice);
                folds.len() == node["owns"].as_array().map_or(0, Vec::len)
                    && folds.iter().all(|fold| fold["state"] == "ready")
            };
            let is_whole = cluster["unowned"].as_array().is_some_and(Vec::is_empty);
            if status == 200 && is_whole && all.len() == alive(nodes).count() && all.iter().all(has_its_own) {
                break;
            }
            anyhow::ensure!(begun.elapsed() < SOON, "the nodes do not settle: {cluster}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// The partitions that a node owns, as another one knows it.
async fn owned(asked: SocketAddr, of: SocketAddr) -> anyhow::Result<Vec<i64>> {
    let (_, body) = ask_once(asked, &request("GET", "/v1/cluster", "")).await?;
    let cluster: Value = serde_json::from_slice(&body)?;
    let node = cluster["nodes"].as_array().and_then(|all| all.iter().find(|node| node["address"] == of.to_string()));
    let owns = node.and_then(|node| node["owns"].as_array()).context("the node is not known")?;
    Ok(owns.iter().filter_map(Value::as_i64).collect())
}

async fn is_certain(address: SocketAddr, check: &[u8]) -> bool {
    let Ok((200, body)) = ask_once(address, check).await else { return false };
    serde_json::from_slice::<Value>(&body).is_ok_and(|body| body.get("provisional").is_none())
}

/// What the product lists of its provisional answers.
fn listed(deployment: &Deployment) -> anyhow::Result<Value> {
    let mut command = deployment.command("decisions");
    let output = command.args(["provisional", "--since", "2020-01-01T00:00:00Z", "--json"]).output()?;
    anyhow::ensure!(output.status.success(), "pulsegate decisions provisional ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("what it printed is not JSON")
}
