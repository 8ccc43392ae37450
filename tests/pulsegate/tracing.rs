//! A sampled request is followed from HTTP over the log to the read models, and a collector is told; others are not, and
//! nothing waits for a collector that is away.

#[path = "tracing/collector.rs"]
mod collector;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};
use tempfile::TempDir;
use uuid::Uuid;

use crate::deployment::{Answer, Deployment, Node, until};
use crate::observing::Exposed;
use collector::{Collector, Told};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
/// As OTLP numbers them.
const SERVER: i32 = 2;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

/// What is told of a start.
const SPANS: [&str; 6] = [
    "POST /v1/accounts/{account}/sessions",
    "append",
    "wait for the fold",
    "fold into the hot view",
    "project active_sessions_v1",
    "project licensing_v4",
];

async fn start(node: &Node, account: &str, traceparent: Option<&str>) -> Answer {
    let body = json!({"session_id": Uuid::now_v7(), "device_id": "tv", "title_id": "t"});
    let mut request = node.client.post(format!("{}/v1/accounts/{account}/sessions", node.url)).json(&body);
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let answer = request.send().await.expect("an answer");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Answer { status, headers, body: answer.json().await.expect("JSON") }
}

fn only<'a>(spans: &'a [Told], name: &str) -> &'a Told {
    let named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    let [span] = named[..] else { panic!("{name}: {spans:#?}") };
    span
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampled_request_is_followed_from_http_over_the_log_to_the_read_models() {
    let (collector, address) = Collector::start().await;
    let deployment = Deployment::new().await;
    let settings = [
        ("PULSEGATE_TRACES_ENDPOINT", address.as_str()),
        ("PULSEGATE_TRACES_RATIO", "0"),
        ("PULSEGATE_TRACES_FORCED_PER_S", "3"),
    ];
    let node = deployment.node_with(&settings).await;
    let other = deployment.role_with("api", &settings).await;

    // Nobody asked for it: no trace, and no header in the log.
    assert_eq!(start(&node, "quiet", None).await.status, 201);
    let not_sampled = format!("00-{}-{CALLER}-00", "5".repeat(32));
    assert_eq!(start(&node, "unsampled", Some(&not_sampled)).await.status, 201);
    let answer = start(&node, "followed", Some(&format!("00-{TRACE}-{CALLER}-01"))).await;
    assert_eq!(answer.status, 201, "{answer:?}");

    let names = || collector.of(TRACE).into_iter().map(|span| span.name).collect::<BTreeSet<_>>();
    let wanted = SPANS.map(str::to_owned).into();
    // A node that has appended a record has as a rule folded it before the log brings it back; the other one folds that.
    let instance = |span: &Told| span.by["service.instance.id"].clone();
    let is_whole = || {
        let spans = collector.of(TRACE);
        let of = |name: &str| spans.iter().filter(|span| span.name == name).map(instance).collect::<BTreeSet<_>>();
        names() == wanted && of("fold into the hot view").difference(&of("append")).next().is_some()
    };
    until("the request to be followed to both nodes and the read models", || async { is_whole() }).await;
    let spans = collector.of(TRACE);
    let request = only(&spans, SPANS[0]);
    assert_eq!((request.parent.as_str(), request.kind), (CALLER, SERVER));
    assert_eq!(request.attributes["http.response.status_code"], "201");
    assert_eq!(request.attributes["http.route"], "/v1/accounts/{account}/sessions");
    assert_eq!(request.attributes["pulsegate.request_id"], answer.headers["x-request-id"].to_str().expect("text"));
    assert!(request.took_ns > 0 && request.by["service.name"] == "pulsegate", "{request:?}");
    let append = only(&spans, "append");
    assert_eq!((&append.parent, append.kind), (&request.id, PRODUCER));
    assert_eq!(append.attributes["messaging.kafka.offset"], answer.body["as_of"]["offset"].to_string());
    assert_eq!(append.attributes["messaging.destination.partition.id"], answer.body["as_of"]["partition"].to_string());
    let wait = only(&spans, "wait for the fold");
    assert_eq!((&wait.parent, wait.attributes["pulsegate.provisional"].as_str()), (&request.id, "false"));
    let mut folds = spans.iter().filter(|span| span.name == "fold into the hot view");
    assert!(folds.all(|fold| (&fold.parent, fold.kind) == (&append.id, CONSUMER)), "{spans:#?}");
    for projection in ["project active_sessions_v1", "project licensing_v4"] {
        let span = only(&spans, projection);
        assert_eq!((&span.parent, &span.links), (&append.id, &vec![append.id.clone()]), "{span:?}");
    }
    // Nothing tells who it was.
    let told = format!("{:?}", collector.all());
    assert!(!told.contains("followed") && !told.contains("quiet"), "{told}");

    let printed = deployment.run(&["events", "tail", "playback", "--from-beginning", "--until-end", "--json"]);
    let records: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records.len(), 3);
    for record in records {
        let wanted = (record["key"] == "followed").then(|| json!(format!("00-{TRACE}-{}-01", append.id)));
        assert_eq!(record["headers"].get("traceparent"), wanted.as_ref(), "{record}");
    }

    callers_can_not_have_everything_traced(&node, &collector).await;
    let exposed = Exposed::read(&node.admin("/metrics").await.1);
    assert!(exposed.value("pulsegate_traces_exported_total", &[]) >= Some(5.0));
    assert_eq!(exposed.value("pulsegate_traces_dropped_total", &[("reason", "queue_full")]), Some(0.0));
    node.stop();
    other.stop();
}

