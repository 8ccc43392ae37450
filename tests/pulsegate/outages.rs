//! Kafka away, PostgreSQL away: by stopping the real processes, which are this test's own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::deployment::{Node, SOON, until};
use crate::recount::{Collected, recount, same_decisions};
use crate::services::Services;

fn beat(sequence: u64, age_ms: u64) -> Value {
    json!({"device_id": "tv", "title_id": "t", "sequence": sequence, "elapsed_ms": sequence * 100, "age_ms": age_ms,
           "position_ms": sequence * 100, "state": "playing"})
}

async fn start(node: &Node, account: &str, session: Uuid, collected: &mut Vec<Collected>) -> u16 {
    let body = json!({"session_id": session, "device_id": "tv", "title_id": "t"});
    let answer = node.post(&format!("/v1/accounts/{account}/sessions"), &body).await;
    collected.extend(Collected::from_body(account, &session.to_string(), &answer.body));
    answer.status
}

/// Starts a session; a broker that is slow to answer is asked again, with the same start.
async fn until_started(node: &Node, account: &str, session: Uuid, collected: &mut Vec<Collected>) {
    let deadline = Instant::now() + SOON;
    while start(node, account, session, collected).await != 201 {
        assert!(Instant::now() < deadline, "the start is not taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_go_on_while_a_part_is_away_and_nothing_is_lost_or_counted_twice() {
    let services = Services::start();
    let mut deployment = services.deployment().await;
    deployment.ack_timeout_ms = 2_000;
    let node = deployment.node().await;
    let mut collected = Vec::new();
    until("the log to take the policy", || async {
        let terms = json!({"rules": [{"scope": "account", "max": 2, "on_limit": "block_newest"}],
                           "leases_ms": {"started": 3_600_000, "heartbeat": 3_600_000}});
        node.put("/v1/policies/standard", &terms).await.status == 200
    })
    .await;
    let session = Uuid::now_v7();
    let path = format!("/v1/accounts/a/sessions/{session}");
    until_started(&node, "a", session, &mut collected).await;

    // Kafka away.
    services.ctl("kafka", "kill");
    let refused = node.post(&format!("{path}/heartbeats"), &beat(0, 0)).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    until("a check to say how stale it is", || async {
        let check = node.get(&format!("{path}/verdict")).await;
        assert_eq!(check.status, 200, "checks go on from memory");
        assert_eq!(check.body["verdict"]["decision"], "allow", "an outage freezes leases and blocks nobody");
        check.body["stale_ms"].as_u64().is_some_and(|stale| stale >= 3_000)
    })
    .await;
    services.ctl("kafka", "start");
    until("heartbeats to be taken again", || async {
        node.post("/v1/heartbeats", &json!({"heartbeats": [with_ids(beat(1, 0), "a", session)]})).await.body["accepted"]
            == 1
    })
    .await;
    until("checks to be fresh again", || async {
        node.get(&format!("{path}/verdict")).await.body.get("stale_ms").is_none()
    })
    .await;

    // PostgreSQL away.
    services.ctl("postgres", "kill");
    let other = Uuid::now_v7();
    until_started(&node, "b", other, &mut collected).await;
    until("heartbeats to need no database", || async {
        node.post(&format!("{path}/heartbeats"), &beat(2, 0)).await.status == 200
    })
    .await;
    let kept = node.get("/v1/accounts/b/decisions").await;
    assert_eq!(kept.status, 503, "decisions are kept in the database: {kept:?}");
    services.ctl("postgres", "start");
    let found = recount(&deployment, &collected);
    for account in ["a", "b"] {
        until("the projection to go on where it was", || async {
            let answer = node.get(&format!("/v1/accounts/{account}/decisions")).await;
            same_decisions(&found.model, account, answer.body["decisions"].as_array().map_or(&[], Vec::as_slice))
        })
        .await;
    }
    node.stop();

    // A node that is started while Kafka is away answers from the read model, and says so.
    services.ctl("kafka", "kill");
    let node = deployment.node_not_ready();
    until("a cold node to answer a check", || async {
        node.try_send("GET", &format!("{path}/verdict"), None).await.is_some_and(|check| {
            check.status == 200
                && check.body["verdict"]["decision"] == "allow"
                && check.body["provisional"] == true
                && check.body["stale_ms"].as_u64().is_some()
        })
    })
    .await;
    assert_eq!(node.admin("/readyz").await.0, 503, "it has not caught up, so it isn't ready");
    assert_eq!(node.admin("/livez").await.0, 200);
    services.ctl("kafka", "start");
    node.ready().await;
    tokio::time::timeout(Duration::from_mins(1), node.get(&format!("{path}/verdict"))).await.expect("an answer");
}

fn with_ids(mut beat: Value, account: &str, session: Uuid) -> Value {
    beat["account_id"] = json!(account);
    beat["session_id"] = json!(session);
    beat
}
