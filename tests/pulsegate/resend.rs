//! What was refused is sent in again, once, through crashes too.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::TopicNames;
use pulsegate_write_side::rejected::{RejectReason, Rejected};
use pulsegate_write_side::{EventLog, LogSettings};
use serde_json::{Value, json};
use sqlx::Connection as _;
use uuid::Uuid;

use crate::deployment::Deployment;
use crate::recount::read_log;

const HOUR_MS: u64 = 3_600_000;
const SOURCE: &str = "/commands/events/resend";

/// As an earlier version refused it an hour ago.
fn refused_an_hour_ago(source: &str, item: &Value) -> Rejected {
    Rejected {
        key: item["account_id"].as_str().map(|key| key.as_bytes().to_vec()),
        reason: RejectReason::Invalid,
        source: source.to_owned(),
        index: Some(3),
        detail: "/territory must be another".to_owned(),
        problems: Vec::new(),
        received_at: Timestamp::from(chrono::Utc::now()).minus_ms(HOUR_MS),
        original: item.to_string().into_bytes(),
        cut_from: None,
        resent: None,
    }
}

fn heartbeat(account: &str, rate: u32) -> Value {
    json!({"account_id": account, "session_id": Uuid::now_v7(), "device_id": "d", "title_id": "t", "sequence": 7,
           "elapsed_ms": 70_000, "position_ms": 70_000, "state": "playing", "rate": rate})
}

fn click(name: &str) -> Value {
    json!({"name": name, "anonymous_id": "visitor", "properties": {"page": 1}})
}

async fn append(deployment: &Deployment, refused: Vec<Rejected>) {
    let settings = LogSettings::new(&deployment.kafka, TopicNames::new(&deployment.prefix));
    let log = EventLog::connect(&LogSettings { partitions: 4, ..settings }).unwrap();
    for appended in log.append_all(refused.into_iter().map(Rejected::into_record).collect()).await {
        appended.unwrap();
    }
}

const RESEND: [&str; 7] = ["events", "resend", "--reason", "invalid", "--since", "2026-01-01T00:00:00Z", "--json"];

fn resend(deployment: &Deployment, more: &[&str]) -> Value {
    let args: Vec<_> = RESEND.iter().chain(more).copied().collect();
    serde_json::from_str(&deployment.run(&args)).unwrap()
}

