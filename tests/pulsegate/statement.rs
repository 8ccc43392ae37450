//! From a contract to a statement that its receiver checks, as the people who do that meet it.

use serde_json::{Value, json};

use crate::deployment::{Deployment, Node, until};

/// A minute of a film, sent at once: what a device can account for is watched.
async fn watch(node: &Node, account: &str, session: &str) {
    for n in 0..4_u32 {
        let beat = json!({"device_id": "tv-1", "device_class": "tv", "title_id": "film", "territory": "DE", "sequence": n,
                          "elapsed_ms": n * 1_500, "position_ms": n * 1_500, "state": "playing"});
        let path = format!("/v1/accounts/{account}/sessions/{session}/heartbeats");
        assert_eq!(node.post(&path, &beat).await.status, 200);
    }
}

fn contract(per_view: &str) -> Value {
    json!({"rights_holder_id": "orvessa", "valid_from": "2020-01-01", "view_threshold_ms": 1_000,
           "payment": {"currency": "EUR", "per_view": per_view}})
}

async fn amend(node: &Node, version: &str, per_view: &str) -> (u16, String) {
    let request = node.client.put(format!("{}/v1/contracts/c-1", node.url)).header("if-match", version);
    let answer = request.json(&contract(per_view)).send().await.unwrap();
    let tag = answer.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned()).unwrap_or_default();
    (answer.status().as_u16(), tag)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_closed_sent_and_checked_by_who_receives_it() {
    let deployment = Deployment::new().await;
    let (node, other) = (deployment.node().await, deployment.api_node().await);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();

    // A table is registered once every line of it is good.
    std::fs::write(
        file("titles.csv"),
        "title_id,name,content_kind,rights_holder_id\nfilm,Film,vod,orvessa\nx,,vod,orvessa\n",
    )
    .unwrap();
    let bad = deployment.command(&["titles", "import", &file("titles.csv")]).output().unwrap();
    let told = String::from_utf8(bad.stdout).unwrap();
    assert!(!bad.status.success() && told.contains(":3: name: is required"), "{told}");
    assert!(told.contains("1 good lines, 1 bad: nothing was sent"), "{told}");
    std::fs::write(file("titles.csv"), "title_id,name,content_kind,rights_holder_id\nfilm,Film,vod,orvessa\n").unwrap();
    for said in ["1 registered, 0 were so already", "0 registered, 1 were so already"] {
        let told = deployment.run(&["titles", "import", &file("titles.csv")]);
        assert!(told.contains(said), "{told}");
    }

    // Of two who amend the same version on two nodes one is told so.
    assert_eq!(node.put("/v1/contracts/c-1", &contract("0.01")).await.headers["etag"], "\"1\"");
    until("the other node to read the contract", || async { other.get("/v1/contracts/c-1").await.status == 200 }).await;
    let ((one, of_one), (two, of_two)) = tokio::join!(amend(&node, "\"1\"", "0.02"), amend(&other, "\"1\"", "0.03"));
    let mut statuses = [one, two];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    assert!([of_one, of_two].contains(&"\"2\"".to_owned()));
    assert_eq!(amend(&node, "\"2\"", "0.04").await, (200, "\"3\"".to_owned()));
    let versions = node.get("/v1/contracts/c-1/versions").await.body;
    assert_eq!(versions["versions"].as_array().unwrap().len(), 3);
    assert_eq!(versions["versions"][2]["contract"]["payment"]["per_view"], "0.04");

    for n in 1..=3 {
        watch(&node, &format!("acc-{n}"), &format!("3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6{n}")).await;
    }
    let month = chrono::Utc::now().format("%Y-%m").to_string();
    let path = format!("/v1/statements/{month}?rights_holder=orvessa");
    until("three views to be folded", || async {
        let statement = node.get(&path).await.body;
        statement["rows"].as_array().is_some_and(|rows| rows.iter().any(|row| row["qualified_views"] == 3))
    })
    .await;
    let provisional = node.get(&path).await.body;
    let row = &provisional["rows"][0];
    assert_eq!((&row["amount"], &row["currency"], &row["device_class"]), (&json!("0.12"), &json!("EUR"), &json!("tv")));
    assert_eq!(provisional["statement"]["state"], "provisional");
    let behind = node.get(&format!("/v1/statements/{month}/sessions?title=film&contract=c-1&limit=2")).await.body;
    assert_eq!(behind["sessions"].as_array().unwrap().len(), 2);
    assert!(behind["next"].is_string());
    let session = "/v1/accounts/acc-1/sessions/3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e61/watch-time";
    assert_eq!(node.get(session).await.body["records"].as_array().unwrap().len(), 4);

    // The month isn't over.
    let refused = node.post(&format!("/v1/statements/{month}/close"), &json!({"rights_holder_id": "orvessa"})).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("statement-refused")));
    let told = deployment.run(&["report", "close", &month, "--rights-holder", "orvessa", "--early"]);
    assert!(told.contains("0.12 EUR is due to orvessa under contract c-1 (version 3)"), "{told}");
    let told = deployment.run(&["report", "verify", &month, "--rights-holder", "orvessa"]);
    assert!(told.contains("revision 1 stands: 1 rows"), "{told}");
    watch(&node, "acc-9", "3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e69").await;
    let restate = format!("/v1/statements/{month}/restate");
    until("the late view to be folded", || async {
        node.post(&restate, &json!({"rights_holder_id": "orvessa"})).await.status == 201
    })
    .await;
    let added = node.get(&format!("{path}&revision=2&rows=added&format=csv")).await;
    assert_eq!((added.status, added.headers["content-type"].to_str().unwrap()), (200, "text/csv; charset=utf-8"));
    assert_eq!(node.get(&path).await.body["rows"][0]["amount"], "0.16");
    assert_eq!(node.get(&format!("{path}&revision=1")).await.body["rows"][0]["amount"], "0.12");
    assert_eq!(node.get(&format!("{path}&revision=9")).await.status, 404);

    // Its receiver has only the file.
    let sent = file("sent.json");
    let args = ["report", "statement", &month, "--rights-holder", "orvessa", "--format", "json", "--output", &sent];
    deployment.run(&args);
    assert!(deployment.run(&["report", "verify", "--file", &sent]).contains("stands"));
    assert!(deployment.run(&["report", "verify", "--file", &sent, "--against-log"]).contains("folded from the log"));
    let text = std::fs::read_to_string(&sent).unwrap();
    std::fs::write(&sent, text.replace("\"qualified_views\":4", "\"qualified_views\":3")).unwrap();
    let forged = deployment.command(&["report", "verify", "--file", &sent]).output().unwrap();
    let told = String::from_utf8(forged.stdout).unwrap();
    assert!(!forged.status.success() && told.contains("amount is said to be 0.16, and is 0.12"), "{told}");
    node.stop();
    other.stop();
}
