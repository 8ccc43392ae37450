//! Whoever waits hears: a slot that frees by a stop or by time alone, an eviction, the end of the node.

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::deployment::{Answer, Deployment, Node, SOON, until};

const ACCOUNT: &str = "waiting-room";
/// Longest wait that a node takes; an answer that took as long heard nothing.
const WAIT_MS: u64 = 60_000;

async fn start(node: &Node, session: Uuid, device: &str) -> u16 {
    let body = json!({"session_id": session, "device_id": device, "title_id": "t"});
    node.post(&format!("/v1/accounts/{ACCOUNT}/sessions"), &body).await.status
}

async fn stop(node: &Node, session: Uuid) {
    let stopped = node.send("DELETE", &format!("/v1/accounts/{ACCOUNT}/sessions/{session}"), None).await;
    assert_eq!(stopped.status, 204);
}

/// One stream an account, and leases of this length.
async fn limit_one(node: &Node, lease_ms: u64) {
    let terms = json!({"rules": [{"scope": "account", "max": 1, "on_limit": "block_newest"}],
                       "leases_ms": {"started": lease_ms, "heartbeat": lease_ms}});
    let name = format!("one-{lease_ms}");
    assert_eq!(node.put(&format!("/v1/policies/{name}"), &terms).await.status, 200);
    assert_eq!(node.put(&format!("/v1/accounts/{ACCOUNT}/entitlement"), &json!({"policy": name})).await.status, 200);
}

/// Waits for the verdict on a session in the background.
async fn wait(node: &Node, session: Uuid, since: &str) -> JoinHandle<Answer> {
    let url = format!("{}/v1/accounts/{ACCOUNT}/sessions/{session}/verdict?wait={WAIT_MS}ms&since={since}", node.url);
    let waiting = waiters(node).await;
    let client = node.client.clone();
    let answer = tokio::spawn(async move {
        let answer = client.get(url).send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        Answer { status, headers, body }
    });
    until("the node to have one more waiter", async || waiters(node).await > waiting).await;
    answer
}

async fn waiters(node: &Node) -> u64 {
    let (_, metrics) = node.admin("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("pulsegate_waiters "));
    line.map_or(0, |value| value.parse().expect("a whole number"))
}

/// The verdict that was heard of, not merely there when the wait ended.
fn heard(answer: &Answer) -> &Value {
    assert_eq!((answer.status, &answer.headers["content-type"]), (200, &"application/json".parse().unwrap()));
    assert!(answer.body["waited_ms"].as_u64().expect("it waited") < WAIT_MS, "{answer:?}");
    &answer.body["verdict"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_player_hears_of_a_stop_of_an_eviction_and_of_a_lease_that_ends() {
    let deployment = Deployment::new().await;
    let (node, other) = (deployment.node().await, deployment.api_node().await);
    limit_one(&node, 3_600_000).await;
    let [first, second, third] = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    assert_eq!((start(&node, first, "tv").await, start(&node, second, "phone").await), (201, 409));

    // The stop reaches one node, the waiting player the other.
    until("the other node to know", async || {
        other.get(&format!("/v1/accounts/{ACCOUNT}/sessions/{second}/verdict")).await.status == 200
    })
    .await;
    let waiting = wait(&other, second, "limit_reached").await;
    stop(&node, first).await;
    let answer = waiting.await.unwrap();
    assert_eq!((&heard(&answer)["room"], &heard(&answer)["decision"]), (&json!(true), &json!("block")));
    let known =
        other.get(&format!("/v1/accounts/{ACCOUNT}/sessions/{second}/verdict?wait=60s&since=limit_reached")).await;
    assert_eq!(heard(&known)["room"], true, "what has happened already isn't waited for");
    assert_eq!(start(&other, second, "phone").await, 201);

    let waiting = wait(&other, second, "allow").await;
    let evicted = node.post(&format!("/v1/accounts/{ACCOUNT}/sessions/{second}/evict"), &json!({"by": "viewer"})).await;
    assert_eq!(evicted.status, 200, "{evicted:?}");
    assert_eq!(heard(&waiting.await.unwrap())["reason"], "evicted");

    // Nothing is appended when a lease ends. Long enough for a slow machine to start two and begin to wait.
    limit_one(&node, 12_000).await;
    assert_eq!((start(&node, third, "tv").await, start(&node, first, "tv").await), (201, 410));
    let fourth = Uuid::now_v7();
    assert_eq!(start(&node, fourth, "console").await, 409);
    let waiting = wait(&node, fourth, "limit_reached").await;
    assert_eq!(heard(&waiting.await.unwrap())["room"], true);
    assert_eq!(start(&node, fourth, "console").await, 201);

    let unknown = node.get(&format!("/v1/accounts/{ACCOUNT}/sessions/{}/verdict?wait=60s", Uuid::now_v7())).await;
    assert_eq!((unknown.status, &unknown.body["code"]), (404, &json!("session-unknown")));
    until("nobody to wait any longer", async || waiters(&node).await + waiters(&other).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_an_accounts_verdicts_and_ends_with_the_node() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    limit_one(&node, 3_600_000).await;
    let [first, second] = [Uuid::now_v7(), Uuid::now_v7()];
    assert_eq!(start(&node, first, "tv").await, 201);
    let url = format!("{}/v1/accounts/{ACCOUNT}/verdicts", node.url);
    let response = node.client.get(url).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut events = Events { response, text: String::new() };

    assert_eq!(events.next_verdict().await, (first.to_string(), "allow".into()));
    assert_eq!(start(&node, second, "phone").await, 409);
    assert_eq!(events.next_verdict().await, (second.to_string(), "limit_reached".into()));
    stop(&node, first).await;
    let mut told = [events.next_verdict().await, events.next_verdict().await];
    told.sort_by_key(|(session, _)| *session != first.to_string());
    assert_eq!(told[0], (first.to_string(), "stopped".into()));
    assert_eq!(told[1], (second.to_string(), "limit_reached".into()), "it may ask now, and hasn't");
    assert_eq!(start(&node, second, "phone").await, 201);
    assert_eq!(events.next_verdict().await, (second.to_string(), "allow".into()));

    let waiting = wait(&node, second, "allow").await;
    let stopping = tokio::task::spawn_blocking(move || node.stop());
    assert_eq!(events.next().await, Some(("bye".into(), json!({}))));
    assert_eq!(events.next().await, None, "the stream is at its end");
    assert_eq!(heard(&waiting.await.unwrap())["decision"], "allow", "what is known by then");
    stopping.await.unwrap();
}

/// Server-sent events as they arrive.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let found = field("event: ").zip(field("data: "));
                if let Some((name, data)) = found {
                    return Some((name, serde_json::from_str(&data).expect("JSON")));
                }
            }
            let chunk = tokio::time::timeout(SOON, self.response.chunk()).await.expect("an event").expect("a stream");
            self.text.push_str(std::str::from_utf8(&chunk?).expect("UTF-8"));
        }
    }

    /// The next verdict: whose, and its reason or `allow`.
    async fn next_verdict(&mut self) -> (String, String) {
        let (name, data) = self.next().await.expect("one more event");
        assert_eq!((name.as_str(), &data["account_id"]), ("verdict", &json!(ACCOUNT)));
        let word = data["verdict"]["reason"].as_str().unwrap_or("allow");
        (data["session_id"].as_str().expect("a session").to_owned(), word.to_owned())
    }
}
