//! The limits that serve HTTP: axum with nothing behind it but, for a heartbeat, a producer.
//!
//! A process of its own, as the product is, with the product's allocator, runtime and settings of the log.

use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use clap::Parser;
use pulsegate_domain::topic::Topic;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, ProducerContext};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::deployment::Deployment;
use crate::http::{Connection, ask_once};
use crate::node::{Node, free_address};
use crate::producer::{headers, settings};
use crate::viewers::{ALLOWED, Viewer, take_slots};

/// The word that makes this executable such a server.
pub(crate) const COMMAND: &str = "raw-server";

#[derive(Debug, Parser)]
struct Args {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    kafka: String,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    linger_ms: u32,
    /// Length of the answer to a heartbeat
    #[arg(long)]
    heartbeat_bytes: usize,
    /// Length of the answer to a check
    #[arg(long)]
    check_bytes: usize,
}

/// How long the product's answers are, so that the limits' are as long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerSizes {
    pub(crate) heartbeat: usize,
    pub(crate) check: usize,
}

impl AnswerSizes {
    /// Asks the product.
    pub(crate) async fn of(node: &Node) -> anyhow::Result<Self> {
        // Behind all others, so that its account is nobody else's.
        let mut viewer = Viewer::new(90_000_000);
        take_slots(node, [&mut viewer]).await?;
        let heartbeat = allowed(node, viewer.heartbeat()).await?;
        let check = allowed(node, &viewer.check()).await?;
        Ok(Self { heartbeat, check })
    }
}

async fn allowed(node: &Node, request: &[u8]) -> anyhow::Result<usize> {
    let (status, body) = ask_once(node.address, request).await?;
    anyhow::ensure!(status == 200 && body.starts_with(ALLOWED), "{status} {}", String::from_utf8_lossy(&body));
    Ok(body.len())
}

/// Such a server, as seen from outside.
#[derive(Debug)]
pub(crate) struct RawServer {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl RawServer {
    pub(crate) async fn start(deployment: &Deployment, linger_ms: u32, sizes: AnswerSizes) -> anyhow::Result<Self> {
        let address = free_address()?;
        let child = Command::new(std::env::current_exe()?)
            .arg(COMMAND)
            .args(["--listen", &address.to_string(), "--kafka", &deployment.kafka])
            .args(["--topic", &deployment.raw_topics().name(Topic::Playback)])
            .args(["--linger-ms", &linger_ms.to_string()])
            .args(["--heartbeat-bytes", &sizes.heartbeat.to_string(), "--check-bytes", &sizes.check.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .context("failed to start a limit's server")?;
        let server = Self { child, address };
        let begun = Instant::now();
        while Connection::open(address).await.is_err() {
            anyhow::ensure!(begun.elapsed() < Duration::from_mins(1), "a limit's server does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(server)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

struct Raw {
    producer: Arc<BaseProducer<Telling>>,
    topic: String,
    heartbeat_answer: Bytes,
    check_answer: Bytes,
}

/// Tells each record's sender whether it was acknowledged.
struct Telling;

impl ClientContext for Telling {}

impl ProducerContext for Telling {
    type DeliveryOpaque = Box<oneshot::Sender<bool>>;

    fn delivery(&self, report: &DeliveryResult<'_>, told: Box<oneshot::Sender<bool>>) {
        // Whoever asked may have hung up.
        _ = told.send(report.is_ok());
    }
}

/// Serves until it is killed.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    // Its own name takes the place of the executable's.
    let args = Args::parse_from(std::env::args().skip(1));
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &args.kafka);
    let producer: BaseProducer<_> = settings(client, args.linger_ms).create_with_context(Telling)?;
    let producer = Arc::new(producer);
    let polled = Arc::clone(&producer);
    thread::Builder::new().name("acks".into()).spawn(move || {
        loop {
            polled.poll(Duration::from_millis(100));
        }
    })?;
    let raw = Arc::new(Raw {
        producer,
        topic: args.topic,
        heartbeat_answer: answer(args.heartbeat_bytes),
        check_answer: answer(args.check_bytes),
    });
    let router = Router::new()
        .route("/v1/accounts/{account}/sessions/{session}/heartbeats", post(heartbeat))
        .route("/v1/accounts/{account}/sessions/{session}/verdict", get(check))
        .with_state(raw);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(args.listen).await?.tap_io(|connection| {
            // Without it answers are delayed, and the limit is lower: to the product's favour, so say so.
            if let Err(error) = connection.set_nodelay(true) {
                eprintln!("raw-server: {error}");
            }
        });
        axum::serve(listener, router).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// JSON of a given length that begins as the product's answer does.
fn answer(bytes: usize) -> Bytes {
    const END: &[u8] = br#""}}"#;
    let mut answer = [ALLOWED, br#""padding":""#].concat();
    answer.resize(bytes.saturating_sub(END.len()).max(answer.len()), b'-');
    answer.extend_from_slice(END);
    answer.into()
}

fn json(body: &Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], body.clone()).into_response()
}

async fn check(State(raw): State<Arc<Raw>>) -> Response {
    json(&raw.check_answer)
}

/// What a heartbeat says.
#[derive(Deserialize)]
struct Body<'a> {
    device_id: &'a str,
    device_class: &'a str,
    title_id: &'a str,
    content_kind: &'a str,
    territory: &'a str,
    sequence: u64,
    elapsed_ms: u64,
    position_ms: u64,
    state: &'a str,
}

/// What stands in the log of it, field by field as the product writes it.
#[derive(Serialize)]
struct Event<'a> {
    specversion: &'a str,
    id: Uuid,
    r#type: &'a str,
    source: &'a str,
    subject: &'a str,
    time: chrono::DateTime<chrono::Utc>,
    partitionkey: &'a str,
    datacontenttype: &'a str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    account_id: &'a str,
    session_id: &'a str,
    device_id: &'a str,
    device_class: &'a str,
    title_id: &'a str,
    content_kind: &'a str,
    territory: &'a str,
    sequence: u64,
    elapsed_ms: u64,
    age_ms: u64,
    position_ms: u64,
    state: &'a str,
    rate_milli: u64,
    policy: &'a str,
}

async fn heartbeat(
    State(raw): State<Arc<Raw>>,
    Path((account, session)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let Ok(body) = serde_json::from_slice::<Body<'_>>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let Ok(value) = serde_json::to_vec(&event(&account, &session, &body)) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let (told, acked) = oneshot::channel();
    let record =
        BaseRecord::with_opaque_to(&raw.topic, Box::new(told)).key(&account).payload(&value).headers(headers());
    if raw.producer.send(record).is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match acked.await {
        Ok(true) => json(&raw.heartbeat_answer),
        Ok(false) | Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn event<'a>(account: &'a str, session: &'a str, body: &Body<'a>) -> Event<'a> {
    let data = Data {
        account_id: account,
        session_id: session,
        device_id: body.device_id,
        device_class: body.device_class,
        title_id: body.title_id,
        content_kind: body.content_kind,
        territory: body.territory,
        sequence: body.sequence,
        elapsed_ms: body.elapsed_ms,
        age_ms: 0,
        position_ms: body.position_ms,
        state: body.state,
        rate_milli: 1_000,
        policy: "standard@1",
    };
    Event {
        specversion: "1.0",
        id: Uuid::now_v7(),
        r#type: "pulsegate.playback.heartbeat.v1",
        source: "/v1/accounts/sessions/heartbeats",
        subject: session,
        time: chrono::Utc::now(),
        partitionkey: account,
        datacontenttype: "application/json",
        data,
    }
}
