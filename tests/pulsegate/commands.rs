//! Commands as scripts use them.

use std::io::Read as _;
use std::process::{Command, Stdio};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::deployment::{Deployment, until};

#[test]
fn who_has_read_enough_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = Command::new(env!("CARGO_BIN_EXE_pulsegate"))
        .arg("config")
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success() && said.is_empty(), "{status}: {said}");
}

fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

const SESSION: &str = "019ab0c4-7e1a-4abc-8def-0123456789ab";

/// A record as `events tail --json` prints it.
fn line(at: DateTime<Utc>, kind: &str, more: &Value) -> String {
    let mut data = json!({"account_id": "ada", "session_id": SESSION, "device_id": "tv", "title_id": "film",
                          "territory": "DE", "policy": "standard@1"});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let value = json!({"specversion": "1.0", "id": format!("{kind}-{}", at.timestamp_millis()), "source": "/old",
                       "type": format!("pulsegate.playback.{kind}.v1"), "time": rfc3339(at), "data": data});
    json!({"topic": "old.playback", "timestamp": rfc3339(at), "key": "ada", "value": value}).to_string() + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_the_beginning_of_an_empty_log_in_its_own_time() {
    let deployment = Deployment::new().await;
    let begun = Utc::now() - TimeDelta::days(3);
    let beat = |sequence: i64| {
        let at_ms = sequence * 10_000;
        let state = json!({"sequence": sequence, "elapsed_ms": at_ms, "position_ms": at_ms, "state": "playing"});
        line(begun + TimeDelta::milliseconds(at_ms), "heartbeat", &state)
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    let path = file.to_str().unwrap();
    let records = [line(begun, "started", &json!({})), beat(0), beat(1), beat(2)];

    std::fs::write(&file, records.concat() + &line(begun, "started", &json!({}))).unwrap();
    let refused = deployment.command(&["events", "import", path, "--json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((refused.status.code(), &told["bad"], &told["imported"]), (Some(1), &json!(1), &json!(0)), "{told}");

    std::fs::write(&file, records.concat()).unwrap();
    let told: Value = serde_json::from_str(&deployment.run(&["events", "import", path, "--json"])).unwrap();
    assert_eq!((&told["lines"], &told["imported"]), (&json!(4), &json!(4)), "{told}");
    let again = deployment.command(&["events", "import", path]).output().unwrap();
    let says = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.code() == Some(1) && says.contains("into an empty log only"), "{says}");

    // A node finds its topics as they must be, and the past as it was.
    let node = deployment.node().await;
    let then = rfc3339(begun + TimeDelta::seconds(15));
    let sessions = node.get(&format!("/v1/accounts/ada/sessions?as_of={then}")).await.body;
    assert_eq!(sessions["sessions"][0]["verdict"]["decision"], "allow", "{sessions}");
    assert_eq!(sessions["sessions"][0]["started_at"], json!(rfc3339(begun)));
    let report = format!("/v1/reports/licensing?period={}", begun.date_naive());
    until("the report to have the past", || async {
        let report = node.get(&report).await.body;
        // Nobody watches at midnight here but once in a blue moon.
        report["rows"][0]["watched_ms"] == json!(20_000)
            || begun.date_naive() != (begun + TimeDelta::seconds(20)).date_naive()
    })
    .await;
    // What comes now has the broker's time.
    let started = node.post("/v1/accounts/ada/sessions", &json!({"device_id": "phone", "title_id": "film"})).await;
    assert_eq!(started.status, 201, "{started:?}");
    let at: DateTime<Utc> = serde_json::from_value(started.body["as_of"]["at"].clone()).unwrap();
    assert!(at > begun + TimeDelta::days(2), "{at}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_past_is_folded_as_it_was_made() {
    let deployment = Deployment::new().await;
    let args = ["simulate", "--history", "3d", "--viewers", "24", "--seed", "7", "--run", "past", "--json"];
    let made: Value = serde_json::from_str(&deployment.run(&args)).unwrap();
    let of = |name: &str| made[name].as_u64().unwrap();
    assert!(of("told_no") > 0 && of("heartbeats") > 1_000, "{made}");
    let again = deployment.command(&args).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("into an empty log only"), "{again:?}");

    let node = deployment.node().await;
    let (from, until_day) = (Utc::now() - TimeDelta::days(4), Utc::now() + TimeDelta::days(1));
    let period = format!("{}--{}", from.date_naive(), until_day.date_naive());
    let usage = format!("/v1/reports/usage?period={period}&by=title");
    let blocked = format!("/v1/reports/concurrency?period={period}");
    until("the reports to have what was made", || async {
        let (usage, blocked) = (node.get(&usage).await.body, node.get(&blocked).await.body);
        usage["total"]["plays"].as_u64() == Some(of("plays") - of("told_no"))
            && blocked["blocked"]["sessions"].as_u64() == Some(of("told_no"))
    })
    .await;
}