async fn callers_can_not_have_everything_traced(node: &Node, collector: &Collector) {
    let before = std::time::Instant::now();
    for index in 1..=60 {
        let sampled = format!("00-{index:032x}-{CALLER}-01");
        assert!(start(node, "greedy", Some(&sampled)).await.status < 500);
    }
    let seconds = before.elapsed().as_secs() + 2;
    let greedy = || collector.all().into_iter().filter(|span| span.parent == CALLER && span.trace != TRACE).count();
    until("some of them to be told", || async { greedy() > 0 }).await;
    let most = usize::try_from(3 * seconds).expect("a few");
    assert!((1..=most.min(59)).contains(&greedy()), "{} of 60 within {seconds} s", greedy());
}

/// The first line of a log that says `message`.
fn line(log: &Path, message: &str) -> Option<Value> {
    let text = std::fs::read_to_string(log).expect("the log");
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.into_iter().find(|line| line["message"] == message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_traces_and_nothing_else_and_lines_name_request_and_trace() {
    let deployment = Deployment::new().await;
    let folder = TempDir::new().expect("a folder");
    let log = folder.path().join("log");
    let mut command = deployment.command(&["api"]);
    command
        .env("PULSEGATE_TRACES_ENDPOINT", "http://127.0.0.1:1")
        .env("PULSEGATE_TRACES_RATIO", "1")
        .env("PULSEGATE_LOG_FORMAT", "json")
        .stderr(File::create(&log).expect("a log"));
    let node = Deployment::node_by(&mut command);
    node.ready().await;
    for index in 0..20 {
        assert_eq!(start(&node, &format!("a-{index}"), None).await.status, 201);
    }
    until("what can't be told to be counted", || async {
        let exposed = Exposed::read(&node.admin("/metrics").await.1);
        exposed.value("pulsegate_traces_dropped_total", &[("reason", "not_delivered")]) >= Some(60.0)
    })
    .await;
    assert!(line(&log, "traces can't be exported and are dropped").is_some());

    // A request that fails: its line says which one it was, and in which trace.
    let (server, name) = deployment.database_url.rsplit_once('/').expect("a database URL ends in a name");
    let mut admin = sqlx::PgConnection::connect(&format!("{server}/pulsegate")).await.expect("PostgreSQL");
    admin.execute(sqlx::AssertSqlSafe(format!("drop database {name} with (force)"))).await.expect("it is gone");
    let failed = node
        .client
        .get(format!("{}/v1/accounts/a-1/decisions", node.url))
        .header("traceparent", format!("00-{TRACE}-{CALLER}-00"))
        .header("x-request-id", "the-one-that-failed")
        .send()
        .await
        .expect("an answer");
    assert_eq!(failed.status(), 503);
    let line = line(&log, "requests were answered 503").expect("a line of it");
    assert_eq!((&line["request_id"], &line["trace_id"]), (&json!("the-one-that-failed"), &json!(TRACE)), "{line}");
    node.stop();
}
