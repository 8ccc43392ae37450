//! The main job: two play, the third is told no, one stops, the third plays.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::deployment::{Deployment, Node, until};
use crate::recount::{Collected, recount, same_decisions};

fn start_of(session: Uuid, device: &str) -> Value {
    json!({"session_id": session, "device_id": device, "device_class": "tv", "title_id": "harbour-lights"})
}

fn heartbeat_of(device: &str, sequence: u64, state: &str) -> Value {
    json!({"device_id": device, "title_id": "harbour-lights", "sequence": sequence,
           "elapsed_ms": sequence * 10_000, "position_ms": sequence * 10_000, "state": state})
}

async fn start(node: &Node, account: &str, session: Uuid, device: &str, seen: &mut Vec<Collected>) -> u16 {
    let answer = node.post(&format!("/v1/accounts/{account}/sessions"), &start_of(session, device)).await;
    seen.extend(Collected::from_body(account, &session.to_string(), &answer.body));
    answer.status
}

#[tokio::test(flavor = "multi_thread")]
async fn two_play_the_third_is_told_no_one_stops_and_the_third_plays() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    deployment.with_patience(&node).await;
    let account = "household-1";
    let [first, second, third] = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    let mut seen = Vec::new();
    assert_eq!(start(&node, account, first, "tv-1", &mut seen).await, 201);
    assert_eq!(start(&node, account, second, "phone-2", &mut seen).await, 201);

    let told_no = node.post(&format!("/v1/accounts/{account}/sessions"), &start_of(third, "tablet-3")).await;
    seen.extend(Collected::from_body(account, &third.to_string(), &told_no.body));
    assert_eq!(told_no.status, 409);
    assert_eq!(told_no.headers["content-type"], "application/problem+json");
    assert_eq!(told_no.body["code"], "concurrency-limit-reached");
    assert_eq!(told_no.body["verdict"]["reason"], "limit_reached");
    assert_eq!(told_no.body["verdict"]["max"], 2);
    let counted: Vec<_> =
        told_no.body["verdict"]["conflicts"].as_array().unwrap().iter().map(|c| c["device_id"].clone()).collect();
    assert_eq!(counted, ["tv-1", "phone-2"], "oldest slot first");

    // A retried start is the same start.
    assert_eq!(start(&node, account, first, "tv-1", &mut seen).await, 201);
    let beat = node
        .post(&format!("/v1/accounts/{account}/sessions/{first}/heartbeats"), &heartbeat_of("tv-1", 0, "playing"))
        .await;
    assert_eq!(beat.status, 200, "{beat:?}");
    assert_eq!(beat.body["verdict"]["decision"], "allow");
    assert_eq!(beat.body["next_heartbeat_in_ms"], 10_000);

    let stopped = node.send("DELETE", &format!("/v1/accounts/{account}/sessions/{second}"), None).await;
    assert_eq!(stopped.status, 204);
    assert_eq!(node.send("DELETE", &format!("/v1/accounts/{account}/sessions/{second}"), None).await.status, 204);
    assert_eq!(start(&node, account, third, "tablet-3", &mut seen).await, 201, "the slot is free");

    // What has ended is ended for ever.
    let ended = node.post(&format!("/v1/accounts/{account}/sessions"), &start_of(second, "phone-2")).await;
    assert_eq!(ended.status, 410);
    assert_eq!(ended.body["verdict"]["reason"], "stopped");
    let late = node
        .post(&format!("/v1/accounts/{account}/sessions/{second}/heartbeats"), &heartbeat_of("phone-2", 5, "playing"))
        .await;
    assert_eq!(late.status, 410);

    for session in [first, second, third] {
        let check = node.get(&format!("/v1/accounts/{account}/sessions/{session}/verdict")).await;
        assert_eq!(check.status, 200);
        seen.extend(Collected::from_body(account, &session.to_string(), &check.body));
    }
    let unknown = node.get(&format!("/v1/accounts/{account}/sessions/{}/verdict", Uuid::now_v7())).await;
    assert_eq!(unknown.status, 404);
    let foreign = node.get(&format!("/v1/accounts/another/sessions/{first}/verdict")).await;
    assert_eq!(foreign.status, 404, "a session under another account is unknown there");

    let live = node.get(&format!("/v1/accounts/{account}/sessions")).await;
    assert_eq!(live.body["sessions"].as_array().unwrap().len(), 2);
    let now = live.body["as_of"]["at"].as_str().unwrap().to_owned();
    let replayed = node.get(&format!("/v1/accounts/{account}/sessions?as_of={now}")).await;
    assert_eq!(replayed.status, 200, "{replayed:?}");
    assert_eq!(replayed.body["sessions"], live.body["sessions"], "the replay says what the view said");

    let found = recount(&deployment, &seen);
    assert!(found.compared >= 8);
    until("the decisions to be kept", || async {
        let answer = node.get(&format!("/v1/accounts/{account}/decisions")).await;
        let kept = answer.body["decisions"].as_array().cloned().unwrap_or_default();
        same_decisions(&found.model, account, &kept)
    })
    .await;
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_players_slot_is_free_after_its_lease_without_any_event() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    // Longer than a slow machine takes from the first start to the second.
    let policy = json!({"rules": [{"scope": "account", "max": 1, "on_limit": "block_newest"}],
                        "leases_ms": {"started": 15_000, "heartbeat": 15_000}});
    let published = node.put("/v1/policies/brief", &policy).await;
    assert_eq!(published.status, 200, "{published:?}");
    assert_eq!(published.body["version"], 1);
    assert_eq!(node.put("/v1/policies/brief", &policy).await.body["version"], 1, "the same again is no new version");
    assert_eq!(node.put("/v1/accounts/crashed/entitlement", &json!({"policy": "brief"})).await.status, 200);
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let mut seen = Vec::new();
    assert_eq!(start(&node, "crashed", first, "tv-1", &mut seen).await, 201);
    assert_eq!(start(&node, "crashed", second, "tv-2", &mut seen).await, 409);
    let path = format!("/v1/accounts/crashed/sessions/{second}/verdict");
    until("a check between events to see the free slot", || async {
        node.get(&path).await.body["verdict"]["room"] == true
    })
    .await;
    let check = node.get(&path).await;
    assert_eq!(check.body["verdict"]["frees_in_ms"], 0);
    seen.extend(Collected::from_body("crashed", &second.to_string(), &check.body));
    assert_eq!(start(&node, "crashed", second, "tv-2", &mut seen).await, 201);
    recount(&deployment, &seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_reads_the_tail_and_answers_as_before() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    let mut seen = Vec::new();
    let sessions: Vec<_> = (0..4).map(|_| Uuid::now_v7()).collect();
    for (index, session) in sessions.iter().enumerate() {
        start(&node, "restarted", *session, &format!("device-{index}"), &mut seen).await;
    }
    let before = node.get("/v1/accounts/restarted/sessions").await.body;
    node.stop();
    let node = deployment.node().await;
    let after = node.get("/v1/accounts/restarted/sessions").await.body;
    let ids = |body: &Value| -> Vec<(String, Value)> {
        let sessions = body["sessions"].as_array().cloned().unwrap_or_default();
        let seen = |s: &Value| (s["session_id"].to_string(), s["verdict"]["decision"].clone());
        sessions.iter().map(seen).collect()
    };
    // Slow machines may let a lease run out meanwhile: what is still shown must be as it was.
    let before = ids(&before);
    assert!(ids(&after).iter().all(|session| before.contains(session)), "{before:?} then {after}");
    for session in &sessions {
        let check = node.get(&format!("/v1/accounts/restarted/sessions/{session}/verdict")).await;
        seen.extend(Collected::from_body("restarted", &session.to_string(), &check.body));
    }
    recount(&deployment, &seen);
}
