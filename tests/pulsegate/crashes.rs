//! kill -9 of the server in the middle of traffic, again and again, then a recount from the log.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::deployment::{Deployment, until};
use crate::recount::{Collected, recount, same_decisions};

const CRASHES: usize = 4;
const ACCOUNTS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_lost_and_nothing_is_counted_twice() {
    let deployment = Deployment::new().await;
    let mut collected = Vec::new();
    let mut acknowledged: BTreeSet<(String, u64)> = BTreeSet::new();
    for round in 0..CRASHES {
        let node = deployment.node().await;
        let traffic = (0..ACCOUNTS).map(|index| {
            let node = &node;
            async move {
                let account = format!("crash-{index}");
                let session = Uuid::now_v7().to_string();
                let path = format!("/v1/accounts/{account}/sessions");
                let device = format!("device-{}", (round + index) % 3);
                let mut collected = Vec::new();
                let mut acknowledged = Vec::new();
                let body = json!({"session_id": session, "device_id": device, "title_id": "t"});
                let Some(answer) = node.try_send("POST", &path, Some(&body)).await else {
                    return (collected, acknowledged);
                };
                collected.extend(Collected::from_body(&account, &session, &answer.body));
                for sequence in 0_u64.. {
                    let body = json!({"device_id": device, "title_id": "t", "sequence": sequence,
                        "elapsed_ms": sequence * 10, "position_ms": sequence * 10, "state": "playing"});
                    let beat = format!("{path}/{session}/heartbeats");
                    // No answer: the node is gone, and this player with it.
                    let Some(answer) = node.try_send("POST", &beat, Some(&body)).await else { break };
                    if answer.status == 200 || answer.status == 410 {
                        acknowledged.push((session.clone(), sequence));
                    }
                    collected.extend(Collected::from_body(&account, &session, &answer.body));
                }
                (collected, acknowledged)
            }
        });
        let traffic = futures_util::future::join_all(traffic);
        let pid = node.pid();
        let crash = async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
        };
        let (rounds, ()) = tokio::join!(traffic, crash);
        for (answers, beats) in rounds {
            collected.extend(answers);
            acknowledged.extend(beats);
        }
        node.kill();
    }
    let node = deployment.node().await;
    let found = recount(&deployment, &collected);
    assert!(found.compared > 0);
    let in_log: BTreeSet<(String, u64)> = found
        .records
        .iter()
        .filter_map(|record| serde_json::from_str::<Value>(&record.value).ok())
        .filter(|event| event["type"] == "pulsegate.playback.heartbeat.v1")
        .filter_map(|event| {
            let data = &event["data"];
            Some((data["session_id"].as_str()?.to_owned(), data["sequence"].as_u64()?))
        })
        .collect();
    let lost: Vec<_> = acknowledged.difference(&in_log).collect();
    assert!(lost.is_empty(), "{} acknowledged heartbeats are not in the log: {lost:?}", lost.len());
    for index in 0..ACCOUNTS {
        let account = format!("crash-{index}");
        until("the decisions to agree with the rules", || async {
            let answer = node.get(&format!("/v1/accounts/{account}/decisions?limit=500")).await;
            same_decisions(&found.model, &account, answer.body["decisions"].as_array().map_or(&[], Vec::as_slice))
        })
        .await;
    }
    println!("{} answers agree, {} acknowledged heartbeats found", found.compared, acknowledged.len());
}
