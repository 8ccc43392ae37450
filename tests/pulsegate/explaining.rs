//! Support's and product's questions to the log: why was it told no, and what would another policy have said.

use std::process::Output;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::deployment::{Deployment, until};

const ACCOUNT: &str = "asked-about";

fn ended(deployment: &Deployment, args: &[&str]) -> (bool, String, String) {
    let Output { status, stdout, stderr } = deployment.command(args).output().expect("the binary starts");
    (status.success(), String::from_utf8(stdout).expect("UTF-8"), String::from_utf8(stderr).expect("UTF-8"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_why_it_was_no_and_what_another_policy_would_have_said() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    deployment.with_patience(&node).await;
    let [first, second, third] = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    let path = format!("/v1/accounts/{ACCOUNT}/sessions");
    let start = |session: Uuid, device: &str| json!({"session_id": session, "device_id": device, "title_id": "film"});
    assert_eq!(node.post(&path, &start(first, "tv")).await.status, 201);
    let segment = json!({"signals": [{"account_id": ACCOUNT, "session_id": first, "device_id": "tv", "title_id": "film",
                                      "kind": "cdn_segment"}]});
    assert_eq!(node.post("/v1/signals", &segment).await.status, 200);
    assert_eq!(node.post(&path, &start(second, "phone")).await.status, 201);
    let told_no = node.post(&path, &start(third, "tablet")).await;
    assert_eq!(told_no.status, 409, "{told_no:?}");

    // By command, in words and as JSON.
    let words = deployment.run(&["decisions", "explain", ACCOUNT]);
    assert!(words.contains("told no, 2 of 2 in account by standard@2"), "{words}");
    assert!(words.contains("signal cdn_segment"), "{words}");
    let json: Value = serde_json::from_str(&deployment.run(&["decisions", "explain", ACCOUNT, "--json"])).unwrap();
    let step = json["steps"].as_array().unwrap().iter().rfind(|step| step["session_id"] == json!(third)).unwrap();
    assert_eq!(step["offset"], told_no.body["as_of"]["offset"]);
    assert_eq!(json["partition"], told_no.body["as_of"]["partition"]);
    let counted: Vec<_> =
        step["counted"].as_array().unwrap().iter().map(|e| (&e["device_id"], &e["kind"], &e["source"])).collect();
    assert_eq!(
        counted,
        [
            (&json!("tv"), &json!("signal"), &json!("/v1/signals")),
            (&json!("phone"), &json!("started"), &json!("/v1/accounts/sessions"))
        ]
    );

    // Over HTTP, once the read model has the decision.
    let url = format!("/v1/accounts/{ACCOUNT}/decisions?limit=1&evidence=true");
    let refused = |body: &Value| body["decisions"][0]["decision"] == "refuse";
    until("the refusal to be kept", async || refused(&node.get(&url).await.body)).await;
    let kept = node.get(&url).await;
    assert_eq!(kept.body["decisions"][0]["evidence"], step["decisions"][0]["evidence"], "{kept:?}");
    assert_eq!(kept.body["decisions"][0]["evidence"][0]["signal"], "cdn_segment");
    assert!(
        node.get(&format!("/v1/accounts/{ACCOUNT}/decisions")).await.body["decisions"][0].get("evidence").is_none()
    );

    let error = |args: &[&str]| {
        let (done, _, stderr) = ended(&deployment, args);
        assert!(!done, "{args:?}");
        stderr
    };
    assert!(error(&["decisions", "explain", "nobody"]).contains("the log holds nothing of nobody"));
    let early = error(&["decisions", "explain", ACCOUNT, "--at", "2020-01-01T20:47"]);
    assert!(early.contains("the first that the log holds of asked-about is of"), "{early}");
    assert!(error(&["decisions", "explain", ACCOUNT, "--at", "2999-01-01"]).contains("lies in the future"));
    assert!(error(&["decisions", "explain", ACCOUNT, "--at", "soon"]).contains("must be a time such as"));
    let other = Uuid::now_v7().to_string();
    assert!(error(&["decisions", "explain", ACCOUNT, "--session", &other]).contains("has had no session"));

    // A draft with room for one less and one more.
    let folder = tempfile::tempdir().unwrap();
    let draft = |name: &str, body: &Value| {
        let file = folder.path().join(name);
        std::fs::write(&file, body.to_string()).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let patient = |max: u32| {
        json!({"rules": [{"scope": "account", "max": max, "on_limit": "block_newest"}],
                                    "leases_ms": {"started": 3_600_000, "heartbeat": 3_600_000}})
    };
    let (one, three) = (draft("one.json", &patient(1)), draft("three.json", &patient(3)));
    let page = folder.path().join("tried.html");
    let page = page.to_str().unwrap();
    let tried = deployment.run(&["policies", "try", &one, "--since", "1d", "--json", "--html", page]);
    let tried: Value = serde_json::from_str(&tried).unwrap();
    assert_eq!(tried["told_no"], json!({"before": 1, "after": 2, "added": 1, "removed": 0}), "{tried}");
    assert_eq!(tried["most_affected"][0]["account_id"], ACCOUNT);
    assert_eq!(
        (&tried["concurrency"][2]["a_limit_of_it_hits"], &tried["concurrency"][3]["accounts"]),
        (&json!(1), &json!(1))
    );
    assert!(std::fs::read_to_string(page).unwrap().contains("How many would a limit hit?"));
    let tried: Value = serde_json::from_str(
        &deployment.run(&["policies", "try", &three, "--since", "1d", "--name", "standard", "--json"]),
    )
    .unwrap();
    assert_eq!(tried["told_no"], json!({"before": 1, "after": 0, "added": 0, "removed": 1}), "{tried}");
    let table = deployment.run(&["policies", "try", &three, "--since", "1d"]);
    assert!(table.contains("1 accounts would have been told something else"), "{table}");

    let wrong = draft(
        "wrong.json",
        &json!({"rules": [{"scope": "planet", "max": 1, "on_limit": "explode"}], "paused_hold_ms": -1}),
    );
    let mistakes = error(&["policies", "try", &wrong, "--since", "1d"]);
    for pointer in ["/rules/0/scope must be", "/rules/0/on_limit must be", "/paused_hold_ms must be"] {
        assert!(mistakes.contains(pointer), "{mistakes}");
    }
    let unknown = error(&["policies", "try", &one, "--since", "1d", "--name", "gold"]);
    assert!(unknown.contains("there is no policy gold; there are: standard"), "{unknown}");
    node.stop();
}
