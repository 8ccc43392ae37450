//! `traced`: what is left of heartbeats and checks where a hundredth of requests is traced and the metrics are read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use tokio::net::TcpListener;

use crate::deployment::Deployment;
use crate::http::{ask_once, request};
use crate::load::{Measured, Span, closed_loop};
use crate::node::{Beside, Node};
use crate::report::{Row, Target};
use crate::scale::{Scale, median};
use crate::viewers::{Watching, checking, settle, watching};

/// Connections of heartbeats, and of checks.
const CONNECTIONS: usize = 64;
const SESSIONS: usize = 80 * CONNECTIONS;
/// What must be left.
const RATIO_MIN: f64 = 0.95;
/// How often metrics are read: more often than anybody does.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// A collector that counts what it is sent and keeps nothing.
struct Collector {
    address: String,
    bytes: Arc<AtomicUsize>,
}

impl Collector {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let bytes = Arc::new(AtomicUsize::new(0));
        let count = async |State(bytes): State<Arc<AtomicUsize>>, body: Bytes| {
            bytes.fetch_add(body.len(), Ordering::Relaxed);
        };
        let router = Router::new().route("/v1/traces", post(count)).with_state(Arc::clone(&bytes));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, bytes })
    }
}

/// What one node did in a round.
struct Round {
    heartbeats: Measured,
    checks: Measured,
}

pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    Deployment::scoped(async |deployment| {
        let collector = Collector::start().await?;
        let mut crowd = watching(SESSIONS, CONNECTIONS);
        let (mut plain, mut traced) = (Vec::new(), Vec::new());
        for round in 0..scale.rounds {
            // Whoever is second finds a longer log.
            for is_traced in [round % 2 == 0, round % 2 == 1] {
                let settings = [("PULSEGATE_TRACES_ENDPOINT", collector.address.as_str())];
                let settings = if is_traced { settings.as_slice() } else { &[] };
                let node = Node::serving_with(deployment, Beside::Nothing, settings).await?;
                let (measured, used) = observe(scale, &node, crowd, is_traced).await?;
                crowd = used;
                node.stop().await?;
                if is_traced { &mut traced } else { &mut plain }.push(measured);
            }
        }
        let bytes = collector.bytes.load(Ordering::Relaxed);
        anyhow::ensure!(bytes > 0, "nothing was traced");
        let target = Target::AtLeast { ratio: RATIO_MIN, value: 0.0 };
        let row = |name, per_s: fn(&Round) -> f64| {
            let of = |rounds: &[Round]| median(rounds.iter().map(per_s).collect());
            Row::new(name, of(&traced), "1/s", target).limit(of(&plain))
        };
        Ok(vec![
            row("traced_heartbeats_api", |round| round.heartbeats.per_s).note(&format!(
                "{CONNECTIONS} connections, {SESSIONS} sessions; one request in a hundred is traced ({} kB in all) and the \
                 metrics are read each second; limit: the same without, in turns (counting itself is in both)",
                bytes / 1_000
            )),
            row("traced_checks_api", |round| round.checks.per_s),
        ])
    })
    .await
}

async fn observe(
    scale: &Scale,
    node: &Node,
    mut crowd: Vec<Watching>,
    is_scraped: bool,
) -> anyhow::Result<(Round, Vec<Watching>)> {
    let scraped = scrape(node.admin, is_scraped);
    let measured = async {
        settle(node, &mut crowd).await?;
        let checks = checking(&crowd, CONNECTIONS);
        let (heartbeats, used) = closed_loop(node.address, crowd, Span::from_now(scale)).await?;
        let (checks, _) = closed_loop(node.address, checks, Span::from_now(scale)).await?;
        Ok((Round { heartbeats, checks }, used))
    };
    tokio::select! {
        measured = measured => measured,
        failed = scraped => Err(failed.err().context("metrics are read until the end")?),
    }
}

/// Reads the metrics again and again; ends only if that fails.
async fn scrape(admin: SocketAddr, is_wanted: bool) -> anyhow::Result<()> {
    if !is_wanted {
        std::future::pending::<()>().await;
    }
    let metrics = request("GET", "/metrics", "");
    loop {
        let (status, _) = ask_once(admin, &metrics).await.context("failed to read the metrics")?;
        anyhow::ensure!(status == 200, "metrics were answered {status}");
        tokio::time::sleep(SCRAPE_INTERVAL).await;
    }
}