/// The events of a topic that were sent in again.
fn resent(deployment: &Deployment, topic: &str) -> Vec<Value> {
    let records = read_log(deployment, topic);
    let events = records.iter().filter_map(|record| serde_json::from_str::<Value>(&record.value).ok());
    events.filter(|event| event["source"] == SOURCE).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_sent_in_again_once_and_says_how_old_it_is() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    let bad = heartbeat("told-by-the-node", 17);
    let answer = node.post("/v1/heartbeats", &json!({"heartbeats": [bad]})).await;
    assert_eq!(answer.body["rejected"][0]["code"], "invalid", "{answer:?}");
    // Well-formed, and wrong by what its account has done, or by its age.
    let mut old = heartbeat("too-old", 1);
    old["session_id"] = json!("01900000-0000-7000-8000-000000000001");
    let answer = node.post("/v1/heartbeats", &json!({"heartbeats": [heartbeat("good", 1), old]})).await;
    assert_eq!(answer.body["rejected"][0]["code"], "session-too-old", "{answer:?}");
    let seen = json!({"account_id": "too-old", "session_id": old["session_id"], "device_id": "d", "title_id": "t",
                      "kind": "manifest"});
    let answer = node.post("/v1/signals", &json!({"signals": [seen]})).await;
    assert_eq!(answer.body["verdicts"][0]["error"]["code"], "session-too-old", "{answer:?}");
    append(
        &deployment,
        vec![
            refused_an_hour_ago("/v1/heartbeats", &heartbeat("fixed", 1)),
            refused_an_hour_ago("/v1/heartbeats", &heartbeat("still-wrong", 17)),
            refused_an_hour_ago("/v1/clickstream", &click("fixed")),
            refused_an_hour_ago("/v1/accounts/fixed/sessions", &json!({"device_id": "d"})),
            Rejected { reason: RejectReason::SequenceJump, ..refused_an_hour_ago("/v1/clickstream", &click("other")) },
        ],
    )
    .await;
    crate::deployment::until("the node to keep what it refused", || async {
        read_log(&deployment, "rejected").len() == 8
    })
    .await;
    let kept = deployment.run(&["events", "tail", "rejected", "--from-beginning", "--until-end", "--json"]);
    let too_old: Vec<_> = kept.lines().filter(|line| line.contains("session-too-old")).collect();
    assert!(too_old.len() == 2 && too_old.iter().all(|line| line.contains("01900000-0000")), "{too_old:#?}");

    let counted = |report: &Value| ["matching", "sent", "refused", "known"].map(|name| report[name].as_u64().unwrap());
    let dry = resend(&deployment, &["--dry-run"]);
    assert_eq!((counted(&dry), &dry["not_sent"]), ([5, 2, 2, 0], &json!({"about-then": 1})));
    assert!(resent(&deployment, "playback").is_empty(), "a dry run sends nothing");

    let done = resend(&deployment, &[]);
    assert_eq!((counted(&done), &done["unsettled"]), ([5, 2, 2, 0], &json!(0)));
    let [event] = &resent(&deployment, "playback")[..] else { panic!("one heartbeat") };
    assert_eq!(event["data"]["account_id"], "fixed");
    let age_ms = event["data"]["age_ms"].as_u64().unwrap();
    assert!((HOUR_MS..HOUR_MS + 600_000).contains(&age_ms), "{age_ms}");
    let [event] = &resent(&deployment, "clickstream")[..] else { panic!("one click") };
    assert_eq!(event["data"]["name"], "fixed");

    // What was refused again stands in the topic again, and is what the next run finds new.
    let again = resend(&deployment, &[]);
    assert_eq!(counted(&again), [7, 0, 2, 4]);
    assert_eq!((resent(&deployment, "playback").len(), resent(&deployment, "clickstream").len()), (1, 1));
    let rejected = deployment.run(&["events", "tail", "rejected", "--from-beginning", "--until-end", "--json"]);
    let attempts: Vec<_> = rejected.lines().filter(|line| line.contains("pulsegate-attempt")).collect();
    assert_eq!(attempts.len(), 4, "two, twice: {attempts:#?}");
    assert!(attempts.iter().all(|line| line.contains("\\\"rate\\\":17") || line.contains("\"rate\":17")));
    // None of it took a slot.
    let sessions = node.get("/v1/accounts/fixed/sessions").await;
    assert_eq!(sessions.body["sessions"], json!([]));
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_nothing_is_sent_twice_or_forgotten() {
    const RECORDS: usize = 3_000;
    let mut deployment = Deployment::new().await;
    deployment.ack_timeout_ms = 1_000;
    deployment.node().await.stop();
    let refused = (0..RECORDS).map(|number| match number % 2 {
        0 => refused_an_hour_ago("/v1/heartbeats", &heartbeat(&format!("account-{}", number % 50), 1)),
        _ => refused_an_hour_ago("/v1/clickstream", &click(&format!("click-{number}"))),
    });
    append(&deployment, refused.collect()).await;
    for kill in 0..5_u64 {
        let mut child = deployment.command(&RESEND).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Not a wait for anything: the points at which it dies differ. Behind the first it waits for what may be late.
        let patience = if kill == 0 { 0 } else { 2 * deployment.ack_timeout_ms };
        tokio::time::sleep(Duration::from_millis(patience + 250 + 170 * kill)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let last = resend(&deployment, &[]);
    assert_eq!(last["unsettled"], 0, "{last}");
    let events: Vec<_> = ["playback", "clickstream"].iter().flat_map(|topic| resent(&deployment, topic)).collect();
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!((events.len(), ids.len()), (RECORDS, RECORDS), "the last run said {last}");
    assert_eq!(resend(&deployment, &[])["sent"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_at_a_time_has_the_turn() {
    let deployment = Deployment::new().await;
    deployment.node().await.stop();
    let mut other = sqlx::PgConnection::connect(&deployment.database_url).await.unwrap();
    sqlx::query("select pg_advisory_lock(hashtext('pulsegate.resend'), hashtext($1))")
        .bind(format!("{}rejected", deployment.prefix))
        .execute(&mut other)
        .await
        .unwrap();
    let output = deployment.command(&RESEND).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("another `events resend` is running"), "{said}");
    let nonsense = deployment.command(&["events", "resend", "--reason", "nonsense", "--since", "2026-01-01T00:00:00Z"]);
    let output = { nonsense }.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("sequence-jump"), "the reasons are named");
}
